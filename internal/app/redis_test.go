package app

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

func TestRedisURL(t *testing.T) {
	type reach struct {
		Addrs                        []string
		Master, User, Password       string
		SentinelUser, SentinelPasswd string
		DB                           int
		Cluster, TLS                 bool
		Dial, Read                   time.Duration
	}
	for url, want := range map[string]reach{
		"redis://h":                               {Addrs: []string{"h:6379"}},
		"redis://u:p%40%2F@h:1/3":                 {Addrs: []string{"h:1"}, User: "u", Password: "p@/", DB: 3},
		"redis://:p@h?read_timeout=2s":            {Addrs: []string{"h:6379"}, Password: "p", Read: 2 * time.Second},
		"rediss://h:2":                            {Addrs: []string{"h:2"}, TLS: true},
		"unix:///run/redis.sock?db=2":             {Addrs: []string{"/run/redis.sock"}, DB: 2},
		"redis+sentinel://a/m":                    {Addrs: []string{"a:26379"}, Master: "m", Dial: failoverDial},
		"redis+sentinel://a,b:1,[::1]:2,[::2]/m":  {Addrs: []string{"a:26379", "b:1", "[::1]:2", "[::2]:26379"}, Master: "m", Dial: failoverDial},
		"rediss+sentinel://u:p%2C%40@a:1,b:2/m/7": {Addrs: []string{"a:1", "b:2"}, User: "u", Password: "p,@", Master: "m", DB: 7, TLS: true, Dial: failoverDial},
		"redis+sentinel://:p@a/m?sentinel_username=su&sentinel_password=s%26p&dial_timeout=3s": {Addrs: []string{"a:26379"},
			Password: "p", SentinelUser: "su", SentinelPasswd: "s&p", Master: "m", Dial: 3 * time.Second},
		"redis+cluster://a":                {Addrs: []string{"a:6379"}, Cluster: true, Dial: failoverDial},
		"redis+cluster://u:p@a:7000,b:7/0": {Addrs: []string{"a:7000", "b:7"}, User: "u", Password: "p", Cluster: true, Dial: failoverDial},
		"rediss+cluster://a,b/":            {Addrs: []string{"a:6379", "b:6379"}, Cluster: true, TLS: true, Dial: failoverDial},
	} {
		o, err := redisOptions(config.Config{RedisURL: url})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if want.Read == 0 {
			want.Read = redisRead
		}
		got := reach{Addrs: o.Addrs, Master: o.MasterName, User: o.Username, Password: o.Password, SentinelUser: o.SentinelUsername,
			SentinelPasswd: o.SentinelPassword, DB: o.DB, Cluster: o.IsClusterMode, TLS: o.TLSConfig != nil, Dial: o.DialTimeout, Read: o.ReadTimeout}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", url, d)
		}
		if replicated(o) != (want.Master != "" || want.Cluster) {
			t.Errorf("%s: replicated %t", url, replicated(o))
		}
		if !o.ContextTimeoutEnabled || o.PoolSize != redisPool || o.PoolTimeout != o.ReadTimeout {
			t.Errorf("%s: %+v", url, o)
		}
		if o.TLSConfig != nil && (o.TLSConfig.InsecureSkipVerify || o.TLSConfig.ServerName != "" || o.TLSConfig.MinVersion < tls.VersionTLS12) {
			t.Errorf("%s: a server need not prove the name that is dialled", url)
		}
		rdb := newRedis(o, 3)
		if _, isCluster := rdb.(*redis.ClusterClient); isCluster != want.Cluster {
			t.Errorf("%s: a client of type %T", url, rdb)
		}
		dashboard, ok := dashboardRedis{o}.MakeRedisClient().(redis.UniversalClient)
		if !ok {
			t.Fatalf("%s: no client for the dashboard", url)
		}
		if err := errors.Join(rdb.Close(), dashboard.Close()); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// What is wrong is said, and nothing of the URL.
func TestBadRedisURL(t *testing.T) {
	for _, url := range []string{
		"hunter2", "http://:hunter2@h", "redis+other://:hunter2@h", "hunter2+sentinel://h/m", "unix+cluster://hunter2",
		"redis://:hunter2@h/none", "redis://:hunter2%@h", "redis://:hunter2@h?bad=1", "redis://:hunter2/@h:1",
		"rediss://:hunter2@h?skip_verify=true", "rediss+cluster://:hunter2@h?skip_verify=true",
		"redis+sentinel://:hunter2@h", "redis+sentinel://:hunter2@h/", "redis+sentinel://:hunter2@/m", "redis+sentinel://:hunter2@h,/m",
		"redis+sentinel://:hunter2@h,:1/m", "redis+sentinel://:hunter2@h:x/m", "redis+sentinel://:hunter2@h/m/none", "redis+sentinel://:hunter2@h/m/1/2",
		"redis+sentinel://h/m?sentinel_password=hunter2&bad=1", "redis+sentinel://:hunter2%zz@h/m", "redis+sentinel://:hun/ter2@h/m",
		"redis+cluster://:hunter2@", "redis+cluster://:hunter2@a,,b", "redis+cluster://:hunter2@a/1", "redis+cluster://:hunter2@a/x", "redis+cluster://:hunter2@a?sentinel_username=u",
		"redis+cluster://::1,hunter2",
	} {
		o, err := redisOptions(config.Config{RedisURL: url})
		if err == nil {
			t.Errorf("%s is read as %+v", url, o)
			continue
		}
		if s := err.Error(); !strings.HasPrefix(s, "GATEWAY_CRON_REDIS_URL cannot be read: ") || strings.Contains(s, "hunter2") {
			t.Errorf("%s: %s", url, s)
		}
	}
}

func TestRedisTLSFiles(t *testing.T) {
	for name, tc := range map[string]struct {
		config config.Config
		want   string
	}{
		"without TLS":  {config.Config{RedisURL: "redis://h", RedisCAFile: "x"}, "does not start with rediss"},
		"no such file": {config.Config{RedisURL: "rediss://h", RedisCAFile: "/does/not/exist"}, "REDIS_CA_FILE: open"},
		"no PEM":       {config.Config{RedisURL: "rediss://h", RedisCAFile: "redis_test.go"}, "no certificate"},
		"half a pair":  {config.Config{RedisURL: "rediss+cluster://h", RedisCertFile: "x"}, "belong together"},
		"no pair":      {config.Config{RedisURL: "rediss+sentinel://h/m", RedisCertFile: "redis_test.go", RedisKeyFile: "redis_test.go"}, "REDIS_KEY_FILE: "},
	} {
		if _, err := redisOptions(tc.config); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckRedis(t *testing.T) {
	for name, tc := range map[string]struct {
		opts []redistest.Option
		want []string
	}{
		"durable":  {[]redistest.Option{redistest.WithAOF()}, nil},
		"volatile": {nil, []string{"appendonly is no"}},
		"a cache":  {[]redistest.Option{redistest.WithArgs("--maxmemory-policy", "allkeys-lru")}, []string{"maxmemory-policy is allkeys-lru", "appendonly is no"}},
		"lazy":     {[]redistest.Option{redistest.WithAOF(), redistest.WithArgs("--appendfsync", "no")}, []string{"appendfsync is no"}},
		"managed":  {[]redistest.Option{redistest.WithAOF(), redistest.WithArgs("--rename-command", "CONFIG", "")}, nil},
		"silent":   {[]redistest.Option{redistest.WithAOF(), redistest.WithArgs("--rename-command", "TIME", "")}, []string{"could not be asked"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redistest.Start(t, tc.opts...).Client()
			check := func(mode config.RedisCheck) (*text, error) {
				log := &text{}
				return log, checkRedis(t.Context(), rdb, mode, slog.New(slog.NewTextHandler(log, nil)))
			}
			log, err := check(config.RedisCheckWarn)
			if n := log.count("level=WARN"); err != nil || n != len(tc.want) {
				t.Errorf("warn: %d warnings, want %d, error %v:\n%s", n, len(tc.want), err, log)
			}
			_, strict := check(config.RedisCheckStrict)
			if (strict != nil) != (len(tc.want) > 0) || strict != nil && !errors.Is(strict, errRedisUnfit) {
				t.Errorf("strict: %v", strict)
			}
			for _, want := range tc.want {
				if log.count(want) != 1 || !strings.Contains(strict.Error(), want) {
					t.Errorf("no word of %s:\n%s\n%v", want, log, strict)
				}
			}
			if log, err := check(config.RedisCheckOff); err != nil || log.count("level=INFO") != 1 || log.count("\n") != 1 {
				t.Errorf("off: %v\n%s", err, log)
			}
		})
	}
}

// In a cluster one unfit node is enough.
func TestCheckRedisCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t)
	if err := c.Nodes[1].Client().ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err(); err != nil {
		t.Fatal(err)
	}
	log := &text{}
	err := checkRedis(t.Context(), c.Client(), config.RedisCheckStrict, slog.New(slog.NewTextHandler(log, nil)))
	if err == nil || strings.Count(err.Error(), errRedisUnfit.Error()) != 1 || !strings.Contains(err.Error(), c.Nodes[1].Addr()+": maxmemory-policy") {
		t.Errorf("error %v", err)
	}
	if n := log.count("redis checked"); n != len(c.Nodes) {
		t.Errorf("%d nodes were asked:\n%s", n, log)
	}
}

// A process that is strict does not start on a Redis that is unfit.
func TestStrict(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	o, out, log := options(t, Roles{API: true}, func(c *config.Config) {
		c.RedisURL, c.RedisCheck = server.URL(), config.RedisCheckStrict
	})
	a, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	p := serve(t, a, out, log)
	if err := p.end(); !errors.Is(err, errRedisUnfit) {
		t.Errorf("Serve: %v", err)
	}
	if out.String() != "" {
		t.Errorf("it said %q", out)
	}
}

func TestVersion(t *testing.T) {
	for version, want := range map[string]bool{"7.0.15": true, "6.2.0": true, "6.2": true, "10.0.1": true,
		"6.0.16": false, "5.2.9": false, "": false, "x.y": false} {
		if got := atLeast(version, 6, 2); got != want {
			t.Errorf("%q: %t", version, got)
		}
	}
}
