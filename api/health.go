package api

import (
	"context"
	"net/http"
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
