//go:build unix

package redistest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	clusterNodes = 3
	clusterSlots = 16384
	// nodeTimeout is when a node takes a silent one for dead: far sooner than the
	// default of 15 s, so that tests need not wait.
	nodeTimeout = time.Second
)

// Cluster is three masters that share the slots evenly, without replicas. All are
// durable: a node that is killed and restarted has its slots and its data again.
type Cluster struct {
	t     testing.TB
	Nodes []*Server
}

// StartCluster starts a cluster, ready for every slot, and ends it with the test. The
// options are for each node.
func StartCluster(t testing.TB, opts ...Option) *Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	c := &Cluster{t: t}
	for n := range clusterNodes {
		// Not the default, 10,000 above the port: that may be no port at all.
		bus, err := freePort()
		if err != nil {
			t.Fatalf("redistest: %v", err)
		}
		_, busPort, err := net.SplitHostPort(bus)
		if err != nil {
			t.Fatalf("redistest: %v", err)
		}
		node := Start(t, append([]Option{WithAOF(), WithTCP(), WithArgs("--databases", "1", "--cluster-enabled", "yes",
			"--cluster-port", busPort, "--cluster-node-timeout", fmt.Sprint(nodeTimeout.Milliseconds()))}, opts...)...)
		c.Nodes = append(c.Nodes, node)
		rdb := node.Client()
		cmds := [][]any{
			{"cluster", "addslotsrange", n * clusterSlots / clusterNodes, (n+1)*clusterSlots/clusterNodes - 1},
			{"cluster", "set-config-epoch", n + 1},
		}
		if n > 0 {
			cmds = append(cmds, []any{"cluster", "meet", "127.0.0.1", c.Nodes[0].port(), c.busPort(0)})
		}
		for _, cmd := range cmds {
			if err := rdb.Do(ctx, cmd...).Err(); err != nil {
				t.Fatalf("redistest: %v: %v", cmd, err)
			}
		}
	}
	await(t, "every node of the cluster serves", func(ctx context.Context) error {
		for _, node := range c.Nodes {
			info, err := node.Client().ClusterInfo(ctx).Result()
			if err != nil {
				return err
			}
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", clusterNodes)) {
				return fmt.Errorf("%s says %s", node.addr, info)
			}
		}
		return nil
	})
	return c
}

func (c *Cluster) busPort(n int) string {
	args := c.Nodes[n].args
	for i, arg := range args {
		if arg == "--cluster-port" {
			return args[i+1]
		}
	}
	return ""
}

// URL names all nodes.
func (c *Cluster) URL() string {
	addrs := make([]string, len(c.Nodes))
	for i, node := range c.Nodes {
		addrs[i] = node.addr
	}
	return "redis+cluster://" + strings.Join(addrs, ",")
}

// Slots says which node has which slots, as they were shared out.
func (c *Cluster) Slots() []redis.ClusterSlot {
	slots := make([]redis.ClusterSlot, clusterNodes)
	for n, node := range c.Nodes {
		slots[n] = redis.ClusterSlot{Start: n * clusterSlots / clusterNodes, End: (n+1)*clusterSlots/clusterNodes - 1,
			Nodes: []redis.ClusterNode{{Addr: node.addr}}}
	}
	return slots
}

// Node is the node that has the slot of key.
func (c *Cluster) Node(key string) *Server {
	c.t.Helper()
	ctx := context.Background()
	slot, err := c.Nodes[0].Client().ClusterKeySlot(ctx, key).Result()
	if err != nil {
		c.t.Fatalf("redistest: slot of %s: %v", key, err)
	}
	return c.Nodes[int(slot)*clusterNodes/clusterSlots]
}

// Client opens a client of the whole cluster and closes it with the test.
func (c *Cluster) Client() *redis.ClusterClient {
	addrs := make([]string, len(c.Nodes))
	for i, node := range c.Nodes {
		addrs[i] = node.addr
	}
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	c.t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}
