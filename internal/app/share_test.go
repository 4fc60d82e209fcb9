package app

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/standin"
	"github.com/gatewaycron/gatewaycron/internal/store"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// A worker says how many places it has; one agent gets the share of these that is set,
// however long its turns take, and the run of another begins meanwhile.
func TestWorkerSharesOutItsPlaces(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := server.Client()
	s := store.New(rdb, store.Options{})
	ends := make(chan struct{})
	ai, err := standin.NewEchoAI(standin.EchoOptions{Reply: func(c standin.ChatCall) standin.Answer {
		if strings.HasPrefix(c.RunID, "a") {
			<-ends
		}
		return standin.Answer{}
	}})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(ai)
	t.Cleanup(func() {
		close(ends)
		front.Close()
		_ = ai.Close() // it has no journal
	})
	create := func(id, agent string) {
		t.Helper()
		if _, err := s.CreateJob(t.Context(), id, job.Spec{Schedule: "0 0 29 2 *", Enabled: true, Task: "hello", AgentID: agent}); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	for i := range 6 {
		ids = append(ids, fmt.Sprint("a", i))
		create(ids[i], "a")
	}
	create("b", "b")
	boot(t, Roles{Worker: true}, func(c *config.Config) {
		c.RedisURL, c.AIServerURL, c.Concurrency, c.AgentShare = server.URL(), front.URL, 8, 25
	})
	eventually(t, "the share of an agent", func() bool {
		return rdb.Get(t.Context(), "{gateway-cron}:share").Val() == "2"
	})
	start := func(id string) string {
		t.Helper()
		_, run, err := s.RunJob(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if err := tasks.NewQueues("gateway-cron", 0).RunAgain(run, 0).Enqueue(t.Context(), asynq.NewClientFromRedisClient(rdb)); err != nil {
			t.Fatal(err)
		}
		return run
	}
	states := map[job.State]int{}
	var runs []string
	for _, id := range ids {
		runs = append(runs, start(id))
	}
	eventually(t, "two turns of the agent, and four runs that wait", func() bool {
		clear(states)
		for _, run := range runs {
			if r, err := s.Run(t.Context(), run); err == nil {
				states[r.State]++
			}
		}
		return states[job.StateRunning] == 2 && states[job.StateParked] == 4
	})
	other := start("b")
	eventually(t, "the run of the other agent", func() bool {
		r, err := s.Run(t.Context(), other)
		return err == nil && r.Outcome == job.Succeeded
	})
}
