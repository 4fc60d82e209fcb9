package api

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// goneName is how much of the name of a job that is gone a sentence has.
const goneName = 80

// endedView is a job that has had its runs and is gone, for as long as its history is kept.
type endedView struct {
	ID          string            `json:"id"`
	Name        string            `json:"name,omitempty"`
	Runs        int               `json:"runs"`
	MaxRuns     int               `json:"maxRuns"`
	LastRunID   string            `json:"lastRunId"`
	LastOutcome job.Outcome       `json:"lastOutcome"`
	Delivery    job.DeliveryState `json:"lastDelivery,omitempty"` // of the reply of that run
	EndedAt     job.Millis        `json:"endedAt"`
	History     string            `json:"history"` // the path of its runs
}

// problemGone is the answer to the id of a job that has had its runs. A model reads it as it
// is, so the sentence has all that matters.
func problemGone(e *job.GoneError) problem {
	v := endedView{ID: e.ID, Name: e.Name, Runs: e.Runs, MaxRuns: e.Of, LastRunID: e.LastRunID, LastOutcome: e.Outcome,
		Delivery: e.Delivery, EndedAt: e.At, History: "/api/cron/jobs/" + url.PathEscape(e.ID) + "/runs"}
	name := "The job " + e.ID
	if e.Name != "" {
		name = fmt.Sprintf("The job %s %q", e.ID, clip(e.Name, goneName))
	}
	reply := map[job.DeliveryState]string{
		job.DeliveryFailed:  ", and its reply did not arrive",
		job.DeliveryUnknown: ", and nobody knows whether its reply arrived",
		job.DeliveryPending: ", and its reply is on its way",
	}[e.Delivery]
	return problem{Status: http.StatusGone, Title: http.StatusText(http.StatusGone), Ended: &v, Detail: fmt.Sprintf(
		"%s ran %d of %d times and is gone, as it was meant to be: its last run ended %s (%s)%s. Its history is at %s; to run it again, make a new job.",
		name, e.Runs, e.Of, e.At.Time().Format(time.RFC3339), e.Outcome, reply, v.History)}
}
