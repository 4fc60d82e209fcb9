package job

import (
	"cmp"
	"hash/fnv"
	"reflect"
	"slices"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/jobfield"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

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

// DefaultMaxRetries is how many retries a run gets whose job does not say.
const DefaultMaxRetries = jobfield.DefaultMaxRetries

// MaxCatchUp is how many missed slots of a job MisfireRunAll has waiting at most.
const MaxCatchUp = 10

// LateAfter is how long after its slot a run counts as late: from then on the
// job's misfire policy decides about it.
const LateAfter = time.Minute

// Spec is what a client defines of a job: everything but identity, cursor and
// history. Validate says whether it may be stored. A tag is the name of a field in
// jobfield's table, of which the rest is made: see ValueOf.
type Spec struct {
	Name     string `field:"name"`
	Schedule string `field:"schedule"` // standard 5-field cron, or one of the accepted @macros; "" with At or EverySeconds
	Timezone string `field:"timezone"` // IANA name; "" means UTC
	// EverySeconds makes a slot each so many seconds, counted from StartAt, or from when
	// it was set; At makes the one slot. Both stand instead of Schedule.
	EverySeconds int    `field:"every"`
	At           Millis `field:"at"`
	// StartAt and EndAt bound the slots, both inclusive; 0 is no bound.
	StartAt Millis `field:"startAt"`
	EndAt   Millis `field:"endAt"`
	// JitterSeconds bounds how long after its slot a run is due: as long as the job's id
	// says, the same for every slot, and less than the time to the next slot.
	JitterSeconds int      `field:"jitterSeconds"`
	Enabled       bool     `field:"enabled"`
	Task          string   `field:"task"`   // the text the agent is given
	Labels        []string `field:"labels"` // what to find the job by; see ValidLabel

	AgentID    string `field:"agentId"`    // "" means the deployment's default agent, "main"
	SessionKey string `field:"sessionKey"` // "" means derived, see ResolveSession
	// Session is the session of a stored job: the key that was made when what it is made of
	// was last set; "" of a new definition. SessionForm asks for a form of the key; 0 is that
	// which a stored job has, and TodaysSession of a new one.
	Session     string
	SessionForm SessionForm
	Model       string `field:"model"`           // "" means the ai-server's default
	Effort      string `field:"reasoningEffort"` // "" means the ai-server's default

	Channel  string `field:"channel"` // "" means no delivery
	ChatID   string `field:"chatId"`
	PeerID   string `field:"peerId"`
	ThreadID string `field:"threadId"`
	IsGroup  *bool  `field:"isGroup"` // nil means unknown

	MaxRuns             int         `field:"maxRuns"` // the job is deleted after that many runs; 0 means never
	Misfire             Misfire     `field:"misfire"`
	MisfireGraceSeconds int         `field:"misfireGraceSeconds"`
	Overlap             Overlap     `field:"overlap"`
	TimeoutSeconds      int         `field:"timeoutSeconds"` // deadline of one attempt
	OnAmbiguous         OnAmbiguous `field:"onAmbiguous"`
	Deliver             Deliver     `field:"deliver"`
	MaxRetries          *int        `field:"maxRetries"` // nil means DefaultMaxRetries; see RetryDelay for when
	// RetryDelaysSeconds are the delays before the first retry, the second and so on; the
	// last one repeats.
	RetryDelaysSeconds []int `field:"retryDelaysSeconds"`

	// AlertChannel, AlertChatID and AlertThreadID are the chat that is told when the job
	// fails or does not run: AlertNone for nobody; "" for its own chat, or, where it has none
	// or Deliver is never, whoever the deployment tells.
	AlertChannel  string `field:"alertChannel"`
	AlertChatID   string `field:"alertChatId"`
	AlertThreadID string `field:"alertThreadId"`
	// AlertAfter is after how many failures in a row. 0 is as many as the deployment says,
	// one with DeliverOnFailure, and one where the next slot is over an hour away or the
	// same would fail again.
	AlertAfter int `field:"alertAfter"`
	// AlertCooldownSeconds is how long the job then tells of none; 0 is as long as the
	// deployment says.
	AlertCooldownSeconds int `field:"alertCooldownSeconds"`

	Context Context `field:"context"`
	// AllowScheduling leaves the agent the tools that make, change and run jobs. Without
	// it a job's run cannot make jobs.
	AllowScheduling bool `field:"allowScheduling"`

	// PauseReason is why the job is not enabled, as whoever paused it has put it, or what
	// disabled it; "" of an enabled job.
	PauseReason string
}

// WithDefaults returns s with the zero policies filled in.
func (s Spec) WithDefaults() Spec {
	for _, f := range withDefault {
		if v := ValueOf(&s, f); Empty(v) {
			setDefault(v, f.Default)
		}
	}
	return s
}

// RetryDelay is the delay before retry number n of a failed attempt, counted from 1;
// numbers outside the list get its nearest end.
func (s Spec) RetryDelay(n int) time.Duration {
	delays := s.WithDefaults().RetryDelaysSeconds
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

// ValueOf returns the value of a field in s, which can be set. It panics at a field that a Spec
// does not have.
func ValueOf(s *Spec, f jobfield.Field) reflect.Value {
	return reflect.ValueOf(s).Elem().FieldByIndex(places[f.Name])
}

// Empty reports whether nobody has set a value.
func Empty(v reflect.Value) bool {
	return v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0
}

// places are where a Spec has the fields of the table.
var places = func() map[string][]int {
	all := map[string][]int{}
	for f := range reflect.TypeFor[Spec]().Fields() {
		if name := f.Tag.Get("field"); name != "" {
			all[name] = f.Index
		}
	}
	return all
}()

// withDefault are the fields that have a value where nobody set one.
var withDefault = slices.DeleteFunc(slices.Clone(jobfield.All()), func(f jobfield.Field) bool { return !f.InForce() })

// setDefault sets a value to the default that the table has for it.
func setDefault(v reflect.Value, to any) {
	switch d := to.(type) {
	case string:
		v.SetString(d)
	case int:
		if v.Kind() == reflect.Pointer {
			v.Set(reflect.ValueOf(new(d)))
		} else {
			v.SetInt(int64(d))
		}
	case []int:
		v.Set(reflect.ValueOf(slices.Clone(d)))
	}
}
