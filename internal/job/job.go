// Package job owns the domain of Gateway Cron: jobs, runs, attempts and
// deliveries, the policies of a job, the validation of what a client may
// define, and the sentinel errors that every layer matches with errors.Is.
//
// It is pure. It must not import Redis, asynq, chi or slog, does no I/O and
// reads no clock. All times are UTC milliseconds since the epoch (type Millis);
// a time zone is an IANA name.
package job

import (
	"cmp"
	"errors"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/schedule"
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

// Misfire says what happens to slots that were due while nothing could run them.
type Misfire string

const (
	// MisfireRunOnce runs the newest missed slot if it is younger than the
	// grace and records the others as missed. The default.
	MisfireRunOnce Misfire = "run_once"
	// MisfireSkip runs no slot that is late by more than a minute.
	MisfireSkip Misfire = "skip"
	// MisfireRunAll runs the missed slots one after the other, the newest MaxCatchUp of
	// those that are younger than the grace, and records the others as missed.
	MisfireRunAll Misfire = "run_all"
)

// Overlap says what happens to a slot that comes due while a run of its job is still
// in progress.
type Overlap string

const (
	// OverlapSkip records the slot as skipped. The default.
	OverlapSkip Overlap = "skip"
	// OverlapQueueOne runs the slot when no run of the job is in progress any more. One
	// slot waits at a time; others are skipped.
	OverlapQueueOne Overlap = "queue_one"
	// OverlapAllow runs the slot as well; in the same session one run still comes
	// after the other.
	OverlapAllow Overlap = "allow"
	// OverlapCancelPrevious cancels the job's scheduled runs that are in progress.
	OverlapCancelPrevious Overlap = "cancel_previous"
)

// OnAmbiguous says what follows an attempt whose outcome nobody knows: its
// worker died, or the connection broke, after the request had been written.
type OnAmbiguous string

const (
	// OnAmbiguousRetry tries again, counted as a retry. The default.
	OnAmbiguousRetry OnAmbiguous = "retry"
	// OnAmbiguousFail ends the run as failed.
	OnAmbiguousFail OnAmbiguous = "fail"
)

// Deliver says which messages go to the job's chat.
type Deliver string

const (
	// DeliverAlways sends every reply, and alerts; see Spec.AlertChannel. The default.
	DeliverAlways Deliver = "always"
	// DeliverOnFailure sends no reply, and an alert as soon as a run fails.
	DeliverOnFailure Deliver = "on_failure"
	// DeliverNever sends nothing.
	DeliverNever Deliver = "never"
)

// AlertNone is the AlertChannel of a job that tells nobody of its failures.
const AlertNone = "none"

// Context says what an agent is told of what was said before.
type Context string

const (
	// ContextSession sends the session's transcript along, and the reply becomes part
	// of it. The default.
	ContextSession Context = "session"
	// ContextIsolated gives each run an empty transcript, in a session of the job's
	// own, which holds the last run only.
	ContextIsolated Context = "isolated"
)

// Defaults of a job's policies, in force where a Spec leaves them zero.
const (
	DefaultMisfireGraceSeconds = 3600
	DefaultTimeoutSeconds      = 900
	// DefaultMaxRetries is how many retries a run gets, ambiguous attempts included.
	DefaultMaxRetries = 3
)

// MaxCatchUp is how many missed slots of a job MisfireRunAll has waiting at most.
const MaxCatchUp = 10

// LateAfter is how long after its slot a run counts as late: from then on the
// job's misfire policy decides about it.
const LateAfter = time.Minute

// defaultRetryDelays are the delays before the first, second and third retry of a
// failed attempt, in seconds; the last one repeats.
var defaultRetryDelays = []int{30, 60, 300}

// Spec is what a client defines of a job: everything but identity, cursor and
// history. Validate says whether it may be stored.
type Spec struct {
	Name     string
	Schedule string // standard 5-field cron, or one of the accepted @macros; "" with At or EverySeconds
	Timezone string // IANA name; "" means UTC
	// EverySeconds makes a slot each so many seconds, counted from StartAt, or from when
	// it was set; At makes the one slot. Both stand instead of Schedule.
	EverySeconds int
	At           Millis
	// StartAt and EndAt bound the slots, both inclusive; 0 is no bound.
	StartAt, EndAt Millis
	// JitterSeconds bounds how long after its slot a run is due: as long as the job's id
	// says, the same for every slot, and less than the time to the next slot.
	JitterSeconds int
	Enabled       bool
	Task          string   // the text the agent is given
	Labels        []string // what to find the job by; see ValidLabel

	AgentID    string // "" means the deployment's default agent, "main"
	SessionKey string // "" means derived, see ResolveSession
	// Session is the session of a stored job: the key that was made when what it is made of
	// was last set; "" of a new definition. SessionForm asks for a form of the key; 0 is that
	// which a stored job has, and TodaysSession of a new one.
	Session     string
	SessionForm SessionForm
	Model       string // "" means the ai-server's default
	Effort      string // reasoning effort; "" means the ai-server's default

	Channel  string // "" means no delivery
	ChatID   string
	PeerID   string
	ThreadID string
	IsGroup  *bool // nil means unknown

	MaxRuns             int // the job is deleted after that many runs; 0 means never
	Misfire             Misfire
	MisfireGraceSeconds int
	Overlap             Overlap
	TimeoutSeconds      int // deadline of one attempt
	OnAmbiguous         OnAmbiguous
	Deliver             Deliver
	MaxRetries          *int // nil means DefaultMaxRetries; see RetryDelay for when
	// RetryDelaysSeconds are the delays before the first retry, the second and so on; the
	// last one repeats. Empty means 30 s, 1 min, 5 min.
	RetryDelaysSeconds []int

	// AlertChannel, AlertChatID and AlertThreadID are the chat that is told when the job
	// fails or does not run: AlertNone for nobody; "" for its own chat, or, where it has none
	// or Deliver is never, whoever the deployment tells.
	AlertChannel, AlertChatID, AlertThreadID string
	// AlertAfter is after how many failures in a row. 0 is as many as the deployment says,
	// one with DeliverOnFailure, and one where the next slot is over an hour away or the
	// same would fail again.
	AlertAfter int
	// AlertCooldownSeconds is how long the job then tells of none; 0 is as long as the
	// deployment says.
	AlertCooldownSeconds int

	Context Context
	// AllowScheduling leaves the agent the tools that make, change and run jobs. Without
	// it a job's run cannot make jobs.
	AllowScheduling bool

	// PauseReason is why the job is not enabled, as whoever paused it has put it, or what
	// disabled it; "" of an enabled job.
	PauseReason string
}

// WithDefaults returns s with the zero policies filled in.
func (s Spec) WithDefaults() Spec {
	if s.Misfire == "" {
		s.Misfire = MisfireRunOnce
	}
	if s.MisfireGraceSeconds == 0 {
		s.MisfireGraceSeconds = DefaultMisfireGraceSeconds
	}
	if s.Overlap == "" {
		s.Overlap = OverlapSkip
	}
	if s.TimeoutSeconds == 0 {
		s.TimeoutSeconds = DefaultTimeoutSeconds
	}
	if s.OnAmbiguous == "" {
		s.OnAmbiguous = OnAmbiguousRetry
	}
	if s.Deliver == "" {
		s.Deliver = DeliverAlways
	}
	if s.MaxRetries == nil {
		s.MaxRetries = new(DefaultMaxRetries)
	}
	if len(s.RetryDelaysSeconds) == 0 {
		s.RetryDelaysSeconds = slices.Clone(defaultRetryDelays)
	}
	if s.Context == "" {
		s.Context = ContextSession
	}
	return s
}

// RetryDelay is the delay before retry number n of a failed attempt, counted from 1;
// numbers outside the list get its nearest end.
func (s Spec) RetryDelay(n int) time.Duration {
	delays := s.RetryDelaysSeconds
	if len(delays) == 0 {
		delays = defaultRetryDelays
	}
	return time.Duration(delays[min(max(n, 1), len(delays))-1]) * time.Second
}

// Paused returns s disabled, for a reason that may be empty.
func (s Spec) Paused(reason string) Spec {
	s.Enabled, s.PauseReason = false, reason
	return s
}

// Resumed returns s enabled.
func (s Spec) Resumed() Spec {
	s.Enabled, s.PauseReason = true, ""
	return s
}

// SameSlots reports whether o produces the same slots as s, so that an edit from
// s to o leaves the cursor alone.
func (s Spec) SameSlots(o Spec) bool {
	return s.SameTiming(o) && s.Enabled == o.Enabled
}

// SameTiming reports whether o is due whenever s is, were both enabled. A zone says when
// a cron schedule is due, and in what words the slots of the others are told.
func (s Spec) SameTiming(o Spec) bool {
	return s.Schedule == o.Schedule && (s.Schedule == "" || zoneOf(s) == zoneOf(o)) && !s.MovesAnchor(o) && s.At == o.At &&
		s.StartAt == o.StartAt && s.EndAt == o.EndAt && s.JitterSeconds == o.JitterSeconds
}

// MovesAnchor reports whether an edit from s to o, or back, begins to count EverySeconds
// anew.
func (s Spec) MovesAnchor(o Spec) bool {
	return s.EverySeconds != o.EverySeconds || s.EverySeconds != 0 && s.StartAt != o.StartAt
}

// zoneOf is the zone of a job, by its one name where it has two.
func zoneOf(s Spec) string { return cmp.Or(s.Timezone, "UTC") }

// Timing says when the runs of the job of that id are due; EverySeconds counts from
// anchor.
func (s Spec) Timing(id string, anchor Millis) schedule.Timing {
	return schedule.Timing{
		Cron: s.Schedule, Zone: s.Timezone, At: s.At.Time(),
		Every: time.Duration(s.EverySeconds) * time.Second, Anchor: anchor.Time(),
		From: s.StartAt.Time(), Until: s.EndAt.Time(), Jitter: jitter(id, s.JitterSeconds),
	}
}

// AnchorAt is where EverySeconds counts from if the timing is set at now: StartAt, or
// the running second.
func (s Spec) AnchorAt(now time.Time) Millis {
	switch {
	case s.EverySeconds == 0:
		return 0
	case s.StartAt != 0:
		return s.StartAt
	default:
		return ToMillis(now.Truncate(time.Second))
	}
}

// jitter is a job's share of its jitterSeconds, spread evenly over the ids.
func jitter(id string, seconds int) time.Duration {
	if seconds == 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	return time.Duration(h.Sum64()%(uint64(seconds)*1000+1)) * time.Millisecond
}

// DefaultAgent is the agent of jobs that name none.
const DefaultAgent = "main"

// ResolveAgent is the agent a job runs as.
func (s Spec) ResolveAgent() string {
	if s.AgentID == "" {
		return DefaultAgent
	}
	return s.AgentID
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
