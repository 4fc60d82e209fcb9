package store

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"strings"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/jobfield"
)

// fields is a hash as Redis gives it.
type fields map[string]string

func (f fields) int(name string) int64 {
	n, _ := strconv.ParseInt(f[name], 10, 64) // absent or damaged counts as 0
	return n
}

func (f fields) millis(name string) job.Millis { return job.Millis(f.int(name)) }

// flatFields reads a hash that a script returned as field, value, field, value.
func flatFields(v any) (fields, error) {
	flat, ok := v.([]any)
	if !ok || len(flat)%2 != 0 {
		return nil, fmt.Errorf("script returned %T instead of a hash", v)
	}
	f := make(fields, len(flat)/2)
	for i := 0; i < len(flat); i += 2 {
		name, _ := flat[i].(string)
		value, _ := flat[i+1].(string)
		f[name] = value
	}
	return f, nil
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func number(v any) int64 {
	switch n := v.(type) {
	case int64:
		return n
	case string:
		i, _ := strconv.ParseInt(n, 10, 64)
		return i
	}
	return 0
}

// specFields are the fields of the definition; empty ones are not stored. A
// policy is stored even where it is the default, because the scripts read it.
func specFields(id string, s job.Spec) map[string]string {
	whole := s.WithDefaults()
	whole.RetryDelaysSeconds = s.RetryDelaysSeconds // without the default: no script reads it
	if s.At != 0 {
		whole.MaxRuns = 1 // a job for one instant goes when it has run
	}
	all := map[string]string{"enabled": "0", "session": s.ResolveSession(id), "pauseReason": s.PauseReason}
	for _, f := range jobfield.All() {
		if text := encode(f, job.ValueOf(&whole, f)); text != "" || all[f.Key()] == "" {
			all[f.Key()] = text
		}
	}
	return all
}

// positive renders a number that is stored only where there is one.
func positive(n int64) string {
	if n <= 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// flag renders what is stored only where it is true.
func flag(b bool) string {
	if b {
		return "1"
	}
	return ""
}

// encode writes a value as its field is stored, "" where it is not.
func encode(f jobfield.Field, v reflect.Value) string {
	if job.Empty(v) {
		return ""
	}
	v = reflect.Indirect(v)
	switch f.Kind {
	case jobfield.Number, jobfield.Seconds, jobfield.Instant:
		return strconv.FormatInt(v.Int(), 10)
	case jobfield.Truth:
		return "1"
	case jobfield.MaybeTruth:
		return strconv.FormatBool(v.Bool())
	case jobfield.Labels:
		labels, _ := reflect.TypeAssert[[]string](v)
		return strings.Join(labels, " ")
	case jobfield.Delays:
		text, _ := json.Marshal(v.Interface()) // integers: cannot fail
		return string(text)
	default:
		return v.String()
	}
}

// decode sets a value to what is stored of its field; what is absent or damaged leaves it.
func decode(f jobfield.Field, text string, v reflect.Value) {
	if text == "" {
		return
	}
	switch f.Kind {
	case jobfield.Number, jobfield.Seconds, jobfield.Instant:
		n, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err != nil:
		case v.Kind() == reflect.Pointer:
			v.Set(reflect.ValueOf(new(int(n))))
		default:
			v.SetInt(n)
		}
	case jobfield.Truth:
		v.SetBool(text == "1")
	case jobfield.MaybeTruth:
		if b, err := strconv.ParseBool(text); err == nil {
			v.Set(reflect.ValueOf(&b))
		}
	case jobfield.Labels:
		if labels := strings.Fields(text); len(labels) > 0 {
			v.Set(reflect.ValueOf(labels))
		}
	case jobfield.Delays:
		if delays := []int(nil); json.Unmarshal([]byte(text), &delays) == nil {
			v.Set(reflect.ValueOf(delays))
		}
	default:
		v.SetString(text)
	}
}

func decodeJob(id string, f fields) (job.Job, error) {
	if f["uid"] == "" {
		return job.Job{}, job.ErrNotFound
	}
	if f.int("v") > job.Version {
		return job.Job{}, job.ErrNewerVersion
	}
	j := job.Job{
		ID: id, UID: f["uid"], Revision: f.int("rev"),
		Spec:      job.Spec{Session: f["session"], PauseReason: f["pauseReason"]},
		CreatedAt: f.millis("createdAt"), UpdatedAt: f.millis("updatedAt"), MadeBy: f["madeBy"],
		Anchor: f.millis("anchor"), NextSlot: f.millis("nextSlot"), NextDue: nextDue(f), LastSlot: f.millis("lastSlot"), Claims: int(f.int("claims")),
		LastRunID: f["lastRunId"], LastRunAt: f.millis("lastRunAt"),
		LastOutcome: job.Outcome(f["lastOutcome"]), LastDelivery: job.DeliveryState(f["lastDelivery"]), CutAt: f.millis("cutAt"), Failures: int(f.int("failures")),
		DisabledAt: f.millis("disabledAt"),
	}
	if j.LastOutcome == job.Missed || j.LastOutcome == job.Skipped {
		j.LastOutcomeSlot = f.millis("lastOutcomeSlot") // else it is of what came before
	}
	for _, field := range jobfield.All() {
		decode(field, f[field.Key()], job.ValueOf(&j.Spec, field))
	}
	if j.At != 0 {
		j.MaxRuns = 0 // its own, not the client's
	}
	return j, nil
}

// nextDue is when the next slot is due; it is stored only where that is later.
func nextDue(f fields) job.Millis {
	if f["nextDue"] != "" {
		return f.millis("nextDue")
	}
	return f.millis("nextSlot")
}

func decodeRun(id string, f fields) (job.Run, error) {
	if f["state"] == "" {
		return job.Run{}, job.ErrNotFound
	}
	r := runOf(id, f)
	for name, value := range f {
		number, is := strings.CutPrefix(name, "a")
		if !is {
			continue
		}
		if n, err := strconv.Atoi(number); err == nil {
			var a job.Attempt
			if err := json.Unmarshal([]byte(value), &a); err != nil {
				a = job.Attempt{N: n, Error: "this record is damaged"}
			}
			r.Attempts = append(r.Attempts, a)
		}
	}
	sort.Slice(r.Attempts, func(i, k int) bool { return r.Attempts[i].N < r.Attempts[k].N })
	return r, nil
}

// runOf is a run without its attempts.
func runOf(id string, f fields) job.Run {
	return job.Run{
		ID: id, JobID: f["job"], JobUID: f["uid"], JobName: f["name"], Trigger: job.Trigger(f["trigger"]),
		State: job.State(f["state"]), Outcome: job.Outcome(f["outcome"]), Reason: f["reason"], Error: f["error"],
		Slot: f.millis("slot"), LastSlot: f.millis("lastSlot"), Count: int(f.int("count")),
		CreatedAt: f.millis("createdAt"), NotBefore: f.millis("notBefore"),
		StartedAt: f.millis("startedAt"), FinishedAt: f.millis("finishedAt"),
		SessionKey: f["session"], Reply: f["reply"], Empty: f["empty"] == "1", ReplyDropped: f["replyDropped"] == "1", DeliveryState: job.DeliveryState(f["delivery"]),
	}
}

func decodeDelivery(n int, f fields) (job.Delivery, map[int]bool) {
	d := job.Delivery{
		N: n, Kind: job.DeliveryKind(f["kind"]), State: job.DeliveryState(f["outcome"]), Attempts: int(f.int("attempt")), Parts: int(f.int("parts")),
		Error: f["error"], CreatedAt: f.millis("createdAt"), FinishedAt: f.millis("finishedAt"),
	}
	if d.Kind == "" {
		d.Kind = job.KindReply // of before there were alerts
	}
	if d.State == "" {
		d.State = job.DeliveryPending
	}
	if err := json.Unmarshal([]byte(f["target"]), &d.Target); err != nil && d.Error == "" {
		d.Error = "the target of this record is damaged"
	}
	sent := map[int]bool{}
	for part := range d.Parts {
		if id, ok := strings.CutPrefix(f["p"+strconv.Itoa(part)], "s:"); ok {
			sent[part] = true
			d.MessageIDs = append(d.MessageIDs, id)
		}
	}
	return d, sent
}
