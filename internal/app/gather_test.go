package app

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// requests counts what goes out to Redis, and holds it up while it is told to.
type requests struct {
	single, pipelines atomic.Int32 // of scripts
	reads             atomic.Int32 // pipelines that read a list
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
		if cmds[0].Name() == "lrange" {
			r.reads.Add(1)
		}
		r.gate.RLock()
		defer r.gate.RUnlock()
		return next(ctx, cmds)
	}
}

// echo fails for the argument "fail".
var echo = redis.NewScript(`if ARGV[1] == 'fail' then return redis.error_reply('ERR as asked') end return KEYS[1] .. ARGV[1]`)

// waits is how many calls have not gone out.
func (g *gate) waits() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting)
}

// working is how many lanes are busy.
func (g *gate) working() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.busy
}

func TestScriptsAreGathered(t *testing.T) {
	rdb, count := redistest.Fresh(t).Client(), &requests{}
	rdb.AddHook(count)
	g := gather(rdb)
	ctx := t.Context()
	// Redis does not know the script: the client sends its text.
	if err := rdb.ScriptFlush(ctx).Err(); err != nil {
		t.Fatal(err)
	}
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
		eventually(t, "it has a lane", func() bool { return g.scripts.working() == i+1 && g.scripts.waits() == 0 })
	}
	const full = 3
	for i := range full * scriptsAtOnce {
		if i%7 == 3 {
			call("fail")
		} else {
			call(strings.Repeat("x", i+1))
		}
	}
	eventually(t, "the others wait", func() bool { return g.scripts.waits() == full*scriptsAtOnce })
	count.gate.Unlock()
	calls.Wait()
	if one, more := count.single.Load()-2, count.pipelines.Load(); one != lanes || more != full {
		t.Errorf("%d single requests and %d of more, want %d and %d", one, more, lanes, full)
	}
	eventually(t, "no lane is busy", func() bool { return g.scripts.working() == 0 && g.scripts.waits() == 0 })
}

// TestLargeCallsAreApart: a request is written within the time of one command.
func TestLargeCallsAreApart(t *testing.T) {
	const third = bytesAtOnce / 3
	g := &gate{most: scriptsAtOnce}
	for _, size := range []int{third, third, third, 1, 10, 2 * bytesAtOnce, 2 * bytesAtOnce, 5} {
		g.waiting = append(g.waiting, &call{size: size})
	}
	for _, want := range []int{4, 1, 1, 1, 1, 0} {
		got := g.fitting()
		if got != want {
			t.Fatalf("%d calls in a request with %d waiting, want %d", got, len(g.waiting), want)
		}
		g.waiting = g.waiting[got:]
	}
}

func TestSize(t *testing.T) {
	if got := size([]any{"evalsha", []byte("12345"), 1, "", nil}); got != 12 {
		t.Errorf("%d bytes, want 12", got)
	}
}

// TestReadsAreGathered: each pipeline has its own answers, and its own error.
func TestReadsAreGathered(t *testing.T) {
	rdb, count := redistest.Fresh(t).Client(), &requests{}
	rdb.AddHook(count)
	g := gather(rdb)
	const others = 2*readsAtOnce + 1
	for i := range lanes + others {
		if err := rdb.RPush(t.Context(), "list"+strconv.Itoa(i), i).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := rdb.Set(t.Context(), "list3", "no list", 0).Err(); err != nil {
		t.Fatal(err)
	}
	before := count.reads.Load()
	count.gate.Lock()
	var calls sync.WaitGroup
	read := func(ctx context.Context, i int) {
		calls.Go(func() {
			var list *redis.StringSliceCmd
			var length *redis.IntCmd
			cmds, err := g.Pipelined(ctx, func(p redis.Pipeliner) error {
				list = p.LRange(ctx, "list"+strconv.Itoa(i), 0, -1)
				length = p.StrLen(ctx, "list3")
				return nil
			})
			switch {
			case ctx.Err() != nil:
				if !errors.Is(err, context.Canceled) || !errors.Is(list.Err(), context.Canceled) {
					t.Errorf("a caller who gave up is told %v, and of its command %v", err, list.Err())
				}
			case i == 3:
				if err == nil || list.Err() == nil || length.Val() != 7 {
					t.Errorf("what cannot be read is answered by %v, %d and %v", list, length.Val(), err)
				}
			case err != nil || len(cmds) != 2 || !slices.Equal(list.Val(), []string{strconv.Itoa(i)}) || length.Val() != 7:
				t.Errorf("%d is answered by %v, %d and %v", i, list, length.Val(), err)
			}
		})
	}
	for i := range lanes {
		read(t.Context(), i)
		eventually(t, "it has a lane", func() bool { return g.reads.working() == i+1 && g.reads.waits() == 0 })
	}
	for i := range others {
		read(t.Context(), lanes+i)
	}
	gone, cancel := context.WithCancel(t.Context())
	read(gone, 0)
	eventually(t, "the others wait", func() bool { return g.reads.waits() == others+1 })
	cancel()
	eventually(t, "who gave up is gone", func() bool { return g.reads.waits() == others })
	count.gate.Unlock()
	calls.Wait()
	if n := count.reads.Load() - before; n != lanes+3 {
		t.Errorf("%d requests for %d reads, want %d", n, lanes+others, lanes+3)
	}

	before = count.reads.Load()
	count.gate.Lock()
	calls.Go(func() {
		if _, err := g.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			for range commandsOfRead + 1 {
				p.LRange(t.Context(), "list0", 0, -1)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "a long one is on its way", func() bool { return count.reads.Load() > before })
	if n := g.reads.working(); n != 0 {
		t.Errorf("a long one has taken a lane of %d", n)
	}
	count.gate.Unlock()
	calls.Wait()

	refused := errors.New("refused")
	if _, err := g.Pipelined(t.Context(), func(redis.Pipeliner) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("what says no is answered by %v", err)
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
		eventually(t, "it has a lane", func() bool { return g.scripts.working() == i+1 && g.scripts.waits() == 0 })
	}
	ctx, cancel := context.WithCancel(t.Context())
	for range 2 * scriptsAtOnce {
		given.Go(func() {
			if err := incr.Run(ctx, g, []string{"n"}).Err(); !errors.Is(err, context.Canceled) {
				t.Errorf("a caller who gave up is told %v", err)
			}
		})
	}
	eventually(t, "the others wait", func() bool { return g.scripts.waits() == 2*scriptsAtOnce })
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
