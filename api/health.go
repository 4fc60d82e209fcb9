package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/gatewaycron/gatewaycron/internal/health"
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

// unhealthyError is a failure to read how the deployment stands, with what is known.
type unhealthyError struct {
	report health.Report
	err    error
}

func (e *unhealthyError) Error() string { return e.err.Error() }
func (e *unhealthyError) Unwrap() error { return e.err }

// readyz says whether requests can be served now; with full=true, whether the deployment
// works: 503 if it is failing. Everybody may ask that, and learns states and codes; the
// administrator, what they mean.
func (s *server) readyz(w http.ResponseWriter, r *http.Request) error {
	// Of other parameters a probe may have as many as it likes.
	if full := r.URL.Query()["full"]; len(full) > 0 {
		switch full[0] {
		case "true":
			return s.fullyReady(w, r)
		case "false":
		default:
			return invalid("full", "must be true or false", "full=true")
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		return &notReadyError{err}
	}
	return writeJSON(w, http.StatusOK, struct {
		Status string `json:"status"`
	}{"ready"})
}

// errFailing says that the deployment is failing.
var errFailing = errors.New("the deployment is failing")

// fullyReady says how the deployment stands.
func (s *server) fullyReady(w http.ResponseWriter, r *http.Request) error {
	report := s.Deployment.Health(r.Context())
	if !s.isAdministrator(r) {
		report = report.Outline()
	}
	if report.State == health.Failing {
		return &unhealthyError{report, errFailing}
	}
	return writeJSON(w, http.StatusOK, struct {
		Status string     `json:"status"`
		Health healthView `json:"health"`
	}{"ready", viewOfHealth(report)})
}
