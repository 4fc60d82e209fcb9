package job

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

// Bounds of what a client may define. Sizes are in bytes.
const (
	MaxTaskBytes = 64 << 10
	MaxNameBytes = 200
	// MaxReasonBytes bounds the reason of a pause.
	MaxReasonBytes = 500
	// MaxIdentifierBytes bounds agent, session, chat, peer, thread, model and effort.
	MaxIdentifierBytes = 200
	// MaxSessionBytes bounds a session key, also one made from agent, channel and
	// chat: it becomes a file name at the ai-server, which fails above 250 characters
	// only after the model was paid.
	MaxSessionBytes        = 200
	MaxMaxRuns             = 1_000_000
	MaxTimeoutSeconds      = 6 * 3600
	MaxMaxRetries          = 10
	MaxRetryDelays         = 10
	MaxRetryDelaySeconds   = 24 * 3600
	MaxMisfireGraceSeconds = 7 * 24 * 3600
	MinEverySeconds        = 10
	MaxEverySeconds        = 366 * 24 * 3600
	MaxJitterSeconds       = 24 * 3600
	MaxLabels              = 10
	// MaxAlertAfter is below the number of failures that disable a job, which is told in any case.
	MaxAlertAfter           = 9
	MaxAlertCooldownSeconds = 7 * 24 * 3600
)

// lastInstant is the latest that at, startAt and endAt may be.
var lastInstant = ToMillis(time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC))

// maxIDBytes is the length of the longest id.
const maxIDBytes = 64

// idPattern is the form of a job id: safe in a URL, a Redis key and a task id.
var idPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// ValidID reports whether id has the form of a job id.
func ValidID(id string) bool { return idPattern.MatchString(id) }

