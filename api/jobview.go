package api

import (
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

const (
	nextTimes     = 5   // shown with a single job
	leanTaskRunes = 200 // of a task in a list, which a model reads whole
)

// jobView is a job on the wire: its id, its definition and what follows here. Times are epoch
// milliseconds; a field without a value is absent.
type jobView struct {
	ID       string `json:"-"`
	job.Spec `json:"-"`

	TaskTruncated bool `json:"taskTruncated,omitempty"`
	RunsUsed      int  `json:"runsUsed,omitempty"`
	// PauseReason is given when somebody said why the job is not enabled, or when it was
	// disabled because it failed too often.
	PauseReason string `json:"pauseReason,omitempty"`

	// Ended is given when no run is to come any more: the job is kept for a while, and left
	// out of lists that do not ask for it.
	Ended       bool        `json:"ended,omitempty"`
	Revision    int64       `json:"revision"`
	CreatedAt   job.Millis  `json:"createdAt"`
	UpdatedAt   job.Millis  `json:"updatedAt"`
	MadeBy      string      `json:"madeBy,omitempty"` // the job in whose run it was made
	LastRunAt   job.Millis  `json:"lastRunAt,omitempty"`
	LastRunID   string      `json:"lastRunId,omitempty"`
	LastOutcome job.Outcome `json:"lastOutcome,omitempty"`
	// LastOutcomeSlot is the newest slot that did not run, where LastOutcome is about one.
	LastOutcomeSlot job.Millis        `json:"lastOutcomeSlot,omitempty"`
	LastDelivery    job.DeliveryState `json:"lastDelivery,omitempty"` // of the newest reply
	Failures        int               `json:"failures,omitempty"`     // in a row
	NextRunAt       job.Millis        `json:"nextRunAt,omitempty"`
	// NextDueAt is when the slot of nextRunAt is due, where jitter puts it off.
	NextDueAt job.Millis `json:"nextDueAt,omitempty"`

	// Of a single job only.
	Next        []string `json:"next,omitempty"`      // RFC 3339, UTC
	NextLocal   []string `json:"nextLocal,omitempty"` // the same in the job's zone
	Description string   `json:"description,omitempty"`
}

func (v jobView) MarshalJSON() ([]byte, error) {
	type rest jobView
	return asOne(identity{v.ID}, definition{spec: v.Spec}, rest(v))
}

type jobList struct {
	Jobs       []jobView `json:"jobs"`
	NextCursor string    `json:"nextCursor,omitempty"`
}

// startedJob is the job with the id of its new run beside the job's own fields,
// which is where clients of the plain job look for them.
type startedJob struct {
	jobView
	RunID string `json:"runId"`
}

func (v startedJob) MarshalJSON() ([]byte, error) {
	return asOne(v.jobView, struct {
		RunID string `json:"runId"`
	}{v.RunID})
}

type deletedJob struct {
	ID      string `json:"id"`
	Deleted bool   `json:"deleted"`
	// CancelledRuns is given when its unfinished runs were to be cancelled too.
	CancelledRuns  *int   `json:"cancelledRuns,omitempty"`
	AbandonedTurns int    `json:"abandonedTurns,omitempty"` // among them
	Note           string `json:"note,omitempty"`
}

func wholeJob(j job.Job) jobView {
	v := jobView{
		ID: j.ID, Spec: j.Spec, PauseReason: j.PauseReason,
		Revision: j.Revision, CreatedAt: j.CreatedAt, UpdatedAt: j.UpdatedAt, MadeBy: j.MadeBy,
		LastRunAt: j.LastRunAt, LastRunID: j.LastRunID, LastOutcome: j.LastOutcome, LastOutcomeSlot: j.LastOutcomeSlot, LastDelivery: j.LastDelivery,
		Failures: j.Failures, NextRunAt: j.NextSlot, Ended: j.Ended(),
	}
	if v.Timezone == "" {
		v.Timezone = "UTC"
	}
	if j.NextDue != j.NextSlot {
		v.NextDueAt = j.NextDue
	}
	if v.MaxRuns > 0 {
		v.RunsUsed = j.Claims
	}
	return v
}

func leanJob(j job.Job) jobView {
	v := wholeJob(j)
	v.Task, v.TaskTruncated = truncate(v.Task, leanTaskRunes)
	return v
}

// detailedJob adds what the schedule means. A schedule that cannot be read any
// more leaves it out: the job itself must stay readable, to be mended.
func (s *server) detailedJob(j job.Job) jobView {
	v := wholeJob(j)
	tt, err := s.schedules.Timetable(j.Timing(j.ID, j.Anchor))
	if err != nil {
		return v
	}
	v.Description = tt.Describe()
	if slots := upcoming(j, tt); len(slots) > 0 {
		v.Next, v.NextLocal = formatTimes(slots, time.UTC), formatTimes(slots, tt.Location())
	}
	return v
}

// upcoming returns the job's next slots, which begin at its cursor and end with
// its last allowed run.
func upcoming(j job.Job, tt *schedule.Timetable) []time.Time {
	n := nextTimes
	if j.MaxRuns > 0 {
		n = min(n, j.MaxRuns-j.Claims)
	}
	if j.NextSlot == 0 || n <= 0 {
		return nil
	}
	first := j.NextSlot.Time()
	return append([]time.Time{first}, tt.Upcoming(first, n-1)...)
}

func formatTimes(times []time.Time, loc *time.Location) []string {
	texts := make([]string, len(times))
	for i, t := range times {
		texts[i] = t.In(loc).Format(time.RFC3339)
	}
	return texts
}
