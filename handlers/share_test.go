package handlers

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// Twenty turns of one agent that do not end take half of the places, by batches or one by
// one; the run of another agent begins meanwhile, and the others follow in order.
func TestNoAgentTakesAllPlaces(t *testing.T) {
	const places, turns = 4, 20
	ends := make(chan struct{})
	f := setup(t, setupOptions{turns: places, grace: patience, reply: func(c standin.ChatCall) standin.Answer {
		if strings.HasPrefix(c.RunID, "a") {
			<-ends
		}
		return standin.Answer{}
	}})
	t.Cleanup(func() { close(ends) })
	spec := rarely()
	spec.AgentID = "b"
	other, otherRun := f.due("b", spec)
	beat := func() {
		t.Helper()
		must(t, f.store.Beat(f.ctx, job.Process{Role: "worker", Host: "w", Places: places}, time.Minute))
	}
	var ids []string
	for i := range turns {
		ids = append(ids, "a"+strconv.Itoa(100+i))
	}
	beat()
	first, runs := f.dueTogether(ids[:8]...)
	beat() // from here on two agents are known
	f.serve()
	f.enqueue(first)
	for _, id := range ids[8:] {
		c, run := f.due(id, rarely())
		f.enqueue(c)
		runs = append(runs, run)
	}
	in := func(state job.State) (found []string) {
		for _, run := range runs {
			if r, err := f.store.Run(f.ctx, run); err == nil && r.State == state {
				found = append(found, run)
			}
		}
		return found
	}
	settled := func(parked int) func() bool {
		return func() bool { return len(in(job.StateParked)) == parked && len(in(job.StateRunning)) == places/2 }
	}
	f.await("half of the places are taken, and all others parked", settled(turns-places/2))
	f.enqueue(other)
	f.await("the run of the other agent", func() bool {
		r, err := f.store.Run(f.ctx, otherRun)
		return err == nil && r.Outcome == job.Succeeded
	})
	waiting := in(job.StateParked)
	came := map[string]job.Millis{}
	for _, run := range waiting {
		came[run] = f.record(run).CreatedAt
	}
	slices.SortStableFunc(waiting, func(a, b string) int {
		if came[a] != came[b] {
			return int(came[a] - came[b])
		}
		return strings.Compare(a, b)
	})
	for i, next := range waiting {
		ends <- struct{}{}
		f.await("the next is "+next, func() bool { return f.record(next).State == job.StateRunning })
		f.await("no more than half of the places", settled(len(waiting)-i-1))
	}
	for range places / 2 {
		ends <- struct{}{}
	}
	f.await("the end of all", func() bool { return len(in(job.StateDone)) == turns })
	f.wantSucceeded(runs)
	called := f.called()
	if d := cmp.Diff(waiting, called[len(called)-len(waiting):]); d != "" {
		t.Error(d)
	}
}
