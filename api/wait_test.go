package api_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/api"
	"github.com/gatewaycron/gatewaycron/internal/job"
)

// reading is what one look at a run finds.
type reading struct {
	run job.Run
	err error
}

// playedStore shows one run as it changes: each look gets the next reading, and the
// last one for ever.
type playedStore struct {
	*fakeStore
	mu       sync.Mutex
	readings []reading
	looks    int
	onLook   func(n int) // counted from 1
}

func (p *playedStore) Run(context.Context, string) (job.Run, error) {
	p.mu.Lock()
	p.looks++
	n := p.looks
	now, onLook := p.readings[min(n, len(p.readings))-1], p.onLook
	p.mu.Unlock()
	if onLook != nil {
		onLook(n)
	}
	return now.run, now.err
}

// play begins anew with other readings.
func (p *playedStore) play(readings ...reading) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readings, p.looks, p.onLook = readings, 0, nil
}

// played is the API over a played run of the job a.
func played(t *testing.T, readings []reading, change ...func(*api.Options)) (*bundle, *playedStore) {
	t.Helper()
	var p *playedStore
	b := setup(t, append([]func(*api.Options){func(o *api.Options) {
		p = &playedStore{fakeStore: o.Jobs.(*fakeStore), readings: readings}
		o.History = p
	}}, change...)...)
	b.seed("a")
	return b, p
}

const playedID = "a:manual:01JABCDE1"

func running() reading {
	return reading{run: job.Run{ID: playedID, JobID: "a", Trigger: job.TriggerManual, State: job.StateRunning}}
}

func ended(delivery job.DeliveryState) reading {
	return reading{run: job.Run{ID: playedID, JobID: "a", Trigger: job.TriggerManual, State: job.StateDone, Outcome: job.Succeeded,
		Reply: "two <lines>\nof it", DeliveryState: delivery}}
}

func TestWait(t *testing.T) {
	lost, unread := reading{err: job.ErrNotFound}, reading{err: errors.New("lost in transit")}
	const post, get = "POST /api/cron/jobs/a/run", "GET /api/cron/runs/" + playedID
	for _, tt := range []struct {
		name, request string
		readings      []reading
		status        int
		state         any           // of the answer; nil is a job's
		took          time.Duration // by the clock of the test
	}{
		{"the run ends at once", post, []reading{ended("pending")}, http.StatusOK, "done", 250 * time.Millisecond},
		{"the run ends", post, []reading{running(), running(), ended("pending")}, http.StatusOK, "done", 1750 * time.Millisecond},
		{"the run does not end", post, []reading{running()}, http.StatusAccepted, nil, 10 * time.Second},
		{"a reading fails", post, []reading{running(), unread, ended("")}, http.StatusOK, "done", 1750 * time.Millisecond},
		{"every reading fails", post, []reading{unread}, http.StatusAccepted, nil, 10 * time.Second},
		{"its record is gone", post, []reading{running(), lost}, http.StatusAccepted, nil, 750 * time.Millisecond},

		{"read, ended", get, []reading{ended("pending")}, http.StatusOK, "done", 0},
		{"read, ends", get, []reading{running(), ended("")}, http.StatusOK, "done", 250 * time.Millisecond},
		{"read, does not end", get, []reading{running()}, http.StatusOK, "running", 10 * time.Second},
		{"read, then gone", get, []reading{running(), lost}, http.StatusOK, "running", 250 * time.Millisecond},
		{"read, later readings fail", get, []reading{running(), unread}, http.StatusOK, "running", 10 * time.Second},
		{"read, unknown", get, []reading{lost}, http.StatusNotFound, nil, 0},
		{"read, the first reading fails", get, []reading{unread}, http.StatusInternalServerError, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _ := played(t, tt.readings)
				method, path, _ := strings.Cut(tt.request, " ")
				start := time.Now()
				a := b.call(method, path+"?wait=10", "").want(tt.status)
				if took := time.Since(start); took != tt.took {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
				if a.body["state"] != tt.state {
					t.Errorf("state %v, want %v", a.body["state"], tt.state)
				}
				if tt.request == post && (a.body["runId"] != playedID || a.header.Get("Location") != "/api/cron/runs/"+playedID) {
					t.Errorf("the run is not named: %v %s", a.header, a.raw)
				}
			})
		})
	}
}

