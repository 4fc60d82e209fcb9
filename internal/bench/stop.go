//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	floodWidth = 100 // lists at once, each followed by another
	stopsTimed = 20  // of each kind
)

// stopUnderFlood is how long it takes to stop things while lists are asked for without a
// pause and without a limit: half a second is what somebody at a command line notices.
func stopUnderFlood(ctx context.Context, o options) (*sample, error) {
	return within(ctx, o, 0, false, func(w *world, s *sample) error {
		if err := w.roles(ctx, "api"); err != nil {
			return err
		}
		if err := w.crowd(ctx, min(o.registered, 5_000), farAway(), nil); err != nil {
			return err
		}
		api, err := w.api()
		if err != nil {
			return err
		}
		flood, end := context.WithCancel(ctx)
		var lists sync.WaitGroup
		defer lists.Wait()
		defer end()
		for range floodWidth {
			lists.Go(func() {
				for flood.Err() == nil {
					_ = request(flood, http.MethodGet, api.url+"/api/cron/jobs?limit=200", nil, nil) // how they fare is not the question
				}
			})
		}
		for _, stop := range []struct{ name, method, path string }{
			{"pause-all", http.MethodPost, "/api/cron/all/pause"},
			{"resume-all", http.MethodPost, "/api/cron/all/resume"},
			{"status", http.MethodGet, "/api/cron/status"},
		} {
			var took []time.Duration
			var failed []error
			for range stopsTimed {
				started := time.Now()
				if err := request(ctx, stop.method, api.url+stop.path, nil, nil); err != nil {
					failed = append(failed, fmt.Errorf("%s: %w", stop.name, err))
				}
				took = append(took, time.Since(started))
			}
			if err := errors.Join(failed...); err != nil {
				return err
			}
			s.set(stop.name+" p50", milliseconds, ms(percentile(took, 50)))
			s.set(stop.name+" max", milliseconds, ms(percentile(took, 100)))
		}
		return nil
	})
}
