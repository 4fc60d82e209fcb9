// Package job owns the domain of Gateway Cron: jobs, runs, attempts and
// deliveries, the policies of a job, the validation of what a client may
// define, and the sentinel errors that every layer matches with errors.Is.
//
// It is pure. It must not import Redis, asynq, chi or slog, does no I/O and
// reads no clock. All times are UTC milliseconds since the epoch (type Millis);
// a time zone is an IANA name.
package job

import (
	"errors"
	"strconv"
	"time"
)

// Sentinel errors of the domain. Adapters wrap them with the operation and the
// key; callers match them with errors.Is.
var (
	// ErrNotFound says that no record of that key exists (any more).
	ErrNotFound = errors.New("not found")
	// ErrExists says that a job of that id exists already.
	ErrExists = errors.New("already exists")
	// ErrConflict says that a record changed under an edit and the edit could
	// not be applied to its newest state.
	ErrConflict = errors.New("changed meanwhile")
	// ErrTooMany says that a job has too many unfinished runs to start another.
	ErrTooMany = errors.New("too many unfinished runs")
	// ErrEnded says that a run has its outcome and can no longer be cancelled.
	ErrEnded = errors.New("already ended")
	// ErrUnfinished says that a run, or a delivery of it, is still under way.
	ErrUnfinished = errors.New("still under way")
	// ErrNoReply says that a run has no reply that could be delivered.
	ErrNoReply = errors.New("has no reply")
	// ErrReplyDropped says that only the beginning of a run's reply is kept.
	ErrReplyDropped = errors.New("has only the beginning of its reply left")
	// ErrNoTarget says that neither a run nor its job names a chat.
	ErrNoTarget = errors.New("has no chat target")
	// ErrForeign says that a job belongs to another agent or session than its run did.
	ErrForeign = errors.New("belongs to another agent or session by now")
	// ErrTooOften says that a run has had as many deliveries as there may be.
	ErrTooOften = errors.New("too many deliveries")
	// ErrNewerVersion says that a record was written by a newer release, which
	// this one must not touch.
	ErrNewerVersion = errors.New("written by a newer version")
	// ErrPaused says that the operator has stopped everything, so that nothing may be
	// started.
	ErrPaused = errors.New("everything is paused")
	// ErrFenced says that an attempt or a send is no longer the current one: its
	// lease was lost, or the run was ended by somebody else. Its result must be
	// dropped.
	ErrFenced = errors.New("no longer the current attempt")
	// ErrStoreDenied says that the store does not let this process in, or denies it a
	// right that it needs.
	ErrStoreDenied = errors.New("the store denies access")
	// ErrStoreFull says that the store takes no changes, because its memory is full or it
	// cannot write to its disk.
	ErrStoreFull = errors.New("the store is full")
)

// Version is the version of the job and run records that this release writes.
// Records with a higher one are left alone.
const Version = 1

// Millis is an instant in UTC milliseconds since the epoch; 0 means "none".
type Millis int64

// ToMillis converts t; the zero time becomes 0.
func ToMillis(t time.Time) Millis {
	if t.IsZero() {
		return 0
	}
	return Millis(t.UnixMilli())
}

// Time converts m to a UTC time; 0 becomes the zero time.
func (m Millis) Time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(m)).UTC()
}

// Job is a stored job.
type Job struct {
	Spec
	ID       string
	UID      string // random; tells a job from a later one of the same id
	Revision int64  // grows with every change of the definition

	CreatedAt Millis
	UpdatedAt Millis
	MadeBy    string // the job in whose run it was made, which may be gone; "" if it was in none

	Anchor   Millis // where EverySeconds counts from
	NextDue  Millis // when NextSlot is due: later than it by the jitter
	NextSlot Millis // the cursor: the only truth about slots; 0 means none is left
	LastSlot Millis // the newest slot that has its record; never goes back
	Claims   int    // scheduled slots claimed so far, counted against MaxRuns

	LastRunID string
	LastRunAt Millis // when the last ended run started
	// LastOutcome is what became of the job last: of the run that ended last, or of slots that
	// did not run since, Missed or Skipped. LastOutcomeSlot is the newest of those then; a slot
	// that somebody paused, edited or deleted away counts only if no other was left.
	LastOutcome     Outcome
	LastOutcomeSlot Millis
	LastDelivery    DeliveryState // of the newest reply
	CutAt           Millis        // when something of its history or session last went because of a bound in bytes
	Failures        int           // failed runs of the schedule in a row; any success ends the row
	DisabledAt      Millis        // when failures disabled the job; 0 if they did not
}

