//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// lead is how long before their minute jobs are there: longer than the horizon
	// within which a scheduler arms them.
	lead = 25 * time.Second
	// turnTime is how long a turn takes in the workload about slow turns.
	turnTime = 200 * time.Millisecond
	// settle is how long processes have to become quiet after they started.
	settle = 3 * time.Second
)

// workload is one measurement, made anew each time in a world of its own.
type workload struct {
	name, about string
	measure     func(ctx context.Context, o options) (*sample, error)
}

func workloads() []workload {
	return []workload{
		{"due", "n jobs due in one minute; then the same with plain asynq", func(ctx context.Context, o options) (*sample, error) {
			return due(ctx, o, o.n, nil, true)
		}},
		{"due-tenth", "a tenth as many; then the same with plain asynq", func(ctx context.Context, o options) (*sample, error) {
			return due(ctx, o, max(1, o.n/10), nil, true)
		}},
		{"due-isolated", "n jobs without a history to ask for; then the same with plain asynq, which never asks", func(ctx context.Context, o options) (*sample, error) {
			return due(ctx, o, o.n, map[string]any{"context": "isolated"}, true)
		}},
		{"two-schedulers", "n jobs due in one minute, two of them; then two managers of plain asynq", twoSchedulers},
		{"slow-turns", "n jobs due in one minute, each turn takes 200 ms; then the same with plain asynq", slowTurns},
		{"sparse", "all jobs registered, 100 of them due in one minute", sparse},
		{"idle", "all jobs registered, nothing due", idle},
		{"start", "processes started on all jobs", start},
		{"api", "requests to the API while n of all jobs are due", apiLoad},
		{"stop", "requests that stop everything while a hundred clients list jobs without a pause", stopUnderFlood},
		{"round-trips", "what one run asks of Redis, counted on the way", roundTrips},
		{"ceiling", "the queue by itself: n tasks enqueued, and processed by an empty handler", queueCeiling},
	}
}

func workloadNames() []string {
	var names []string
	for _, w := range workloads() {
		names = append(names, w.name)
	}
	return names
}

// within makes a world for a measurement and ends it afterwards.
func within(ctx context.Context, o options, turn time.Duration, counted bool, measure func(*world, *sample) error) (*sample, error) {
	w, err := newWorld(ctx, o, turn, counted)
	if err != nil {
		return nil, err
	}
	s := &sample{}
	err = measure(w, s)
	return s, errors.Join(err, w.close())
}

// due is n slots of one minute, with as little else as there can be.
func due(ctx context.Context, o options, n int, fields map[string]any, plain bool, schedulers ...string) (*sample, error) {
	s, err := within(ctx, o, 0, false, func(w *world, s *sample) error {
		return w.dueSlots(ctx, s, n, fields, append([]string{"api", "scheduler", "worker"}, schedulers...)...)
	})
	if err != nil || !plain {
		return s, err
	}
	err = plainDue(ctx, o, s, n, 0, 1)
	s.compare("lag p50", "lag p99", "lag max")
	return s, err
}

