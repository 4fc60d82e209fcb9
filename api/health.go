package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"
)

// health says that the process is up. It needs nothing, so that it answers at
// once whatever else is down, and any page may read it: the desktop's onboarding
// looks for a gateway from a browser.
func (s *server) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	_ = writeJSON(w, http.StatusOK, struct { // two strings always encode
		Status  string `json:"status"`
		Version string `json:"version,omitempty"`
	}{"ok", s.Version})
}

// notReadyError hides the inside of a failed readiness check from the client
// while the log keeps it.
type notReadyError struct{ err error }

func (e *notReadyError) Error() string { return "not ready: " + e.err.Error() }
func (e *notReadyError) Unwrap() error { return e.err }

// readyz says whether requests can be served now.
func (s *server) readyz(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		return &notReadyError{err}
	}
	return writeJSON(w, http.StatusOK, struct {
		Status string `json:"status"`
	}{"ready"})
}

// Starting returns the handler of a process whose parts do not stand yet: /health is
// served, and everything else turned away as the API does.
func Starting(version string, logger *slog.Logger) http.Handler {
	errStarting := errors.New("starting")
	probes := New(Options{Version: version, Now: time.Now, Logger: logger,
		Ready: func(context.Context) error { return errStarting }})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" || r.URL.Path == "/readyz" {
			probes.ServeHTTP(w, r)
			return
		}
		p := toProblem(&apiError{status: http.StatusServiceUnavailable, detail: "Gateway Cron is starting; send the request again in a second."})
		w.Header().Set("Retry-After", "1")
		_ = writeBody(w, p.Status, "application/problem+json", p) // a problem always encodes
	})
}
