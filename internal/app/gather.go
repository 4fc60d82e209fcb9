package app

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"
)

const (
	// lanes is how many requests of scripts are under way at once. Few make full ones;
	// more than one let the next be on its way while one is read, and go on when a
	// connection hangs.
	lanes = 2
	// perLane bounds the scripts of one request, and with it how long the first waits
	// for the last.
	perLane = 64
	// perLaneBytes bounds what one request writes, all of which has the time of one
	// command: replies of an agent are large. A call that is larger goes by itself.
	perLaneBytes = 256 << 10
)

// gatherer is a Redis client that sends scripts which are called at the same time as
// one request. Nearly all that a run needs is a short script, of ours or of asynq's;
// in a burst hundreds of goroutines call one at once, and what each costs by itself, a
// connection, a write and a read on both sides, is more than the script. A lone call
// goes out at once, as it does without.
//
// A script may be sent again when a connection breaks, as the client does with every
// command.
type gatherer struct {
	redis.UniversalClient

	mu      sync.Mutex
	waiting []*scriptCall
	busy    int // lanes
}

type scriptCall struct {
	ctx  context.Context // of the caller, who waits here
	sha1 string
	keys []string
	args []any
	cmd  *redis.Cmd
	done chan struct{} // closed when cmd has its answer
}

func gather(rdb redis.UniversalClient) *gatherer { return &gatherer{UniversalClient: rdb} }

// EvalSha calls a script. When ctx ends while the call waits for a lane or for the
// others of its request, whether the script ran is unknown.
func (g *gatherer) EvalSha(ctx context.Context, sha1 string, keys []string, args ...any) *redis.Cmd {
	g.mu.Lock()
	if g.busy < lanes {
		g.busy++
		g.mu.Unlock()
		defer g.handOver()
		return g.UniversalClient.EvalSha(ctx, sha1, keys, args...)
	}
	call := &scriptCall{ctx: ctx, sha1: sha1, keys: keys, args: args, done: make(chan struct{})}
	g.waiting = append(g.waiting, call)
	g.mu.Unlock()
	select {
	case <-call.done:
		return call.cmd
	case <-ctx.Done():
		cmd := redis.NewCmd(ctx)
		cmd.SetErr(ctx.Err())
		return cmd
	}
}

// handOver gives the lane of a lone call to those that came meanwhile.
func (g *gatherer) handOver() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.busy--
		return
	}
	go g.serve()
}

// serve sends what waits until nothing does.
func (g *gatherer) serve() {
	for {
		g.mu.Lock()
		n := g.fitting()
		calls := g.waiting[:n:n]
		g.waiting = g.waiting[n:]
		if n == 0 {
			g.waiting = nil
			g.busy--
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		g.send(calls)
	}
}

// fitting is how many of those that wait fit into one request.
func (g *gatherer) fitting() int {
	n, size := 0, 0
	for n < min(len(g.waiting), perLane) {
		if size += g.waiting[n].size(); n > 0 && size > perLaneBytes {
			break
		}
		n++
	}
	return n
}

// size is about how many bytes a call sends.
func (c *scriptCall) size() int {
	n := 0
	for _, arg := range c.args {
		switch arg := arg.(type) {
		case string:
			n += len(arg)
		case []byte:
			n += len(arg)
		}
	}
	return n
}

func (g *gatherer) send(calls []*scriptCall) {
	// Each caller keeps to its own deadline; that of the request is the client's.
	ctx := context.Background()
	_, _ = g.Pipelined(ctx, func(p redis.Pipeliner) error { // each command has its own error
		for _, c := range calls {
			if c.ctx.Err() == nil { // else nobody waits any more
				c.cmd = p.EvalSha(ctx, c.sha1, c.keys, c.args...)
			}
		}
		return nil
	})
	for _, c := range calls {
		if c.cmd == nil {
			c.cmd = redis.NewCmd(c.ctx)
			c.cmd.SetErr(c.ctx.Err())
		}
		close(c.done)
	}
}
