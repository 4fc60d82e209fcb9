package api

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// jobShape is what a client may define of a job.
var jobShape = shape[job.Spec]{
	fields: append(timingFields(func(s *job.Spec) *job.Spec { return s }),
		countFrom(0, "jitterSeconds", job.MaxJitterSeconds, "300", func(s *job.Spec) *int { return &s.JitterSeconds }),
		text("task", `"Summarise my unread mail"`, func(s *job.Spec) *string { return &s.Task }),
		// Without null: clients that send every field, null where they have
		// nothing to say, would resume a paused job by renaming it.
		withoutNull(boolean("enabled", func(s *job.Spec) *bool { return &s.Enabled })),
		text("name", `"Morning summary"`, func(s *job.Spec) *string { return &s.Name }),
		texts("labels", `["team:ops","daily"]`, func(s *job.Spec) *[]string { return &s.Labels }),

		text("agentId", `"main"`, func(s *job.Spec) *string { return &s.AgentID }),
		text("sessionKey", `"agent:main:telegram:dm:123"`, func(s *job.Spec) *string { return &s.SessionKey }),
		text("model", `"anthropic/claude-sonnet-4-5"`, func(s *job.Spec) *string { return &s.Model }),
		text("reasoningEffort", `"medium"`, func(s *job.Spec) *string { return &s.Effort }),

		text("channel", `"telegram"`, func(s *job.Spec) *string { return &s.Channel }),
		identifier("chatId", `"123456"`, func(s *job.Spec) *string { return &s.ChatID }),
		identifier("peerId", `"123456"`, func(s *job.Spec) *string { return &s.PeerID }),
		identifier("threadId", `"42"`, func(s *job.Spec) *string { return &s.ThreadID }),
		optionalBoolean("isGroup", func(s *job.Spec) **bool { return &s.IsGroup }),

		count("maxRuns", job.MaxMaxRuns, "1", func(s *job.Spec) *int { return &s.MaxRuns }),
		text("misfire", `"run_once"`, func(s *job.Spec) *job.Misfire { return &s.Misfire }),
		count("misfireGraceSeconds", job.MaxMisfireGraceSeconds, "3600", func(s *job.Spec) *int { return &s.MisfireGraceSeconds }),
		text("overlap", `"skip"`, func(s *job.Spec) *job.Overlap { return &s.Overlap }),
		count("timeoutSeconds", job.MaxTimeoutSeconds, "900", func(s *job.Spec) *int { return &s.TimeoutSeconds }),
		text("onAmbiguous", `"retry"`, func(s *job.Spec) *job.OnAmbiguous { return &s.OnAmbiguous }),
		text("deliver", `"always"`, func(s *job.Spec) *job.Deliver { return &s.Deliver }),
		text("alertChannel", `"telegram"`, func(s *job.Spec) *string { return &s.AlertChannel }),
		identifier("alertChatId", `"123456"`, func(s *job.Spec) *string { return &s.AlertChatID }),
		identifier("alertThreadId", `"42"`, func(s *job.Spec) *string { return &s.AlertThreadID }),
		count("alertAfter", job.MaxAlertAfter, "2", func(s *job.Spec) *int { return &s.AlertAfter }),
		count("alertCooldownSeconds", job.MaxAlertCooldownSeconds, "3600", func(s *job.Spec) *int { return &s.AlertCooldownSeconds }),
		optionalCount("maxRetries", job.MaxMaxRetries, "3", func(s *job.Spec) **int { return &s.MaxRetries }),
		counts("retryDelaysSeconds", job.MaxRetryDelays, job.MaxRetryDelaySeconds, "[30,60,300]", func(s *job.Spec) *[]int { return &s.RetryDelaysSeconds }),
		text("context", `"session"`, func(s *job.Spec) *job.Context { return &s.Context }),
		boolean("allowScheduling", func(s *job.Spec) *bool { return &s.AllowScheduling }),
	),
	readOnly: []string{
		"id", "revision", "createdAt", "updatedAt", "lastRunAt", "lastRunId", "lastOutcome",
		"nextRunAt", "nextDueAt", "next", "nextLocal", "description", "runsUsed", "taskTruncated", "pauseReason", "failures", "madeBy",
		"ended", "lastOutcomeSlot", "lastDelivery",
	},
	synonyms: map[string]string{
		"cron": "schedule", "expression": "schedule", "cronexpression": "schedule",
		"prompt": "task", "message": "task", "text": "task", "instructions": "task",
		"everyseconds": "every", "interval": "every", "intervalseconds": "every", "runat": "at", "date": "at",
		"jitter": "jitterSeconds", "start": "startAt", "end": "endAt", "until": "endAt",
		"tz": "timezone", "effort": "reasoningEffort", "title": "name",
		"label": "labels", "tags": "labels", "tag": "labels",
		"agent": "agentId", "session": "sessionKey", "chat": "chatId", "timeout": "timeoutSeconds",
	},
	example: `{"schedule":"0 9 * * 1-5","timezone":"Europe/Berlin","task":"Summarise my unread mail"}`,
}

