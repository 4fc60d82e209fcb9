package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// Here is what requests that last have in common: their number is bounded, they end
// with their client and with the server, and those that follow a run read its record
// again and again. Nothing has to be told to them for that, so nothing can be missed:
// neither a change in another process nor one during an outage of the store.

const (
	// defaultMaxLasting is how many requests may last at a time in one process.
	defaultMaxLasting = 200
	// maxWaitSeconds is less than what clients and proxies put up with.
	maxWaitSeconds = 60
	// firstLook and slowestLook are the times between two readings of a run: a short
	// run is seen soon, and a long one costs one reading a second.
	firstLook   = 250 * time.Millisecond
	slowestLook = time.Second
)

// last takes one of the places for requests that last; leave gives it back.
func (s *server) last(r *http.Request) (leave func(), err error) {
	c := s.clientOf(r)
	switch err := s.lasting.take(c, 1); {
	case errors.Is(err, errShare):
		return nil, &apiError{status: http.StatusTooManyRequests, soon: true,
			detail: fmt.Sprintf("%d requests of yours wait or stream here, as many as may be; nothing was done. Send this one again when one of them has ended, or read the run without wait.", s.lasting.each)}
	case err != nil:
		return nil, &apiError{status: http.StatusServiceUnavailable,
			detail: fmt.Sprintf("There are %d requests that wait or stream here, as many as may be; nothing was done. Send this one again in a moment, or read the run without wait.", s.lasting.most)}
	}
	return func() { s.lasting.give(c, 1) }, nil
}

// readWait returns how long a client wants to wait for the end of a run, 0 if it does
// not say.
func readWait(r *http.Request) (time.Duration, error) {
	seconds := 0
	err := readParams(r, countParam("wait", maxWaitSeconds, "30", &seconds))
	return time.Duration(seconds) * time.Second, err
}

// awaitEnd reads a run until it has ended, for at most so long, and returns its newest
// reading. One that fails is made good by the next. It returns an error to whoever may
// not read it any more.
func (s *server) awaitEnd(ctx context.Context, run job.Run, wait time.Duration) (job.Run, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for n := 0; run.State != job.StateDone && s.rest(ctx, n); n++ {
		if err := s.stillMay(ctx); err != nil {
			return run, err
		}
		newer, err := s.look(ctx, run.ID)
		switch {
		case err == nil:
			run = newer
		case errors.Is(err, job.ErrNotFound):
			return run, nil // its record is gone, which only ended ones are: there is nothing to come
		}
	}
	return run, nil
}

// rest waits for the time of look number n, from 0, and reports whether it came: not
// if ctx ended or the server stops. It comes at once when a token is revoked here: whether
// it is the caller's, stillMay says.
func (s *server) rest(ctx context.Context, n int) bool {
	timer := time.NewTimer(min(firstLook<<min(n, 8), slowestLook))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.tokens.revoked():
		return true
	case <-ctx.Done():
	case <-s.Stopping:
	}
	return false
}

// look reads a run, in the time that one reading may take.
func (s *server) look(ctx context.Context, id string) (job.Run, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return s.History.Run(ctx, id)
}
