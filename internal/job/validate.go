package job

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gatewaycron/gatewaycron/internal/jobfield"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

// Bounds of what a client may define, beside those in jobfield's table. Sizes are in bytes.
const (
	MaxTaskBytes       = jobfield.MaxTaskBytes
	MaxIdentifierBytes = jobfield.MaxIdentifierBytes
	// MaxReasonBytes bounds the reason of a pause.
	MaxReasonBytes = 500
	// MaxSessionBytes bounds a session key, also one made from agent, channel and
	// chat: it becomes a file name at the ai-server, which fails above 250 characters
	// only after the model was paid.
	MaxSessionBytes = 200
	MinEverySeconds = jobfield.MinEverySeconds
	MaxEverySeconds = jobfield.MaxEverySeconds
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
	v.timing(s)
	for _, f := range jobfield.All() {
		if !f.Timing {
			v.field(f, ValueOf(&s, f))
		}
	}
	v.text("reason", s.PauseReason, MaxReasonBytes, `"on holiday"`)
	v.target(s)
	v.alerts(s)
	v.session(s)
	return v.err()
}

// field checks a value by what the table says of it.
func (v *validator) field(f jobfield.Field, value reflect.Value) {
	switch f.Kind {
	case jobfield.Text:
		v.task(f, value.String())
	case jobfield.Line:
		v.text(f.Name, value.String(), f.Most, f.Example)
	case jobfield.Identifier, jobfield.Chat:
		v.identifier(f.Name, value.String(), f.Example)
	case jobfield.Channel:
		if name := value.String(); name != "" && !channelPattern.MatchString(name) {
			v.add(f.Name, "must be lower-case letters, digits, - or _, at most 64", f.Example)
		}
	case jobfield.Word:
		if word := value.String(); word != "" && !slices.Contains(f.Choices, word) {
			most := len(f.Choices) - 1
			v.add(f.Name, "must be "+strings.Join(f.Choices[:most], ", ")+" or "+f.Choices[most], f.Example)
		}
	case jobfield.Number, jobfield.Seconds:
		if Empty(value) {
			return
		}
		if problem := f.Problem(int(reflect.Indirect(value).Int())); problem != "" {
			v.add(f.Name, problem, f.Example)
		}
	case jobfield.Instant:
		v.instant(f, Millis(value.Int()))
	case jobfield.Labels:
		v.labels(f, value)
	case jobfield.Delays:
		v.delays(f, value)
	case jobfield.Cron, jobfield.Zone, jobfield.Truth, jobfield.MaybeTruth:
	}
}

// found reports whether one of the fields has a problem.
func (v *validator) found(names ...string) bool {
	return slices.ContainsFunc(v.problems, func(p Problem) bool { return slices.Contains(names, p.Field) })
}

// target checks that a chat and its channel come together.
func (v *validator) target(s Spec) {
	switch {
	case v.found("channel"):
	case s.Channel != "" && s.ChatID == "":
		v.add("chatId", "is required with channel: it says which chat gets the reply", `"123456"`)
	case s.Channel == "" && (s.ChatID != "" || s.ThreadID != ""):
		v.add("channel", "is required with chatId or threadId (or leave those out): without it no reply is sent", `"telegram"`)
	}
}

// session checks the key that the session of the job gets, unless what that is named after is
// wrong already.
func (v *validator) session(s Spec) {
	if s.Context == ContextIsolated && s.SessionKey != "" {
		v.add("sessionKey", "must be left out with context isolated, which begins each run with an empty session of the job's own", "null")
	}
	if v.found("agentId", "sessionKey", "chatId", "peerId", "threadId") || s.Channel != "" && !channelPattern.MatchString(s.Channel) {
		return
	}
	switch key := s.ResolveSession(strings.Repeat("x", maxIDBytes)); {
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
}

// alerts checks that the chat that is told of failures and its channel come together.
func (v *validator) alerts(s Spec) {
	switch named := s.AlertChatID != "" || s.AlertThreadID != ""; {
	case v.found("alertChannel"):
	case s.AlertChannel == AlertNone && named:
		v.add("alertChannel", "none excludes alertChatId and alertThreadId", `"telegram"`)
	case s.AlertChannel != "" && s.AlertChannel != AlertNone && s.AlertChatID == "":
		v.add("alertChatId", "is required with alertChannel: it says which chat is told of failures", `"123456"`)
	case s.AlertChannel == "" && named:
		v.add("alertChannel", "is required with alertChatId or alertThreadId (or leave those out)", `"telegram"`)
	}
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
	case s.Schedule != "" && !cron && (s.At != 0 || s.EverySeconds != 0):
		v.add("schedule", "must be left out, not blank, with every or at", "null")
	case s.At == 0 && s.EverySeconds == 0 && !cron:
		v.add("schedule", "is required: 5 cron fields, minute hour day-of-month month day-of-week (or every, in seconds, or at, for one run)",
			`"0 9 * * 1-5"`)
	}
	expr := s.Schedule
	if !cron {
		expr = "* * * * *" // so that a bad zone is reported in the same answer
	}
	v.schedule(expr, s.Timezone)
	for _, f := range jobfield.All() {
		if f.Timing {
			v.field(f, ValueOf(&s, f))
		}
	}
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
}

// instant checks an instant that may be absent.
func (v *validator) instant(f jobfield.Field, m Millis) {
	switch {
	case m < 0 || m > lastInstant:
		v.add(f.Name, "must be between the years 1970 and 2200", f.Example)
	case m%1000 != 0:
		v.add(f.Name, "must be a whole second", f.Example)
	}
}

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

func (v *validator) task(f jobfield.Field, task string) {
	switch {
	case strings.TrimSpace(task) == "" && f.Required:
		v.add(f.Name, "is required: the text the agent is given at each run", f.Example)
	case len(task) > f.Most:
		v.add(f.Name, fmt.Sprintf("is %d bytes; at most %d are allowed", len(task), f.Most), f.Example)
	case !utf8.ValidString(task) || strings.ContainsRune(task, 0):
		v.add(f.Name, "must be valid UTF-8 text without NUL", f.Example)
	}
}

func (v *validator) labels(f jobfield.Field, labels reflect.Value) {
	if n := labels.Len(); n > f.Length {
		v.add(f.Name, fmt.Sprintf("are %d; at most %d are allowed", n, f.Length), f.Example)
	}
	seen := map[string]bool{}
	for i := range labels.Len() {
		switch label := labels.Index(i).String(); {
		case !ValidLabel(label):
			v.add(f.Name, fmt.Sprintf("entry %d %s", i+1, LabelForm), f.Example)
			return
		case seen[label]:
			v.add(f.Name, fmt.Sprintf("entry %d is there twice; send it once", i+1), f.Example)
			return
		default:
			seen[label] = true
		}
	}
}

func (v *validator) delays(f jobfield.Field, delays reflect.Value) {
	for i := range delays.Len() {
		if i == f.Length || f.Problem(int(delays.Index(i).Int())) != "" {
			v.add(f.Name, fmt.Sprintf("must be at most %d whole numbers from %d to %d", f.Length, f.Low, f.Most), f.Example)
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