// labelPattern is the form of a label: no spaces, which keep the labels of a job apart
// in its record, and nothing that a query string would have to escape.
var labelPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_.:/-]{0,62}$`)

// LabelForm says what a label must look like.
const LabelForm = "must be 1 to 63 lower-case letters, digits or _ . : / -, the first a letter or digit"

// ValidLabel reports whether label has the form of a label.
func ValidLabel(label string) bool { return labelPattern.MatchString(label) }

// channelPattern keeps a channel name safe as a path segment.
var channelPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// Problem is one thing wrong with a client's input: the field, what is wrong
// with it, and a value that works, as JSON: null where only leaving it out does.
type Problem struct {
	Field   string `json:"field"`
	Detail  string `json:"detail"`
	Example string `json:"example,omitempty"`
}

// InvalidError lists every problem of an input at once.
type InvalidError struct{ Problems []Problem }

func (e *InvalidError) Error() string {
	parts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		parts[i] = p.Field + " " + p.Detail
	}
	return "invalid: " + strings.Join(parts, "; ")
}

// Validate checks every field of s and returns all problems at once as an
// *InvalidError, or nil. Fields are named as on the wire, in camelCase. It does
// not know which channels are connected: the caller adds that.
func (s Spec) Validate() error {
	var v validator

	v.text("name", s.Name, MaxNameBytes, `"Morning summary"`)
	v.timing(s)
	v.task(s.Task)
	v.labels(s.Labels)

	found := len(v.problems)
	v.identifier("agentId", s.AgentID, `"main"`)
	v.identifier("sessionKey", s.SessionKey, `"agent:main:telegram:dm:123"`)
	v.identifier("chatId", s.ChatID, `"123456"`)
	v.identifier("peerId", s.PeerID, `"123456"`)
	v.identifier("threadId", s.ThreadID, `"42"`)
	// named: what a session is named after is well-formed.
	named := len(v.problems) == found && (s.Channel == "" || channelPattern.MatchString(s.Channel))
	v.identifier("model", s.Model, `"anthropic/claude-sonnet-4-5"`)
	v.identifier("reasoningEffort", s.Effort, `"medium"`)

	switch {
	case s.Channel != "" && !channelPattern.MatchString(s.Channel):
		v.add("channel", "must be lower-case letters, digits, - or _, at most 64", `"telegram"`)
	case s.Channel != "" && s.ChatID == "":
		v.add("chatId", "is required with channel: it says which chat gets the reply", `"123456"`)
	case s.Channel == "" && (s.ChatID != "" || s.ThreadID != ""):
		v.add("channel", "is required with chatId or threadId (or leave those out): without it no reply is sent", `"telegram"`)
	}

	v.alerts(s)

	switch key := s.ResolveSession(strings.Repeat("x", maxIDBytes)); {
	case !named: // a session made of that would only be wrong once more
	case climbs(key):
		v.add("sessionKey", climbsDetail, `"agent:main:morning"`)
	case s.Context == ContextIsolated && len(key) > MaxSessionBytes:
		v.add("agentId", fmt.Sprintf("is too long: the session made from it has over %d bytes", MaxSessionBytes), `"main"`)
	case s.SessionKey == "" && len(key) > MaxSessionBytes:
		v.add("sessionKey", fmt.Sprintf("is required here: the one made from agentId, channel, chatId and threadId has over %d bytes", MaxSessionBytes),
			`"agent:main:morning"`)
	case s.Session == "" && s.SessionForm != FormerSession && !s.clearThread():
		v.add("sessionKey", "is required here: in the one made from chatId and threadId, nobody could tell the two apart", `"agent:main:morning"`)
	}
	switch s.Context {
	case "", ContextSession:
	case ContextIsolated:
		if s.SessionKey != "" {
			v.add("sessionKey", "must be left out with context isolated, which begins each run with an empty session of the job's own", "null")
		}
	default:
		v.add("context", "must be session or isolated", `"session"`)
	}
	v.text("reason", s.PauseReason, MaxReasonBytes, `"on holiday"`)
	v.between("maxRuns", s.MaxRuns, 0, MaxMaxRuns, "1")
	v.between("timeoutSeconds", s.TimeoutSeconds, 0, MaxTimeoutSeconds, "900")
	if s.MaxRetries != nil {
		v.between("maxRetries", *s.MaxRetries, 0, MaxMaxRetries, "3")
	}
	if len(s.RetryDelaysSeconds) > MaxRetryDelays || slices.ContainsFunc(s.RetryDelaysSeconds,
		func(n int) bool { return n < 1 || n > MaxRetryDelaySeconds }) {
		v.add("retryDelaysSeconds", fmt.Sprintf("must be at most %d whole numbers from 1 to %d", MaxRetryDelays, MaxRetryDelaySeconds), "[30,60,300]")
	}
	if s.MisfireGraceSeconds != 0 { // a slot counts as late only after a minute
		v.between("misfireGraceSeconds", s.MisfireGraceSeconds, int(LateAfter.Seconds()), MaxMisfireGraceSeconds, "3600")
	}
	switch s.Misfire {
	case "", MisfireRunOnce, MisfireRunAll, MisfireSkip:
	default:
		v.add("misfire", "must be run_once, run_all or skip", `"run_once"`)
	}
	switch s.Overlap {
	case "", OverlapSkip, OverlapQueueOne, OverlapAllow, OverlapCancelPrevious:
	default:
		v.add("overlap", "must be skip, queue_one, allow or cancel_previous", `"skip"`)
	}
	switch s.OnAmbiguous {
	case "", OnAmbiguousRetry, OnAmbiguousFail:
	default:
		v.add("onAmbiguous", "must be retry or fail", `"retry"`)
	}
	switch s.Deliver {
	case "", DeliverAlways, DeliverOnFailure, DeliverNever:
	default:
		v.add("deliver", "must be always, on_failure or never", `"always"`)
	}
	return v.err()
}

// alerts checks who is told of failures, and when.
func (v *validator) alerts(s Spec) {
	v.identifier("alertChatId", s.AlertChatID, `"123456"`)
	v.identifier("alertThreadId", s.AlertThreadID, `"42"`)
	switch named := s.AlertChatID != "" || s.AlertThreadID != ""; {
	case s.AlertChannel != "" && !channelPattern.MatchString(s.AlertChannel):
		v.add("alertChannel", "must be lower-case letters, digits, - or _, at most 64; none for nobody", `"telegram"`)
	case s.AlertChannel == AlertNone && named:
		v.add("alertChannel", "none excludes alertChatId and alertThreadId", `"telegram"`)
	case s.AlertChannel != "" && s.AlertChannel != AlertNone && s.AlertChatID == "":
		v.add("alertChatId", "is required with alertChannel: it says which chat is told of failures", `"123456"`)
	case s.AlertChannel == "" && named:
		v.add("alertChannel", "is required with alertChatId or alertThreadId (or leave those out)", `"telegram"`)
	}
	v.between("alertAfter", s.AlertAfter, 0, MaxAlertAfter, "2")
	v.between("alertCooldownSeconds", s.AlertCooldownSeconds, 0, MaxAlertCooldownSeconds, "3600")
}

// ValidateTiming checks only what says when the job runs, as Validate does.
func (s Spec) ValidateTiming() error {
	var v validator
	v.timing(s)
	return v.err()
}

// validator collects problems.
type validator struct{ problems []Problem }

func (v *validator) add(field, detail, example string) {
	v.problems = append(v.problems, Problem{Field: field, Detail: detail, Example: example})
}

func (v *validator) err() error {
	if len(v.problems) == 0 {
		return nil
	}
	return &InvalidError{Problems: v.problems}
}

// timing checks all that says when the job runs.
func (v *validator) timing(s Spec) {
	cron := strings.TrimSpace(s.Schedule) != ""
	switch {
	case s.At != 0 && (cron || s.EverySeconds != 0):
		v.add("at", "must stand alone: a job has one of schedule, every and at", "null")
	case cron && s.EverySeconds != 0:
		v.add("every", "must stand alone: a job has one of schedule, every and at", "null")
	case s.At == 0 && s.EverySeconds == 0 && !cron:
		v.add("schedule", "is required: 5 cron fields, minute hour day-of-month month day-of-week (or every, in seconds, or at, for one run)",
			`"0 9 * * 1-5"`)
	}
	expr := s.Schedule
	if !cron {
		expr = "* * * * *" // so that a bad zone is reported in the same answer
	}
	v.schedule(expr, s.Timezone)
	if s.EverySeconds != 0 {
		v.between("every", s.EverySeconds, MinEverySeconds, MaxEverySeconds, "3600")
	}
	v.instant("at", s.At)
	v.instant("startAt", s.StartAt)
	v.instant("endAt", s.EndAt)
	notWithAt := func(field string, sent bool) {
		if s.At != 0 && sent {
			v.add(field, "must be left out with at, which is for one run", "null")
		}
	}
	notWithAt("startAt", s.StartAt != 0)
	notWithAt("endAt", s.EndAt != 0)
	notWithAt("maxRuns", s.MaxRuns != 0)
	if s.At == 0 && s.StartAt != 0 && s.EndAt != 0 && s.EndAt < s.StartAt {
		v.add("endAt", "must not come before startAt", "null")
	}
	v.between("jitterSeconds", s.JitterSeconds, 0, MaxJitterSeconds, "300")
}

// instant checks an instant that may be absent.
func (v *validator) instant(field string, m Millis) {
	switch {
	case m < 0 || m > lastInstant:
		v.add(field, "must be between the years 1970 and 2200", exampleInstant)
	case m%1000 != 0:
		v.add(field, "must be a whole second", exampleInstant)
	}
}

// exampleInstant is an instant as it is sent.
const exampleInstant = `"2027-03-28T12:00:00+01:00"`

func (v *validator) schedule(expr, zone string) {
	_, err := schedule.Parse(expr, zone)
	var pe *schedule.ParseError
	switch {
	case errors.As(err, &pe):
		for _, p := range pe.Problems {
			v.add(p.Field, p.Detail, p.Example)
		}
	case err != nil:
		v.add("schedule", err.Error(), `"0 9 * * 1-5"`)
	}
}

func (v *validator) task(task string) {
	const example = `"Summarise my unread mail"`
	switch {
	case strings.TrimSpace(task) == "":
		v.add("task", "is required: the text the agent is given at each run", example)
	case len(task) > MaxTaskBytes:
		v.add("task", fmt.Sprintf("is %d bytes; at most %d are allowed", len(task), MaxTaskBytes), example)
	case !utf8.ValidString(task) || strings.ContainsRune(task, 0):
		v.add("task", "must be valid UTF-8 text without NUL", example)
	}
}

func (v *validator) labels(labels []string) {
	const example = `["team:ops","daily"]`
	if len(labels) > MaxLabels {
		v.add("labels", fmt.Sprintf("are %d; at most %d are allowed", len(labels), MaxLabels), example)
	}
	for i, label := range labels {
		switch {
		case !ValidLabel(label):
			v.add("labels", fmt.Sprintf("entry %d %s", i+1, LabelForm), example)
			return
		case slices.Contains(labels[:i], label):
			v.add("labels", fmt.Sprintf("entry %d is there twice; send it once", i+1), example)
			return
		}
	}
}

// text checks free text of one line.
func (v *validator) text(field, s string, most int, example string) {
	switch {
	case len(s) > most:
		v.add(field, fmt.Sprintf("is %d bytes; at most %d are allowed", len(s), most), example)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		v.add(field, "must be one line of valid UTF-8 text", example)
	case strings.ContainsFunc(s, isHidden):
		v.add(field, hiddenDetail, example)
	}
}

// identifier checks a name that travels in headers, paths and file names of others.
func (v *validator) identifier(field, s, example string) {
	switch {
	case len(s) > MaxIdentifierBytes:
		v.add(field, fmt.Sprintf("is %d bytes; at most %d are allowed", len(s), MaxIdentifierBytes), example)
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == utf8.RuneError }):
		v.add(field, "must not contain spaces or control characters", example)
	case strings.ContainsFunc(s, func(r rune) bool {
		return isHidden(r) || unicode.IsSpace(r) || unicode.Is(unicode.Variation_Selector, r)
	}):
		v.add(field, hiddenDetail, example)
	case field == "sessionKey" && (s == "." || s == ".."):
		v.add(field, dotDetail, example)
	}
}

// climbs reports whether a key, taken for a path, would leave its directory or be cleaned.
func climbs(key string) bool {
	parts := strings.FieldsFunc(key, func(r rune) bool { return r == '/' || r == '\\' })
	return strings.Contains(key, "//") || len(parts) > 1 && slices.ContainsFunc(parts, func(p string) bool { return p == "." || p == ".." }) ||
		strings.Trim(key, `./\`) == ""
}

// TakenBefore reports whether a problem is one that releases before this one did not mind: a
// character that cannot be seen, or a session key that is a directory. What is stored may have it.
func (p Problem) TakenBefore() bool {
	return p.Detail == hiddenDetail || p.Detail == dotDetail || p.Detail == climbsDetail
}

const (
	dotDetail    = "must not be . or ..: it becomes a file name"
	climbsDetail = "must not have //, nor . or .. between slashes: it becomes a file name. The same holds for the agentId, chatId and threadId it is made from"
)

const hiddenDetail = "must not contain characters that cannot be seen, such as zero-width ones and those that turn the direction of text"

// isHidden finds what makes two names look alike: characters without a width or a look, and
// those that turn the direction of text. Joiners are among them, which some scripts and emoji
// use; what chooses the look of an emoji is not.
func isHidden(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point) || r == brailleBlank
}

const brailleBlank = 0x2800

func (v *validator) between(field string, n, low, high int, example string) {
	if n < low || n > high {
		v.add(field, fmt.Sprintf("must be between %d and %d", low, high), example)
	}
}
