package api

import (
	"net/http"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// statusView is how the deployment as a whole stands.
type statusView struct {
	Paused      bool       `json:"paused"`
	PausedSince job.Millis `json:"pausedSince,omitempty"`
	Reason      string     `json:"reason,omitempty"` // of the pause
	// AbandonedTurns are of the runs that were cancelled with the pause.
	AbandonedTurns int    `json:"abandonedTurns,omitempty"`
	Note           string `json:"note,omitempty"`

	Health healthView `json:"health"`

	Jobs       int `json:"jobs"`
	Due        int `json:"due"`        // jobs that a scheduler has to look at now
	Unfinished int `json:"unfinished"` // runs and deliveries

	// Repaired counts the damage that was put right since the deployment began.
	Repaired map[job.Damage]int64 `json:"repaired,omitempty"`
	// Quarantined are the records that cannot be read, the oldest first.
	Quarantined      []quarantinedView `json:"quarantined,omitempty"`
	QuarantinedCount int               `json:"quarantinedCount,omitempty"`
}

// maxQuarantined is how many records in quarantine a status lists.
const maxQuarantined = 20

type quarantinedView struct {
	Entry  string     `json:"entry"` // job:<id>, r:<run>, d:<run>:<n>, or key:<key> that was put aside
	Since  job.Millis `json:"since"`
	Reason string     `json:"reason"`
}

// stoppedView is the status after a stop.
type stoppedView struct {
	statusView
	CancelledRuns int `json:"cancelledRuns"`
}

// stop is what may be said with stopping everything.
type stop struct {
	reason     string
	cancelRuns bool
}

var stopShape = shape[stop]{
	fields: []field[stop]{
		text("reason", `"the agents write to the wrong chat"`, func(s *stop) *string { return &s.reason }),
		boolean("cancelRuns", func(s *stop) *bool { return &s.cancelRuns }),
	},
	example: `{"reason":"the agents write to the wrong chat","cancelRuns":true}`,
}

func (s *server) status(w http.ResponseWriter, r *http.Request) error {
	if t := job.TokenOf(r.Context()); t != nil {
		return s.answerOwnStatus(w, r, t)
	}
	v, err := s.readStatus(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, v)
}

// pauseAll stops everything: nothing begins after its answer. With cancelRuns it ends
// what is under way as well; asked again, it goes on where it stopped. The answer counts the
// turns that nobody can stop, of all such requests since the pause began: one that is sent
// again because its answer was lost ends nothing more.
func (s *server) pauseAll(w http.ResponseWriter, r *http.Request) error {
	body, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	var said stop
	if len(body) > 0 {
		in, err := decodeObject(body, stopShape, nullIsAbsent)
		if err != nil {
			return err
		}
		in.apply(&said)
		if err := in.check(only("reason", job.Spec{PauseReason: said.reason}.Validate())); err != nil {
			return err
		}
	}
	if err := s.Switch.Pause(r.Context(), said.reason); err != nil {
		return err
	}
	var stopped stoppedView
	if said.cancelRuns {
		stopped.CancelledRuns, err = s.Switch.CancelPaused(r.Context())
	}
	s.Logger.WarnContext(r.Context(), "everything paused", "request_id", requestID(r), "reason", said.reason,
		"cancelled_runs", stopped.CancelledRuns)
	if err != nil {
		return err
	}
	if stopped.statusView, err = s.readStatus(r); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, stopped)
}

// resumeAll lets everything go on; the slots of the pause are not made up for.
func (s *server) resumeAll(w http.ResponseWriter, r *http.Request) error {
	if err := s.refuseBody(w, r); err != nil {
		return err
	}
	since, err := s.Switch.Resume(r.Context())
	if err != nil {
		return err
	}
	if since != 0 {
		s.Logger.WarnContext(r.Context(), "everything resumed", "request_id", requestID(r), "paused_since", since.Time())
	}
	return s.status(w, r)
}

func (s *server) readStatus(r *http.Request) (statusView, error) {
	st, err := s.Switch.Status(r.Context())
	if err != nil {
		return statusView{}, &unhealthyError{s.report(r), err}
	}
	v := statusView{Health: viewOfHealth(s.report(r)), Paused: st.PausedSince != 0, PausedSince: st.PausedSince, Reason: st.PauseReason,
		AbandonedTurns: st.AbandonedTurns, Note: goesOn(st.AbandonedTurns), Jobs: st.Jobs, Due: st.Due, Unfinished: st.Unfinished,
		Repaired: st.Repairs.Counts, QuarantinedCount: len(st.Repairs.Quarantined)}
	for _, q := range st.Repairs.Quarantined[:min(v.QuarantinedCount, maxQuarantined)] {
		v.Quarantined = append(v.Quarantined, quarantinedView{Entry: q.Entry, Since: q.Since, Reason: q.Reason})
	}
	return v, nil
}
