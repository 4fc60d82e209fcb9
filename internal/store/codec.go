package store

import (
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/gatewaycron/gatewaycron/internal/job"
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
		return nil, fmt.Errorf("script answered %T instead of a hash", v)
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
	retryDelays := list(s.RetryDelaysSeconds) // without the default: no script reads it
	s = s.WithDefaults()
	enabled := "0"
	if s.Enabled {
		enabled = "1"
	}
	isGroup := ""
	if s.IsGroup != nil {
		isGroup = strconv.FormatBool(*s.IsGroup)
	}
	maxRuns := positive(int64(s.MaxRuns))
	if s.At != 0 {
		maxRuns = "1" // a job for one instant goes when it has run
	}
	return map[string]string{
		"every": positive(int64(s.EverySeconds)), "at": positive(int64(s.At)), "startAt": positive(int64(s.StartAt)),
		"endAt": positive(int64(s.EndAt)), "jitter": positive(int64(s.JitterSeconds)),
		"labels": strings.Join(s.Labels, " "),
		"name":   s.Name, "schedule": s.Schedule, "timezone": s.Timezone, "enabled": enabled, "task": s.Task,
		"agentId": s.AgentID, "sessionKey": s.SessionKey, "model": s.Model, "reasoningEffort": s.Effort,
		"channel": s.Channel, "chatId": s.ChatID, "peerId": s.PeerID, "threadId": s.ThreadID, "isGroup": isGroup,
		"maxRuns": maxRuns, "misfire": string(s.Misfire), "misfireGrace": strconv.Itoa(s.MisfireGraceSeconds),
		"timeout": strconv.Itoa(s.TimeoutSeconds), "onAmbiguous": string(s.OnAmbiguous),
		"overlap": string(s.Overlap), "deliver": string(s.Deliver),
		"maxRetries": strconv.Itoa(*s.MaxRetries), "retryDelays": retryDelays,
		"session": s.ResolveSession(id), "context": string(s.Context), "allowScheduling": flag(s.AllowScheduling),
		"pauseReason": s.PauseReason, "alertChannel": s.AlertChannel, "alertChatId": s.AlertChatID, "alertThreadId": s.AlertThreadID,
		"alertAfter": positive(int64(s.AlertAfter)), "alertCooldown": positive(int64(s.AlertCooldownSeconds)),
	}
}

// positive renders a number that is stored only where there is one.
func positive(n int64) string {
	if n <= 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// list renders numbers; no numbers are not stored.
func list(numbers []int) string {
	if len(numbers) == 0 {
		return ""
	}
	text, _ := json.Marshal(numbers) // integers: cannot fail
	return string(text)
}

// flag renders what is stored only where it is true.
func flag(b bool) string {
	if b {
		return "1"
	}
	return ""
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
		Spec: job.Spec{
			EverySeconds: int(f.int("every")), At: f.millis("at"), StartAt: f.millis("startAt"), EndAt: f.millis("endAt"),
			JitterSeconds: int(f.int("jitter")),
			Name:          f["name"], Schedule: f["schedule"], Timezone: f["timezone"], Enabled: f["enabled"] == "1",
			Task: f["task"], AgentID: f["agentId"], SessionKey: f["sessionKey"], Model: f["model"],
			Effort: f["reasoningEffort"], Channel: f["channel"], ChatID: f["chatId"], PeerID: f["peerId"],
			ThreadID: f["threadId"], Session: f["session"], MaxRuns: int(f.int("maxRuns")), Misfire: job.Misfire(f["misfire"]),
			MisfireGraceSeconds: int(f.int("misfireGrace")), TimeoutSeconds: int(f.int("timeout")),
			OnAmbiguous: job.OnAmbiguous(f["onAmbiguous"]), Overlap: job.Overlap(f["overlap"]), Context: job.Context(f["context"]),
			Deliver:      job.Deliver(f["deliver"]),
			AlertChannel: f["alertChannel"], AlertChatID: f["alertChatId"], AlertThreadID: f["alertThreadId"],
			AlertAfter: int(f.int("alertAfter")), AlertCooldownSeconds: int(f.int("alertCooldown")),
			AllowScheduling: f["allowScheduling"] == "1", PauseReason: f["pauseReason"],
		},
		CreatedAt: f.millis("createdAt"), UpdatedAt: f.millis("updatedAt"), MadeBy: f["madeBy"],
		Anchor: f.millis("anchor"), NextSlot: f.millis("nextSlot"), NextDue: nextDue(f), LastSlot: f.millis("lastSlot"), Claims: int(f.int("claims")),
		LastRunID: f["lastRunId"], LastRunAt: f.millis("lastRunAt"),
		LastOutcome: job.Outcome(f["lastOutcome"]), LastDelivery: job.DeliveryState(f["lastDelivery"]), CutAt: f.millis("cutAt"), Failures: int(f.int("failures")),
		DisabledAt: f.millis("disabledAt"),
	}
	if j.LastOutcome == job.Missed || j.LastOutcome == job.Skipped {
		j.LastOutcomeSlot = f.millis("lastOutcomeSlot") // else it is of what came before
	}
	if labels := strings.Fields(f["labels"]); len(labels) > 0 {
		j.Labels = labels
	}
	if j.At != 0 {
		j.MaxRuns = 0 // its own, not the client's
	}
	if n, err := strconv.Atoi(f["maxRetries"]); err == nil {
		j.MaxRetries = &n
	}
	if delays := []int(nil); json.Unmarshal([]byte(f["retryDelays"]), &delays) == nil {
		j.RetryDelaysSeconds = delays
	}
	if b, err := strconv.ParseBool(f["isGroup"]); err == nil {
		j.IsGroup = &b
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