// Outcome is how a run ended. A run without one is unfinished.
type Outcome string

const (
	Succeeded Outcome = "succeeded"
	Failed    Outcome = "failed"
	TimedOut  Outcome = "timed_out"
	Cancelled Outcome = "cancelled"
	Skipped   Outcome = "skipped" // a slot that policy kept from running
	Missed    Outcome = "missed"  // a slot that passed while nothing could run it
)

// Reasons of cancelled, skipped and missed runs.
const (
	ReasonOverlap    = "overlap"    // the previous run was still in progress
	ReasonDisabled   = "disabled"   // the job was paused
	ReasonDeleted    = "deleted"    // the job was deleted
	ReasonEdited     = "edited"     // the schedule changed over a due slot
	ReasonStale      = "stale"      // older than the misfire grace
	ReasonRequested  = "requested"  // somebody cancelled it
	ReasonSuperseded = "superseded" // a newer slot of the job was due as well
	ReasonLate       = "late"       // policy "skip" and late by over a minute
	ReasonPaused     = "paused"     // the operator had stopped everything
	ReasonQuota      = "quota"      // the runs of the day of the token that made the job were used up
)

// State is where an unfinished run is; StateDone marks an ended one.
type State string

const (
	StateWaiting State = "waiting" // may begin once NotBefore has come
	StateParked  State = "parked"  // waits for its session, which another run holds, or holds it and waits for a place of its agent
	StateQueued  State = "queued"  // waits for the other runs of its job, see OverlapQueueOne
	StateRunning State = "running" // an attempt holds the lease
	StateDone    State = "done"    // has an outcome
)

// Trigger is what started a run.
type Trigger string

const (
	TriggerSchedule Trigger = "schedule"
	TriggerManual   Trigger = "manual"
)

// Run is the record of one slot or of one manual run; for skipped and missed
// slots it can stand for a whole range of slots of one job.
type Run struct {
	ID      string
	JobID   string
	JobUID  string
	JobName string
	Trigger Trigger
	State   State
	Outcome Outcome
	Reason  string // of a skipped, missed or cancelled run
	Error   string // of a failed one: the last attempt's

	Slot     Millis // nominal time; 0 for a manual run
	LastSlot Millis // newest slot of a range; equals Slot for a single one
	Count    int    // number of slots the record stands for

	CreatedAt  Millis
	NotBefore  Millis // earliest begin of the next attempt
	StartedAt  Millis // begin of the first attempt
	FinishedAt Millis

	SessionKey string
	Attempts   []Attempt
	Reply      string
	// Empty says that the turn was finished without a text, as one that only acts is.
	Empty bool
	// ReplyDropped says that Reply is the beginning alone: newer replies of the job took what
	// their history may.
	ReplyDropped bool
	Deliveries   []Delivery
	// DeliveryState is that of the newest delivery of the reply, or why there is none.
	DeliveryState DeliveryState
}

// AbandonedTurns is how many turns were under way when the run was cancelled, 0 or 1. The
// request is dropped and what it brings is not used, but nobody can tell the ai-server: it
// may go on to the end of the turn, and act.
func (r Run) AbandonedTurns() int {
	if n := len(r.Attempts); n > 0 && r.Attempts[n-1].Result == ResultCancelled {
		return 1
	}
	return 0
}

// Stopped is what was cancelled at once.
type Stopped struct {
	Runs           int
	AbandonedTurns int // among them, see Run.AbandonedTurns
}

// Cause says why an attempt did not succeed.
type Cause string

const (
	CauseLeaseExpired Cause = "lease_expired" // its worker died or froze
	CauseAIError      Cause = "ai_error"      // the ai-server said no, or could not be reached
	CauseDeadline     Cause = "deadline"      // timeoutSeconds passed
	CauseShutdown     Cause = "shutdown"      // its worker was stopped
	CauseBroken       Cause = "connection"    // the connection broke after the request was written
	CauseRateLimited  Cause = "rate_limited"  // asked to come back later; not counted as a retry
	CauseRequested    Cause = "requested"     // somebody cancelled the run
	CauseOverlap      Cause = "overlap"       // a newer slot of the job took its place
	CausePaused       Cause = "paused"        // the operator stopped everything, this too
	CauseDeleted      Cause = "deleted"       // its job was deleted, and its runs with it
	CauseInternal     Cause = "internal"      // our own defect
)

