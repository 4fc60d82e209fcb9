package outcome

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/wire"
)

func TestRefused(t *testing.T) {
	now := time.Date(2027, 3, 28, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		status int
		after  string
		kind   Kind
		wait   time.Duration
	}{
		{301, "", Permanent, 0},
		{400, "", Permanent, 0},
		{404, "9", Permanent, 0},
		{408, "", Retryable, 0},
		{429, "", RateLimited, 0},
		{429, "9", RateLimited, 9 * time.Second},
		{429, "Sun, 28 Mar 2027 12:00:30 GMT", RateLimited, 30 * time.Second},
		{500, "9", Retryable, 0},
		{503, "", Retryable, 0},
		{503, "9", RateLimited, 9 * time.Second},
	} {
		header := http.Header{}
		if tt.after != "" {
			header.Set("Retry-After", tt.after)
		}
		if kind, wait := Refused(wire.Answer{Status: tt.status, Header: header}, now); kind != tt.kind || wait != tt.wait {
			t.Errorf("%d after %q: %s, %s", tt.status, tt.after, kind, wait)
		}
	}
}

func TestUnanswered(t *testing.T) {
	for sent, want := range map[bool]Kind{true: Ambiguous, false: Retryable} {
		if kind := Unanswered(&wire.Failure{Sent: sent, Err: errors.New("cut")}); kind != want {
			t.Errorf("sent is %v: %s", sent, kind)
		}
	}
}
