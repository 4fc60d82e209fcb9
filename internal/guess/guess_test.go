package guess

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const right = "the right token"

func is(token string) func(context.Context) (bool, error) {
	return func(context.Context) (bool, error) { return token == right, nil }
}

// took is how long a check took, by the clock of the bubble.
func took(t *testing.T, g *Guard, addr, token string) (time.Duration, bool, error) {
	t.Helper()
	start := time.Now()
	ok, err := g.Check(t.Context(), addr, token, is(token))
	return time.Since(start), ok, err
}

const (
	here  = "192.0.2.1:1000"
	also  = "192.0.2.1:2000" // another connection from there
	there = "192.0.2.2:1000"
)

func TestAnAddressThatGuessesWaits(t *testing.T) {
	for name, tt := range map[string]struct {
		before  func(g *Guard, wrong func(addr string, n int))
		addr    string
		token   string
		want    time.Duration
		isRight bool
	}{
		"the first ten are told at once": {func(_ *Guard, wrong func(string, int)) { wrong(here, 9) }, here, "x", 0, false},
		"then one a second":              {func(_ *Guard, wrong func(string, int)) { wrong(here, 10) }, also, "x", time.Second, false},
		"a right one waits too":          {func(_ *Guard, wrong func(string, int)) { wrong(here, 10) }, also, right, time.Second, true},
		"not from elsewhere":             {func(_ *Guard, wrong func(string, int)) { wrong(here, 10) }, there, right, 0, true},
		"not where it was right before": {func(g *Guard, wrong func(string, int)) {
			_, _ = g.Check(context.Background(), here, right, is(right))
			wrong(here, 10)
			<-time.After(trustFor - time.Minute)
			wrong(here, 10)
		}, also, right, 0, true},
		"but a day ago counts no more": {func(g *Guard, wrong func(string, int)) {
			_, _ = g.Check(context.Background(), here, right, is(right))
			<-time.After(trustFor)
			wrong(here, 10)
		}, also, right, time.Second, true},
		"nor what was right elsewhere": {func(g *Guard, wrong func(string, int)) {
			_, _ = g.Check(context.Background(), there, right, is(right))
			wrong(here, 10)
		}, here, right, time.Second, true},
		"nor what was revoked since": {func(g *Guard, wrong func(string, int)) {
			_, _ = g.Check(context.Background(), here, "revoked", is(right))
			wrong(here, 9)
			_, _ = g.Check(context.Background(), here, "revoked", is("revoked"))
		}, here, "revoked", time.Second, false},
		"rest is worth ten": {func(_ *Guard, wrong func(string, int)) {
			wrong(here, 10)
			<-time.After(time.Hour)
			wrong(here, 9)
		}, here, "x", 0, false},
		"what could not be checked is no guess": {func(g *Guard, _ func(string, int)) {
			for range 20 {
				_, _ = g.Check(context.Background(), here, "x", func(context.Context) (bool, error) { return false, errors.New("away") })
			}
		}, here, right, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := New(Options{})
				tt.before(g, func(addr string, n int) {
					for range n {
						if ok, err := g.Check(t.Context(), addr, "wrong", is("wrong")); ok || err != nil {
							t.Fatalf("%v, %v", ok, err)
						}
					}
				})
				if wait, ok, err := took(t, g, tt.addr, tt.token); wait != tt.want || ok != tt.isRight || err != nil {
					t.Errorf("after %s: %v, %v; want %v after %s", wait, ok, err, tt.isRight, tt.want)
				}
			})
		})
	}
}

// Ten checks at once are ten turns, of which few wait and the others are refused unread.
func TestTheQueueIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{})
		for range freeGuesses {
			_, _ = g.Check(t.Context(), here, "x", is("x"))
		}
		var mu sync.Mutex
		var waits []time.Duration
		refused := 0
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				wait, _, err := took(t, g, here, "x")
				mu.Lock()
				defer mu.Unlock()
				if limited, ok := errors.AsType[*LimitedError](err); ok {
					refused++
					if wait != 0 || limited.Wait != maxWaiting*time.Second {
						t.Errorf("refused after %s for %s", wait, limited.Wait)
					}
					return
				}
				waits = append(waits, wait)
			})
		}
		wg.Wait()
		if refused != 10-maxWaiting || len(waits) != maxWaiting {
			t.Fatalf("%d refused, waits %v", refused, waits)
		}
		for i, wait := range waits {
			if wait != time.Duration(i+1)*time.Second {
				t.Errorf("waits %v", waits)
			}
		}
		if len(g.queues) != 0 || g.waiting != 0 {
			t.Errorf("%d queues are left, %d wait", len(g.queues), g.waiting)
		}
	})
}

// Guesses in parallel are told in turn, though none has counted when they are checked.
func TestGuessesInParallelCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{})
		all := make(chan struct{})
		var mu sync.Mutex
		early := 0
		var wg sync.WaitGroup
		check := func(token string) {
			_, _ = g.Check(t.Context(), here, token, func(context.Context) (bool, error) { <-all; return false, nil })
		}
		for range 12 {
			wg.Go(func() { check("x") })
		}
		wg.Go(func() {
			start := time.Now()
			ok, err := g.Check(t.Context(), here, right, func(context.Context) (bool, error) { <-all; <-time.After(time.Millisecond); return true, nil })
			mu.Lock()
			defer mu.Unlock()
			if !ok || err != nil || time.Since(start) < 900*time.Millisecond {
				early++
			}
		})
		synctest.Wait()
		close(all)
		wg.Wait()
		if early != 0 {
			t.Error("the right one of many guesses at once is told before its turn")
		}
	})
}

// Whoever waits with a token that proves right meanwhile waits no longer, and one that
// gives up leaves the queue.
func TestWaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{})
		for range freeGuesses {
			_, _ = g.Check(t.Context(), here, "x", is("x"))
		}
		var wg sync.WaitGroup
		for range maxWaiting - 1 {
			wg.Go(func() {
				if wait, ok, err := took(t, g, here, right); !ok || err != nil || wait != time.Second {
					t.Errorf("after %s: %v, %v", wait, ok, err)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if _, err := g.Check(ctx, here, "x", is("x")); !errors.Is(err, context.Canceled) {
				t.Errorf("given up: %v", err)
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait()
		if g.waiting != 0 {
			t.Errorf("%d wait", g.waiting)
		}
	})
}

func TestTheLogIsToldOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g := New(Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		for range 5 {
			_, _ = g.Check(t.Context(), here, "hunter2", is("hunter2"))
		}
		if n := strings.Count(log.String(), "\n"); n != 1 {
			t.Errorf("%d lines", n)
		}
		<-time.After(logEvery)
		_, _ = g.Check(t.Context(), there, "hunter2", is("hunter2"))
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[1], "remote_addr="+there+" wrong=5") {
			t.Errorf("a minute later:\n%s", &log)
		}
		if strings.Contains(log.String(), "hunter2") {
			t.Errorf("the log tells what was tried:\n%s", &log)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	g := New(Options{})
	for n := range maxTrusted + 10 {
		if ok, err := g.Check(t.Context(), here, string(rune(n)), func(context.Context) (bool, error) { return true, nil }); !ok || err != nil {
			t.Fatalf("%v, %v", ok, err)
		}
	}
	if n := len(g.trusted); n != maxTrusted {
		t.Errorf("%d are trusted", n)
	}
}
