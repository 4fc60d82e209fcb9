package job

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func valid() Spec { return Spec{Schedule: "0 9 * * 1-5", Task: "say hello", Enabled: true} }

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Spec)
		fields []string
	}{
		{"the least", func(*Spec) {}, nil},
		{"everything", func(s *Spec) {
			group := true
			*s = Spec{Name: "Morning 🌅", Schedule: "*/5 * * * *", Timezone: "Asia/Kathmandu", Task: strings.Repeat("x", MaxTaskBytes),
				AgentID: "main", SessionKey: "agent:main:telegram:dm:1", Model: "anthropic/claude-opus-4-5", Effort: "high",
				Channel: "telegram", ChatID: "-100", PeerID: "1", ThreadID: "2", IsGroup: &group, MaxRuns: 1,
				Misfire: MisfireSkip, MisfireGraceSeconds: 60, TimeoutSeconds: 1, OnAmbiguous: OnAmbiguousFail}
		}, nil},
		{"isolated", func(s *Spec) { s.Context, s.Channel, s.ChatID = ContextIsolated, "telegram", "1" }, nil},
		{"isolated, in a session", func(s *Spec) { s.Context, s.SessionKey = ContextIsolated, "agent:main:x" }, []string{"sessionKey"}},
		{"isolated, with a long agent", func(s *Spec) { s.Context, s.AgentID = ContextIsolated, strings.Repeat("a", 150) }, []string{"agentId"}},
		{"once", func(s *Spec) { s.Schedule, s.At, s.Timezone = "", 1_800_000_000_000, "Asia/Kolkata" }, nil},
		{"every, bounded, spread", func(s *Spec) {
			s.Schedule, s.EverySeconds, s.StartAt, s.EndAt, s.JitterSeconds = "", MinEverySeconds, 1_800_000_000_000, 1_800_000_000_000, MaxJitterSeconds
		}, nil},
		{"too often", func(s *Spec) { s.Schedule, s.EverySeconds = "", MinEverySeconds-1 }, []string{"every"}},
		{"too rarely", func(s *Spec) { s.Schedule, s.EverySeconds = "", MaxEverySeconds+1 }, []string{"every"}},
		{"a schedule and every", func(s *Spec) { s.EverySeconds = 60 }, []string{"every"}},
		{"a schedule and at", func(s *Spec) { s.At = 1_800_000_000_000 }, []string{"at"}},
		{"every and at", func(s *Spec) { s.Schedule, s.EverySeconds, s.At = "", 60, 1_800_000_000_000 }, []string{"at"}},
		{"once, with what is for many", func(s *Spec) {
			s.Schedule, s.At, s.StartAt, s.MaxRuns = "", 1_800_000_000_000, 1_800_000_000_000, 2
		}, []string{"startAt", "maxRuns"}},
		{"an end before the start", func(s *Spec) { s.StartAt, s.EndAt = 1_800_000_001_000, 1_800_000_000_000 }, []string{"endAt"}},
		{"instants out of range", func(s *Spec) { s.StartAt, s.EndAt = -1000, lastInstant+1000 }, []string{"startAt", "endAt"}},
		{"a part of a second", func(s *Spec) { s.StartAt = 1_800_000_000_001 }, []string{"startAt"}},
		{"too much jitter", func(s *Spec) { s.JitterSeconds = MaxJitterSeconds + 1 }, []string{"jitterSeconds"}},
		{"negative jitter", func(s *Spec) { s.JitterSeconds = -1 }, []string{"jitterSeconds"}},
		{"labels", func(s *Spec) { s.Labels = []string{"0", "team:ops/a_b.c-d", strings.Repeat("x", 63)} }, nil},
		{"a label too long", func(s *Spec) { s.Labels = []string{strings.Repeat("x", 64)} }, []string{"labels"}},
		{"a label with a space", func(s *Spec) { s.Labels = []string{"a b"} }, []string{"labels"}},
		{"a label of nothing", func(s *Spec) { s.Labels = []string{""} }, []string{"labels"}},
		{"a label that begins with a sign", func(s *Spec) { s.Labels = []string{"-a"} }, []string{"labels"}},
		{"a label twice", func(s *Spec) { s.Labels = []string{"a", "a"} }, []string{"labels"}},
		{"too many labels", func(s *Spec) { s.Labels = strings.Split("abcdefghijk", "") }, []string{"labels"}},
		{"alerts", func(s *Spec) {
			s.AlertChannel, s.AlertChatID, s.AlertThreadID, s.AlertAfter, s.AlertCooldownSeconds = "telegram", "7", "3", MaxAlertAfter, MaxAlertCooldownSeconds
		}, nil},
		{"alerts to nobody", func(s *Spec) { s.AlertChannel = AlertNone }, nil},
		{"alerts to nobody there", func(s *Spec) { s.AlertChannel, s.AlertChatID = AlertNone, "7" }, []string{"alertChannel"}},
		{"alerts without a chat", func(s *Spec) { s.AlertChannel = "telegram" }, []string{"alertChatId"}},
		{"alerts without a channel", func(s *Spec) { s.AlertChatID = "7" }, []string{"alertChannel"}},
		{"alerts in a thread alone", func(s *Spec) { s.AlertThreadID = "7" }, []string{"alertChannel"}},
		{"alerts through a strange channel", func(s *Spec) { s.AlertChannel, s.AlertChatID = "A/b", "7" }, []string{"alertChannel"}},
		{"alerts to a chat with a space", func(s *Spec) { s.AlertChannel, s.AlertChatID = "telegram", "a b" }, []string{"alertChatId"}},
		{"alerts after the job is disabled", func(s *Spec) { s.AlertAfter = MaxAlertAfter + 1 }, []string{"alertAfter"}},
		{"alerts too rarely", func(s *Spec) { s.AlertCooldownSeconds = MaxAlertCooldownSeconds + 1 }, []string{"alertCooldownSeconds"}},
		{"no retries", func(s *Spec) { s.MaxRetries = new(0) }, nil},
		{"retries without end", func(s *Spec) { s.MaxRetries = new(MaxMaxRetries + 1) }, []string{"maxRetries"}},
		{"no such overlap", func(s *Spec) { s.Overlap = "queue" }, []string{"overlap"}},
		{"delays", func(s *Spec) { s.RetryDelaysSeconds = []int{1, MaxRetryDelaySeconds, 1} }, nil},
		{"as many delays as may be", func(s *Spec) { s.RetryDelaysSeconds = slices.Repeat([]int{1}, MaxRetryDelays) }, nil},
		{"too many delays", func(s *Spec) { s.RetryDelaysSeconds = slices.Repeat([]int{1}, MaxRetryDelays+1) }, []string{"retryDelaysSeconds"}},
		{"no delay, and too long a one", func(s *Spec) { s.RetryDelaysSeconds = []int{0, MaxRetryDelaySeconds + 1} }, []string{"retryDelaysSeconds"}},
		{"failures only", func(s *Spec) { s.Deliver = DeliverOnFailure }, nil},
		{"no such delivery", func(s *Spec) { s.Deliver = "failures" }, []string{"deliver"}},
		{"no such context", func(s *Spec) { s.Context = "none" }, []string{"context"}},
		{"a reason of two lines", func(s *Spec) { s.PauseReason = "a\nb" }, []string{"reason"}},
		{"nothing", func(s *Spec) { *s = Spec{} }, []string{"schedule", "task"}},
		{"all at once", func(s *Spec) { s.Schedule, s.Timezone, s.Task, s.MaxRuns = "x", "y", " \n", -1 },
			[]string{"schedule", "timezone", "task", "maxRuns"}},
		{"no schedule, bad zone", func(s *Spec) { s.Schedule, s.Timezone = "", "Mars/Base" }, []string{"schedule", "timezone"}},
		{"task too long", func(s *Spec) { s.Task = strings.Repeat("x", MaxTaskBytes+1) }, []string{"task"}},
		{"task not UTF-8", func(s *Spec) { s.Task = "\xff" }, []string{"task"}},
		{"task with NUL", func(s *Spec) { s.Task = "a\x00b" }, []string{"task"}},
		{"name of two lines", func(s *Spec) { s.Name = "a\nb" }, []string{"name"}},
		{"name too long", func(s *Spec) { s.Name = strings.Repeat("x", MaxNameBytes+1) }, []string{"name"}},
		{"channel without chat", func(s *Spec) { s.Channel = "telegram" }, []string{"chatId"}},
		{"chat without channel", func(s *Spec) { s.ChatID = "1" }, []string{"channel"}},
		{"peer without channel", func(s *Spec) { s.PeerID = "1" }, nil},
		{"session that is a path", func(s *Spec) { s.SessionKey = "../../etc" }, []string{"sessionKey"}},
		{"made session that is a path", func(s *Spec) { s.Channel, s.ChatID = "slack", `T\U` }, []string{"sessionKey"}},
		{"thread without channel", func(s *Spec) { s.ThreadID = "1" }, []string{"channel"}},
		{"channel that is a path", func(s *Spec) { s.Channel, s.ChatID = "../x", "1" }, []string{"channel"}},
		{"spaces in ids", func(s *Spec) { s.AgentID, s.SessionKey, s.Model, s.ChatID = "a b", "c\td", "e\nf", "g\u007f" },
			[]string{"agentId", "sessionKey", "chatId", "model", "channel"}},
		{"session too long", func(s *Spec) { s.SessionKey = strings.Repeat("x", 201) }, []string{"sessionKey"}},
		{"made session too long", func(s *Spec) {
			s.AgentID, s.Channel, s.ChatID = strings.Repeat("a", 100), "telegram", strings.Repeat("c", 100)
		}, []string{"sessionKey"}},
		{"unknown policies", func(s *Spec) { s.Misfire, s.OnAmbiguous = "later", "pray" }, []string{"misfire", "onAmbiguous"}},
		{"out of range", func(s *Spec) {
			s.MaxRuns, s.TimeoutSeconds, s.MisfireGraceSeconds = MaxMaxRuns+1, MaxTimeoutSeconds+1, MaxMisfireGraceSeconds+1
		}, []string{"maxRuns", "timeoutSeconds", "misfireGraceSeconds"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := valid()
			tt.change(&s)
			var fields []string
			if invalid, ok := errors.AsType[*InvalidError](s.Validate()); ok {
				for _, p := range invalid.Problems {
					fields = append(fields, p.Field)
					if p.Detail == "" {
						t.Errorf("%s: no detail", p.Field)
					}
				}
			}
			if d := cmp.Diff(tt.fields, fields); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestResolveSession(t *testing.T) {
	yes, no := true, false
	tests := []struct {
		spec Spec
		want string
	}{
		{Spec{SessionKey: "s", Channel: "telegram", ChatID: "1"}, "s"},
		{Spec{}, "agent:main:cron:j"},
		{Spec{AgentID: "a"}, "agent:a:cron:j"},
		{Spec{Context: ContextIsolated}, "agent:main:cron:j:isolated"},
		{Spec{Context: ContextIsolated, AgentID: "a", Channel: "telegram", ChatID: "1"}, "agent:a:cron:j:isolated"},
		{Spec{ChatID: "1", PeerID: "2"}, "agent:main:cron:j"},
		{Spec{Channel: "telegram", ChatID: "1"}, "agent:main:telegram:dm:1"},
		{Spec{Channel: "telegram", ChatID: "1", PeerID: "2"}, "agent:main:telegram:dm:2"},
		{Spec{Channel: "telegram", ChatID: "1", PeerID: "2", IsGroup: &no}, "agent:main:telegram:dm:2"},
		{Spec{Channel: "telegram", ChatID: "-100abc", PeerID: "2", IsGroup: &yes}, "agent:main:telegram:group:-100abc"},
	}
	for _, tt := range tests {
		if got := tt.spec.ResolveSession("j"); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.spec, got, tt.want)
		}
	}
}

// A valid definition never makes a session key that the ai-server refuses.
func TestSessionOfAValidSpecIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.StringMatching(`[a-z0-9:_-]{0,210}`)
		s := valid()
		s.AgentID, s.SessionKey, s.PeerID = part.Draw(t, "agent"), part.Draw(t, "session"), part.Draw(t, "peer")
		if rapid.Bool().Draw(t, "isolated") {
			s.Context, s.SessionKey = ContextIsolated, ""
		}
		if rapid.Bool().Draw(t, "chat") {
			s.Channel, s.ChatID = "telegram", part.Draw(t, "chat id")
		}
		if key := s.ResolveSession(strings.Repeat("j", 64)); s.Validate() == nil && len(key) > MaxSessionBytes {
			t.Fatalf("%d bytes: %s", len(key), key)
		}
	})
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{"a": true, "job_1-x": true, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false,
		"": false, "_a": false, "A": false, "a:b": false, "a/b": false, "..": false, "a\n": false, "é": false} {
		if ValidID(id) != want {
			t.Errorf("ValidID(%q) is %v", id, !want)
		}
	}
}