// Result is how one attempt ended; an attempt without one is under way.
type Result string

const (
	ResultSucceeded Result = "succeeded"
	ResultFailed    Result = "failed"
	ResultTimedOut  Result = "timed_out"
	ResultCancelled Result = "cancelled" // its run was cancelled; the model may have acted
	// ResultAmbiguous: the request was written and no answer came; whether the
	// model ran is unknown.
	ResultAmbiguous Result = "ambiguous"
)

// RunID is the id of the run of a slot; a manual run's is <job>:manual:<ulid>.
func RunID(jobID string, slot Millis) string {
	return jobID + ":" + strconv.FormatInt(int64(slot)/1000, 10)
}

// Attempt is one try at a run.
type Attempt struct {
	N         int    `json:"n"`
	Worker    string `json:"worker,omitempty"`
	StartedAt Millis `json:"startedAt"`
	EndedAt   Millis `json:"endedAt,omitempty"`
	Result    Result `json:"result,omitempty"`
	Cause     Cause  `json:"cause,omitempty"`
	Error     string `json:"error,omitempty"`
}

// DeliveryState is the state of a message on its way to the chat.
type DeliveryState string

const (
	DeliveryPending      DeliveryState = "pending"       // queued, or being sent
	DeliveryDelivered    DeliveryState = "delivered"     // the channel confirmed every part
	DeliveryFailed       DeliveryState = "failed"        // the channel refused, or retries ran out
	DeliveryUnknown      DeliveryState = "unknown"       // a send got no answer: it may have arrived
	DeliverySuppressed   DeliveryState = "suppressed"    // the reply says that there is nothing to tell, or is empty
	DeliveryNotRequested DeliveryState = "not_requested" // the job has no chat target or wants no replies there, or there is no reply
)

// Target is where a message goes. It is pinned when the run ends.
type Target struct {
	Channel  string `json:"channel"`
	ChatID   string `json:"chatId"`
	PeerID   string `json:"peerId,omitempty"`
	ThreadID string `json:"threadId,omitempty"`
	IsGroup  *bool  `json:"isGroup,omitempty"`
}

// DeliveryKind tells what a delivery brings.
type DeliveryKind string

const (
	KindReply DeliveryKind = "reply"
	KindAlert DeliveryKind = "alert" // that the run failed; such a run has no reply
)

// Alert is what there is to tell of a run that failed, as it was when it ended.
type Alert struct {
	Job      string  `json:"job"` // its name; without one its id
	Timezone string  `json:"timezone"`
	Slot     Millis  `json:"slot"`
	Outcome  Outcome `json:"outcome"`
	Error    string  `json:"error"` // cut
	Attempts int     `json:"attempts"`
	Failures int     `json:"failures"` // in a row, this run's included
	Next     Millis  `json:"next"`     // the job's next slot; 0 for none
	Disabled bool    `json:"disabled"` // the job was, because of this failure
}

// Delivery is one attempt series at bringing a run's reply, or an alert, to its chat.
type Delivery struct {
	N          int // 1 for the first, +1 for each redelivery
	Kind       DeliveryKind
	State      DeliveryState
	Target     Target
	Attempts   int
	Parts      int      // parts the text was split into; 0 before the first send
	MessageIDs []string // the channel's ids of the parts sent so far
	Error      string
	CreatedAt  Millis
	FinishedAt Millis
}

// Message is one entry of a session's transcript in our store.
type Message struct {
	Role      string `json:"role"` // user or assistant
	Text      string `json:"text"`
	Timestamp Millis `json:"timestamp"`
	RunID     string `json:"runId,omitempty"`
}

// Session is a stored session: what our runs said in it.
type Session struct {
	Key       string
	UpdatedAt Millis
	Messages  []Message
}

// Status is how the deployment as a whole stands.
type Status struct {
	PausedSince Millis // since when everything is paused; 0 if it is not
	PauseReason string // as whoever paused it has put it; may be empty
	// AbandonedTurns are those that were under way in the runs that were cancelled with the
	// pause, see Run.AbandonedTurns.
	AbandonedTurns int

	Jobs       int // jobs, paused ones included, ended ones not
	Due        int // jobs whose next look is due: what a scheduler has not come to yet
	Unfinished int // runs and deliveries that are not ended

	Repairs Repairs
}
