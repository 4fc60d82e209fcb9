package api_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

func TestCancelAndRedeliver(t *testing.T) {
	const path = "/api/cron/runs/"
	for _, tt := range []struct {
		name, request, body string
		status              int
		field, want         string // of the answer
		asked               string // of the store; "" is nothing
	}{
		{"cancel", "a:1/cancel", "", http.StatusOK, "outcome", "cancelled", "cancel a:1"},
		{"cancel, with an empty object", "a%3A1/cancel", "{}", http.StatusOK, "reason", "requested", "cancel a:1"},
		{"cancel what has ended", "a:2/cancel", "", http.StatusConflict, "detail", "The run has ended already; there is nothing left to cancel.", "cancel a:2"},
		{"cancel nothing", "a:3/cancel", "", http.StatusNotFound, "", "", "cancel a:3"},
		{"cancel what can be no run", "a/cancel", "", http.StatusNotFound, "", "", ""},
		{"cancel with a word too many", "a:1/cancel", `{"force":true}`, http.StatusBadRequest, "", "", ""},
		{"redeliver", "a:2/redeliver", "", http.StatusAccepted, "delivery", "pending", "redeliver a:2"},
		{"redeliver without a reply", "a:1/redeliver", "", http.StatusConflict, "detail", "The run has no reply to deliver.", "redeliver a:1"},
		{"redeliver nothing", "a:3/redeliver", "", http.StatusNotFound, "", "", "redeliver a:3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t)
			b.store.runs["a"] = []job.Run{
				{ID: "a:1", JobID: "a", State: job.StateRunning},
				{ID: "a:2", JobID: "a", State: job.StateDone, Outcome: job.Succeeded, Reply: "hello", DeliveryState: job.DeliveryFailed},
			}
			a := b.call("POST", path+tt.request, tt.body).want(tt.status)
			if tt.field != "" && a.body[tt.field] != tt.want {
				t.Errorf("%s is %v, want %q", tt.field, a.body[tt.field], tt.want)
			}
			if asked := slices.Contains(b.store.calls, tt.asked); asked != (tt.asked != "") {
				t.Errorf("asked of the store: %q", b.store.calls)
			}
		})
	}
}