// TestWaitOutlastsTheTimeOfOtherRequests: the longest wait, and a store that is slow.
func TestWaitOutlastsTheTimeOfOtherRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, p := played(t, []reading{running()})
		p.onLook = func(n int) {
			if n == 60 {
				p.play(ended(""))
			}
		}
		start := time.Now()
		a := b.call("GET", "/api/cron/runs/"+playedID+"?wait=60", "").want(http.StatusOK)
		if took := time.Since(start); a.body["state"] != "done" || took < 50*time.Second {
			t.Errorf("after %v: %s", took, a.raw)
		}
	})
}

func TestBadWaits(t *testing.T) {
	for _, query := range []string{"wait=0", "wait=61", "wait=-1", "wait=1.5", "wait=30s", "wait=", "wait", "wait=1&wait=2", "wiat=5", "wait=5&x=1", "wait=%zz"} {
		for _, request := range []string{"POST /api/cron/jobs/a/run", "GET /api/cron/runs/" + playedID} {
			t.Run(request+"?"+query, func(t *testing.T) {
				b, p := played(t, []reading{running()})
				method, path, _ := strings.Cut(request, " ")
				b.call(method, path+"?"+query, "").want(http.StatusBadRequest)
				if len(b.store.calls) > 0 || p.looks > 0 {
					t.Errorf("the store was asked to %v, and %d times for the run", b.store.calls, p.looks)
				}
			})
		}
	}
}

// TestWaitsEndEarly: with their client, and with the server.
func TestWaitsEndEarly(t *testing.T) {
	for _, request := range []string{"POST /api/cron/jobs/a/run?wait=60", "GET /api/cron/runs/" + playedID + "?wait=60", "GET /api/cron/runs/" + playedID + "/events"} {
		for _, cause := range []string{"the client goes", "the server stops"} {
			t.Run(cause+" "+request, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, goAway := context.WithCancel(t.Context())
					defer goAway()
					stopping := make(chan struct{})
					b, p := played(t, []reading{running()}, func(o *api.Options) { o.Stopping, o.MaxLasting = stopping, 1 })
					p.onLook = func(n int) {
						switch {
						case n != 5:
						case cause == "the client goes":
							goAway()
						default:
							close(stopping)
						}
					}
					method, target, _ := strings.Cut(request, " ")
					r := httptest.NewRequestWithContext(ctx, method, target, nil)
					r.Host = "127.0.0.1"
					w := httptest.NewRecorder()
					b.handler.ServeHTTP(w, r)
					if p.looks != 5 {
						t.Errorf("%d looks at the run, want 5", p.looks)
					}
					if strings.Contains(w.Body.String(), "event: end") {
						t.Errorf("a stream that was broken off says that it ended: %s", w.Body)
					}
					p.play(ended("")) // the place is free again
					b.call("GET", "/api/cron/runs/"+playedID+"?wait=1", "").want(http.StatusOK)
				})
			})
		}
	}
}

// TestWaitsEndWithTheirToken: at once where it is revoked, and within 10 s elsewhere; those
// of others go on.
func TestWaitsEndWithTheirToken(t *testing.T) {
	for _, request := range []string{"POST /api/cron/jobs/a/run?wait=60", "GET /api/cron/runs/" + playedID + "?wait=60", "GET /api/cron/runs/" + playedID + "/events"} {
		for where, most := range map[string]time.Duration{"here": 0, "elsewhere": 10 * time.Second} {
			t.Run(where+" "+request, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := &lockedTokens{}
					b, p := played(t, []reading{running()}, withTokens(&f.fakeTokens, "s3cret"), func(o *api.Options) { o.Tokens, o.Now = f, time.Now })
					f.fakeTokens.tokens["gct_b"] = job.Token{ID: "idb", Name: "other", AgentID: "a"}
					ask := func(token string) <-chan *httptest.ResponseRecorder {
						done := make(chan *httptest.ResponseRecorder, 1)
						method, target, _ := strings.Cut(request, " ")
						r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
						r.Host = "127.0.0.1"
						r.Header.Set("Authorization", "Bearer "+token)
						go func() {
							w := httptest.NewRecorder()
							b.handler.ServeHTTP(w, r)
							done <- w
						}()
						return done
					}
					revoked, other := ask("gct_a"), ask("gct_b")
					<-time.After(20*time.Second + 400*time.Millisecond) // between two looks
					start := time.Now()
					if where == "here" {
						b.call("DELETE", "/api/cron/tokens/ida", "", as("s3cret")).want(http.StatusOK)
					} else if _, err := f.RevokeToken(t.Context(), "ida"); err != nil {
						t.Fatal(err)
					}
					var w *httptest.ResponseRecorder
					select {
					case w = <-revoked:
					case <-time.After(30 * time.Second):
						t.Error("it goes on")
						p.play(ended(""))
						<-revoked
						<-other
						return
					}
					if took := time.Since(start); took > most {
						t.Errorf("it ended %s after its token", took)
					}
					if stream := strings.HasSuffix(request, "/events"); !stream && w.Code != http.StatusUnauthorized || strings.Contains(w.Body.String(), "event: end") {
						t.Errorf("%d %s", w.Code, w.Body)
					}
					if len(other) != 0 {
						t.Error("the wait of another ended too")
					}
					p.play(ended(""))
					<-other
				})
			})
		}
	}
}

