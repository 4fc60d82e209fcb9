package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// written is a configuration file of that content, which only its owner may read.
func written(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json5")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// desktop is a file as the desktop has it: much of it is none of our business.
const desktop = `{
  // What the onboarding wrote
  gateway: {
    http: {
      bind: '0.0.0.0', port: 0x1f90, auth_token: "hunter2-hunter2-hunter2", max_body_bytes: 2048, cors: {origins: ['*']},
      rate_limit: {enabled: true, requests_per_minute: 60, burst: 7},
    },
    websocket: {port: "any"},
    data_dir: '~/data', public_access: true,
  },
  ai: {
    default_adapter: 'second',
    adapters: [
      {type: 'openai', name: 'first', api_key: 'hunter2'},
      {type: 'http', name: 'second', base_url: 'http://ai.example:1/', model: 'm', reasoning_effort: 'high', workspace_id: 'w', timeout: null},
    ],
  },
  channels: {telegram: {enabled: true, bot_token: "1:hunter2", dm: {}}, whatsapp: {cloud: {enabled: false, access_token: "hunter2"}}},
}`

func TestFile(t *testing.T) {
	path := written(t, desktop)
	l := loaded(t, env{"CONFIG": path, "$HOME": "/home/u"})
	want := load(t, env{})
	want.Addr, want.Token, want.MaxBodyBytes, want.RateLimitPerMinute, want.RateLimitBurst = "0.0.0.0:8080", "hunter2-hunter2-hunter2", 2048, 60, 7
	want.StateDir, want.PublicAccess = "/home/u/data/gateway-cron", true
	want.AIServerURL, want.Model, want.ReasoningEffort, want.WorkspaceID = "http://ai.example:1", "m", "high", "w"
	want.TelegramToken = "1:hunter2"
	if d := cmp.Diff(want, l.Config); d != "" {
		t.Error(d)
	}
	out := l.Print()
	for setting, source := range map[string]string{
		"CONFIG": "GATEWAY_CRON_CONFIG", "ADDR": path + ": gateway.http.bind, gateway.http.port", "TOKEN": path + ": gateway.http.auth_token",
		"AI_SERVER_URL": path + ": ai.adapters[1].base_url", "TELEGRAM_TOKEN": path + ": channels.telegram.bot_token",
		"PREFIX": "default", "REDIS_URL": "not set",
	} {
		_, rest, _ := strings.Cut(out, EnvPrefix+setting+" ")
		if got, _, _ := strings.Cut(rest, "] "); !strings.HasSuffix(got, "# ["+source) {
			t.Errorf("%s: want the source %s in\n%s", setting, source, out)
		}
	}
	if strings.Contains(out, "hunter2") {
		t.Error("a secret is printed")
	}
	if l.Warnings != nil {
		t.Errorf("warnings %q", l.Warnings)
	}
}

// What the environment says counts more than the file, setting by setting.
func TestPrecedence(t *testing.T) {
	path := written(t, `{gateway: {http: {auth_token: "from the file", port: 81, max_body_bytes: 4096}}}`)
	for name, tc := range map[string]struct {
		env  env
		want string // token, address, largest body
	}{
		"file":           {env{"CONFIG": path}, "from the file 127.0.0.1:81 4096"},
		"variable":       {env{"CONFIG": path, "TOKEN": "own", "ADDR": "127.0.0.1:82"}, "own 127.0.0.1:82 4096"},
		"secret file":    {env{"CONFIG": path, "TOKEN_FILE": secretFile(t, "secret")}, "secret 127.0.0.1:81 4096"},
		"empty variable": {env{"CONFIG": path, "TOKEN": "", "MAX_BODY_BYTES": " "}, "from the file 127.0.0.1:81 4096"},
		"no file":        {env{"CONFIG": "none", "MAX_BODY_BYTES": "9999"}, " 127.0.0.1:19790 9999"},
		"named nothing":  {env{"CONFIG": " ", "$MOLDABLE_HOME": "/"}, " 127.0.0.1:19790 1048576"},
	} {
		l := loaded(t, tc.env)
		if got := strings.Join([]string{l.Token, l.Addr, settingNamed(t, "MAX_BODY_BYTES").show(&l.Config)}, " "); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func settingNamed(t *testing.T, name string) setting {
	t.Helper()
	i := slices.IndexFunc(settings(), func(s setting) bool { return s.name == name })
	if i < 0 {
		t.Fatalf("no setting %s", name)
	}
	return settings()[i]
}

func TestPlaceOfTheFile(t *testing.T) {
	home := t.TempDir()
	root := filepath.Join(home, ".moldable")
	for _, dir := range []string{root, filepath.Join(home, "other")} {
		if err := os.MkdirAll(filepath.Join(dir, "gateway"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "gateway", "config.json5"),
			[]byte(`{gateway: {data_dir: "data", http: {auth_token: "`+filepath.Base(dir)+`"}}}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		env         env
		token, note string
	}{
		"home":          {env{"$HOME": home}, ".moldable", "default"},
		"moldable home": {env{"$HOME": home, "$MOLDABLE_HOME": filepath.Join(home, "other")}, "other", "default"},
		"named":         {env{"$HOME": home, "CONFIG": filepath.Join(home, "other/gateway/config.json5")}, "other", fileVariable},
		"none there":    {env{"$HOME": t.TempDir()}, "", "default: there is no "},
		"no home":       {env{}, "", "default, which needs MOLDABLE_HOME or HOME"},
		"in a file":     {env{"$MOLDABLE_HOME": written(t, "")}, "", "default: there is no "},
	} {
		l := loaded(t, tc.env)
		if l.Token != tc.token || !strings.HasPrefix(l.file.note, tc.note) {
			t.Errorf("%s: token %q, note %q", name, l.Token, l.file.note)
		}
		if l.Token == ".moldable" && l.StateDir != filepath.Join(root, "gateway", "data", "gateway-cron") {
			t.Errorf("%s: state in %s; a relative path begins at the file", name, l.StateDir)
		}
	}
}

func TestBadFiles(t *testing.T) {
	for name, tc := range map[string]struct{ path, want string }{
		"missing":       {"/does/not/exist.json5", "GATEWAY_CRON_CONFIG names a file that cannot be read: stat /does/not/exist.json5: no such file"},
		"a directory":   {t.TempDir(), "is no file"},
		"a device":      {os.DevNull, "is no file"},
		"too large":     {written(t, "{}"+strings.Repeat(" ", maxFileBytes)), "is larger than 1048576 bytes"},
		"empty":         {written(t, ""), ":1:1 is not JSON5: unexpected end of JSON input; the least that is: {}"},
		"no JSON5":      {written(t, "{\n  a: 1,\n  b = 2}"), ":3:5 is not JSON5: invalid character '='"},
		"a list":        {written(t, "[]"), ": the file must be an object, for example {}"},
		"a huge number": {written(t, "{a: 1e999}"), "holds a number that is too large"},
	} {
		got := problems(env{"CONFIG": tc.path})
		if len(got) != 1 || !strings.Contains(got[0], tc.want) || !strings.Contains(got[0], tc.path) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// Each problem names the place in the file and a value that works, and none repeats a value.
func TestBadFields(t *testing.T) {
	for content, want := range map[string]string{
		`{gateway: 'hunter2'}`:                                        `gateway must be an object, for example {}`,
		`{gateway: {http: ['hunter2']}}`:                              `gateway.http must be an object, for example {}`,
		`{gateway: {http: {bind: 7}}}`:                                `gateway.http.bind must be a text, for example "127.0.0.1"`,
		`{gateway: {http: {bind: '127.0.0.1:80'}}}`:                   `gateway.http.bind must be an address without a port, for example "127.0.0.1"`,
		`{gateway: {http: {port: '80'}}}`:                             `gateway.http.port must be a whole number, for example 19790`,
		`{gateway: {http: {port: 80.5}}}`:                             `gateway.http.port must be a whole number, for example 19790`,
		`{gateway: {http: {port: 65536}}}`:                            `gateway.http.port must be a port from 0 to 65535, for example 19790`,
		`{gateway: {http: {auth_token: {file: 'hunter2'}}}}`:          `gateway.http.auth_token must be a text`,
		`{gateway: {http: {max_body_bytes: 1}}}`:                      `gateway.http.max_body_bytes must be a whole number from 1024 to 67108864, for example 1048576`,
		`{gateway: {http: {rate_limit: true}}}`:                       `gateway.http.rate_limit must be an object`,
		`{gateway: {http: {rate_limit: {enabled: 'hunter2'}}}}`:       `gateway.http.rate_limit.enabled must be true or false`,
		`{gateway: {http: {rate_limit: {requests_per_minute: -1}}}}`:  `gateway.http.rate_limit.requests_per_minute must be a whole number from 0`,
		`{gateway: {http: {rate_limit: {burst: []}}}}`:                `gateway.http.rate_limit.burst must be a whole number, for example 30`,
		`{gateway: {data_dir: 1}}`:                                    `gateway.data_dir must be a text`,
		`{gateway: {public_access: 1}}`:                               `gateway.public_access must be true or false`,
		`{gateway: {public_access: true}}`:                            `GATEWAY_CRON_TOKEN must be set, because FILE: gateway.public_access says that others have access`,
		`{gateway: {http: {bind: '::'}}}`:                             `GATEWAY_CRON_TOKEN must be set, because FILE: gateway.http.bind listens beyond loopback`,
		`{ai: {adapters: {}}}`:                                        `ai.adapters must be a list, for example [{`,
		`{ai: {adapters: ['hunter2']}}`:                               `ai.adapters[0] must be an object`,
		`{ai: {default_adapter: 'hunter2', adapters: [{name: 'a'}]}}`: `ai.default_adapter must be the name of one of ai.adapters, which are "a"`,
		`{ai: {adapters: [{type: 'hunter2'}]}}`:                       `ai.adapters[0].type must be "ai-server" or "http"`,
		`{ai: {adapters: [{base_url: 'ftp://hunter2'}]}}`:             `ai.adapters[0].base_url must be a URL that starts with http:// or https://, for example http://127.0.0.1`,
		`{ai: {adapters: [{model: 5}]}}`:                              `ai.adapters[0].model must be a text`,
		`{channels: {telegram: {enabled: 'hunter2'}}}`:                `channels.telegram.enabled must be true or false`,
		`{channels: {telegram: {bot_token: 5}}}`:                      `channels.telegram.bot_token must be a text`,
	} {
		path := written(t, content)
		got := problems(env{"CONFIG": path})
		want = strings.ReplaceAll(want, "FILE", path)
		if len(got) != 1 || !strings.Contains(got[0], want) || !strings.Contains(got[0], path+": ") || strings.Contains(got[0], "hunter2") {
			t.Errorf("%s:\n%q, want\n%q", content, got, want)
		}
	}
}

// One start tells all that is wrong, wherever it stands.
func TestProblemsOfAllSources(t *testing.T) {
	got := problems(env{"CONFIG": written(t, `{gateway: {http: {port: "x", bind: 1, max_body_bytes: 1}, public_access: 3}, ai: {adapters: 0}}`),
		"CONCURRENCY": "x", "TELEGRAM_TOKEN_FILE": "/does/not/exist"})
	if len(got) != 7 {
		t.Errorf("%d problems:\n%s", len(got), strings.Join(got, "\n"))
	}
}

func TestMeaningOfFields(t *testing.T) {
	for content, want := range map[string]map[string]string{
		"{}":   {},
		"null": {},
		"\ufeff{gateway: null, ai: {adapters: null}, channels: {telegram: null}}":             {},
		`{gateway: {http: {port: 1}}}`:                                                        {"ADDR": "127.0.0.1:1"},
		`{gateway: {http: {bind: "::1"}}}`:                                                    {"ADDR": "[::1]:19790"},
		`{gateway: {data_dir: "/d"}}`:                                                         {"STATE_DIR": "/d/gateway-cron"},
		`{gateway: {data_dir: "~"}}`:                                                          {"STATE_DIR": "/home/u/gateway-cron"},
		`{gateway: {data_dir: "~x"}}`:                                                         {"STATE_DIR": "/etc/~x/gateway-cron"},
		`{gateway: {http: {rate_limit: {}}}}`:                                                 {},
		`{gateway: {http: {rate_limit: {enabled: true}}}}`:                                    {"RATE_LIMIT_PER_MINUTE": "120"},
		`{gateway: {http: {rate_limit: {enabled: false, requests_per_minute: 5, burst: 6}}}}`: {"RATE_LIMIT_PER_MINUTE": "0", "RATE_LIMIT_BURST": "6"},
		`{gateway: {http: {rate_limit: {requests_per_minute: 5}}}}`:                           {"RATE_LIMIT_PER_MINUTE": "5"},
		`{ai: {default_adapter: "x"}}`:                                                        {},
		`{ai: {adapters: [{name: "a", base_url: "u"}, {name: "b", base_url: "v"}]}}`:          {"AI_SERVER_URL": "u"},
		`{ai: {adapters: [{url: "http://h/p/api/gateway/chat"}]}}`:                            {"AI_SERVER_URL": "http://h/p"},
		`{ai: {adapters: [{url: "http://h/x", base_url: "http://h/y"}]}}`:                     {"AI_SERVER_URL": "http://h/y"},
		`{channels: {telegram: {bot_token: "t"}}}`:                                            {"TELEGRAM_TOKEN": "t"},
		`{channels: {telegram: {bot_token: "t", enabled: false}}}`:                            {},
	} {
		values, _, problems := parseFile("/etc/config.json5", "/home/u", []byte(content))
		got := map[string]string{}
		for name, g := range values {
			got[name] = g.value
		}
		if d := cmp.Diff(want, got); d != "" || problems != nil {
			t.Errorf("%s: %s%v", content, d, problems)
		}
	}
}

func TestFilePermissions(t *testing.T) {
	for content, secret := range map[string]bool{
		`{channels: {whatsapp: {cloud: {access_token: "x"}}}}`: true,
		`{ai: {adapters: [{api_key: "x"}]}}`:                   true,
		`{gateway: {http: {auth_token: "", port: 1}}}`:         false,
	} {
		for mode, open := range map[os.FileMode]bool{0o600: false, 0o640: true, 0o604: true, 0o644: true, 0o700: false} {
			path := written(t, content)
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			l := loaded(t, env{"CONFIG": path})
			if want := secret && open; len(l.Warnings) > 0 != want || want && !strings.Contains(l.Print(), "# warning: "+path+" holds secrets") {
				t.Errorf("%s with mode %o: %q", content, mode, l.Warnings)
			}
		}
	}
}

// FuzzConfigFile: whatever a file holds, it is read or refused with a reason, and what
// is taken from it is text of ours.
func FuzzConfigFile(f *testing.F) {
	for _, seed := range []string{desktop, "{}", "{a:1e999}", `{ai:{adapters:[{type:'http',url:'x'},7]}}`, "{gateway:{http:{port:-0x1}}}",
		`{gateway:{http:{bind:"::1",port:1},data_dir:"~/"}}`, "//", "/*", `{'a':"\u0000"`} {
		f.Add([]byte(seed))
	}
	known := map[string]bool{}
	for _, s := range settings() {
		known[s.name] = true
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		values, _, problems := parseFile("/etc/config.json5", "/home/u", data)
		for name, g := range values {
			if !known[name] || strings.TrimSpace(g.value) == "" || !strings.HasPrefix(g.source, "/etc/config.json5: ") {
				t.Errorf("%s = %+v", name, g)
			}
		}
		for _, p := range problems {
			if !strings.HasPrefix(p.Error(), "/etc/config.json5") {
				t.Errorf("a problem without its place: %v", p)
			}
		}
		if dir := values["STATE_DIR"].value; dir != "" && !filepath.IsAbs(dir) {
			t.Errorf("state in %q", dir)
		}
	})
}
