package api

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/jobfield"
)

// jobShape is what a client may define of a job.
var jobShape = shape[job.Spec]{
	fields: definitionFields(everyField, func(s *job.Spec) *job.Spec { return s }),
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

func everyField(jobfield.Field) bool { return true }

// definitionFields are the fields of a job's definition that want picks, where spec finds it.
func definitionFields[T any](want func(jobfield.Field) bool, spec func(*T) *job.Spec) []field[T] {
	var all []field[T]
	for _, f := range jobfield.All() {
		if !want(f) {
			continue
		}
		value := func(t *T) reflect.Value { return job.ValueOf(spec(t), f) }
		one := field[T]{
			name:      f.Name,
			example:   f.Example,
			insteadOf: f.Instead,
			clear:     func(t *T) { value(t).SetZero() },
			read: func(raw json.RawMessage) (func(*T), string) {
				v, problem := readField(f, raw)
				if problem != "" {
					return nil, problem
				}
				return func(t *T) { value(t).Set(reflect.ValueOf(v).Convert(value(t).Type())) }, ""
			},
		}
		if f.NoNull {
			one = withoutNull(one)
		}
		all = append(all, one)
	}
	return all
}

// readField reads a value of a field of a definition.
func readField(f jobfield.Field, raw json.RawMessage) (any, string) {
	switch f.Kind {
	case jobfield.Chat:
		return readIdentifier(raw)
	case jobfield.Number, jobfield.Seconds:
		n, problem := readWhole(raw, f.Low, f.Most)
		if f.Optional() {
			return &n, problem
		}
		return n, problem
	case jobfield.Truth:
		return readBool(raw)
	case jobfield.MaybeTruth:
		v, problem := readBool(raw)
		return &v, problem
	case jobfield.Instant:
		return readSecond(raw)
	case jobfield.Labels:
		return readTexts(raw)
	case jobfield.Delays:
		return readWholes(raw, f.Length, f.Low, f.Most)
	default:
		return readText(raw)
	}
}

// text is a string field.
func text[T any](name, example string, at func(*T) *string) field[T] {
	return stored(name, example, at, readText)
}

func readText(raw json.RawMessage) (v, problem string) {
	if json.Unmarshal(raw, &v) != nil {
		return "", "must be a string, not " + kindOf(raw)
	}
	return v, ""
}

// readTexts reads an array of strings.
func readTexts(raw json.RawMessage) ([]string, string) {
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		return nil, "must be an array of strings, not " + kindOf(raw)
	}
	var v []string // nil without any, as in a job that never had one
	for i, item := range items {
		s, problem := readText(item)
		if kind := kindOf(item); problem != "" || kind != "a string" {
			return nil, fmt.Sprintf("entry %d must be a string, not %s", i+1, kind)
		}
		v = append(v, s)
	}
	return v, ""
}

// readIdentifier reads a string that may be sent as a whole number, since chat ids look like
// numbers and models write them so. The digits are kept exactly.
func readIdentifier(raw json.RawMessage) (string, string) {
	if kindOf(raw) != "a number" {
		return readText(raw)
	}
	if strings.ContainsAny(string(raw), ".eE") {
		return "", "must be a string or a whole number"
	}
	return string(raw), ""
}

// count is a whole number from 1 to most. 0 is refused instead of taken for "no
// limit": clients mean different things by it.
func count[T any](name string, most int, example string, at func(*T) *int) field[T] {
	return stored(name, example, at, func(raw json.RawMessage) (int, string) {
		return readWhole(raw, 1, most)
	})
}

// readWholes reads an array of at most length whole numbers.
func readWholes(raw json.RawMessage, length, low, most int) ([]int, string) {
	want := fmt.Sprintf("must be an array of at most %d whole numbers from %d to %d", length, low, most)
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		return nil, want + ", not " + kindOf(raw)
	}
	if len(items) > length {
		return nil, fmt.Sprintf("%s, not %d", want, len(items))
	}
	numbers := make([]int, len(items))
	for i, item := range items {
		n, problem := readWhole(item, low, most)
		if problem != "" {
			return nil, fmt.Sprintf("entry %d %s", i+1, problem)
		}
		numbers[i] = n
	}
	return numbers, ""
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

func readBool(raw json.RawMessage) (v bool, problem string) {
	if json.Unmarshal(raw, &v) != nil {
		return false, "must be true or false without quotes, not " + kindOf(raw)
	}
	return v, ""
}

// instant is a time.
func instant[T any](name string, at func(*T) *job.Millis) field[T] {
	return stored(name, `"2027-03-28T12:00:00+01:00"`, at, readSecond)
}

// readSecond reads a time as RFC 3339, or in UTC milliseconds, as responses have it.
// A part of a second counts as a whole one: slots have whole seconds.
func readSecond(raw json.RawMessage) (job.Millis, string) {
	ms, problem := readInstant(raw)
	if problem == "" {
		problem = checkYear(ms)
	}
	if problem != "" {
		return 0, problem
	}
	return (ms + 999) / 1000 * 1000, ""
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

// withoutNull refuses null in an edit.
func withoutNull[T any](f field[T]) field[T] {
	f.clear = nil
	return f
}
