package api

import (
	"context"
	"net/http"
	"regexp"
	"strconv"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

const (
	defaultRunsPage = 20
	maxRunsPage     = 100
	leanReplyRunes  = 500 // of a reply in a list
)

// runIDPattern is the form of a run id: the job's id, then its slot or "manual"
// and a token of its own.
var runIDPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}:[A-Za-z0-9:_-]{1,100}$`)

// listRuns answers a job's runs, newest first, also of a job that is gone.
func (s *server) listRuns(w http.ResponseWriter, r *http.Request) error {
	id, err := jobID(r)
	if err != nil {
		return err
	}
	return s.answerRuns(w, r, &job.RunFilter{JobID: id})
}

// getRun answers a run, at once or, if the client wants to wait, when it has ended.
func (s *server) getRun(w http.ResponseWriter, r *http.Request) error {
	id, err := runID(r)
	if err != nil {
		return err
	}
	wait, err := readWait(r)
	if err != nil {
		return err
	}
	run, err := s.look(r.Context(), id)
	if err != nil {
		return err
	}
	if wait > 0 && run.State != job.StateDone {
		leave, err := s.last(r)
		if err != nil {
			return err
		}
		defer leave()
		if run, err = s.awaitEnd(r.Context(), run, wait); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, wholeRun(run))
}

// cancelRun ends a run, also one whose model is at work: the request is dropped within a
// moment, wherever it was made, and what it brings is not used. The ai-server goes on; the
// note says so.
func (s *server) cancelRun(w http.ResponseWriter, r *http.Request) error {
	return s.changeRun(w, r, http.StatusOK, s.History.CancelRun)
}

// redeliverRun sends a reply once more, without the model.
func (s *server) redeliverRun(w http.ResponseWriter, r *http.Request) error {
	once, err := readOnce(r, nil) // its body, if any, says nothing
	if err != nil {
		return err
	}
	return s.changeRun(w, r, http.StatusAccepted, func(ctx context.Context, id string) error {
		return s.History.Redeliver(ctx, id, once...)
	})
}

// changeRun does something with a run and answers the run as it is then.
func (s *server) changeRun(w http.ResponseWriter, r *http.Request, status int, change func(context.Context, string) error) error {
	id, err := runID(r)
	if err != nil {
		return err
	}
	if err := s.refuseBody(w, r); err != nil {
		return err
	}
	if err := change(r.Context(), id); err != nil {
		return err
	}
	run, err := s.History.Run(r.Context(), id)
	if err != nil {
		return err
	}
	v := wholeRun(run)
	v.Note = goesOn(v.AbandonedTurns)
	return writeJSON(w, status, v)
}

// goesOn says what nobody can stop from here, "" if there is nothing.
func goesOn(turns int) string {
	if turns == 0 {
		return ""
	}
	which := "1 turn"
	if turns > 1 {
		which = strconv.Itoa(turns) + " turns"
	}
	return "The ai-server may go on with " + which + ", and act: it cannot be stopped from here, only by ending the ai-server."
}

// runID returns the run id of the path. What cannot be an id is answered like one
// that does not exist.
func runID(r *http.Request) (string, error) {
	id, err := pathParam(r, "id")
	if err == nil && !runIDPattern.MatchString(id) {
		err = job.ErrNotFound
	}
	return id, err
}

// runView is a run on the wire. Times are epoch milliseconds; a field without a
// value is absent.
type runView struct {
	ID      string      `json:"id"`
	JobID   string      `json:"jobId"`
	JobName string      `json:"jobName,omitempty"`
	Trigger job.Trigger `json:"trigger"`
	State   job.State   `json:"state"`
	Outcome job.Outcome `json:"outcome,omitempty"`
	Reason  string      `json:"reason,omitempty"`
	Error   string      `json:"error,omitempty"`

	Slot     job.Millis `json:"slot,omitempty"`
	LastSlot job.Millis `json:"lastSlot,omitempty"` // of a record that stands for several slots
	Count    int        `json:"count,omitempty"`

	CreatedAt  job.Millis `json:"createdAt"`
	NotBefore  job.Millis `json:"notBefore,omitempty"`
	StartedAt  job.Millis `json:"startedAt,omitempty"`
	FinishedAt job.Millis `json:"finishedAt,omitempty"`

	SessionKey     string            `json:"sessionKey,omitempty"`
	Attempts       []job.Attempt     `json:"attempts,omitempty"`
	AbandonedTurns int               `json:"abandonedTurns,omitempty"` // of a cancelled run; see job.Run
	Note           string            `json:"note,omitempty"`           // of a cancel that was just made
	Reply          string            `json:"reply,omitempty"`
	ReplyTruncated bool              `json:"replyTruncated,omitempty"`
	ReplyDropped   bool              `json:"replyDropped,omitempty"` // only its beginning is kept
	Empty          bool              `json:"empty,omitempty"`        // the turn ended without a text
	Delivery       job.DeliveryState `json:"delivery,omitempty"`
	Deliveries     []deliveryView    `json:"deliveries,omitempty"`
}

// endedRun is a run that was waited for, its id also where the answer without waiting
// has it.
type endedRun struct {
	runView
	RunID string `json:"runId"`
}

type deliveryView struct {
	N          int               `json:"n"`
	Kind       job.DeliveryKind  `json:"kind"`
	State      job.DeliveryState `json:"state"`
	Channel    string            `json:"channel,omitempty"`
	ChatID     string            `json:"chatId,omitempty"`
	ThreadID   string            `json:"threadId,omitempty"`
	Attempts   int               `json:"attempts"`
	Parts      int               `json:"parts,omitempty"`
	MessageIDs []string          `json:"messageIds,omitempty"`
	Error      string            `json:"error,omitempty"`
	CreatedAt  job.Millis        `json:"createdAt"`
	FinishedAt job.Millis        `json:"finishedAt,omitempty"`
}

type runList struct {
	Runs       []runView `json:"runs"`
	NextCursor string    `json:"nextCursor,omitempty"`
}

func wholeRun(run job.Run) runView {
	v := runView{
		ID: run.ID, JobID: run.JobID, JobName: run.JobName, Trigger: run.Trigger,
		State: run.State, Outcome: run.Outcome, Reason: run.Reason, Error: run.Error,
		Slot: run.Slot, CreatedAt: run.CreatedAt, StartedAt: run.StartedAt, FinishedAt: run.FinishedAt,
		SessionKey: run.SessionKey, Attempts: run.Attempts, Reply: run.Reply, ReplyDropped: run.ReplyDropped, Empty: run.Empty, Delivery: run.DeliveryState,
		AbandonedTurns: run.AbandonedTurns(),
	}
	if run.Count > 1 {
		v.LastSlot, v.Count = run.LastSlot, run.Count
	}
	if run.State == job.StateWaiting {
		v.NotBefore = run.NotBefore
	}
	for _, d := range run.Deliveries {
		v.Deliveries = append(v.Deliveries, deliveryView{
			N: d.N, Kind: d.Kind, State: d.State, Channel: d.Target.Channel, ChatID: d.Target.ChatID, ThreadID: d.Target.ThreadID,
			Attempts: d.Attempts, Parts: d.Parts, MessageIDs: d.MessageIDs, Error: d.Error,
			CreatedAt: d.CreatedAt, FinishedAt: d.FinishedAt,
		})
	}
	return v
}
