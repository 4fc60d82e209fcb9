package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

const runID = "a:manual:01M"

// run is a run of the fake API.
func run(state, outcome, delivery string) reply {
	return reply{body: fmt.Sprintf(`{"id":%q,"jobId":"a","state":%q,"outcome":%q,"delivery":%q}`, runID, state, outcome, delivery)}
}

// held is a run that the API held back until it ended, for so long.
func held(after time.Duration, r reply) reply {
	return reply{serve: func(w http.ResponseWriter, q *http.Request) {
		time.Sleep(after) //nolint:forbidigo // by the clock of the test
		io.WriteString(w, r.body)
	}}
}

// TestWait: the exit code is the run's, however the API lets itself be waited for.
func TestWait(t *testing.T) {
	busy := reply{status: 503, body: `{"detail":"too many wait"}`, header: map[string]string{"Retry-After": "7"}}
	for _, tt := range []struct {
		name string
		runs []reply
		code int
		took time.Duration // by the clock of the test
		last string        // request for the run
		want string        // in what is said
	}{
		{"it has ended", []reply{run("done", "succeeded", "delivered")}, 0, 0, "?wait=30", "delivered"},
		{"the API holds its answer", []reply{held(30*time.Second, run("running", "", "")), held(12*time.Second, run("done", "succeeded", ""))}, 0, 42 * time.Second, "?wait=30", ""},
		{"the API answers at once", []reply{run("queued", "", ""), run("running", "", ""), run("done", "succeeded", "")}, 0, 2 * time.Second, "?wait=30", ""},
		{"it fails", []reply{run("done", "timed_out", "")}, exitRunFailed, 0, "?wait=30", "the run timed out"},
		{"it is cancelled", []reply{{body: `{"state":"done","outcome":"cancelled","reason":"paused"}`}}, exitRunFailed, 0, "?wait=30", "the run cancelled (paused)"},
		{"its delivery comes", []reply{run("done", "succeeded", "pending"), run("done", "succeeded", "pending"), run("done", "succeeded", "delivered")}, 0, 2 * time.Second, "?wait=30", "delivered"},
		{"its delivery takes its time", []reply{run("done", "succeeded", "pending")}, 0, 10 * time.Second, "?wait=30", "pending"},
		{"no room for those that wait", []reply{busy, run("running", "", ""), run("done", "succeeded", "")}, 0, 8 * time.Second, "", ""},
		{"the API is broken for a while", []reply{{status: 500, body: "{}"}, {status: 502}, run("done", "succeeded", "")}, 0, 4 * time.Second, "", ""},
		{"the API is gone for good", []reply{{status: 502}}, exitUnreachable, 40 * time.Second, "", "The run goes on; see how it ended: gateway-cron run show " + runID},
		{"its record is gone", []reply{{status: 404, body: `{"detail":"gone"}`}}, exitNotFound, 0, "?wait=30", "gone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, map[string][]reply{"POST /api/cron/jobs/a/run": {{status: 202, body: `{"id":"a","runId":"` + runID + `"}`}},
					"GET /api/cron/runs/" + runID: tt.runs})
				b.options.Now = time.Now
				start := time.Now()
				code := b.run(t.Context(), "job", "run", "a", "--wait")
				if took := time.Since(start); code != tt.code || took != tt.took {
					t.Errorf("exit code %d after %v: %s", code, took, b.stderr.String())
				}
				if said := b.stdout.String() + b.stderr.String(); !strings.Contains(said, tt.want) || !strings.HasPrefix(b.stderr.String(), "waiting for "+runID) {
					t.Errorf("said %s", said)
				}
				asked := b.api.requests()
				asked = slices.DeleteFunc(asked, func(line string) bool { return !strings.HasPrefix(line, "GET /api/cron/runs/") })
				if got := asked[len(asked)-1]; got != "GET /api/cron/runs/"+runID+tt.last {
					t.Errorf("asked %s", got)
				}
				if tt.code == 0 && !strings.HasPrefix(b.stdout.String(), runID+"\n") {
					t.Errorf("printed %s", b.stdout.String())
				}
			})
		})
	}
}

// TestStopWaiting: Ctrl-C ends the command and not the run.
func TestStopWaiting(t *testing.T) {
	for _, args := range [][]string{{"job", "run", "a", "--wait"}, {"run", "follow", runID}} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, map[string][]reply{"POST /api/cron/jobs/a/run": {{status: 202, body: `{"runId":"` + runID + `"}`}},
				"GET /api/cron/runs/" + runID: {run("running", "", "")}})
			ctx, interrupt := context.WithTimeout(t.Context(), 90*time.Second)
			defer interrupt()
			code := b.run(ctx, args...)
			want := "stopped waiting; the run goes on\nSee how it ended: gateway-cron run show " + runID + "\n"
			if code != exitFailed || !strings.HasSuffix(b.stderr.String(), want) {
				t.Errorf("exit code %d: %s", code, b.stderr.String())
			}
			for _, asked := range b.api.requests() {
				if strings.Contains(asked, "cancel") {
					t.Errorf("asked %s", asked)
				}
			}
		})
	}
}

// stream is an answer of server-sent events.
func stream(events string) reply {
	return reply{serve: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, events)
	}}
}

func event(r reply) string { return ": still here\n\nevent: run\ndata: " + r.body + "\n\n" }

