//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

// What somebody would write who has asynq and no scheduler of their own: one entry
// of a PeriodicTaskManager for each job, and a handler that makes the call. Where
// asynq's defaults would make it slower than it has to be, it has the product's.

const (
	plainQueue = "plain"
	plainType  = "call"
	plainBody  = `{"sessionId":"bench","messages":[{"role":"user","text":"Say when you are done."}]}`
)

// entries answers one entry for each job, all for one minute.
type entries struct {
	n        int
	cronspec string
}

func (e entries) GetConfigs() ([]*asynq.PeriodicTaskConfig, error) {
	configs := make([]*asynq.PeriodicTaskConfig, e.n)
	for i := range configs {
		configs[i] = &asynq.PeriodicTaskConfig{Cronspec: e.cronspec,
			Task: asynq.NewTask(plainType, []byte("job-"+strconv.Itoa(i))), Opts: []asynq.Option{asynq.Queue(plainQueue)}}
	}
	return configs, nil
}

// plainManager is a scheduler. Arguments: Redis's address, the number of entries,
// their cron expression.
func plainManager(ctx context.Context, args []string, stdout, _ io.Writer) error {
	if len(args) != 3 {
		return fmt.Errorf("%d arguments instead of an address, a number and an expression", len(args))
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return fmt.Errorf("number of entries: %w", err)
	}
	mgr, err := asynq.NewPeriodicTaskManager(asynq.PeriodicTaskManagerOpts{
		PeriodicTaskConfigProvider: entries{n, args[2]},
		RedisConnOpt:               asynq.RedisClientOpt{Addr: args[0]},
		SchedulerOpts:              &asynq.SchedulerOpts{LogLevel: asynq.WarnLevel},
	})
	if err != nil {
		return fmt.Errorf("make the manager: %w", err)
	}
	if err := mgr.Start(); err != nil {
		return fmt.Errorf("start the manager: %w", err)
	}
	fmt.Fprintln(stdout, readyWord)
	<-ctx.Done()
	mgr.Shutdown()
	return nil
}

// plainWorker makes a call for each task. Arguments: Redis's address, the
// concurrency, the ai-server's URL.
func plainWorker(ctx context.Context, args []string, stdout, _ io.Writer) error {
	if len(args) != 3 {
		return fmt.Errorf("%d arguments instead of an address, a number and a URL", len(args))
	}
	concurrency, err := strconv.Atoi(args[1])
	if err != nil {
		return fmt.Errorf("concurrency: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: concurrency}}
	srv := plainServer(args[0], concurrency)
	err = srv.Start(asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, args[2]+"/api/gateway/chat", strings.NewReader(plainBody)) //nolint:gosec // the stand-in
		if err != nil {
			return fmt.Errorf("make the request: %w", err)
		}
		req.Header.Set(runHeader, string(task.Payload()))
		res, err := client.Do(req) //nolint:gosec // the stand-in
		if err != nil {
			return fmt.Errorf("call: %w", err)
		}
		defer res.Body.Close()
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		return nil
	}))
	if err != nil {
		return fmt.Errorf("start the worker: %w", err)
	}
	fmt.Fprintln(stdout, readyWord)
	<-ctx.Done()
	srv.Shutdown()
	return nil
}

func plainServer(addr string, concurrency int) *asynq.Server {
	return asynq.NewServer(asynq.RedisClientOpt{Addr: addr}, asynq.Config{
		Concurrency: concurrency, Queues: map[string]int{plainQueue: 1},
		TaskCheckInterval: 100 * time.Millisecond, // the default of 1 s would only add to the lag
		ShutdownTimeout:   time.Second, LogLevel: asynq.WarnLevel,
	})
}

// ceilings are the most that the queue does by itself, in tasks a second.
type ceilings struct {
	Enqueue float64 `json:"enqueue"`
	Process float64 `json:"process"`
}

// ceiling enqueues tasks and then processes them with an empty handler, as fast as
// both go. Arguments: Redis's address, the concurrency, the number of tasks. It
// writes what it measured as its ready line.
func ceiling(ctx context.Context, args []string, stdout, _ io.Writer) error {
	if len(args) != 3 {
		return fmt.Errorf("%d arguments instead of an address and two numbers", len(args))
	}
	concurrency, err := strconv.Atoi(args[1])
	if err != nil {
		return fmt.Errorf("concurrency: %w", err)
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return fmt.Errorf("number of tasks: %w", err)
	}
	var c ceilings
	started := time.Now()
	if err := enqueueMany(ctx, args[0], n); err != nil {
		return err
	}
	c.Enqueue = float64(n) / time.Since(started).Seconds()

	var left atomic.Int64
	left.Store(int64(n))
	all := make(chan struct{})
	srv := plainServer(args[0], concurrency)
	started = time.Now()
	err = srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		if left.Add(-1) == 0 {
			close(all)
		}
		return nil
	}))
	if err != nil {
		return fmt.Errorf("start the worker: %w", err)
	}
	select {
	case <-all:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.Process = float64(n) / time.Since(started).Seconds()
	line, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	fmt.Fprintf(stdout, "%s %s\n", readyWord, line)
	srv.Shutdown()
	return nil
}

// enqueueMany enqueues tasks side by side, as many at once as the client has
// connections for.
func enqueueMany(ctx context.Context, addr string, n int) error {
	const width = 32
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: addr, PoolSize: width})
	defer client.Close()
	var (
		wg    sync.WaitGroup
		next  atomic.Int64
		first atomic.Pointer[error]
	)
	for range width {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n) && first.Load() == nil; i = next.Add(1) {
				task := asynq.NewTask(plainType, []byte("job-"+strconv.FormatInt(i, 10)))
				if _, err := client.EnqueueContext(ctx, task, asynq.Queue(plainQueue)); err != nil {
					first.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := first.Load(); err != nil {
		return fmt.Errorf("enqueue: %w", *err)
	}
	return nil
}
