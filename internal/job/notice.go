package job

import "time"

// NoticeKind says what there is to tell.
type NoticeKind string

const (
	NoticeFailure     NoticeKind = "failure"     // a job fails
	NoticeDisabled    NoticeKind = "disabled"    // and was disabled for it
	NoticeMissed      NoticeKind = "missed"      // slots did not run: their time had passed
	NoticeNotRun      NoticeKind = "not_run"     // the one slot of a job did not run
	NoticeUndelivered NoticeKind = "undelivered" // a reply did not arrive
	NoticeAbsent      NoticeKind = "absent"      // a job was not heard of for too long
	NoticeHealth      NoticeKind = "health"      // the deployment is in trouble
	NoticeRecovered   NoticeKind = "recovered"   // what was told is over
)

// Notice is one fact for those who are told of trouble, as it was when it came to be.
// Facts wait in an outbox for each target, and one alert tells all of them.
type Notice struct {
	Kind NoticeKind `json:"kind"`
	// Key names what goes on until it is over: it is told once, and so is its end, a
	// Notice of NoticeRecovered with the same key. "" is told each time.
	Key   string `json:"key,omitempty"`
	At    Millis `json:"at,omitempty"`
	JobID string `json:"jobId,omitempty"`
	Run   string `json:"run,omitempty"`
	// Chat is where a reply did not arrive: the channel and the chat.
	Chat   string `json:"chat,omitempty"`
	Count  int    `json:"count,omitempty"`  // of slots
	Reason string `json:"reason,omitempty"` // why slots did not run
	// Text is the whole of NoticeHealth, NoticeAbsent and of a recovery with a key, in a
	// sentence; Remedy is what to do, and Command what to type.
	Text    string `json:"text,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
	Command string `json:"command,omitempty"`
	Alert
}

// AlertTake asks for what there is to send next.
type AlertTake struct {
	Sender  string        // the process
	Leads   bool          // as its scheduler does: it sends before any that does not
	Token   string        // random; a resend with it gets the same
	HoldFor time.Duration // how long others then leave it to this one
	Lease   time.Duration // how long a send may take; longer, and nobody knows how it ended
	Chat    Target        // the deployment's; without a channel it has none
	Hook    bool          // the deployment has a hook
}

// HookTarget is the name of the deployment's hook among the targets of alerts.
const HookTarget = "hook"

// AlertTaken is what there is to send to one target.
type AlertTaken struct {
	To      string // the target's name in the outbox; "" if there is nothing to do
	Lost    int    // facts that were being sent there when their sender died; nothing else to do
	Damaged bool   // its records could not be read, and are dropped; nothing else to do
	Target  Target // the chat; none of HookTarget
	Retries int
	Notices []Notice
	More    int // facts that were only counted
}

// AlertEnd is how a send ended.
type AlertEnd struct {
	To        string
	Token     string
	Result    SendResult // PartDelivered, PartRetry, PartFailed or PartUnknown
	MessageID string
	Message   string // what went wrong
	Delay     time.Duration
	Retry     Retry
	// Forward hands what failed to the deployment's targets.
	Forward bool
}
