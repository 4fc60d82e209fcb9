//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// binary is the product, as it is shipped.
var binary string

// This binary plays the harness, so it plays the harness's children too.
func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(childEnv) != "" {
		os.Exit(command(context.Background()))
	}
	if testing.Short() {
		os.Exit(m.Run())
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "gateway-cron-bench-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if binary, err = build(context.Background(), filepath.Clean(dir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// What one run, one idle job and one idle scheduler cost, in what can be counted on
// any machine, however busy. Speed is measured by make bench.
func TestCounts(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the clock")
	}
	const (
		idleJobs, runs = 5_000, 400
		ahead          = 6 * time.Second // enough to make the jobs before their slot
	)
	ctx := t.Context()
	w, err := newWorld(ctx, options{concurrency: 64, binary: binary, dir: t.TempDir()}, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range w.procs {
				t.Logf("log of %s:\n%s", p.name, p.logTail())
			}
		}
		if err := w.close(); err != nil {
			t.Error(err)
		}
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	atMost := func(what string, got, most float64) {
		t.Helper()
		t.Logf("%s: %.2f", what, got)
		if got > most {
			t.Errorf("%s: %.2f, want at most %.2f", what, got, most)
		}
	}

	must(w.roles(ctx, "api"))
	size, err := w.bytesPerJob(ctx, idleJobs)
	must(err)
	if size < 100 {
		t.Errorf("an idle job takes %.0f bytes: that is not it", size)
	}
	atMost("bytes of Redis for an idle job", size, 1536)

	must(w.roles(ctx, "scheduler", "worker"))
	must(pause(ctx, time.Now().Add(settle)))
	rates, err := w.rates(ctx, 2*settle)
	must(err)
	if rates["scheduler"].commands == 0 {
		t.Error("an idle scheduler asks nothing of Redis: that is not it")
	}
	// The two checks that go over all jobs, for slots without a record and for cursors that
	// are wrong, read 100 and 50 of them a second at most.
	atMost("commands a second of an idle scheduler", rates["scheduler"].commands, 20+100+50)

	measure := func(delivered bool) *sample {
		t.Helper()
		var s sample
		slot := time.Now().Add(ahead).Truncate(time.Second)
		must(w.runsCounted(ctx, &s, runs, slot, second(slot), delivered, rates))
		for _, f := range s.figures {
			if strings.HasSuffix(f.name, "duplicates") || strings.HasSuffix(f.name, "misses") {
				atMost(f.name, f.value, 0)
			}
		}
		return &s
	}
	for _, tt := range []struct {
		delivered bool
		figure    string
		most      float64
	}{
		{false, "round trips per run", 8},
		// Twelve of the run itself, and its share of what is done for many at once.
		{true, "delivered: round trips per run", 12.5},
	} {
		// A machine that is too busy makes more of them: carriers that come late are
		// sent once more. The best of three is what a run needs.
		best := math.Inf(1)
		for n := 0; n < 3 && best > tt.most; n++ {
			s := measure(tt.delivered)
			best = min(best, s.value(tt.figure))
			t.Logf("asked of Redis: %v", s.Traffic)
			for _, step := range []string{"claim", "commit"} {
				// The first calls, whose script Redis does not know, have no name yet.
				if n := asked(s, step); n < runs*9/10 {
					t.Errorf("%s: %d calls of %s in %d runs: that is not all of them", tt.figure, n, step, runs)
				}
			}
		}
		atMost(tt.figure, best, tt.most)
	}

	// Two schedulers, and no slot runs twice. Not counted: where a busy machine makes
	// one late, the other does its work too, and finds it done.
	must(w.roles(ctx, "scheduler-2"))
	measure(false)
}

// asked is how often all processes called a script.
func asked(s *sample, script string) int64 {
	var n int64
	for _, t := range s.Traffic {
		n += t.Commands[script]
	}
	return n
}

// No request to the API reads all of anything, however much there is.
func TestRequestsReadNoWholeList(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the product")
	}
	ctx := t.Context()
	w, err := newWorld(ctx, options{concurrency: 64, binary: binary, dir: t.TempDir()}, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.close(); err != nil {
			t.Error(err)
		}
	})
	if err := w.roles(ctx, "api"); err != nil {
		t.Fatal(err)
	}
	if err := w.crowd(ctx, 500, farAway(), nil); err != nil {
		t.Fatal(err)
	}
	api, err := w.api()
	if err != nil {
		t.Fatal(err)
	}
	m := newMonitor(t, w)
	var made struct{ ID string }
	var run struct{ RunID string }
	for _, r := range []struct {
		method, path string
		body         any
		out          any
	}{
		{"POST", "/jobs", map[string]any{"task": "Say when you are done.", "schedule": "0 9 * * *"}, &made},
		{"GET", "/jobs", nil, nil},
		{"GET", "/jobs?limit=200", nil, nil},
		{"GET", "/jobs/{id}", nil, nil},
		{"PATCH", "/jobs/{id}", map[string]any{"schedule": "0 10 * * *"}, nil},
		{"POST", "/jobs/{id}/pause", map[string]any{}, nil},
		{"POST", "/jobs/{id}/resume", map[string]any{}, nil},
		{"POST", "/jobs/{id}/run", nil, &run},
		{"GET", "/jobs/{id}/runs", nil, nil},
		{"GET", "/runs/{run}", nil, nil},
		{"POST", "/runs/{run}/cancel", nil, nil},
		{"POST", "/preview", map[string]any{"schedule": "0 9 * * *"}, nil},
		{"DELETE", "/jobs/{id}", nil, nil},
	} {
		path := strings.NewReplacer("{id}", made.ID, "{run}", run.RunID).Replace(r.path)
		if err := request(ctx, r.method, api.url+"/api/cron"+path, r.body, r.out); err != nil {
			t.Fatal(err)
		}
		heard := m.heard()
		if len(heard) == 0 && r.path != "/preview" {
			t.Errorf("%s %s: no command was heard", r.method, r.path)
		}
		for _, command := range heard {
			if readsAll(command) {
				t.Errorf("%s %s reads all of something: %q", r.method, r.path, command)
			}
		}
	}
}

// second is the timing of a job for any one second.
func second(t time.Time) map[string]any {
	return map[string]any{"every": 86_400, "startAt": t.UTC().Truncate(time.Second).Format(time.RFC3339)}
}