func TestFollow(t *testing.T) {
	const end = "event: end\ndata: {}\n\n"
	waiting, running, done := run("waiting", "", ""), run("running", "", ""), run("done", "succeeded", "delivered")
	for _, tt := range []struct {
		name   string
		events []reply // none is an API without events
		runs   []reply
		code   int
		want   []string // states, in turn
		took   time.Duration
	}{
		{"a stream", []reply{stream(event(waiting) + event(running) + event(done) + end)}, nil, 0, []string{"waiting", "running", "succeeded, delivery delivered"}, 0},
		{"a run that failed", []reply{stream(event(run("done", "failed", "")) + end)}, nil, exitRunFailed, []string{"failed"}, 0},
		{"a stream that breaks off", []reply{stream(event(running)), stream(event(running) + event(done) + end)}, nil, 0, []string{"running", "succeeded, delivery delivered"}, 2 * time.Second},
		{"no room", []reply{{status: 429, body: "{}", header: map[string]string{"Retry-After": "9"}}, stream(event(done) + end)}, nil, 0, []string{"succeeded, delivery delivered"}, 9 * time.Second},
		{"no stream", nil, []reply{waiting, running, running, run("done", "succeeded", "pending"), done}, 0,
			[]string{"waiting", "running", "succeeded, delivery pending", "succeeded, delivery delivered"}, 4 * time.Second},
		{"no stream and trouble", nil, []reply{running, {status: 503, body: "{}"}, done}, 0, []string{"running", "succeeded, delivery delivered"}, 3 * time.Second},
		{"not a stream", []reply{{body: "<html>"}}, []reply{done}, 0, []string{"succeeded, delivery delivered"}, 0},
		{"no such run", nil, []reply{{status: 404, body: `{"detail":"none"}`}}, exitNotFound, nil, 0},
		{"no events for ever", []reply{stream("")}, nil, exitUnreachable, nil, 40 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				replies := map[string][]reply{}
				if tt.events != nil {
					replies["GET /api/cron/runs/"+runID+"/events"] = tt.events
				}
				if tt.runs != nil {
					replies["GET /api/cron/runs/"+runID] = tt.runs
				}
				b := setup(t, replies)
				start := time.Now()
				code := b.run(t.Context(), "run", "follow", runID)
				if took := time.Since(start); code != tt.code || took != tt.took {
					t.Errorf("exit code %d after %v: %s", code, took, b.stderr.String())
				}
				told, _, _ := strings.Cut(b.stdout.String(), "\n\n")
				var states []string
				for line := range strings.Lines(told) {
					if _, state, ok := strings.Cut(strings.TrimSpace(line), "14:00:00  "); ok {
						states = append(states, state)
					}
				}
				if !slices.Equal(states, tt.want) {
					t.Errorf("told %q", b.stdout.String())
				}
			})
		})
	}
}

func TestFollowAsJSON(t *testing.T) {
	running, done := run("running", "", ""), run("done", "failed", "")
	b := setup(t, map[string][]reply{"GET /api/cron/runs/" + runID + "/events": {stream(event(running) + event(done) + "event: end\ndata: {}\n\n")}})
	if code := b.run(t.Context(), "run", "follow", runID, "--json"); code != exitRunFailed || b.stdout.String() != running.body+"\n"+done.body+"\n" {
		t.Errorf("exit code %d: %s", code, b.stdout.String())
	}
}

// lossy loses the answers of the first calls that change something.
type lossy struct {
	http.RoundTripper
	lose  int
	after bool // the API had done its work
	err   error
	keys  []string
}

func (l *lossy) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet {
		return l.RoundTripper.RoundTrip(r)
	}
	l.keys = append(l.keys, r.Header.Get("Idempotency-Key"))
	if l.lose--; l.lose < 0 {
		return l.RoundTripper.RoundTrip(r)
	}
	if l.after {
		resp, err := l.RoundTripper.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		resp.Body.Close()
	}
	return nil, l.err
}

// TestLostAnswers: what makes something is sent once more, under the same key.
func TestLostAnswers(t *testing.T) {
	reset := errors.New("connection reset by peer")
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	for _, tt := range []struct {
		name    string
		command string
		lose    int
		err     error
		code    int
		calls   int
		doubt   bool
	}{
		{"nothing is lost", "job add @daily x", 0, reset, 0, 1, false},
		{"once", "job add @daily x", 1, reset, 0, 2, false},
		{"a run", "job run a", 1, reset, 0, 2, false},
		{"a message", "run redeliver a:1", 1, reset, 0, 2, false},
		{"twice", "job add @daily x", 2, reset, exitUnreachable, 2, true},
		{"it never arrived", "job add @daily x", 2, refused, exitUnreachable, 2, false},
		{"an edit", "job edit a --name n", 1, reset, exitUnreachable, 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, map[string][]reply{"POST /api/cron/jobs": one200(aJob), "POST /api/cron/jobs/a/run": one200(aJob), "PATCH /api/cron/jobs/a": one200(aJob),
					"POST /api/cron/runs/a:1/redeliver": one200(`{"id":"a:1","jobId":"a"}`)})
				l := &lossy{RoundTripper: client.Handler(b.api), lose: tt.lose, after: tt.err == reset, err: tt.err}
				b.options.Transport = l
				code := b.run(t.Context(), strings.Fields(tt.command)...)
				if code != tt.code || len(l.keys) != tt.calls || l.keys[0] != l.keys[len(l.keys)-1] {
					t.Errorf("exit code %d, keys %q: %s", code, l.keys, b.stderr.String())
				}
				if strings.Contains(b.stderr.String(), "Whether it was done is not known") != tt.doubt {
					t.Errorf("said %s", b.stderr.String())
				}
			})
		})
	}
	b := setup(t, map[string][]reply{"POST /api/cron/jobs": one200(aJob)})
	b.ok("job", "add", "@daily", "x")
	first := b.api.last().Header.Get("Idempotency-Key")
	b.ok("job", "add", "@daily", "x")
	if first == b.api.last().Header.Get("Idempotency-Key") {
		t.Error("two commands are two jobs")
	}
}
