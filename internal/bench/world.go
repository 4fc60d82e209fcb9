//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// hopeless ends a wait for what will not happen any more.
	hopeless = 3 * time.Minute
	// aftermath is how long a second call for a slot has to come, after everything
	// has ended.
	aftermath = 3 * time.Second
	pollEvery = 20 * time.Millisecond

	keyPrefix = "{gateway-cron}:"
)

// world is a deployment: a Redis, the stand-in and processes, all of its own.
type world struct {
	o       options
	redis   *process
	addr    string // of Redis
	rdb     *redis.Client
	ai      *process
	scripts *scriptNames // not nil where commands are counted
	procs   []*process   // what is measured, Redis among them
}

// newWorld starts Redis and the stand-in, whose turns take the given time. If
// counted, each process gets a way to Redis on which its commands are counted.
func newWorld(ctx context.Context, o options, turn time.Duration, counted bool) (_ *world, err error) {
	w := &world{o: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if counted {
		w.scripts = newScriptNames()
	}
	if w.redis, w.addr, err = startRedis(ctx, o.dir); err != nil {
		return nil, err
	}
	w.procs = append(w.procs, w.redis)
	w.rdb = redis.NewClient(&redis.Options{Addr: w.addr})
	w.ai, err = w.child(ctx, childAI, childAI, turn.String())
	return w, err
}

// close ends what was started, the last first. A run of the harness is over then:
// nobody waits for a tidy end.
func (w *world) close() error {
	var errs []error
	for _, p := range slices.Backward(w.procs) {
		errs = append(errs, w.end(p))
	}
	w.procs = nil
	if w.rdb != nil {
		errs = append(errs, w.rdb.Close())
	}
	return errors.Join(errs...)
}

func (w *world) end(p *process) error {
	sig := syscall.SIGKILL
	if w.o.profiles != "" && p != w.redis {
		sig = syscall.SIGTERM // a profile is written at the end
	}
	if p.proxy != nil {
		defer p.proxy.close()
	}
	return p.end(sig)
}

// child starts one of our own children under a name of its own.
func (w *world) child(ctx context.Context, name, kind string, args ...string) (*process, error) {
	cmd, err := self(kind, args...)
	if err != nil {
		return nil, err
	}
	p, err := launch(w.o.dir, name, cmd, readyWord)
	if err != nil {
		return nil, err
	}
	w.procs = append(w.procs, p)
	err = p.await(ctx)
	return p, err
}

// role starts a process of the product. It is ready when await says so.
func (w *world) role(name, role string) (*process, error) {
	cmd := exec.Command(w.o.binary, role) //nolint:gosec // the product
	cmd.Env = os.Environ()
	if w.o.profiles != "" {
		var err error
		if cmd, err = self(childProfiled, w.o.profiles, role); err != nil {
			return nil, err
		}
	}
	addr := w.addr
	var way *proxy
	if w.scripts != nil {
		var err error
		if way, err = newProxy(w.addr, w.scripts); err != nil {
			return nil, err
		}
		addr = way.listener.Addr().String()
	}
	cmd.Env = append(cmd.Env, "GATEWAY_CRON_ADDR=127.0.0.1:0", "GATEWAY_CRON_REDIS_URL=redis://"+addr+"/0",
		"GATEWAY_CRON_STATE_DIR="+w.o.dir,
		"GATEWAY_CRON_AI_SERVER_URL="+w.ai.url, "GATEWAY_CRON_CHANNEL_MANAGER_URL="+w.ai.url,
		"GATEWAY_CRON_CONCURRENCY="+strconv.Itoa(w.o.concurrency),
		"GATEWAY_CRON_RATE_LIMIT_PER_MINUTE=0") // what it does when it is asked more than it allows is known
	p, err := launch(w.o.dir, name, cmd, " ready")
	if err != nil {
		return nil, err
	}
	p.proxy = way
	w.procs = append(w.procs, p)
	return p, nil
}

// roles starts processes of the product and waits until all are ready. Their names
// are roles, with a number behind the second of a role.
func (w *world) roles(ctx context.Context, names ...string) error {
	started := make([]*process, len(names))
	for i, name := range names {
		role, _, _ := strings.Cut(name, "-")
		var err error
		if started[i], err = w.role(name, role); err != nil {
			return err
		}
	}
	for _, p := range started {
		if err := p.await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// api is the process that serves the API.
func (w *world) api() (*process, error) {
	for _, p := range w.procs {
		if p.name == "api" {
			return p, nil
		}
	}
	return nil, errors.New("no process serves the API")
}

// request asks the API or the stand-in and decodes the answer into out; nil is no
// body, and no answer that anybody reads.
func request(ctx context.Context, method, url string, body, out any) error {
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return fmt.Errorf("%s %s: %w", method, url, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	defer res.Body.Close()
	content, err = io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, url, res.Status, content)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(content, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	return nil
}

// crowd makes n jobs alike. The API makes the first; the others are copies of its
// record with identities of their own, because a hundred thousand requests would
// take longer than all that is measured. change, if not nil, alters the record of
// the i-th.
func (w *world) crowd(ctx context.Context, n int, timing map[string]any, change func(i int, record map[string]string)) error {
	api, err := w.api()
	if err != nil {
		return err
	}
	body := map[string]any{"name": "Bench", "task": "Say when you are done."}
	maps.Copy(body, timing)
	var first struct{ ID string }
	if err := request(ctx, http.MethodPost, api.url+"/api/cron/jobs", body, &first); err != nil {
		return err
	}
	record, err := w.rdb.HGetAll(ctx, keyPrefix+"job:"+first.ID).Result()
	if err != nil {
		return fmt.Errorf("read the first of a crowd: %w", err)
	}
	created, err := w.rdb.ZScore(ctx, keyPrefix+"jobs", first.ID).Result()
	if err != nil {
		return fmt.Errorf("read the first of a crowd: %w", err)
	}
	due, err := w.rdb.ZScore(ctx, keyPrefix+"due", first.ID).Result()
	if err != nil {
		return fmt.Errorf("read the first of a crowd: %w", err)
	}
	if change != nil {
		own := maps.Clone(record)
		change(0, own)
		if err := w.rdb.HSet(ctx, keyPrefix+"job:"+first.ID, own).Err(); err != nil {
			return fmt.Errorf("write the first of a crowd: %w", err)
		}
	}
	const batch = 1000
	for from := 1; from < n; from += batch {
		_, err := w.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i := from; i < min(n, from+batch); i++ {
				id := first.ID[:len(first.ID)-26] + strings.ToLower(rand.Text())
				own := make(map[string]string, len(record))
				for field, value := range record {
					own[field] = strings.ReplaceAll(value, first.ID, id)
				}
				own["uid"] = rand.Text()
				own["token"] = own["uid"]
				if change != nil {
					change(i, own)
				}
				p.HSet(ctx, keyPrefix+"job:"+id, own)
				p.ZAdd(ctx, keyPrefix+"jobs", redis.Z{Score: created + float64(i), Member: id})
				p.ZAdd(ctx, keyPrefix+"due", redis.Z{Score: due, Member: id})
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("write a crowd: %w", err)
		}
	}
	return nil
}

// at is the cron timing of one minute, which comes again in a year.
func at(minute time.Time) map[string]any { return map[string]any{"schedule": cronspec(minute)} }

func cronspec(minute time.Time) string {
	t := minute.UTC()
	return fmt.Sprintf("%d %d %d %d *", t.Minute(), t.Hour(), t.Day(), int(t.Month()))
}

// farAway is the timing of a job that is idle.
func farAway() map[string]any { return at(time.Now().AddDate(0, 6, 0)) }

// nextMinute is the first minute that is at least the lead away.
func nextMinute() time.Time {
	return time.Now().Add(lead + time.Minute - 1).Truncate(time.Minute)
}

// pause waits for an instant.
func pause(ctx context.Context, until time.Time) error {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// until waits for a condition and reports whether it came to hold in time.
func until(ctx context.Context, every time.Duration, holds func() (bool, error)) (bool, error) {
	deadline := time.Now().Add(hopeless)
	for {
		ok, err := holds()
		if ok || err != nil {
			return ok, err
		}
		if time.Now().After(deadline) {
			return false, nil
		}
		if err := pause(ctx, time.Now().Add(every)); err != nil {
			return false, err
		}
	}
}

// arrivals is what the stand-in saw of the slots of one instant.
type arrivals struct {
	lags                 []time.Duration // of the first call of each run, in the order of arrival
	duplicates, messages int
	ended                time.Duration // from the slot until nothing was unfinished
}

// forget makes the stand-in forget what arrived.
func (w *world) forget(ctx context.Context) error {
	return request(ctx, http.MethodPost, w.ai.url+"/bench/forget", nil, nil)
}

// warmUp makes one run by hand, so that Redis knows the scripts and connections are
// open, as in a deployment that did not start this minute.
func (w *world) warmUp(ctx context.Context) error {
	if err := w.crowd(ctx, 1, farAway(), nil); err != nil {
		return err
	}
	ids, err := w.idleJobs(ctx)
	if err != nil {
		return err
	}
	api, err := w.api()
	if err != nil {
		return err
	}
	if err := request(ctx, http.MethodPost, api.url+"/api/cron/jobs/"+ids[0]+"/run", nil, nil); err != nil {
		return err
	}
	if err := w.called(ctx); err != nil {
		return err
	}
	if _, err := until(ctx, pollEvery, w.ended(ctx)); err != nil {
		return err
	}
	return w.forget(ctx)
}

// warmUpPlain does the same for plain asynq.
func (w *world) warmUpPlain(ctx context.Context) error {
	if err := enqueueMany(ctx, w.addr, 1); err != nil {
		return err
	}
	if err := w.called(ctx); err != nil {
		return err
	}
	if _, err := until(ctx, pollEvery, w.drained(ctx)); err != nil {
		return err
	}
	return w.forget(ctx)
}

// called waits until the stand-in was called at all.
func (w *world) called(ctx context.Context) error {
	ok, err := until(ctx, pollEvery, func() (bool, error) {
		var t tally
		err := request(ctx, http.MethodGet, w.ai.url+"/bench/tally", nil, &t)
		return t.Calls > 0, err
	})
	if err == nil && !ok {
		err = errors.New("nothing was called")
	}
	return err
}

// watch waits until n runs were called and nothing is unfinished, and answers what
// arrived.
func (w *world) watch(ctx context.Context, slot time.Time, n int, idle func() (bool, error)) (arrivals, error) {
	var a arrivals
	if err := pause(ctx, slot); err != nil {
		return a, err
	}
	var t tally
	_, err := until(ctx, pollEvery, func() (bool, error) {
		err := request(ctx, http.MethodGet, w.ai.url+"/bench/tally", nil, &t)
		return t.Runs >= n, err
	})
	if err != nil {
		return a, err
	}
	if _, err := until(ctx, pollEvery, idle); err != nil {
		return a, err
	}
	a.ended = time.Since(slot)
	if err := pause(ctx, time.Now().Add(aftermath)); err != nil {
		return a, err
	}
	var calls []call
	if err := request(ctx, http.MethodGet, w.ai.url+"/bench/calls", nil, &calls); err != nil {
		return a, err
	}
	if err := request(ctx, http.MethodGet, w.ai.url+"/bench/tally", nil, &t); err != nil {
		return a, err
	}
	a.messages = t.Messages
	seen := make(map[string]bool, len(calls))
	for _, c := range calls {
		lag := time.UnixMicro(c.At).Sub(slot)
		switch {
		case isManual(c.Run): // asked for by the load on the API
		case seen[c.Run]:
			a.duplicates++
		default:
			a.lags = append(a.lags, lag)
			seen[c.Run] = true
		}
	}
	return a, nil
}

// ended reports whether the product has nothing unfinished.
func (w *world) ended(ctx context.Context) func() (bool, error) {
	return func() (bool, error) {
		n, err := w.rdb.ZCard(ctx, keyPrefix+"wake").Result()
		if err != nil {
			return false, fmt.Errorf("count what is unfinished: %w", err)
		}
		return n == 0, nil
	}
}

// drained reports whether a queue of plain asynq is empty.
func (w *world) drained(ctx context.Context) func() (bool, error) {
	return func() (bool, error) {
		total := int64(0)
		for _, state := range []string{"pending", "active"} {
			n, err := w.rdb.LLen(ctx, "asynq:{"+plainQueue+"}:"+state).Result()
			if err != nil {
				return false, fmt.Errorf("count what is %s: %w", state, err)
			}
			total += n
		}
		return total == 0, nil
	}
}
