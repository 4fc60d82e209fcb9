package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

func TestUpcomingOnTheWire(t *testing.T) {
	b := setup(t)
	if got := b.call("GET", "/api/cron/upcoming", "").want(http.StatusOK).raw; strings.TrimSpace(got) != `{"upcoming":[]}` {
		t.Errorf("nothing ahead: %s", got)
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	b.store.upcoming = job.Upcoming{Now: nowMillis, Paused: true, Slots: []job.UpcomingSlot{
		{JobID: "morning", Name: "Morning", At: slotMillis, Due: slotMillis + 45_000, Zone: berlin, Description: "At 09:00 on weekdays"},
		{JobID: "bare", At: slotMillis, Due: slotMillis, Zone: time.UTC, Description: "Every hour"},
	}}
	want := map[string]any{"paused": true, "upcoming": []any{
		map[string]any{"jobId": "morning", "name": "Morning", "at": float64(slotMillis), "dueAt": float64(slotMillis + 45_000),
			"local": "2026-03-30T09:00:00+02:00", "timezone": "Europe/Berlin", "description": "At 09:00 on weekdays"},
		map[string]any{"jobId": "bare", "at": float64(slotMillis), "local": "2026-03-30T07:00:00Z", "timezone": "UTC", "description": "Every hour"},
	}}
	if d := cmp.Diff(want, b.call("GET", "/api/cron/upcoming?limit=2&within=3600", "").want(http.StatusOK).body); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"upcoming 0s", "upcoming 1h0m0s"}, b.store.calls); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]int{20, 2}, b.store.limits); d != "" {
		t.Error(d)
	}
}

func TestBadParametersOfUpcoming(t *testing.T) {
	for query, detail := range map[string]string{
		"limit=101":       "limit must be a whole number from 1 to 100, for example 20",
		"within=1h":       "within must be a whole number from 1 to 31622400, for example 86400",
		"within=31622401": "within must be a whole number from 1 to 31622400, for example 86400",
		"horizon=5":       "horizon is not a parameter here (did you mean within?), for example within=86400",
		"cursor=5":        "cursor is not a parameter here; there is limit and within, for example limit=20",
	} {
		b := setup(t)
		a := b.call("GET", "/api/cron/upcoming?"+query, "").want(http.StatusBadRequest)
		if a.body["detail"] != "Not accepted: "+detail+"." || len(b.store.calls) > 0 {
			t.Errorf("%s: %s", query, a.raw)
		}
	}
}
