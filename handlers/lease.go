package handlers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

const (
	// renewEvery keeps a lease alive over two lost renewals.
	renewEvery = job.RenewEvery
	renewAgain = time.Second
	// freshFor is how old the last confirmation of a lease may be when a request
	// is written: what is older is asked for again, and must be answered as fast.
	freshFor = 2 * time.Second
)

// errNotConfirmed says that Redis did not confirm the lease in time, so that the
// call was not made.
var errNotConfirmed = errors.New("the lease was not confirmed in time")

// lease is an attempt's right to act, kept alive by renewals until it is released.
type lease struct {
	renew func(context.Context) error
	fence context.CancelCauseFunc // ends the attempt when the lease is lost

	mu        sync.Mutex
	confirmed time.Time // when the newest answered renewal was sent
	stop      context.CancelFunc
	done      chan struct{}
}

// holdLease keeps a lease that was granted by a call sent at the given time. If
// it is lost, fence is called with the reason.
func holdLease(granted time.Time, renew func(context.Context) error, fence context.CancelCauseFunc) *lease {
	ctx, stop := context.WithCancel(context.Background())
	l := &lease{renew: renew, fence: fence, confirmed: granted, stop: stop, done: make(chan struct{})}
	go l.keep(ctx)
	return l
}

func (l *lease) keep(ctx context.Context) {
	defer close(l.done)
	timer := time.NewTimer(renewEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		// A Redis that does not answer is no reason to give up: the call is under
		// way, and nobody declares its lease dead while Redis stands still. When it
		// is back, a renewal must come before the second look.
		wait := renewEvery
		if err := l.confirm(ctx, renewEvery); err != nil {
			wait = renewAgain
		}
		timer.Reset(wait)
	}
}

// confirm renews once and fences the attempt if the lease is lost.
func (l *lease) confirm(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	sent := time.Now()
	err := l.renew(ctx)
	if errors.Is(err, job.ErrFenced) {
		l.fence(err)
		return err
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if sent.After(l.confirmed) {
		l.confirmed = sent
	}
	return nil
}

// fresh is the last act before a request is written: it returns nil only if the
// lease was confirmed within the last two seconds.
func (l *lease) fresh(ctx context.Context) error {
	l.mu.Lock()
	age := time.Since(l.confirmed)
	l.mu.Unlock()
	if age < freshFor {
		return nil
	}
	if err := l.confirm(ctx, freshFor); err != nil {
		if errors.Is(err, job.ErrFenced) {
			return err
		}
		return fmt.Errorf("%w: %w", errNotConfirmed, err)
	}
	return nil
}

// release ends the renewals.
func (l *lease) release() {
	l.stop()
	<-l.done
}

// insist repeats a write until it is answered or ctx ends: what an attempt learned
// must not be lost because Redis is away for a while.
func insist(ctx context.Context, write func(context.Context) error) error {
	const pause = 500 * time.Millisecond
	for {
		err := write(ctx)
		if err == nil || answered(err) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// answered reports whether err is an answer, which asking again would not change: a
// damaged record, on which a script fails, must not keep a worker asking for ever. Redis
// also refuses for reasons that pass (loading, out of memory, no longer the master, rights
// that an operator is about to give back); those count as no answer.
func answered(err error) bool {
	if isFenced(err) || errors.Is(err, job.ErrNotFound) || errors.Is(err, job.ErrNewerVersion) {
		return true
	}
	var refusal redis.Error
	if errors.Is(err, job.ErrStoreDenied) || !errors.As(err, &refusal) {
		return false
	}
	text := refusal.Error()
	return strings.HasPrefix(text, "WRONGTYPE ") || strings.HasPrefix(text, "ERR ") && strings.Contains(text, "user_script")
}

// lastWords is a context that outlives the cut of base by a moment: what is known
// by then can still be written.
func lastWords(base context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(base))
	stop := context.AfterFunc(base, func() { time.AfterFunc(cutWithin, cancel) })
	return ctx, func() { stop(); cancel() }
}

func isFenced(err error) bool { return errors.Is(err, job.ErrFenced) }
