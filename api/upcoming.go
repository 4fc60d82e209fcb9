package api

import (
	"net/http"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

const (
	defaultUpcoming = 20
	maxUpcoming     = 100
	// maxWithinSeconds is how far ahead a client may bound the answer.
	maxWithinSeconds = 366 * 24 * 3600
)

// upcomingView is what comes next over all jobs.
type upcomingView struct {
	Upcoming []slotView `json:"upcoming"`
	// Paused says that everything is: what comes due meanwhile is skipped.
	Paused bool `json:"paused,omitempty"`
}

// slotView is a slot that lies ahead. Times are epoch milliseconds, Local is RFC 3339.
type slotView struct {
	JobID string     `json:"jobId"`
	Name  string     `json:"name,omitempty"`
	At    job.Millis `json:"at"`
	// DueAt is when the slot is due, where jitter puts it off.
	DueAt       job.Millis `json:"dueAt,omitempty"`
	Local       string     `json:"local"`
	Timezone    string     `json:"timezone"`
	Description string     `json:"description"`
}

func (s *server) upcoming(w http.ResponseWriter, r *http.Request) error {
	limit, within := defaultUpcoming, 0
	err := readParams(r,
		countParam("limit", maxUpcoming, "20", &limit),
		countParam("within", maxWithinSeconds, "86400", &within))
	if err != nil {
		return err
	}
	found, err := s.Find.Upcoming(r.Context(), time.Duration(within)*time.Second, limit)
	if err != nil {
		return err
	}
	v := upcomingView{Upcoming: make([]slotView, len(found.Slots)), Paused: found.Paused}
	for i, slot := range found.Slots {
		v.Upcoming[i] = slotView{JobID: slot.JobID, Name: slot.Name, At: slot.At, Local: slot.At.Time().In(slot.Zone).Format(time.RFC3339),
			Timezone: slot.Zone.String(), Description: slot.Description}
		if slot.Due != slot.At {
			v.Upcoming[i].DueAt = slot.Due
		}
	}
	return writeJSON(w, http.StatusOK, v)
}
