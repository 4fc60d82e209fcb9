package app

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// diagnosis is what the doctor says of a configuration, and whether anything fails.
func diagnosis(t *testing.T, c config.Config, o DoctorOptions) (string, bool) {
	t.Helper()
	var text bytes.Buffer
	o.Stdout = &text
	err := Doctor(t.Context(), config.Loaded{Config: c, Warnings: []string{"a warning"}}, nil, o)
	if err != nil && !errors.Is(err, ErrUnhealthy) {
		t.Fatal(err)
	}
	if !strings.HasPrefix(text.String(), "warn  configuration") {
		t.Errorf("the warnings of the configuration are missing:\n%s", &text)
	}
	return text.String(), err != nil
}

func TestDoctorOfRedis(t *testing.T) {
	for name, tc := range map[string]struct {
		opts []redistest.Option
		mode config.RedisCheck
		want []string
	}{
		"durable":  {[]redistest.Option{redistest.WithAOF()}, config.RedisCheckWarn, []string{"ok    redis", "version ", "master with 0 replicas, appendonly yes, appendfsync ", "maxmemory-policy noeviction, clock "}},
		"volatile": {nil, config.RedisCheckWarn, []string{"warn  redis", "appendonly is no: it may lose jobs", "-> set appendonly yes"}},
		"strict":   {nil, config.RedisCheckStrict, []string{"fail  redis", "appendonly is no"}},
		"replica":  {[]redistest.Option{redistest.WithAOF(), redistest.WithArgs("--replicaof", "127.0.0.1", "1")}, config.RedisCheckWarn, []string{"fail  redis", "takes no changes: it is a replica, which takes no writes"}},
		"full":     {[]redistest.Option{redistest.WithAOF(), redistest.WithArgs("--maxmemory", "1mb")}, config.RedisCheckWarn, []string{"fail  redis", "takes no changes: its memory is full"}},
		"managed":  {[]redistest.Option{redistest.WithAOF(), redistest.WithArgs("--rename-command", "CONFIG", "")}, config.RedisCheckWarn, []string{"ok    redis", "appendfsync unknown"}},
		"silent":   {[]redistest.Option{redistest.WithAOF(), redistest.WithArgs("--rename-command", "TIME", "")}, config.RedisCheckWarn, []string{"fail  redis", "Redis denies what is needed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, _, _ := options(t, Roles{}, func(c *config.Config) {
				c.RedisURL, c.RedisCheck = redistest.Start(t, tc.opts...).URL(), tc.mode
			})
			text, _ := diagnosis(t, o.Config, DoctorOptions{})
			for _, want := range tc.want {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
		})
	}
}

// TestRedisThatRefuses: a Redis that answers and refuses is told as what it is, by the API
// with a 503 and by the doctor as a failure.
func TestRedisThatRefuses(t *testing.T) {
	setuser := func(rules ...any) func(*testing.T, *redis.Client) {
		return func(t *testing.T, rdb *redis.Client) {
			t.Helper()
			if err := rdb.Do(t.Context(), append([]any{"ACL", "SETUSER", "u"}, rules...)...).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	const denies, full = "denies this process what it needs", "takes no changes: the memory or the disk"
	for name, tc := range map[string]struct {
		spoil  func(*testing.T, *redis.Client)
		detail string // of an attempt to make a job
		doctor string // a failure
	}{
		"no password": {func(t *testing.T, rdb *redis.Client) {
			t.Helper()
			if err := rdb.ConfigSet(t.Context(), "requirepass", "x").Err(); err != nil {
				t.Fatal(err)
			}
		}, denies, "does not let us in: "},
		"another password": {setuser("on", ">other", "~*", "&*", "+@all"), denies, "does not let us in: "},
		"no command":       {setuser("on", ">p", "~*", "&*", "-@all", "+ping", "+hello"), denies, "denies what is needed: "},
		"no key":           {setuser("on", ">p", "~other", "&*", "+@all"), denies, "denies what is needed: "},
		"no script":        {setuser("on", ">p", "~*", "&*", "+@all", "-evalsha", "-eval"), denies, "denies what is needed: "},
		"no write":         {setuser("on", ">p", "~*", "&*", "+@all", "-@write"), denies, ""},
		"full": {func(t *testing.T, rdb *redis.Client) {
			t.Helper()
			if err := rdb.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil { // one byte: less than it uses
				t.Fatal(err)
			}
		}, full, "takes no changes: its memory is full"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.WithAOF())
			tc.spoil(t, server.Client())
			url := server.URL()
			if !slices.Contains([]string{"no password", "full"}, name) {
				url = strings.Replace(url, "://", "://u:p@", 1)
			}
			p := boot(t, Roles{API: true}, on(url))
			status, body := 0, ""
			eventually(t, "the API is told", func() bool {
				status, _, body = p.call("POST", "/api/cron/jobs", `{"schedule":"0 9 * * *","task":"x"}`)
				return !strings.Contains(body, "starting")
			})
			if status != 503 || !strings.Contains(body, tc.detail) {
				t.Errorf("the API says %d %s", status, body)
			}
			if status, _, body := p.call("GET", "/api/cron/status", ""); status >= 500 && status != 503 {
				t.Errorf("the status is %d %s", status, body)
			}
			text, failed := diagnosis(t, p.opts.Config, DoctorOptions{})
			if !failed || tc.doctor != "" && !strings.Contains(text, tc.doctor) || strings.Contains(text, "it is version  ") {
				t.Errorf("the doctor says\n%s", text)
			}
		})
	}
}

func TestDoctorOfCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t)
	addrs := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		addrs[i] = n.Addr()
	}
	o, _, _ := options(t, Roles{}, func(c *config.Config) { c.RedisURL = "redis+cluster://" + strings.Join(addrs, ",") })
	text, _ := diagnosis(t, o.Config, DoctorOptions{})
	for _, addr := range addrs {
		if strings.Count(text, addr+": version ") != 1 {
			t.Errorf("%s was not asked:\n%s", addr, text)
		}
	}
}

// A whole deployment with its embedded Redis, and one of its jobs.
func TestDoctorOfServe(t *testing.T) {
	dir := t.TempDir()
	p := boot(t, AllRoles(), func(c *config.Config) { c.StateDir, c.AIServerURL = dir, "http://127.0.0.1:1" })
	eventually(t, "signs of life", func() bool {
		s, err := p.store.Signs(t.Context(), time.Minute)
		return err == nil && len(s.Processes) == 3 && s.Emitter != ""
	})
	c := p.opts.Config
	text, failed := diagnosis(t, c, DoctorOptions{})
	for _, want := range []string{"ok    redis", "appendfsync always", "ok    schedulers", "ok    workers", "ok    time zones",
		"warn  channels", "fail  ai-server", "-> start it, or set GATEWAY_CRON_AI_SERVER_URL"} {
		if !strings.Contains(text, want) || !failed {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	j, err := p.store.CreateJob(t.Context(), "a", job.Spec{Schedule: "0 0 1 1 *", Enabled: true, Task: "x"})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []DoctorOptions{{Job: "a"}, {Job: "a", At: j.NextSlot.Time()}, {Job: "a", At: time.Unix(1, 0)}} {
		if text, failed := diagnosis(t, c, o); failed || !strings.Contains(text, "(0 0 1 1 *)") || strings.Contains(text, "ai-server") {
			t.Errorf("%+v:\n%s", o, text)
		}
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if text, failed := diagnosis(t, c, DoctorOptions{Job: "a"}); !failed || !strings.Contains(text, "no serve runs one in "+dir) {
		t.Errorf("after its end:\n%s", text)
	}
}

// A Redis that cannot write to its disk refuses even a ping, and still says why.
func TestDoctorOfAFullDisk(t *testing.T) {
	server := redistest.Start(t, redistest.WithArgs("--save", "3600 1", "--enable-protected-configs", "yes"))
	o, _, _ := options(t, Roles{}, func(c *config.Config) { c.RedisURL = server.URL() })
	rdb, gone := server.Client(), filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(gone, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := rdb.ConfigSet(t.Context(), "dir", gone).Err(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	if err := rdb.BgSave(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it refuses to be pinged", func() bool { return rdb.Ping(t.Context()).Err() != nil })
	if text, failed := diagnosis(t, o.Config, DoctorOptions{}); !failed || !strings.Contains(text, "is the disk full?") {
		t.Errorf("of a Redis that cannot write:\n%s", text)
	}
}

func TestDoctorOfWhatIsAway(t *testing.T) {
	o, _, _ := options(t, Roles{}, func(c *config.Config) {
		c.RedisURL, c.TelegramToken, c.TelegramURL = "redis://u:hunter2@127.0.0.1:1", "123456:hunter2-hunter2", "http://127.0.0.1:1"
		c.ChannelManagerURL, c.ChannelManagerToken, c.AIServerURL = "http://127.0.0.1:1", "hunter2", "http://127.0.0.1:1"
	})
	text, _ := diagnosis(t, o.Config, DoctorOptions{})
	if n := strings.Count(text, "fail  "); n != 4 {
		t.Errorf("%d failures, want 4:\n%s", n, text)
	}
	o.Config.TelegramToken, o.Config.AIServerURL, o.Config.RedisURL = "hunter2", "hunter2", "redis://h/hunter2"
	more, _ := diagnosis(t, o.Config, DoctorOptions{})
	if strings.Contains(text+more, "hunter2") {
		t.Errorf("a secret is told:\n%s%s", text, more)
	}
	if n := strings.Count(more, "fail  "); n != 4 {
		t.Errorf("%d failures of wrong settings, want 4:\n%s", n, more)
	}
}