// lockedTokens are tokens that several requests ask for.
type lockedTokens struct {
	mu sync.Mutex
	fakeTokens
}

func (f *lockedTokens) Token(ctx context.Context, secret string) (job.Token, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fakeTokens.Token(ctx, secret)
}

func (f *lockedTokens) RevokeToken(ctx context.Context, id string) (job.Token, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fakeTokens.RevokeToken(ctx, id)
}

func TestNoMoreWaitsThanMayBe(t *testing.T) {
	b, p := played(t, []reading{running()}, func(o *api.Options) { o.MaxLasting = 1 })
	waiting, goOn := make(chan struct{}), make(chan struct{})
	p.onLook = func(n int) {
		if n == 2 {
			close(waiting)
			<-goOn
		}
	}
	done := make(chan answer)
	go func() { done <- b.call("GET", "/api/cron/runs/"+playedID+"?wait=60", "") }()
	<-waiting

	for _, request := range []string{"POST /api/cron/jobs/a/run?wait=1", "GET /api/cron/runs/" + playedID + "?wait=1", "GET /api/cron/runs/" + playedID + "/events"} {
		method, path, _ := strings.Cut(request, " ")
		a := b.call(method, path, "").want(http.StatusTooManyRequests)
		if a.header.Get("Retry-After") == "" || !strings.Contains(a.raw, "nothing was done") {
			t.Errorf("%s: %v %s", request, a.header, a.raw)
		}
	}
	if slices.Contains(b.store.calls, "run a") {
		t.Error("a run was started for a client that was turned away")
	}
	b.call("POST", "/api/cron/jobs/a/run", "").want(http.StatusAccepted)
	b.call("GET", "/api/cron/runs/"+playedID, "").want(http.StatusOK)

	p.play(ended(""))
	close(goOn)
	(<-done).want(http.StatusOK)
	b.call("POST", "/api/cron/jobs/a/run?wait=60", "").want(http.StatusOK)
}

// stream asks for the events of the played run and answers the whole stream.
func (b *bundle) stream(method string) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequestWithContext(b.t.Context(), method, "/api/cron/runs/"+playedID+"/events", nil)
	r.Host = "127.0.0.1"
	r.Header.Set("Last-Event-ID", "7\u00e4")
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	return w
}

