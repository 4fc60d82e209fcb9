package alert_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/alert"
)

// TestHeartbeat: the leader calls, with /fail while the deployment is in trouble, or while
// nobody can tell; who does not lead is silent.
func TestHeartbeat(t *testing.T) {
	var (
		leads, away, failing atomic.Bool
		refuse               atomic.Bool
		log                  logBuffer
	)
	calls := make(chan string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse.Load() {
			w.WriteHeader(http.StatusNotFound)
		}
		select {
		case calls <- r.Method + " " + r.URL.String():
		case <-t.Context().Done():
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	h, err := alert.NewHeartbeat(alert.HeartbeatOptions{URL: server.URL + "/s3cret?x=1", Every: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Leads: func(context.Context) (bool, error) {
			if away.Load() {
				return false, errors.New("redis is away")
			}
			return leads.Load(), nil
		},
		Failing: func(context.Context) bool { return failing.Load() }})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	// next is a call that began after what was just changed.
	next := func() string { <-calls; <-calls; return <-calls }

	const well, bad = "GET /s3cret?x=1", "GET /s3cret/fail?x=1"
	leads.Store(true)
	if got := next(); got != well {
		t.Errorf("called %s", got)
	}
	failing.Store(true)
	if got := next(); got != bad {
		t.Errorf("in trouble, called %s", got)
	}
	failing.Store(false)
	away.Store(true)
	if got := next(); got != bad {
		t.Errorf("without redis, called %s", got)
	}
	away.Store(false)
	if got := next(); got != well {
		t.Errorf("well again, called %s", got)
	}
	refuse.Store(true)
	next()
	cancel()
	must(t, <-done)
	if text := log.String(); strings.Contains(text, "s3cret") || strings.Count(text, "heartbeat not heard") != 1 {
		t.Errorf("log %s", text)
	}
}

func TestNoHeartbeatWithoutALead(t *testing.T) {
	asked := make(chan struct{}, 100)
	h, err := alert.NewHeartbeat(alert.HeartbeatOptions{URL: "http://127.0.0.1:1/x", Every: time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		Leads: func(context.Context) (bool, error) {
			select {
			case asked <- struct{}{}:
			default:
			}
			return false, nil
		},
		Failing: func(context.Context) bool { t.Error("called"); return false }})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	for range 5 {
		<-asked
	}
	cancel()
	must(t, <-done)
	for _, url := range []string{"watch.example", "unix:///x", ""} {
		if _, err := alert.NewHeartbeat(alert.HeartbeatOptions{URL: url}); err == nil {
			t.Errorf("%q is accepted", url)
		}
	}
}