// dueSlots starts processes, makes jobs that are due in one minute, with other fields if
// there are any, and measures it.
func (w *world) dueSlots(ctx context.Context, s *sample, n int, fields map[string]any, roles ...string) error {
	if err := w.roles(ctx, roles...); err != nil {
		return err
	}
	if err := w.warmUp(ctx); err != nil {
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
	body := at(minute)
	maps.Copy(body, fields)
	if err := w.crowd(ctx, n, body, nil); err != nil {
		return err
	}
	a, err := w.watch(ctx, minute, n, w.ended(ctx))
	if err != nil {
		return err
	}
	s.arrived("", a, n)
	return w.spent(ctx, s, before, n)
}

// plainDue is the same with plain asynq: entries that are due in one minute in a
// number of managers, and one worker.
func plainDue(ctx context.Context, o options, s *sample, n int, turn time.Duration, managers int) error {
	_, err := within(ctx, o, turn, false, func(w *world, _ *sample) error {
		if _, err := w.child(ctx, childPlainWorker, childPlainWorker, w.addr, strconv.Itoa(o.concurrency), w.ai.url); err != nil {
			return err
		}
		if err := w.warmUpPlain(ctx); err != nil {
			return err
		}
		minute := nextMinute()
		if err := pause(ctx, minute.Add(-lead)); err != nil {
			return err
		}
		for i := range managers {
			name := childPlainManager
			if i > 0 {
				name += "-" + strconv.Itoa(i+1)
			}
			if _, err := w.child(ctx, name, childPlainManager, w.addr, strconv.Itoa(n), cronspec(minute)); err != nil {
				return err
			}
		}
		a, err := w.watch(ctx, minute, n, w.drained(ctx))
		if err != nil {
			return err
		}
		s.arrived("plain ", a, n)
		if turn > 0 {
			s.set("plain throughput of ideal", percent, 100*ofIdeal(a, o.concurrency, turn))
		}
		for _, p := range w.procs {
			if p.name == w.ai.name {
				continue
			}
			used, err := p.cpu()
			if err != nil {
				return err
			}
			peak, err := p.peak()
			if err != nil {
				return err
			}
			name := "plain " + strings.TrimPrefix(p.name, "plain-")
			s.set("cpu "+name, seconds, used)
			s.set("peak memory "+name, megabytes, peak/1e6)
		}
		return nil
	})
	return err
}

func twoSchedulers(ctx context.Context, o options) (*sample, error) {
	s, err := due(ctx, o, o.n, nil, false, "scheduler-2")
	if err != nil {
		return nil, err
	}
	return s, plainDue(ctx, o, s, o.n, 0, 2)
}

func slowTurns(ctx context.Context, o options) (*sample, error) {
	s, err := within(ctx, o, turnTime, false, func(w *world, s *sample) error {
		if err := w.roles(ctx, "api", "scheduler", "worker"); err != nil {
			return err
		}
		if err := w.warmUp(ctx); err != nil {
			return err
		}
		minute := nextMinute()
		if err := w.crowd(ctx, o.n, at(minute), nil); err != nil {
			return err
		}
		before, err := w.costs(ctx)
		if err != nil {
			return err
		}
		a, err := w.watch(ctx, minute, o.n, w.ended(ctx))
		if err != nil {
			return err
		}
		s.arrived("", a, o.n)
		s.set("throughput of ideal", percent, 100*ofIdeal(a, o.concurrency, turnTime))
		return w.spent(ctx, s, before, o.n)
	})
	if err != nil {
		return nil, err
	}
	err = plainDue(ctx, o, s, o.n, turnTime, 1)
	s.compare("throughput of ideal")
	return s, err
}

// ofIdeal is how the throughput stands to one turn after the other in each place,
// from the first call to the end of the last.
func ofIdeal(a arrivals, concurrency int, turn time.Duration) float64 {
	if len(a.lags) == 0 {
		return 0
	}
	ideal := turn * time.Duration(len(a.lags)) / time.Duration(concurrency)
	took := percentile(a.lags, 100) - percentile(a.lags, 0) + turn
	return ideal.Seconds() / took.Seconds()
}

// sparse has all but a few jobs far away.
func sparse(ctx context.Context, o options) (*sample, error) {
	const few = 100
	return within(ctx, o, 0, false, func(w *world, s *sample) error {
		if err := w.roles(ctx, "api"); err != nil {
			return err
		}
		if err := w.crowd(ctx, o.registered, farAway(), nil); err != nil {
			return err
		}
		return w.dueSlots(ctx, s, few, nil, "scheduler", "worker")
	})
}

// idle is what jobs cost that do nothing: in memory, and in the attention of each
// process.
func idle(ctx context.Context, o options) (*sample, error) {
	over := 20 * time.Second
	if o.quick {
		over = 5 * time.Second
	}
	return within(ctx, o, 0, true, func(w *world, s *sample) error {
		if err := w.roles(ctx, "api"); err != nil {
			return err
		}
		size, err := w.bytesPerJob(ctx, o.registered)
		if err != nil {
			return err
		}
		s.set("redis per idle job", "KiB", size/1024)
		if err := w.roles(ctx, "scheduler", "worker"); err != nil {
			return err
		}
		if err := pause(ctx, time.Now().Add(settle)); err != nil {
			return err
		}
		before, err := w.costs(ctx)
		if err != nil {
			return err
		}
		rates, err := w.rates(ctx, over)
		if err != nil {
			return err
		}
		for name, r := range rates {
			s.set("commands "+name, perSecond, r.commands)
		}
		after, err := w.costs(ctx)
		if err != nil {
			return err
		}
		d := after.since(before)
		for _, p := range w.procs {
			s.set("cpu of one core "+p.name, percent, 100*d.cpu[p.name]/after.at.Sub(before.at).Seconds())
			peak, err := p.peak()
			if err != nil {
				return err
			}
			s.set("peak memory "+p.name, megabytes, peak/1e6)
		}
		s.CommandStats, s.Traffic = d.executed, d.traffic
		return nil
	})
}

// start is how long a process takes from its start until it works.
func start(ctx context.Context, o options) (*sample, error) {
	const often = 2 * time.Millisecond
	return within(ctx, o, 0, false, func(w *world, s *sample) error {
		if err := w.roles(ctx, "api"); err != nil {
			return err
		}
		if err := w.crowd(ctx, o.registered, farAway(), nil); err != nil {
			return err
		}
		// One job is due already: its carrier is the sign that the scheduler emits.
		overdue := func(_ int, record map[string]string) {
			record["nextSlot"] = strconv.FormatInt(time.Now().Truncate(time.Minute).UnixMilli(), 10)
		}
		if err := w.crowd(ctx, 1, map[string]any{"schedule": "* * * * *"}, overdue); err != nil {
			return err
		}
		if err := w.dueNow(ctx); err != nil {
			return err
		}

		scheduler, err := w.role("scheduler", "scheduler")
		if err != nil {
			return err
		}
		emitted, err := until(ctx, often, func() (bool, error) {
			n, err := w.rdb.LLen(ctx, "asynq:{gateway-cron-run}:pending").Result()
			return n > 0, err
		})
		if err != nil {
			return fmt.Errorf("wait for the first carrier: %w", err)
		}
		if !emitted {
			return errors.New("a started scheduler emitted nothing")
		}
		s.set("scheduler start to first carrier", milliseconds, ms(time.Since(scheduler.started)))

		worker, err := w.role("worker", "worker")
		if err != nil {
			return err
		}
		if err := w.called(ctx); err != nil {
			return err
		}
		s.set("worker start to first call", milliseconds, ms(time.Since(worker.started)))

		api, err := w.role("api-2", "api")
		if err != nil {
			return err
		}
		if err := api.await(ctx); err != nil {
			return err
		}
		if err := request(ctx, "GET", api.url+"/readyz", nil, nil); err != nil {
			return err
		}
		s.set("api start to ready", milliseconds, ms(time.Since(api.started)))
		return nil
	})
}

// dueNow makes the nearest entry of the due index due.
func (w *world) dueNow(ctx context.Context) error {
	first, err := w.rdb.ZRange(ctx, keyPrefix+"due", 0, 0).Result()
	if err != nil {
		return fmt.Errorf("read the due index: %w", err)
	}
	now := float64(time.Now().UnixMilli())
	if err := w.rdb.ZAdd(ctx, keyPrefix+"due", redis.Z{Score: now, Member: first[0]}).Err(); err != nil {
		return fmt.Errorf("write the due index: %w", err)
	}
	return nil
}

// roundTrips counts what one run asks of Redis, without a delivery and with one.
func roundTrips(ctx context.Context, o options) (*sample, error) {
	n := min(o.n, 500)
	return within(ctx, o, 0, true, func(w *world, s *sample) error {
		if err := w.roles(ctx, "api", "scheduler", "worker"); err != nil {
			return err
		}
		if err := pause(ctx, time.Now().Add(settle)); err != nil {
			return err
		}
		rates, err := w.rates(ctx, 2*settle)
		if err != nil {
			return err
		}
		for _, delivered := range []bool{false, true} {
			minute := nextMinute()
			if err := w.runsCounted(ctx, s, n, minute, at(minute), delivered, rates); err != nil {
				return err
			}
		}
		return nil
	})
}

// runsCounted makes n jobs for a slot and counts what their runs ask of Redis.
func (w *world) runsCounted(ctx context.Context, s *sample, n int, slot time.Time, timing map[string]any, delivered bool, rates map[string]rate) error {
	prefix, channels := "", func(int, map[string]string) {}
	if delivered {
		prefix = "delivered: "
		// Many channels, because a worker sends to one only a few at a time.
		channels = func(i int, record map[string]string) {
			record["channel"], record["chatId"] = "bench-"+strconv.Itoa(i%50), strconv.Itoa(i)
		}
	}
	if err := w.forget(ctx); err != nil {
		return err
	}
	if err := w.crowd(ctx, n, timing, channels); err != nil {
		return err
	}
	// Counted from just before the slot: over the half minute until then, what is sent
	// anyway would drown what is sent to arm a slot, a pipeline for 500 of them.
	if err := pause(ctx, slot.Add(-time.Second)); err != nil {
		return err
	}
	before, err := w.costs(ctx)
	if err != nil {
		return err
	}
	a, err := w.watch(ctx, slot, n, w.ended(ctx))
	if err != nil {
		return err
	}
	if delivered && a.messages != n {
		return fmt.Errorf("%d messages of %d runs", a.messages, n)
	}
	s.set(prefix+"duplicates", count, float64(a.duplicates))
	s.set(prefix+"misses", count, float64(n-len(a.lags)))
	return w.trips(ctx, s, prefix, before, rates, n)
}

// queueCeiling is the most that asynq does on this machine.
func queueCeiling(ctx context.Context, o options) (*sample, error) {
	return within(ctx, o, 0, false, func(w *world, s *sample) error {
		cmd, err := self(childCeiling, w.addr, strconv.Itoa(o.concurrency), strconv.Itoa(o.n))
		if err != nil {
			return err
		}
		p, err := launch(o.dir, childCeiling, cmd, readyWord)
		if err != nil {
			return err
		}
		w.procs = append(w.procs, p)
		var line string
		select {
		case line = <-p.ready:
		case <-p.child.Done():
			return fmt.Errorf("the queue by itself: %w; its log: %s", p.child.Err(), p.logTail())
		case <-ctx.Done():
			return ctx.Err()
		}
		var c ceilings
		if err := json.Unmarshal([]byte(strings.TrimPrefix(line, readyWord)), &c); err != nil {
			return fmt.Errorf("the queue by itself: %w", err)
		}
		s.set("enqueue", perSecond, c.Enqueue)
		s.set("process", perSecond, c.Process)
		return nil
	})
}
