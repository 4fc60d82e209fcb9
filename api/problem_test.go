package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/gatewaycron/gatewaycron/api"
	"github.com/gatewaycron/gatewaycron/internal/job"
)

var errUnknown = errors.New("password of the inside")

func TestErrorsOfTheStore(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		status int
		logged string
	}{
		{"not found", job.ErrNotFound, http.StatusNotFound, ""},
		{"exists", job.ErrExists, http.StatusConflict, ""},
		{"conflict", job.ErrConflict, http.StatusConflict, ""},
		{"too many", job.ErrTooMany, http.StatusTooManyRequests, ""},
		{"paused", job.ErrPaused, http.StatusConflict, ""},
		{"ended", job.ErrEnded, http.StatusConflict, ""},
		{"unfinished", job.ErrUnfinished, http.StatusConflict, ""},
		{"no reply", job.ErrNoReply, http.StatusConflict, ""},
		{"no target", job.ErrNoTarget, http.StatusConflict, ""},
		{"another's job", job.ErrForeign, http.StatusConflict, ""},
		{"too often", job.ErrTooOften, http.StatusConflict, ""},
		{"newer", job.ErrNewerVersion, http.StatusConflict, ""},
		{"invalid", &job.InvalidError{Problems: []job.Problem{{Field: "cursor", Detail: "is none of ours"}}}, http.StatusBadRequest, ""},
		{"deadline", context.DeadlineExceeded, http.StatusServiceUnavailable, "level=WARN"},
		{"refused", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, http.StatusServiceUnavailable, "level=WARN"},
		{"dropped", io.EOF, http.StatusServiceUnavailable, "level=WARN"},
		{"unknown", errUnknown, http.StatusInternalServerError, "level=ERROR"},
	} {
		for _, request := range []string{
			"POST /api/cron/jobs", "GET /api/cron/jobs", "GET /api/cron/jobs/a", "PATCH /api/cron/jobs/a", "DELETE /api/cron/jobs/a",
			"POST /api/cron/jobs/a/run", "POST /api/cron/jobs/a/pause", "POST /api/cron/jobs/a/resume", "GET /api/cron/jobs/a/runs", "GET /api/cron/runs/a:1", "GET /api/cron/runs/a:1/events",
			"POST /api/cron/runs/a:1/cancel", "POST /api/cron/runs/a:1/redeliver", "GET /api/sessions/a",
			"GET /api/cron/status", "POST /api/cron/all/pause", "POST /api/cron/all/resume",
		} {
			t.Run(tt.name+" "+request, func(t *testing.T) {
				b := setup(t)
				b.store.err = tt.err
				method, path, _ := strings.Cut(request, " ")
				body := ""
				if request == "POST /api/cron/jobs" || method == "PATCH" {
					body = `{"schedule":"0 9 * * 1-5","task":"x"}`
				}
				a := b.call(method, path, body).want(tt.status)
				if strings.Contains(a.raw, "password") || strings.Contains(a.raw, "refused") {
					t.Errorf("the inside is shown: %s", a.raw)
				}
				if retry := a.header.Get("Retry-After"); (retry == "1") != (tt.status == http.StatusServiceUnavailable) {
					t.Errorf("Retry-After = %q", retry)
				}
				if lines := strings.Count(b.log.String(), "\n"); lines > 1 || (lines == 1) != (tt.logged != "") || !strings.Contains(b.log.String(), tt.logged) {
					t.Errorf("log: %s", b.log)
				}
				if tt.status == http.StatusInternalServerError {
					id, _ := a.body["requestId"].(string)
					if id == "" || id != a.header.Get("X-Request-ID") || !strings.Contains(b.log.String(), id) {
						t.Errorf("the request id %q does not lead to the log: %s", id, b.log)
					}
				}
			})
		}
	}
}

// hangingStore never answers before the caller gives up.
type hangingStore struct{ *fakeStore }

func (hangingStore) Job(ctx context.Context, _ string) (job.Job, error) {
	<-ctx.Done()
	return job.Job{}, ctx.Err()
}

func TestAHangingStoreIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, func(o *api.Options) {
			o.Jobs = hangingStore{}
			o.Ready = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		})
		b.call("GET", "/api/cron/jobs/a", "").want(http.StatusServiceUnavailable)
		b.call("GET", "/readyz", "").want(http.StatusServiceUnavailable)
	})
}

