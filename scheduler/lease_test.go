package scheduler

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pass lets the time of a bubble pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// leaseRecord is the lease as the script keeps it, on the bubble's clock.
type leaseRecord struct {
	mu     sync.Mutex
	holder string
	until  time.Time
	err    error // answered instead
	asked  int
}

func (r *leaseRecord) HoldEmitter(_ context.Context, holder string, ttl time.Duration) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	switch now := time.Now(); {
	case r.err != nil:
		return false, r.err
	case r.holder != "" && r.holder != holder && now.Before(r.until):
		return false, nil
	default:
		r.holder, r.until = holder, now.Add(ttl)
		return true, nil
	}
}

func (r *leaseRecord) ReleaseEmitter(_ context.Context, holder string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil && r.holder == holder {
		r.holder = ""
	}
	return r.err
}

func (r *leaseRecord) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *leaseRecord) take(holder string, ttl time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holder, r.until = holder, time.Now().Add(ttl)
}

func (r *leaseRecord) heldBy() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.holder
}

type keeper struct {
	*lease
	stop context.CancelFunc
	done chan struct{}
}

func keep(ctx context.Context, store leaseStore, holder string, logger *slog.Logger) *keeper {
	ctx, cancel := context.WithCancel(ctx)
	k := &keeper{lease: &lease{store: store, holder: holder, logger: logger}, stop: cancel, done: make(chan struct{})}
	go func() { defer close(k.done); k.keep(ctx) }()
	return k
}

func (k *keeper) end() { k.stop(); <-k.done }

func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		record, logs := &leaseRecord{}, &logs{}
		logger := slog.New(logs)
		a := keep(t.Context(), record, "a", logger)
		synctest.Wait()
		b := keep(t.Context(), record, "b", logger)
		defer b.end()
		for range 20 {
			pass(500 * time.Millisecond)
			if !a.held() || b.held() {
				t.Fatalf("held by a %v, by b %v", a.held(), b.held())
			}
		}

		// Redis goes away: the lease is ours only as long as it surely is.
		record.fail(errors.New("away"))
		pass(leaseTTL)
		if a.held() || b.held() {
			t.Fatalf("without Redis for %v it is held by a %v, by b %v", leaseTTL, a.held(), b.held())
		}
		record.fail(nil)
		pass(2 * leaseTTL)
		if a.held() == b.held() {
			t.Fatalf("with Redis back it is held by a %v, by b %v", a.held(), b.held())
		}

		// Released on a stop, so that the other need not wait for the end of it.
		holder, other := a, b
		if b.held() {
			holder, other = b, a
		}
		holder.end()
		if holder.held() || record.heldBy() == holder.holder {
			t.Error("a stopped scheduler still holds the lease")
		}
		pass(leaseTTL / 3)
		if !other.held() {
			t.Error("the other did not take over at its next try")
		}
		other.end()
		if who := record.heldBy(); who != "" {
			t.Errorf("held by %q after both have stopped", who)
		}
		// A change is logged, a renewal is not.
		if n := logs.count("emitter lease"); n > 8 || n < 4 {
			t.Errorf("%d log lines for some four changes", n)
		}
	})
}

func TestLeaseOfADeadHolderRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		record := &leaseRecord{holder: "dead", until: time.Now().Add(leaseTTL)}
		b := keep(t.Context(), record, "b", slog.New(slog.DiscardHandler))
		defer b.end()
		pass(leaseTTL - time.Millisecond)
		if b.held() {
			t.Error("taken over before its end")
		}
		pass(leaseTTL/3 + time.Millisecond)
		if !b.held() {
			t.Error("not taken over after its end")
		}
	})
}

// TestLostLease: a restored Redis may know another holder.
func TestLostLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		record := &leaseRecord{}
		a := keep(t.Context(), record, "a", slog.New(slog.DiscardHandler))
		defer a.end()
		synctest.Wait()
		if !a.held() {
			t.Fatal("not held")
		}
		record.take("b", time.Hour)
		pass(leaseTTL / 3)
		if a.held() {
			t.Error("held after Redis has said that another holds it")
		}
	})
}

func TestLeaseThatCannotBeReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		record, logs := &leaseRecord{}, &logs{}
		a := keep(t.Context(), record, "a", slog.New(logs))
		synctest.Wait()
		record.fail(errors.New("away"))
		a.end()
		if a.held() || logs.count("level=WARN", "not released") != 1 {
			t.Errorf("held %v; the operator was not told", a.held())
		}
	})
}

func TestWithoutLeaseEverybodyEmits(t *testing.T) {
	record := &leaseRecord{holder: "other", until: time.Now().Add(time.Hour)}
	l := &lease{store: record, holder: "a", always: true}
	l.keep(t.Context()) // returns at once
	if !l.held() || record.asked != 0 {
		t.Errorf("held %v, asked %d times", l.held(), record.asked)
	}
}

// TestLeaseInRedis is the same with the real script: exclusive, taken over from a
// dead holder, released by its holder only.
func TestLeaseInRedis(t *testing.T) {
	t.Parallel()
	f := setup(t)
	held, err := f.HoldEmitter(f.ctx, "dead", 50*time.Millisecond)
	if f.must(err); !held {
		t.Fatal("a free lease is not given")
	}
	a := keep(f.ctx, f.Store, "a", slog.New(f.logs))
	eventually(t, "a takes over from a dead holder", a.held)
	b := keep(f.ctx, f.Store, "b", slog.New(f.logs))
	defer b.end()
	f.must(f.ReleaseEmitter(f.ctx, "b")) // not b's to release
	held, err = f.HoldEmitter(f.ctx, "b", leaseTTL)
	if f.must(err); held && a.held() {
		t.Fatal("b got it beside a")
	}
	a.end()
	eventually(t, "b takes over from a stopped holder", b.held)
	if a.held() {
		t.Error("two hold it")
	}
}
