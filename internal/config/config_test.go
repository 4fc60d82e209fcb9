package config

import (
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// env is an environment; names are without the prefix.
type env map[string]string

func (e env) lookup(name string) (string, bool) {
	if !strings.HasPrefix(name, EnvPrefix) {
		v, ok := e["$"+name] // not ours
		return v, ok
	}
	v, ok := e[strings.TrimPrefix(name, EnvPrefix)]
	return v, ok
}

func load(t *testing.T, e env) Config {
	t.Helper()
	return loaded(t, e).Config
}

func loaded(t *testing.T, e env) Loaded {
	t.Helper()
	l, err := Read(e.lookup)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// problems are the lines of Load's error.
func problems(e env) []string {
	_, err := Load(e.lookup)
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

func secretFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaults(t *testing.T) {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	want := Config{
		Addr: "127.0.0.1:19790", StateDir: filepath.Join(state, "gateway-cron"), MinFreeBytes: 256 << 20, AIServerURL: "http://127.0.0.1:39200",
		TelegramURL: "https://api.telegram.org", Concurrency: 64, AgentShare: 50, WorkerMemoryBytes: 256 << 20, Prefix: "gateway-cron", ShutdownGrace: 25 * time.Second, RedisCheck: RedisCheckWarn,
		RateLimitPerMinute: 600, RateLimitBurst: 300, AlertAfter: 2, AlertCooldown: time.Hour,
		MaxBodyBytes: 1 << 20, HistoryPerJob: 200, HistoryBytes: 16 << 20, TaskRetention: 10 * time.Minute, LogLevel: slog.LevelInfo, LogFormat: "text",
	}
	for name, e := range map[string]env{
		"nothing set":    {},
		"set to nothing": {"ADDR": "", "TOKEN": "", "REDIS_URL": " ", "TOKEN_FILE": "", "CONCURRENCY": "", "LOG_LEVEL": "\t"},
	} {
		if d := cmp.Diff(want, load(t, e)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if home, err := os.UserHomeDir(); err == nil {
		t.Setenv("XDG_STATE_HOME", "relative") // to be ignored, says its specification
		if got := load(t, env{}).StateDir; got != filepath.Join(home, ".local", "state", "gateway-cron") {
			t.Errorf("state directory %s", got)
		}
	}
}

// full sets everything to something else than its default.
var full = env{
	"ADDR": "0.0.0.0:80", "URL": "https://cron.example/x/", "TOKEN": "s1s1s1s1s1s1s1s1", "TLS_CERT_FILE": "/tls/api.pem", "TLS_KEY_FILE": "/tls/api.key", "REDIS_URL": "rediss://user:s2@redis.example:6380/3", "STATE_DIR": "/var/lib/x", "MIN_FREE_BYTES": "1000",
	"REDIS_CA_FILE": "/tls/ca.pem", "REDIS_CERT_FILE": "/tls/cert.pem", "REDIS_KEY_FILE": "/tls/key.pem", "REDIS_CHECK": "strict",
	"AI_SERVER_URL": "https://ai.example/base//", "WORKSPACE_ID": "ws", "CHANNEL_MANAGER_URL": "http://channels.example:1/",
	"CHANNEL_MANAGER_TOKEN": "s3", "TELEGRAM_TOKEN": "123:s4", "TELEGRAM_URL": "http://127.0.0.1:8081", "CONCURRENCY": " 7 ", "AGENT_SHARE": "30", "WORKER_MEMORY_BYTES": "2000000", "HISTORY_BYTES": "70000",
	"PREFIX": "prod_2-x", "SHUTDOWN_GRACE": "1m30s", "MAX_BODY_BYTES": "2048", "RATE_LIMIT_PER_MINUTE": "7000", "RATE_LIMIT_BURST": "1", "HISTORY_PER_JOB": "9", "TASK_RETENTION": "1h",
	"MODEL": "m", "REASONING_EFFORT": "low", "PUBLIC_ACCESS": "true",
	"ALERT_CHANNEL": "telegram", "ALERT_CHAT": "-100", "ALERT_THREAD": "3", "ALERT_URL": "https://hooks.example/s5", "ALERT_SECRET": "whsec_s6",
	"ALERT_AFTER": "3", "ALERT_COOLDOWN": "10m0s", "HEARTBEAT_URL": "https://watch.example/s7",
	"DASHBOARD_WRITABLE": "TRUE", "LOG_LEVEL": "Warn", "LOG_FORMAT": "json",
}

func TestEverySetting(t *testing.T) {
	want := Config{
		Addr: "0.0.0.0:80", URL: "https://cron.example/x", Token: "s1s1s1s1s1s1s1s1", TLSCertFile: "/tls/api.pem", TLSKeyFile: "/tls/api.key", RedisURL: "rediss://user:s2@redis.example:6380/3", StateDir: "/var/lib/x", MinFreeBytes: 1000,
		RedisCAFile: "/tls/ca.pem", RedisCertFile: "/tls/cert.pem", RedisKeyFile: "/tls/key.pem", RedisCheck: RedisCheckStrict,
		AIServerURL: "https://ai.example/base", WorkspaceID: "ws", ChannelManagerURL: "http://channels.example:1",
		ChannelManagerToken: "s3", TelegramToken: "123:s4", TelegramURL: "http://127.0.0.1:8081", Concurrency: 7, AgentShare: 30, WorkerMemoryBytes: 2_000_000, HistoryBytes: 70_000,
		Prefix: "prod_2-x", ShutdownGrace: 90 * time.Second, MaxBodyBytes: 2048, RateLimitPerMinute: 7000, RateLimitBurst: 1, HistoryPerJob: 9, TaskRetention: time.Hour,
		Model: "m", ReasoningEffort: "low", PublicAccess: true,
		AlertChannel: "telegram", AlertChat: "-100", AlertThread: "3", AlertURL: "https://hooks.example/s5", AlertSecret: "whsec_s6",
		AlertAfter: 3, AlertCooldown: 10 * time.Minute, HeartbeatURL: "https://watch.example/s7",
		DashboardWritable: true, LogLevel: slog.LevelWarn, LogFormat: "json",
	}
	if d := cmp.Diff(want, load(t, full)); d != "" {
		t.Error(d)
	}
	// Nothing is left out: not above, and not of the settings.
	v := reflect.ValueOf(want)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("%s is not tested", v.Type().Field(i).Name)
		}
	}
	if len(settings()) != v.NumField() || len(full) != v.NumField() {
		t.Errorf("%d settings for %d fields, %d of them tested", len(settings()), v.NumField(), len(full))
	}
}

func TestBadValues(t *testing.T) {
	for name, values := range map[string][]string{
		"ADDR": {"19790", "localhost", "127.0.0.1:1:2", "[::1"},
		"REDIS_URL": {"redis.example:6379", "http://redis.example", "redis:///0", "redis://%zz", "://", "/run/redis.sock",
			"redis+sentinel:///m", "redis+sentinel://", "redis+cluster", "redis+other://h:1", "unix+cluster://h:1", "valkey://h:1"},
		"REDIS_CHECK":           {"yes", "Strict", "lax"},
		"URL":                   {"127.0.0.1:19790", "ftp://h", "http://u:p@h"},
		"AI_SERVER_URL":         {"ai.example", "ftp://ai.example", "http://", "http:///path", "http://%zz"},
		"CHANNEL_MANAGER_URL":   {"channels", "unix:///x"},
		"TELEGRAM_URL":          {"api.telegram.org"},
		"AGENT_SHARE":           {"0", "101", "half", "50%"},
		"CONCURRENCY":           {"0", "-1", "10001", "many", "1.5", "0x10", "99999999999999999999"},
		"PREFIX":                {"Prod", "-x", "_x", "a:b", "{a}", "a b", "ä", strings.Repeat("x", 33)},
		"SHUTDOWN_GRACE":        {"25", "-1s", "1h1s", "soon"},
		"MAX_BODY_BYTES":        {"1023", "67108865", "1MB"},
		"HISTORY_PER_JOB":       {"0", "100001"},
		"HISTORY_BYTES":         {"0", "65535"},
		"WORKER_MEMORY_BYTES":   {"0", "1048575"},
		"TASK_RETENTION":        {"0s", "999ms", "24h1ns"},
		"DASHBOARD_WRITABLE":    {"yes", "2"},
		"PUBLIC_ACCESS":         {"no"},
		"RATE_LIMIT_PER_MINUTE": {"-1", "1000001", "2/s"},
		"RATE_LIMIT_BURST":      {"0", "1000001"},
		"ALERT_URL":             {"hooks.example", "ftp://h", "http://"},
		"ALERT_AFTER":           {"0", "10", "two"},
		"ALERT_COOLDOWN":        {"0s", "60", "168h1s"},
		"HEARTBEAT_URL":         {"watch.example", "unix:///x"},
		"LOG_LEVEL":             {"trace", "verbose"},
		"LOG_FORMAT":            {"xml", "JSON"},
	} {
		for _, value := range values {
			e := env{name: value}
			if name == "ALERT_URL" {
				e["ALERT_SECRET"] = "whsec_x"
			}
			got := problems(e)
			if len(got) != 1 || !strings.HasPrefix(got[0], EnvPrefix+name+" must ") {
				t.Errorf("%s=%q: %q", name, value, got)
			}
		}
	}
	for name, values := range map[string][]string{
		"ADDR": {"localhost:0", "[::1]:80"}, "REDIS_URL": {"redis://:pw@h", "unix:///run/redis.sock?db=1", "rediss://h:1/0",
			"redis+sentinel://h:1,h:2/m", "rediss+cluster://u:p@h:1,h:2"},
		"REDIS_CHECK":    {"warn", "off"},
		"SHUTDOWN_GRACE": {"0s", "1h"}, "MAX_BODY_BYTES": {"1024", "67108864"}, "TASK_RETENTION": {"1s", "24h"},
		"CONCURRENCY": {"1", "10000"}, "PREFIX": {"0", strings.Repeat("x", 32)}, "DASHBOARD_WRITABLE": {"0", "f"},
	} {
		for _, value := range values {
			if got := problems(env{name: value}); got != nil {
				t.Errorf("%s=%q: %q", name, value, got)
			}
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	got := problems(env{"ADDR": "0.0.0.0:80", "CONCURRENCY": "x", "LOG_FORMAT": "xml", "TOKEN_FILE": "/does/not/exist", "PREFIX": "A"})
	if len(got) != 5 {
		t.Fatalf("%d problems: %q", len(got), got)
	}
	for i, name := range []string{"TOKEN", "CONCURRENCY", "PREFIX", "LOG_FORMAT", "TOKEN"} { // as settings come, exposure last
		if !strings.HasPrefix(got[i], EnvPrefix+name+" ") {
			t.Errorf("problem %d is %q, want one of %s", i, got[i], name)
		}
	}
}

// TestHalfATarget of alerts is none, and noticed before something is to be told.
func TestHalfATarget(t *testing.T) {
	for _, tc := range []struct {
		env  env
		name string // of the setting that is missing; "" for none
	}{
		{env{"ALERT_CHANNEL": "telegram", "ALERT_CHAT": "7"}, ""},
		{env{"ALERT_CHANNEL": "telegram"}, "ALERT_CHAT"},
		{env{"ALERT_CHAT": "7"}, "ALERT_CHANNEL"},
		{env{"ALERT_THREAD": "7"}, "ALERT_CHANNEL"},
		{env{"ALERT_URL": "https://h/secret", "ALERT_SECRET": "whsec_x"}, ""},
		{env{"ALERT_URL": "https://h/secret"}, "ALERT_SECRET"},
		{env{"ALERT_SECRET": "whsec_x"}, "ALERT_URL"},
	} {
		got := problems(tc.env)
		if tc.name == "" && got != nil || tc.name != "" && (len(got) != 1 || !strings.HasPrefix(got[0], EnvPrefix+tc.name+" must be set") ||
			strings.Contains(got[0], "h/secret")) {
			t.Errorf("%v: %q, want %s", tc.env, got, tc.name)
		}
	}
}

func TestExposure(t *testing.T) {
	for addr, exposed := range map[string]bool{
		"127.0.0.1:19790": false, "127.8.9.10:1": false, "[::1]:1": false, "localhost:1": false,
		":19790": true, "0.0.0.0:1": true, "[::]:1": true, "192.168.1.2:1": true, "example.com:1": true, "[fe80::1]:1": true,
		"localhost.example.com:1": true,
	} {
		got := problems(env{"ADDR": addr})
		if (len(got) == 1 && strings.Contains(got[0], EnvPrefix+"TOKEN must be set")) != exposed || !exposed && got != nil {
			t.Errorf("%s without a token: %q, want a refusal %v", addr, got, exposed)
		}
		if got := problems(env{"ADDR": addr, "TOKEN": strings.Repeat("t", 16)}); got != nil {
			t.Errorf("%s with a token: %q", addr, got)
		}
		got = problems(env{"ADDR": addr, "TOKEN": "ääää-ääää-äääää"})
		if refused := len(got) == 1 && strings.HasPrefix(got[0], EnvPrefix+"TOKEN has 15 characters") && strings.Contains(got[0], "openssl rand -hex 32"); refused != exposed || !exposed && got != nil {
			t.Errorf("%s with a short token: %q, want a refusal %v", addr, got, exposed)
		}
		for token, plain := range map[string]bool{"": exposed, "TLS": false} {
			e := env{"ADDR": addr, "TOKEN": strings.Repeat("t", 16)}
			if token == "TLS" {
				e["TLS_CERT_FILE"], e["TLS_KEY_FILE"] = "/c", "/k"
			}
			if got := load(t, e).PlainBeyondLoopback(); got != plain {
				t.Errorf("%s %s: plain beyond loopback %v", addr, token, got)
			}
		}
	}
}

// TestAPIURL: on the machine of the API nothing need be said twice.
func TestAPIURL(t *testing.T) {
	for _, tt := range []struct{ addr, url, want string }{
		{"", "", "http://127.0.0.1:19790"},
		{"localhost:80", "", "http://localhost:80"},
		{":80", "", "http://127.0.0.1:80"},
		{"0.0.0.0:80", "", "http://127.0.0.1:80"},
		{"[::]:80", "", "http://127.0.0.1:80"},
		{"[::1]:80", "", "http://[::1]:80"},
		{"10.0.0.1:80", "", "http://10.0.0.1:80"},
		{":80", "https://cron.example/x/", "https://cron.example/x"},
	} {
		if got := load(t, env{"ADDR": tt.addr, "URL": tt.url, "TOKEN": strings.Repeat("s", 16)}).APIURL(); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

func TestTLS(t *testing.T) {
	if got := load(t, env{"TLS_CERT_FILE": "/c", "TLS_KEY_FILE": "/k"}).APIURL(); got != "https://127.0.0.1:19790" {
		t.Errorf("with a certificate the API is at %s", got)
	}
	for _, half := range []string{"TLS_CERT_FILE", "TLS_KEY_FILE"} {
		if got := problems(env{half: "/x"}); len(got) != 1 || !strings.Contains(got[0], "belong together") {
			t.Errorf("%s alone: %q", half, got)
		}
	}
}

func TestSecretFiles(t *testing.T) {
	c := load(t, env{
		"TOKEN_FILE":                 secretFile(t, "  s1s1s1s1s1s1s1s1\n"),
		"REDIS_URL_FILE":             secretFile(t, "redis://:s2@h:1/0\n"),
		"CHANNEL_MANAGER_TOKEN_FILE": secretFile(t, strings.Repeat("x", maxSecretBytes)),
		"TELEGRAM_TOKEN_FILE":        secretFile(t, "s4"),
		"ADDR":                       "0.0.0.0:1", // a token from a file is a token
	})
	if c.Token != "s1s1s1s1s1s1s1s1" || c.RedisURL != "redis://:s2@h:1/0" || len(c.ChannelManagerToken) != maxSecretBytes || c.TelegramToken != "s4" {
		t.Errorf("read %+v", c)
	}
	for name, tc := range map[string]struct {
		env  env
		want string
	}{
		"both set":      {env{"TOKEN": "hunter2", "TOKEN_FILE": secretFile(t, "hunter2")}, "both set"},
		"missing":       {env{"TOKEN_FILE": "/does/not/exist"}, "no such file"},
		"a directory":   {env{"TOKEN_FILE": t.TempDir()}, "directory"},
		"empty":         {env{"TOKEN_FILE": secretFile(t, " \n")}, "empty"},
		"too large":     {env{"TOKEN_FILE": secretFile(t, strings.Repeat("x", maxSecretBytes+1))}, "too large"},
		"endless":       {env{"TOKEN_FILE": "/dev/zero"}, "too large"},
		"a bad content": {env{"REDIS_URL_FILE": secretFile(t, "http://:hunter2@h")}, "must be a URL"},
	} {
		got := problems(tc.env)
		if len(got) != 1 || !strings.Contains(got[0], tc.want) || strings.Contains(got[0], "hunter2") {
			t.Errorf("%s: %q", name, got)
		}
	}
	// Only secrets come from files.
	if c := load(t, env{"PREFIX_FILE": secretFile(t, "other")}); c.Prefix != "gateway-cron" {
		t.Errorf("prefix %q", c.Prefix)
	}
}

// TestSecretsAreHidden gives every setting a value with a secret in it, in every
// form that is refused or accepted.
func TestSecretsAreHidden(t *testing.T) {
	const secret = "hunter2"
	for _, s := range settings() {
		for _, form := range []string{"%s", "x %s", "http://u:%s@h:1", "redis://u:%s@h:1", "redis://u:%s@h:port", "ftp://%s@h",
			"http://h/%%zz%s", "redis://h:1/%s", "%s:1", "https://:%s@"} {
			value := fmt.Sprintf(form, secret)
			_, secretive := url.Parse(value)
			// What is no secret may be shown, unless it is a URL with a password.
			if !s.secret && (secretive != nil || !strings.Contains(value, "@")) {
				continue
			}
			e := env{s.name: value}
			c, err := Read(e.lookup)
			if err != nil {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%s=%s: the error %q tells it", s.name, value, err)
				}
				continue
			}
			if s.secret && strings.Contains(c.Print(), secret) {
				t.Errorf("%s=%s is printed", s.name, value)
			}
			if !s.secret && strings.Contains(s.name, "URL") {
				t.Errorf("%s=%s is accepted, and would be printed", s.name, value)
			}
		}
	}
}

func TestPrint(t *testing.T) {
	out := loaded(t, full).Print()
	for _, s := range settings() {
		if s.help == "" {
			t.Errorf("%s has no help", s.name)
		}
		want := strings.TrimRight(full[s.name], "/")
		switch s.name {
		case "CONCURRENCY":
			want = "7"
		case "TASK_RETENTION":
			want = "1h0m0s"
		case "DASHBOARD_WRITABLE", "PUBLIC_ACCESS", "LOG_LEVEL":
			want = strings.ToLower(want)
		}
		if s.secret {
			want = "(set, hidden)"
		}
		line := fmt.Sprintf("%-38s %s\n%-38s   # [%s] %s\n", EnvPrefix+s.name, want, "", EnvPrefix+s.name, s.help)
		if !strings.Contains(out, line) {
			t.Errorf("no line\n%sin\n%s", line, out)
		}
	}
	for _, secret := range []string{"s1", "s2", "s3", "s4", "s5", "s6", "s7"} {
		if strings.Contains(out, secret) {
			t.Errorf("%s is printed", secret)
		}
	}
	if out := loaded(t, env{}).Print(); strings.Contains(out, "hidden") {
		t.Error("a secret that is not set is printed as set")
	}
	// What is printed for a setting can be set.
	again := env{}
	for line := range strings.Lines(out) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(name, EnvPrefix) {
			again[strings.TrimPrefix(name, EnvPrefix)] = strings.TrimSpace(value)
		}
	}
	for _, s := range settings() {
		if s.secret {
			again[s.name] = full[s.name]
		}
	}
	if d := cmp.Diff(load(t, full), load(t, again)); d != "" {
		t.Error(d)
	}
}

func TestUnknownVariables(t *testing.T) {
	got := Unknown([]string{"HOME=/x", "GATEWAY_CRON_TOKENN=secret", "GATEWAY_CRON_TOKEN=x", "GATEWAY_CRON_TOKEN_FILE=x", "GATEWAY_CRON_ADDR_FILE=x"})
	if want := []string{"GATEWAY_CRON_TOKENN", "GATEWAY_CRON_ADDR_FILE"}; !slices.Equal(got, want) {
		t.Errorf("unknown %v, want %v", got, want)
	}
}
