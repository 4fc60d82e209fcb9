package app

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// requests counts what goes out to Redis, and holds it up while it is told to.
type requests struct {
	single, pipelines atomic.Int32
	gate              sync.RWMutex
}

// isScript tells scripts from what a new connection says first.
func isScript(cmd redis.Cmder) bool { return strings.HasPrefix(cmd.Name(), "eval") }

func (*requests) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *requests) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if isScript(cmd) {
			r.single.Add(1)
		}
		r.gate.RLock()
		defer r.gate.RUnlock()
		return next(ctx, cmd)
	}
}

func (r *requests) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if isScript(cmds[0]) {
			r.pipelines.Add(1)
		}
		r.gate.RLock()
		defer r.gate.RUnlock()
		return next(ctx, cmds)
	}
}

// echo fails for the argument "fail".
var echo = redis.NewScript(`if ARGV[1] == 'fail' then return redis.error_reply('ERR as asked') end return KEYS[1] .. ARGV[1]`)

// waits is how many calls have not gone out.
func (g *gatherer) waits() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting)
}

// working is how many lanes are busy.
func (g *gatherer) working() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.busy
}

func TestScriptsAreGathered(t *testing.T) {
	rdb, count := redistest.Fresh(t).Client(), &requests{}
	rdb.AddHook(count)
	g := gather(rdb)
	ctx := t.Context()
	// Redis does not know the script yet: the client sends its text.
	if got, err := echo.Run(ctx, g, []string{"k"}, "first").Text(); err != nil || got != "kfirst" {
		t.Fatalf("%q, %v", got, err)
	}
	if n := count.single.Load(); n != 2 || count.pipelines.Load() != 0 {
		t.Errorf("a lone call took %d requests and %d pipelines", n, count.pipelines.Load())
	}

	count.gate.Lock() // so that they come together
	var calls sync.WaitGroup
	call := func(arg string) {
		calls.Go(func() {
			got, err := echo.Run(ctx, g, []string{"k"}, arg).Text()
			switch {
			case arg == "fail" && (err == nil || err.Error() != "ERR as asked"):
				t.Errorf("the call that fails answers %q, %v", got, err)
			case arg != "fail" && (err != nil || got != "k"+arg):
				t.Errorf("%q is answered by %q, %v", arg, got, err)
			}
		})
	}
	for i := range lanes {
		call("alone")
		eventually(t, "it has a lane", func() bool { return g.working() == i+1 && g.waits() == 0 })
	}
	const full = 3
	for i := range full * perLane {
		if i%7 == 3 {
			call("fail")
		} else {
			call(strings.Repeat("x", i+1))
		}
	}
	eventually(t, "the others wait", func() bool { return g.waits() == full*perLane })
	count.gate.Unlock()
	calls.Wait()
	if one, more := count.single.Load()-2, count.pipelines.Load(); one != lanes || more != full {
		t.Errorf("%d single requests and %d of more, want %d and %d", one, more, lanes, full)
	}
	eventually(t, "no lane is busy", func() bool { return g.working() == 0 && g.waits() == 0 })
}

// TestLargeCallsAreApart: a request is written within the time of one command.
func TestLargeCallsAreApart(t *testing.T) {
	const third = perLaneBytes / 3
	g := &gatherer{}
	for _, size := range []int{third, third, third, 1, 10, 2 * perLaneBytes, 2 * perLaneBytes, 5} {
		arg := any(strings.Repeat("x", size))
		if size == third {
			arg = []byte(arg.(string))
		}
		g.waiting = append(g.waiting, &scriptCall{args: []any{arg, 1}})
	}
	for _, want := range []int{4, 1, 1, 1, 1, 0} {
		got := g.fitting()
		if got != want {
			t.Fatalf("%d calls in a request with %d waiting, want %d", got, len(g.waiting), want)
		}
		g.waiting = g.waiting[got:]
	}
}

// TestGatheredCallsEnd: a caller waits no longer than it wants to, and what nobody
// waits for is not sent.
func TestGatheredCallsEnd(t *testing.T) {
	server := redistest.Start(t)
	rdb, count := server.Client(), &requests{}
	rdb.AddHook(count)
	g := gather(rdb)
	if err := rdb.Set(t.Context(), "n", 0, 0).Err(); err != nil {
		t.Fatal(err)
	}
	incr := redis.NewScript(`return redis.call('INCR', KEYS[1])`)
	if err := incr.Load(t.Context(), rdb).Err(); err != nil {
		t.Fatal(err)
	}
	count.gate.Lock()
	var held, given sync.WaitGroup
	for i := range lanes {
		held.Go(func() {
			if err := incr.Run(t.Context(), g, []string{"n"}).Err(); err != nil {
				t.Error(err)
			}
		})
		eventually(t, "it has a lane", func() bool { return g.working() == i+1 && g.waits() == 0 })
	}
	ctx, cancel := context.WithCancel(t.Context())
	for range 2 * perLane {
		given.Go(func() {
			if err := incr.Run(ctx, g, []string{"n"}).Err(); !errors.Is(err, context.Canceled) {
				t.Errorf("a caller who gave up is told %v", err)
			}
		})
	}
	eventually(t, "the others wait", func() bool { return g.waits() == 2*perLane })
	cancel()
	given.Wait()
	count.gate.Unlock()
	held.Wait()
	if n, err := rdb.Get(t.Context(), "n").Int(); err != nil || n != lanes {
		t.Errorf("the script ran %d times, want %d (%v)", n, lanes, err)
	}

	// Without Redis each caller is told.
	server.Kill()
	var calls sync.WaitGroup
	for range 3 * lanes {
		calls.Go(func() {
			var away net.Error
			if err := incr.Run(t.Context(), g, []string{"n"}).Err(); !errors.As(err, &away) {
				t.Errorf("without Redis the error is %v", err)
			}
		})
	}
	calls.Wait()
}