func TestAClientThatWentAwayIsNotLogged(t *testing.T) {
	b := setup(t)
	b.store.err = context.Canceled
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(gone, "GET", "http://localhost/api/cron/jobs", nil)
	b.handler.ServeHTTP(httptest.NewRecorder(), r)
	if b.log.Len() > 0 {
		t.Errorf("log: %s", b.log)
	}
}

func TestAPanicIsOneFailedRequest(t *testing.T) {
	b := setup(t, func(o *api.Options) { o.CheckTarget = func(job.Target) []job.Problem { panic("a defect") } })
	a := b.call("POST", "/api/cron/jobs", `{"schedule":"0 9 * * 1-5","task":"x","channel":"telegram","chatId":"1"}`).want(http.StatusInternalServerError)
	if strings.Contains(a.raw, "defect") || !strings.Contains(b.log.String(), "panic: a defect") {
		t.Errorf("answer: %s\nlog: %s", a.raw, b.log)
	}
	b.call("GET", "/api/cron/jobs", "").want(http.StatusOK)
}

func TestTheServersOwnPanicPasses(t *testing.T) {
	b := setup(t, func(o *api.Options) {
		o.CheckTarget = func(job.Target) []job.Problem { panic(http.ErrAbortHandler) }
	})
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("recovered %v", v)
		}
	}()
	b.call("POST", "/api/cron/jobs", `{"schedule":"0 9 * * 1-5","task":"x","channel":"telegram","chatId":"1"}`)
	t.Error("the handler went on")
}

func TestHealthNeedsNothing(t *testing.T) {
	for _, token := range []string{"", "secret"} {
		b := setup(t, func(o *api.Options) { o.Token, o.Jobs, o.History, o.Sessions, o.Ready = token, nil, nil, nil, nil })
		a := b.call("GET", "/health", "", host("gateway.example"), header("Origin", "https://app.example"), header("Sec-Fetch-Site", "cross-site")).want(http.StatusOK)
		if strings.TrimSpace(a.raw) != `{"status":"ok","version":"1.2.3"}` || a.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("answer: %s %v", a.raw, a.header)
		}
	}
}

func TestReadiness(t *testing.T) {
	b := setup(t, func(o *api.Options) { o.Token = "secret" })
	b.call("GET", "/readyz", "", host("10.1.2.3:19790")).want(http.StatusOK)
	for err, detail := range map[error]string{
		errUnknown: "Not ready.",
		fmt.Errorf("password: %w", context.DeadlineExceeded): "Not ready: the store cannot be reached at the moment.",
		fmt.Errorf("password: %w", job.ErrStoreFull):         "Not ready: the store takes no changes: the memory or the disk of Redis is full (gateway-cron doctor says which).",
	} {
		b.store.err = err
		a := b.call("GET", "/readyz", "").want(http.StatusServiceUnavailable)
		if a.body["detail"] != detail || strings.Contains(a.raw, "password") {
			t.Errorf("answer: %s", a.raw)
		}
	}
	if !strings.Contains(b.log.String(), "password of the inside") {
		t.Errorf("the log does not say why: %s", b.log)
	}
}

// TestADetailSaysWhatWorks shows the answers to common mistakes as a model sees
// them.
func TestADetailSaysWhatWorks(t *testing.T) {
	for body, want := range map[string]string{
		`{"schedule":"0 9 * * 1-5"}`:                                                                  `Not accepted: task is required: the text the agent is given at each run, for example "Summarise my unread mail".`,
		`{"schedule":"0 9 * * 1-5","task":"x","max_runs":0}`:                                          `Not accepted: max_runs must be a whole number from 1 to 1000000, not 0, for example 1.`,
		`{"schedule":"0 9 * * 1-5","task":"x","retries":1,"chat":"1","is_group":"yes","maxRuns":"2"}`: `Not accepted: retries is not a field here; leave it out, for example {"schedule":"0 9 * * 1-5","timezone":"Europe/Berlin","task":"Summarise my unread mail"}; chat is not a field here (did you mean chatId?), for example "123456"; is_group must be true or false without quotes, not a string, for example true; and 1 more.`,
	} {
		a := setup(t).call("POST", "/api/cron/jobs", body).want(http.StatusBadRequest)
		if a.body["detail"] != want {
			t.Errorf("detail of %s\n got %s\nwant %s", body, a.body["detail"], want)
		}
	}
}