func TestEvents(t *testing.T) {
	waiting, alert := running(), ended("not_requested")
	waiting.run.State, waiting.run.Attempts = job.StateWaiting, []job.Attempt{{N: 1, StartedAt: 1, EndedAt: 2, Result: job.ResultFailed}}
	alert.run.Outcome = job.Failed
	alert.run.Deliveries = []job.Delivery{{N: 1, Kind: job.KindAlert, State: job.DeliveryPending}}
	sent := alert
	sent.run.Deliveries = []job.Delivery{{N: 1, Kind: job.KindAlert, State: job.DeliveryDelivered}}
	unread := reading{err: errors.New("lost in transit")}

	for _, tt := range []struct {
		name     string
		readings []reading
		want     []string // a few words of each event
	}{
		{"ended long ago", []reading{ended("delivered")}, []string{`"delivery":"delivered"`, "end"}},
		{"a slot that did not run", []reading{ended("")}, []string{`"state":"done"`, "end"}},
		{"only changes are told", []reading{running(), running(), running(), ended("delivered")}, []string{`"running"`, `"delivered"`, "end"}},
		{"a retry", []reading{running(), waiting, running(), ended("suppressed")}, []string{`"running"`, `"waiting"`, `"running"`, `"suppressed"`, "end"}},
		{"a delivery after the end", []reading{running(), ended("pending"), ended("pending"), ended("unknown")}, []string{`"running"`, `"pending"`, `"unknown"`, "end"}},
		{"an alert after the end", []reading{alert, sent}, []string{`"state":"pending"`, `"state":"delivered"`, "end"}},
		{"readings fail", []reading{running(), unread, unread, ended("failed")}, []string{`"running"`, `"delivery":"failed"`, "end"}},
		{"its record goes", []reading{ended("pending"), {err: job.ErrNotFound}}, []string{`"pending"`, "end"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _ := played(t, tt.readings)
				w := b.stream("GET")
				if h := w.Header(); w.Code != http.StatusOK || h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "no-store" {
					t.Errorf("%d %v", w.Code, h)
				}
				var got []string
				for event := range strings.SplitSeq(strings.TrimSuffix(w.Body.String(), "\n\n"), "\n\n") {
					if event == "event: end\ndata: {}" {
						got = append(got, "end")
						continue
					}
					data, ok := strings.CutPrefix(event, "event: run\ndata: ")
					if i := len(got); !ok || strings.Contains(data, "\n") || i >= len(tt.want) || !strings.Contains(data, tt.want[i]) {
						t.Errorf("event %q", event)
						got = append(got, event)
						continue
					}
					got = append(got, tt.want[len(got)])
				}
				if d := cmp.Diff(tt.want, got); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

func TestEventsOfNothing(t *testing.T) {
	b, p := played(t, []reading{{err: job.ErrNotFound}})
	b.call("GET", "/api/cron/runs/"+playedID+"/events", "").want(http.StatusNotFound)
	b.call("GET", "/api/cron/runs/a/events", "").want(http.StatusNotFound)
	p.play(running()) // a HEAD must not last
	if w := b.stream("HEAD"); w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/event-stream" || p.looks != 1 {
		t.Errorf("HEAD: %d %v after %d looks", w.Code, w.Header(), p.looks)
	}
}

func TestASilentStreamGivesSignsOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		readings := slices.Repeat([]reading{running()}, 100)
		for i := range 40 {
			readings[i+30].err = errors.New("lost in transit") // an outage must not make it silent
		}
		b, _ := played(t, append(readings, ended("")))
		w := b.stream("GET")
		if n := strings.Count(w.Body.String(), ": still here\n\n"); n != 6 { // in 99 seconds
			t.Errorf("%d signs of life: %s", n, w.Body)
		}
	})
}

// TestOverARealConnection: the events come one by one, a wait outlasts the server's read
// timeout, and a client that leaves ends what it asked for.
func TestOverARealConnection(t *testing.T) {
	b, p := played(t, []reading{running()}, func(o *api.Options) { o.MaxLasting = 1 })
	server := httptest.NewUnstartedServer(b.handler)
	server.Config.ReadTimeout = 100 * time.Millisecond
	server.Start()
	defer server.Close()
	ask := func(ctx context.Context, method, path string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, method, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return res
	}
	const events = "/api/cron/runs/" + playedID + "/events"

	res := ask(t.Context(), "GET", events)
	lines := bufio.NewScanner(res.Body)
	next := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "data:") {
				break
			}
		}
		if !strings.Contains(lines.Text(), want) {
			t.Fatalf("got %q, want %s: %v", lines.Text(), want, lines.Err())
		}
	}
	next(`"running"`)
	p.play(ended("pending"))
	next(`"pending"`)
	p.play(ended("delivered"))
	next(`"delivered"`)
	next("{}")
	if lines.Scan(); lines.Scan() || lines.Err() != nil {
		t.Errorf("the stream goes on: %q %v", lines.Text(), lines.Err())
	}

	p.play(running(), running(), running(), ended(""))
	body, err := io.ReadAll(ask(t.Context(), "POST", "/api/cron/jobs/a/run?wait=60").Body)
	if err != nil || !strings.Contains(string(body), `"done"`) {
		t.Errorf("waited for: %s %v", body, err)
	}

	p.play(running())
	for _, request := range []string{"GET " + events, "POST /api/cron/jobs/a/run?wait=60"} {
		ctx, leave := context.WithCancel(t.Context())
		looked := make(chan struct{})
		p.mu.Lock()
		p.onLook = func(n int) {
			if n == 2 {
				close(looked)
			}
		}
		p.mu.Unlock()
		method, path, _ := strings.Cut(request, " ")
		r, err := http.NewRequestWithContext(ctx, method, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			if res, err := server.Client().Do(r); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		}()
		<-looked
		leave()
		<-gone
		p.play(ended(""))
		for { // until the server has noticed
			if res := ask(t.Context(), "GET", events); res.StatusCode == http.StatusOK {
				_, _ = io.Copy(io.Discard, res.Body)
				break
			}
		}
		p.play(running())
	}
}
