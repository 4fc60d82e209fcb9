//go:build unix

package redistest_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

func TestRestart(t *testing.T) {
	for _, tc := range []struct {
		name string
		opts []redistest.Option
		end  func(*redistest.Server)
		want string
	}{
		{"memory only", nil, (*redistest.Server).Stop, ""},
		{"aof after stop", []redistest.Option{redistest.WithAOF()}, (*redistest.Server).Stop, "v"},
		{"aof after kill", []redistest.Option{redistest.WithAOF()}, (*redistest.Server).Kill, "v"},
		{"aof while running", []redistest.Option{redistest.WithAOF()}, func(*redistest.Server) {}, "v"},
		{"tcp", []redistest.Option{redistest.WithAOF(), redistest.WithTCP()}, (*redistest.Server).Kill, "v"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			s := redistest.Start(t, tc.opts...)
			c := s.Client()
			if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
				t.Fatal(err)
			}
			addr := s.Addr()
			tc.end(s)
			s.Restart()
			if got := s.Addr(); got != addr {
				t.Errorf("address moved from %s to %s", addr, got)
			}
			got, err := c.Get(ctx, "k").Result()
			if err != nil && err != redis.Nil {
				t.Fatal(err)
			}
			if got != tc.want {
				t.Errorf("k = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestKilledServerRefusesConnections(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	s.Kill()
	if err := c.Ping(context.Background()).Err(); err == nil {
		t.Error("a killed server answered")
	}
	s.Kill() // of a dead server: nothing
}

func TestFrozenServerAnswersAfterThaw(t *testing.T) {
	ctx := context.Background()
	s := redistest.Start(t)
	o := s.Options()
	o.MaxRetries = -1
	o.ReadTimeout = 20 * time.Millisecond
	impatient := redis.NewClient(o)
	defer impatient.Close()

	s.Freeze()
	if err := impatient.Ping(ctx).Err(); err == nil {
		t.Error("a frozen server answered")
	}
	s.Thaw()
	if err := s.Client().Ping(ctx).Err(); err != nil {
		t.Error(err)
	}
}

func TestURLIsUnderstood(t *testing.T) {
	for name, opts := range map[string][]redistest.Option{
		"unix": nil,
		"tcp":  {redistest.WithTCP()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t, opts...)
			o, err := redis.ParseURL(s.URL())
			if err != nil {
				t.Fatal(err)
			}
			c := redis.NewClient(o)
			defer c.Close()
			if err := c.Ping(context.Background()).Err(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWithArgs(t *testing.T) {
	s := redistest.Start(t, redistest.WithArgs("--maxmemory", "10mb"))
	got, err := s.Client().ConfigGet(context.Background(), "maxmemory").Result()
	if err != nil {
		t.Fatal(err)
	}
	if got["maxmemory"] != "10485760" {
		t.Errorf("maxmemory = %q", got["maxmemory"])
	}
}

func TestFreshDatabasesAreSeparate(t *testing.T) {
	ctx := context.Background()
	a, b := redistest.Fresh(t), redistest.Fresh(t)
	if a.Prefix == b.Prefix || !strings.HasSuffix(a.Prefix, ":") {
		t.Errorf("prefixes %q and %q", a.Prefix, b.Prefix)
	}

	client := asynq.NewClient(a.Asynq())
	defer client.Close()
	if _, err := client.Enqueue(asynq.NewTask("t", nil)); err != nil {
		t.Fatal(err)
	}
	if n := a.Client().DBSize(ctx).Val(); n == 0 {
		t.Error("the enqueued task is not in its database")
	}
	if n, err := b.Client().DBSize(ctx).Result(); err != nil || n != 0 {
		t.Errorf("the other database holds %d keys, error %v", n, err)
	}

	o, err := redis.ParseURL(a.URL())
	if err != nil {
		t.Fatal(err)
	}
	if o.DB != a.Number {
		t.Errorf("the URL names database %d, want %d", o.DB, a.Number)
	}
}
