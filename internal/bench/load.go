//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// loadEvery is how often each kind of request is made.
const loadEvery = 40 * time.Millisecond

// apiLoad is how long requests take while many jobs are due: of each kind one
// every 40 ms, whether the one before was answered or not.
func apiLoad(ctx context.Context, o options) (*sample, error) {
	return within(ctx, o, 0, false, func(w *world, s *sample) error {
		if err := w.roles(ctx, "api", "scheduler", "worker"); err != nil {
			return err
		}
		if err := w.crowd(ctx, o.registered, farAway(), nil); err != nil {
			return err
		}
		if err := w.warmUp(ctx); err != nil {
			return err
		}
		ids, err := w.idleJobs(ctx)
		if err != nil {
			return err
		}
		minute := nextMinute()
		if err := pause(ctx, minute.Add(-lead)); err != nil {
			return err
		}
		before, err := w.costs(ctx)
		if err != nil {
			return err
		}
		if err := w.crowd(ctx, o.n, at(minute), nil); err != nil {
			return err
		}
		if err := pause(ctx, minute.Add(-time.Second)); err != nil {
			return err
		}
		loadCtx, stop := context.WithCancel(ctx)
		defer stop()
		var load load
		var requests sync.WaitGroup
		requests.Go(func() { load.run(loadCtx, w, ids) })
		a, err := w.watch(ctx, minute, o.n, func() (bool, error) {
			stop() // all are called: from here on it is an idle API
			return w.ended(ctx)()
		})
		stop()
		requests.Wait()
		if err := errors.Join(err, load.err); err != nil {
			return err
		}
		s.arrived("", a, o.n)
		for _, kind := range kinds() {
			took := load.took[kind.name]
			s.set(kind.name+" requests", count, float64(len(took)))
			s.set(kind.name+" p50", milliseconds, ms(percentile(took, 50)))
			s.set(kind.name+" p99", milliseconds, ms(percentile(took, 99)))
		}
		return w.spent(ctx, s, before, 0)
	})
}

// idleJobs are the ids of some jobs, which were made first and are far away.
func (w *world) idleJobs(ctx context.Context) ([]string, error) {
	const some = 5_000
	ids, err := w.rdb.ZRange(ctx, keyPrefix+"jobs", 0, some-1).Result()
	if err != nil {
		return nil, fmt.Errorf("list some jobs: %w", err)
	}
	return ids, nil
}

// kind is a kind of request.
type kind struct {
	name string
	ask  func(ctx context.Context, api string, ids []string, i int) error
}

func kinds() []kind {
	one := func(i int, ids []string) string { return ids[i%len(ids)] }
	return []kind{
		{"create", func(ctx context.Context, api string, _ []string, i int) error {
			body := map[string]any{"name": "Load " + strconv.Itoa(i), "task": "Say when you are done.", "schedule": farAway()["schedule"]}
			return request(ctx, http.MethodPost, api+"/api/cron/jobs", body, nil)
		}},
		{"get", func(ctx context.Context, api string, ids []string, i int) error {
			return request(ctx, http.MethodGet, api+"/api/cron/jobs/"+one(i, ids), nil, nil)
		}},
		{"list", func(ctx context.Context, api string, _ []string, _ int) error {
			return request(ctx, http.MethodGet, api+"/api/cron/jobs", nil, nil)
		}},
		{"run", func(ctx context.Context, api string, ids []string, i int) error {
			return request(ctx, http.MethodPost, api+"/api/cron/jobs/"+one(i, ids)+"/run", nil, nil)
		}},
	}
}

// load is the requests that were made.
type load struct {
	mu   sync.Mutex
	took map[string][]time.Duration
	err  error
}

// run makes requests until ctx ends, and waits for those under way.
func (l *load) run(ctx context.Context, w *world, ids []string) {
	l.took = map[string][]time.Duration{}
	api, err := w.api()
	if err != nil {
		l.err = err
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ticker := time.NewTicker(loadEvery)
	defer ticker.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, k := range kinds() {
			wg.Go(func() {
				started := time.Now()
				err := k.ask(context.WithoutCancel(ctx), api.url, ids, i)
				took := time.Since(started)
				l.mu.Lock()
				defer l.mu.Unlock()
				l.took[k.name] = append(l.took[k.name], took)
				l.err = cmp.Or(l.err, err)
			})
		}
	}
}