// TestJitter: a job's share is its own, the same each time, within the bound, and the
// shares of many jobs fill it.
func TestJitter(t *testing.T) {
	const seconds = 60
	s := Spec{JitterSeconds: seconds}
	var quarters [4]int
	for i := range 1000 {
		id := fmt.Sprint("job_", i)
		d := s.Timing(id, 0).Jitter
		if again := s.Timing(id, 0).Jitter; again != d || d < 0 || d > seconds*time.Second {
			t.Fatalf("%s: %v, then %v", id, d, again)
		}
		quarters[min(3, int(d/(seconds/4*time.Second)))]++
	}
	for q, n := range quarters {
		if n < 150 {
			t.Errorf("%d of 1000 jobs in quarter %d of the window", n, q)
		}
	}
	if d := (Spec{}).Timing("a", 0).Jitter; d != 0 {
		t.Errorf("without jitterSeconds: %v", d)
	}
}

func TestAnchorAt(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_789)
	for _, tt := range []struct {
		spec Spec
		want Millis
	}{
		{Spec{Schedule: "* * * * *"}, 0},
		{Spec{EverySeconds: 60}, 1_800_000_000_000},
		{Spec{EverySeconds: 60, StartAt: 1_900_000_000_000}, 1_900_000_000_000},
	} {
		if got := tt.spec.AnchorAt(now); got != tt.want {
			t.Errorf("%+v: %d, want %d", tt.spec, got, tt.want)
		}
	}
}

func TestRetryDelay(t *testing.T) {
	for _, tc := range []struct {
		own  []int
		want map[int]string
	}{
		{nil, map[int]string{0: "30s", 1: "30s", 2: "1m0s", 3: "5m0s", 9: "5m0s"}},
		{[]int{}, map[int]string{1: "30s", 4: "5m0s"}},
		{[]int{7}, map[int]string{0: "7s", 1: "7s", 2: "7s", 9: "7s"}},
		{[]int{90, 5}, map[int]string{1: "1m30s", 2: "5s", 3: "5s"}},
	} {
		s := Spec{RetryDelaysSeconds: tc.own}
		for n, want := range tc.want {
			if got := s.RetryDelay(n).String(); got != want || s.WithDefaults().RetryDelay(n).String() != want {
				t.Errorf("%v: retry %d after %s, want %s", tc.own, n, got, want)
			}
		}
	}
}