// timingFields say when the runs of a job are.
func timingFields[T any](spec func(*T) *job.Spec) []field[T] {
	return []field[T]{
		text("schedule", `"0 9 * * 1-5"`, func(t *T) *string { return &spec(t).Schedule }),
		text("timezone", `"Europe/Berlin"`, func(t *T) *string { return &spec(t).Timezone }),
		insteadOf("schedule", count("every", job.MaxEverySeconds, "3600", func(t *T) *int { return &spec(t).EverySeconds })),
		insteadOf("schedule", instant("at", func(t *T) *job.Millis { return &spec(t).At })),
		instant("startAt", func(t *T) *job.Millis { return &spec(t).StartAt }),
		instant("endAt", func(t *T) *job.Millis { return &spec(t).EndAt }),
	}
}

// text is a string field.
func text[T any, S ~string](name, example string, at func(*T) *S) field[T] {
	return stored(name, example, at, func(raw json.RawMessage) (S, string) {
		var v string
		if json.Unmarshal(raw, &v) != nil {
			return "", "must be a string, not " + kindOf(raw)
		}
		return S(v), ""
	})
}

// texts is an array of strings.
func texts[T any](name, example string, at func(*T) *[]string) field[T] {
	return stored(name, example, at, func(raw json.RawMessage) ([]string, string) {
		var items []json.RawMessage
		if json.Unmarshal(raw, &items) != nil {
			return nil, "must be an array of strings, not " + kindOf(raw)
		}
		var v []string // nil without any, as in a job that never had one
		for i, item := range items {
			if kind := kindOf(item); kind != "a string" {
				return nil, fmt.Sprintf("entry %d must be a string, not %s", i+1, kind)
			}
			var s string
			_ = json.Unmarshal(item, &s) // it was valid JSON
			v = append(v, s)
		}
		return v, ""
	})
}

// identifier is a string field that may be sent as a whole number, since chat
// ids look like numbers and models write them so. The digits are kept exactly.
func identifier[T any](name, example string, at func(*T) *string) field[T] {
	plain := text(name, example, at)
	f := plain
	f.read = func(raw json.RawMessage) (func(*T), string) {
		if kindOf(raw) != "a number" {
			return plain.read(raw)
		}
		if strings.ContainsAny(string(raw), ".eE") {
			return nil, "must be a string or a whole number"
		}
		return func(t *T) { *at(t) = string(raw) }, ""
	}
	return f
}

// count is a whole number from 1 to most. 0 is refused instead of taken for "no
// limit": clients mean different things by it.
func count[T any](name string, most int, example string, at func(*T) *int) field[T] {
	return countFrom(1, name, most, example, at)
}

// countFrom is a whole number from low to most. From 0 it is for what 0 means the same
// to everybody.
func countFrom[T any](low int, name string, most int, example string, at func(*T) *int) field[T] {
	return stored(name, example, at, func(raw json.RawMessage) (int, string) {
		return readWhole(raw, low, most)
	})
}

// optionalCount is a whole number from 0 to most, or unknown.
func optionalCount[T any](name string, most int, example string, at func(*T) **int) field[T] {
	return stored(name, example, at, func(raw json.RawMessage) (*int, string) {
		n, problem := readWhole(raw, 0, most)
		return &n, problem
	})
}

// counts is an array of at most length whole numbers from 1 to most.
func counts[T any](name string, length, most int, example string, at func(*T) *[]int) field[T] {
	return stored(name, example, at, func(raw json.RawMessage) ([]int, string) {
		want := fmt.Sprintf("must be an array of at most %d whole numbers from 1 to %d", length, most)
		var items []json.RawMessage
		if json.Unmarshal(raw, &items) != nil {
			return nil, want + ", not " + kindOf(raw)
		}
		if len(items) > length {
			return nil, fmt.Sprintf("%s, not %d", want, len(items))
		}
		numbers := make([]int, len(items))
		for i, item := range items {
			n, problem := readWhole(item, 1, most)
			if problem != "" {
				return nil, fmt.Sprintf("entry %d %s", i+1, problem)
			}
			numbers[i] = n
		}
		return numbers, ""
	})
}

