//go:build unix

package redistest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

func TestSentinelFailsOver(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := redistest.StartSentinel(t, nil, nil)
	old := s.Master()
	if old != s.Servers[0] {
		t.Fatalf("%s is the master, not %s", old.Addr(), s.Servers[0].Addr())
	}
	if err := old.Client().Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := old.Client().Wait(ctx, 2, 10*time.Second).Result(); err != nil || n == 0 {
		t.Fatalf("%d replicas, error %v", n, err)
	}
	old.Kill()
	within(t, "another server is the master", func() bool { return s.Master() != old })
	if v, err := s.Master().Client().Get(ctx, "k").Result(); err != nil || v != "v" {
		t.Errorf("k = %q, error %v", v, err)
	}
	old.Restart()
	within(t, "the old master is a replica", func() bool {
		role, err := old.Client().Do(ctx, "ROLE").Slice()
		return err == nil && fmt.Sprint(role[0]) == "slave"
	})
}

func TestClusterKeepsItsDataOverAKill(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := redistest.StartCluster(t)
	rdb := c.Client()
	nodes := map[*redistest.Server]bool{}
	for i := range 100 {
		key := fmt.Sprint("k", i)
		if err := rdb.Set(ctx, key, i, 0).Err(); err != nil {
			t.Fatal(err)
		}
		// The node itself, without any redirection, has the key.
		if v, err := c.Node(key).Client().Get(ctx, key).Int(); err != nil || v != i {
			t.Fatalf("%s = %d, error %v", key, v, err)
		}
		nodes[c.Node(key)] = true
	}
	if len(nodes) != len(c.Nodes) {
		t.Errorf("100 keys are on %d nodes", len(nodes))
	}
	node := c.Node("k0")
	node.Kill()
	if err := rdb.Get(ctx, "k0").Err(); err == nil || err == redis.Nil {
		t.Error("a killed node answered")
	}
	node.Restart()
	within(t, "the node serves again", func() bool { return rdb.Get(ctx, "k0").Val() == "0" })
}

func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}
