package job

import (
	"time"

	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

// The types below are what the layers say to each other about the life of a
// slot and a run. The store implements the steps; the scheduler and the
// handlers declare interfaces over them.

// Due is one entry of the due index.
type Due struct {
	JobID string
	Look  Millis // when to look at it: the slot itself until it was enqueued
}

// Later moves an entry of the due index that still stands where it was seen.
type Later struct {
	JobID string
	Seen  Millis // where the entry stood
	Look  Millis // when to look at it instead
}

// DueWindow is the head of the due index at one instant.
type DueWindow struct {
	Now     Millis    // by the clock of Redis
	Step    ClockStep // that is not believed yet, so that nothing is to be emitted
	Entries []Due     // by Look, ascending
	// HeldUntil is until when everything was paused: Now, while it is. Slots due by then
	// and not claimed do not run. 0 if nothing was ever paused.
	HeldUntil Millis
}

// Cursor is what the scheduler needs to know of a job.
type Cursor struct {
	JobID    string
	UID      string // "" when the job is gone
	Revision int64
	Name     string
	Timing   schedule.Timing
	NextSlot Millis // 0 when no slot is left
	NextDue  Millis // when NextSlot is due: later than it by the jitter
	Emitted  bool   // a carrier of NextSlot was enqueued
	Misfire  Misfire
	Grace    time.Duration
	// DisabledAt is when failures disabled the job: later slots are not its; 0 if they
	// did not.
	DisabledAt Millis
	Newer      bool // written by a newer release: leave it alone
}

// Slot names one nominal time of a job.
type Slot struct {
	JobID string
	At    Millis
}

// Collapse says which slots of a job will not run, and where its cursor goes.
type Collapse struct {
	JobID       string
	UID         string
	Revision    int64
	Seen        Millis // the cursor this was decided on
	First, Last Millis
	Count       int
	Outcome     Outcome // Missed or Skipped
	Reason      string
	Next        Millis // 0 when no slot is left
	NextDue     Millis
	// EmittedGrace is how long an enqueued slot is left to be claimed; below 0 not at all.
	EmittedGrace time.Duration
}

// CarrierKind tells what a carrier carries.
type CarrierKind string

const (
	CarryRun      CarrierKind = "r"
	CarryDelivery CarrierKind = "d"
)

// Carrier is a task to enqueue for something unfinished. ID is a run's id, or
// <run>:<n> for its n-th delivery. N grows only when the state of what it
// carries changes, so that a lost carrier can be replaced and a doubled one is
// refused by the queue.
type Carrier struct {
	Kind CarrierKind
	ID   string
	N    int64
}

// Unreadable is a record that is damaged: job:<id>, r:<run> or d:<run>:<n>.
type Unreadable struct {
	Entry  string
	Reason string
}

// UnreadableJob names a job's record in the quarantine.
func UnreadableJob(id, reason string) Unreadable {
	return Unreadable{Entry: "job:" + id, Reason: reason}
}

// Quarantined is a record that cannot be read. It is left alone, tried again every
// minute, and stops nobody else.
type Quarantined struct {
	Unreadable
	Since Millis
	Last  Millis // when it was tried last
}

// Index is one of the indexes that the repair goes over.
type Index string

const (
	IndexJobs        Index = "jobs"
	IndexDue         Index = "due"
	IndexEnded       Index = "ended"
	IndexFailing     Index = "failing"
	IndexUndelivered Index = "undelivered"
	IndexAgents      Index = "agents"
	IndexTokens      Index = "tokens"
	IndexWake        Index = "wake"
	IndexOpen        Index = "open"
)

// Damage is a kind of damage that the repair mends by itself.
type Damage string

const (
	DueMissing    Damage = "due_missing"    // a job with a slot was not in the due index
	DueWrong      Damage = "due_wrong"      // its entry would have come far too late
	DueOrphan     Damage = "due_orphan"     // an entry of the due index was no job
	JobOrphan     Damage = "job_orphan"     // an entry of the list of jobs was no job
	CursorWrong   Damage = "cursor_wrong"   // a cursor was beyond its next slot, or at none
	JobUnlisted   Damage = "job_unlisted"   // a job was not in the list of jobs
	EndedOrphan   Damage = "ended_orphan"   // an entry of the list of ended jobs had not ended or was no job
	RunStuck      Damage = "run_stuck"      // nothing was going to look at an unfinished run
	DeliveryStuck Damage = "delivery_stuck" // nor at an unfinished delivery
	OpenMissing   Damage = "open_missing"   // something unfinished was in one list of two
	OpenOrphan    Damage = "open_orphan"    // what was listed as unfinished had ended or was gone
	QuotaLost     Damage = "quota_lost"     // what a token allows its agent to hold at once was not noted
	PlaceLeaked   Damage = "place_leaked"   // a place of an agent was held by no run in progress
	QueuePaused   Damage = "queue_paused"   // a queue was paused, by a tool of asynq's
	QueueUnlisted Damage = "queue_unlisted" // a queue was deleted, or fell out of asynq's list
	QueueDamaged  Damage = "queue_damaged"  // a key of a queue was of another type
	KeyDamaged    Damage = "key_damaged"    // a key of the store was of another type
	TaskArchived  Damage = "task_archived"  // a task was archived, by a tool of asynq's
)

// QueueState is how a queue of asynq's stands.
type QueueState struct {
	Name string
	At   Millis // when that was so, by the clock of Redis

	Pending, Active, Scheduled, Retry, Archived, Completed int

	Paused        bool   // nothing is taken out of it; the scheduler undoes that
	PausedSince   Millis // 0 if that is not known
	OldestPending Millis // since when its oldest pending task waits; 0 if none does, or that is not known
	Damaged       bool   // a key is of another type, and what it held is not counted
}

// Waiting is how many tasks are to be worked on and are not.
func (s QueueState) Waiting() int { return s.Pending + s.Scheduled + s.Retry + s.Archived }

// Repaired is one thing that was put right. ID is a job's, or r:<run>, or d:<run>:<n>, or
// the name of a queue, or the id of a task.
type Repaired struct {
	Damage Damage
	ID     string
}

// RepairPage is what came of going over one page of an index.
type RepairPage struct {
	Next       string // cursor of the next page; "" after the last
	Repaired   []Repaired
	Unreadable []Unreadable
}

// Repairs is what was ever repaired, and what cannot be.
type Repairs struct {
	Counts      map[Damage]int64 // nil if there was nothing
	Quarantined []Quarantined    // the oldest first
}

// ClockStep is a clock that was set. Its times are by what it had said until then; the zero
// value is none.
type ClockStep struct {
	Since Millis        // when that was seen first
	By    time.Duration // how far it was set forward; below 0: back
	Until Millis        // what it says then is the time
}

// CursorCheck is how far the check of all cursors is, or what came of it.
type CursorCheck struct {
	Why            string // CheckClock or CheckZones; "" if there was none yet
	Since, Ended   Millis // Ended is 0 while it goes on
	Checked, Moved int
	Page           string // where it goes on
	Rules          string // the zone rules that the cursors follow
	RulesAt        Millis // since when they do; 0 if it was not noted
}

// Pending reports whether cursors are still to be checked.
func (c CursorCheck) Pending() bool { return c.Why != "" && c.Ended == 0 }

// Why all cursors are checked.
const (
	CheckClock = "clock" // Redis's clock was set
	CheckZones = "zones" // the rules of a zone are others
)

// Clock is how the clock of Redis stands.
type Clock struct {
	Now   Millis      // the time that counts
	Held  ClockStep   // the step that holds emission, claims and the judging of leases; none if its By is 0
	Last  ClockStep   // the last one on record
	Check CursorCheck // the last check of the cursors, or the one that goes on
}

// Verdict is the answer to a carrier that asks to begin.
type Verdict string

const (
	BeginOK      Verdict = "ok"      // the attempt is the caller's
	BeginGone    Verdict = "gone"    // no such job or run
	BeginNewer   Verdict = "newer"   // written by a newer release
	BeginDone    Verdict = "done"    // ended already
	BeginBusy    Verdict = "busy"    // another attempt is under way
	BeginParked  Verdict = "parked"  // waits for its session or a place of its agent, or queued
	BeginEarly   Verdict = "early"   // come back after the delay
	BeginEnded   Verdict = "ended"   // ended by this very step
	BeginMoved   Verdict = "moved"   // the cursor is elsewhere
	BeginBehind  Verdict = "behind"  // becomes due when the run that is in progress has ended
	BeginDropped Verdict = "dropped" // policy kept the slot from running
	BeginStale   Verdict = "stale"   // the job was edited: compute the next slot again
	// BeginClockStep says that Redis's clock was set and is not believed yet.
	BeginClockStep Verdict = "clock_step"
)

// Claim asks to turn a slot into a run.
type Claim struct {
	JobID    string
	UID      string
	Slot     Millis
	Revision int64
	Next     Millis // the slot after Slot; 0 when there is none
	NextDue  Millis // when that is due; 0: at once
	Token    string // random; a resend with it gets the same answer
	Worker   string
}

// Begun is the answer to a claim or a begin.
type Begun struct {
	Verdict Verdict
	Delay   time.Duration // with BeginEarly

	// With BeginOK: the attempt, the run (its id, job, trigger, slot and session: whose
	// attempt it is needs no more), and the job: as it is defined now, with its cursor as it
	// was before a claim.
	Now     Millis
	Epoch   int64
	Attempt int
	Retries int // retries used so far
	Run     Run
	Job     Job
	// Transcript says that the run's session has messages of ours. The run holds the
	// session, so nobody else adds the first ones before it ends.
	Transcript bool
	// SessionID is what the ai-server gets as the id of the run's session; "" if that needs
	// another question.
	SessionID string

	// With BeginStale: the job's definition as it is now.
	Revision int64
	Timing   schedule.Timing
}

// Commit is the successful end of a run.
type Commit struct {
	RunID    string
	Epoch    int64
	Token    string
	Reply    string
	Messages [2]Message // the task and the reply
	Empty    bool       // the reply is: it is not made part of the session
	Delivery DeliveryState
	Target   Target // with DeliveryPending
}

// Retry says whether a failed attempt may be followed by another.
type Retry string

const (
	RetryNever   Retry = "never"
	RetryCounted Retry = "counted"
	RetryFree    Retry = "free" // asked to wait: not counted
)

// Failure is the end of an attempt that did not succeed.
type Failure struct {
	RunID   string
	Epoch   int64
	Result  Result
	Cause   Cause
	Message string
	Retry   Retry
	Delay   time.Duration // before the retry
	Outcome Outcome       // if this ends the run
	// Permanent says that the same run would fail again: there is no use in waiting for a
	// second failure to tell of it.
	Permanent bool
}

// DeliveryBegun is the answer to a delivery's carrier.
type DeliveryBegun struct {
	Verdict  Verdict
	Delay    time.Duration
	Epoch    int64
	Retries  int
	Delivery Delivery
	Sent     map[int]bool // parts that are confirmed
	Reply    string
	Alert    Alert // of a delivery of that kind
}

// SendVerdict is the answer to the wish to send a part.
type SendVerdict string

const (
	SendOK      SendVerdict = "ok"
	SendSent    SendVerdict = "sent"    // sent by an earlier attempt
	SendUnknown SendVerdict = "unknown" // begun by an earlier attempt; the delivery is ended
)

// SendResult says what became of a part.
type SendResult string

const (
	PartSent      SendResult = "sent"      // confirmed, and more parts follow
	PartDelivered SendResult = "delivered" // confirmed, and it was the last
	PartRetry     SendResult = "retry"     // surely not arrived; try again
	PartFailed    SendResult = "failed"    // surely not arrived; give up
	PartUnknown   SendResult = "unknown"   // may have arrived; never sent again by itself
)

// SendEnd is the end of one send.
type SendEnd struct {
	RunID     string
	N         int
	Epoch     int64
	Part      int
	Result    SendResult
	MessageID string
	Message   string // what went wrong
	Delay     time.Duration
	Retry     Retry
}
