//go:build unix

package redistest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// MasterName is what Sentinel calls the master of a Sentinels.
const MasterName = "main"

const (
	sentinels = 3
	replicas  = 2
	// downAfter is when a Sentinel takes a silent server for dead: far sooner than its
	// default of 30 s, so that tests need not wait.
	downAfter = 2 * time.Second
)

// Sentinels is a master, two replicas and three Sentinels that watch over them. All
// are durable. A server that is killed and restarted joins again as a replica.
type Sentinels struct {
	t         testing.TB
	Servers   []*Server // the first is the master until a failover
	sentinels []*Server
}

// StartSentinel starts a Sentinel deployment, ready to fail over, and ends it with the
// test. The options are for the servers and for the Sentinels.
func StartSentinel(t testing.TB, servers, watchers []Option) *Sentinels {
	t.Helper()
	s := &Sentinels{t: t}
	servers = append([]Option{WithAOF(), WithTCP()}, servers...)
	master := Start(t, servers...)
	s.Servers = append(s.Servers, master)
	for range replicas {
		s.Servers = append(s.Servers, Start(t, append(slices.Clone(servers), WithArgs("--replicaof", "127.0.0.1", master.port()))...))
	}
	// Before the Sentinels ask for them: they ask again only after ten seconds.
	await(t, "the replicas are in step", func(ctx context.Context) error {
		n, err := master.Client().Wait(ctx, replicas, downAfter).Result()
		if err == nil && n < replicas {
			err = fmt.Errorf("%d are", n)
		}
		return err
	})
	for range sentinels {
		s.sentinels = append(s.sentinels, Start(t, append([]Option{WithTCP(), withSentinel(master)}, watchers...)...))
	}
	await(t, "the Sentinels know each other and the replicas", func(ctx context.Context) error {
		for _, sentinel := range s.sentinels {
			c := redis.NewSentinelClient(sentinel.Options())
			found, err := c.Master(ctx, MasterName).Result()
			if err := c.Close(); err != nil {
				return err
			}
			if err != nil {
				return err
			}
			if found["num-other-sentinels"] != fmt.Sprint(sentinels-1) || found["num-slaves"] != fmt.Sprint(replicas) || found["flags"] != "master" {
				return fmt.Errorf("%s knows %s others and %s replicas of a %s", sentinel.addr,
					found["num-other-sentinels"], found["num-slaves"], found["flags"])
			}
		}
		return nil
	})
	return s
}

// withSentinel makes the server a Sentinel of master.
func withSentinel(master *Server) Option {
	return func(s *Server) {
		s.config = filepath.Join(s.dir, "sentinel.conf")
		config := strings.Join([]string{
			"sentinel monitor " + MasterName + " 127.0.0.1 " + master.port() + " 2",
			fmt.Sprintf("sentinel down-after-milliseconds %s %d", MasterName, downAfter.Milliseconds()),
			fmt.Sprintf("sentinel failover-timeout %s %d", MasterName, 5*downAfter.Milliseconds()),
			"",
		}, "\n")
		if err := os.WriteFile(s.config, []byte(config), 0o600); err != nil {
			master.fatalf("write the configuration of a Sentinel: %v", err)
		}
	}
}

// URL is where to ask: the addresses of the Sentinels and the name of the master.
func (s *Sentinels) URL() string {
	addrs := make([]string, len(s.sentinels))
	for i, sentinel := range s.sentinels {
		addrs[i] = sentinel.addr
	}
	return "redis+sentinel://" + strings.Join(addrs, ",") + "/" + MasterName
}

// Master is the server that the Sentinels take for the master now.
func (s *Sentinels) Master() *Server {
	s.t.Helper()
	c := redis.NewSentinelClient(s.sentinels[0].Options())
	defer c.Close()
	addr, err := c.GetMasterAddrByName(context.Background(), MasterName).Result()
	if err != nil {
		s.t.Fatalf("redistest: ask a Sentinel for the master: %v", err)
	}
	for _, server := range s.Servers {
		if server.port() == addr[1] {
			return server
		}
	}
	s.t.Fatalf("redistest: the Sentinels name %v as the master, which is none of ours", addr)
	return nil
}

// await asks until the answer is right.
func await(t testing.TB, what string, ask func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	tick := time.NewTicker(10 * pollEvery)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("redistest: not within %s: %s: %v", startTimeout, what, err)
		}
	}
}