func readWhole(raw json.RawMessage, low, most int) (int, string) {
	want := fmt.Sprintf("must be a whole number from %d to %d", low, most)
	if kind := kindOf(raw); kind != "a number" {
		return 0, want + ", not " + kind
	}
	n, err := strconv.Atoi(string(raw))
	if err != nil || n < low || n > most {
		return 0, want + ", not " + clip(string(raw), maxEchoRunes)
	}
	return n, ""
}

// boolean is true or false.
func boolean[T any](name string, at func(*T) *bool) field[T] {
	return stored(name, "true", at, readBool)
}

// optionalBoolean is true, false or unknown.
func optionalBoolean[T any](name string, at func(*T) **bool) field[T] {
	return stored(name, "true", at, func(raw json.RawMessage) (*bool, string) {
		v, problem := readBool(raw)
		return &v, problem
	})
}

func readBool(raw json.RawMessage) (v bool, problem string) {
	if json.Unmarshal(raw, &v) != nil {
		return false, "must be true or false without quotes, not " + kindOf(raw)
	}
	return v, ""
}

// instant is a time as RFC 3339, or in the UTC milliseconds that answers have it in.
// A part of a second counts as a whole one: slots have whole seconds.
func instant[T any](name string, at func(*T) *job.Millis) field[T] {
	const example = `"2027-03-28T12:00:00+01:00"`
	return stored(name, example, at, func(raw json.RawMessage) (job.Millis, string) {
		ms, problem := readInstant(raw)
		if problem != "" {
			return 0, problem
		}
		if problem := checkYear(ms); problem != "" {
			return 0, problem
		}
		return (ms + 999) / 1000 * 1000, ""
	})
}

func checkYear(ms job.Millis) (problem string) {
	if year := ms.Time().Year(); ms <= 0 || year < 1970 || year >= 2200 {
		return "must be between the years 1970 and 2200"
	}
	return ""
}

func readInstant(raw json.RawMessage) (job.Millis, string) {
	const want = "must be a time as RFC 3339, with a date, a time and a zone offset"
	switch kindOf(raw) {
	case "a number":
		n, err := strconv.ParseInt(string(raw), 10, 64)
		if err != nil {
			return 0, want + ", or whole milliseconds since 1970"
		}
		if n < 100_000_000_000 { // in 1973, by milliseconds
			return 0, want + ", or milliseconds since 1970; this looks like seconds"
		}
		return job.Millis(n), ""
	case "a string":
		var v string
		if err := json.Unmarshal(raw, &v); err != nil {
			return 0, want
		}
		t, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return 0, want
		}
		return job.Millis(t.UnixMilli()), ""
	default:
		return 0, want + " in a string, not " + kindOf(raw)
	}
}

// stored is a field whose value is kept at one place of T, and whose null puts
// the zero value there.
func stored[T, V any](name, example string, at func(*T) *V, read func(json.RawMessage) (V, string)) field[T] {
	return field[T]{
		name:    name,
		example: example,
		clear:   func(t *T) { *at(t) = *new(V) },
		read: func(raw json.RawMessage) (func(*T), string) {
			v, problem := read(raw)
			if problem != "" {
				return nil, problem
			}
			return func(t *T) { *at(t) = v }, ""
		},
	}
}

// insteadOf is a field that makes a required one needless.
func insteadOf[T any](required string, f field[T]) field[T] {
	f.insteadOf = required
	return f
}

// within are the fields of a part of T.
func within[T, P any](fields []field[P], part func(*T) *P) []field[T] {
	whole := make([]field[T], len(fields))
	for i, f := range fields {
		whole[i] = field[T]{name: f.name, example: f.example, insteadOf: f.insteadOf,
			read: func(raw json.RawMessage) (func(*T), string) {
				set, problem := f.read(raw)
				if set == nil {
					return nil, problem
				}
				return func(t *T) { set(part(t)) }, problem
			},
		}
		if f.clear != nil {
			whole[i].clear = func(t *T) { f.clear(part(t)) }
		}
	}
	return whole
}

// withoutNull refuses null in an edit.
func withoutNull[T any](f field[T]) field[T] {
	f.clear = nil
	return f
}
