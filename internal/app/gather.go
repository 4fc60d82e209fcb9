package app

import (
	"context"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

const (
	// lanes is how many requests of a gate are under way at once. Few make full ones;
	// more than one let the next be on its way while one is read, and go on when a
	// connection hangs.
	lanes = 2
	// scriptsAtOnce bounds the scripts of one request, and with it how long the first
	// waits for the last.
	scriptsAtOnce = 64
	// readsAtOnce bounds the pipelines of one request, and commandsOfRead the commands of
	// a pipeline that shares one. What they answer can be large, as a session is, and all
	// of it has the time of one command to arrive.
	readsAtOnce, commandsOfRead = 8, 4
	// bytesAtOnce bounds what one request writes, for the same reason: replies of an
	// agent are large. A call that is larger goes by itself.
	bytesAtOnce = 256 << 10
)

// gatherer is a Redis client that sends scripts which are called at the same time as
// one request, and short pipelines likewise. Nearly all that a run needs is a short script, of
// ours or of asynq's, and one read of its session; in a burst hundreds of goroutines
// call one at once, and what each costs by itself, a connection, a write and a read on
// both sides, is more than the script. A lone call goes out at once, as it does without.
//
// A script may be sent again when a connection breaks, as the client does with every
// command.
type gatherer struct {
	redis.UniversalClient

	scripts, reads gate
}

func gather(rdb redis.UniversalClient) *gatherer {
	return &gatherer{UniversalClient: rdb, scripts: gate{rdb: rdb, most: scriptsAtOnce}, reads: gate{rdb: rdb, most: readsAtOnce}}
}

// EvalSha calls a script. When ctx ends while the call waits for a lane or for the
// others of its request, whether the script ran is unknown.
func (g *gatherer) EvalSha(ctx context.Context, sha1 string, keys []string, args ...any) *redis.Cmd {
	if g.scripts.enter() {
		defer g.scripts.leave()
		return g.UniversalClient.EvalSha(ctx, sha1, keys, args...)
	}
	var cmd *redis.Cmd
	c := g.scripts.wait(ctx, size(args), func(ctx context.Context, p redis.Pipeliner) { cmd = p.EvalSha(ctx, sha1, keys, args...) })
	select {
	case <-c.done:
		if cmd != nil {
			return cmd
		}
	case <-ctx.Done():
	}
	given := redis.NewCmd(ctx)
	given.SetErr(ctx.Err())
	return given
}

// Pipelined sends commands. When ctx ends while they wait for a lane they are not sent; a
// request that is under way with them is waited for, as long as the client gives it: the
// caller has the commands in its hands, and their answers are written there.
func (g *gatherer) Pipelined(ctx context.Context, fn func(redis.Pipeliner) error) ([]redis.Cmder, error) {
	own := g.Pipeline()
	if err := fn(own); err != nil {
		return nil, err
	}
	cmds := own.Cmds()
	if len(cmds) > commandsOfRead {
		return own.Exec(ctx)
	}
	if g.reads.enter() {
		defer g.reads.leave()
		return own.Exec(ctx)
	}
	written := 0
	for _, cmd := range cmds {
		written += size(cmd.Args())
	}
	sent := false
	c := g.reads.wait(ctx, written, func(ctx context.Context, p redis.Pipeliner) {
		for _, cmd := range cmds {
			_ = p.Process(ctx, cmd) // queues it; the answer is in the command
		}
		sent = true
	})
	select {
	case <-c.done:
	case <-ctx.Done():
		if !g.reads.withdraw(c) {
			<-c.done
		}
	}
	if !sent {
		for _, cmd := range cmds {
			cmd.SetErr(ctx.Err())
		}
	}
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil {
			return cmds, err
		}
	}
	return cmds, nil
}

// size is about how many bytes a command sends.
func size(args []any) int {
	n := 0
	for _, arg := range args {
		switch arg := arg.(type) {
		case string:
			n += len(arg)
		case []byte:
			n += len(arg)
		}
	}
	return n
}

// gate lets a few requests out at a time; what comes meanwhile goes together with what
// comes with it.
type gate struct {
	rdb  redis.UniversalClient
	most int // calls in a request

	mu      sync.Mutex
	waiting []*call
	busy    int // lanes
}

type call struct {
	ctx  context.Context // of the caller, who waits here
	size int
	add  func(context.Context, redis.Pipeliner) // puts it into a request; not called when ctx has ended
	done chan struct{}                          // closed when the call has its answer, or will have none
}

// enter takes a lane, if one is free, which its caller must leave.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.busy == lanes {
		return false
	}
	g.busy++
	return true
}

// leave gives the lane of a lone call to those that came meanwhile.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.busy--
		return
	}
	go g.serve()
}

// wait puts a call behind those that wait for a lane. One may have become free since enter
// found none.
func (g *gate) wait(ctx context.Context, size int, add func(context.Context, redis.Pipeliner)) *call {
	c := &call{ctx: ctx, size: size, add: add, done: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, c)
	if g.busy < lanes {
		g.busy++
		go g.serve()
	}
	return c
}

// withdraw takes a call back, if it still waits.
func (g *gate) withdraw(c *call) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, c)
	if i < 0 {
		return false
	}
	g.waiting = slices.Delete(g.waiting, i, i+1)
	return true
}

// serve sends what waits until nothing does.
func (g *gate) serve() {
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
func (g *gate) fitting() int {
	n, written := 0, 0
	for n < min(len(g.waiting), g.most) {
		if written += g.waiting[n].size; n > 0 && written > bytesAtOnce {
			break
		}
		n++
	}
	return n
}

func (g *gate) send(calls []*call) {
	// Each caller keeps to its own deadline; that of the request is the client's.
	ctx := context.Background()
	_, _ = g.rdb.Pipelined(ctx, func(p redis.Pipeliner) error { // each command has its own error
		for _, c := range calls {
			if c.ctx.Err() == nil { // else nobody waits any more
				c.add(ctx, p)
			}
		}
		return nil
	})
	for _, c := range calls {
		close(c.done)
	}
}
