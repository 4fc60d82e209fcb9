package job

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gatewaycron/gatewaycron/internal/jobfield"
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
			s.Schedule, s.EverySeconds, s.StartAt, s.EndAt, s.JitterSeconds = "", MinEverySeconds, 1_800_000_000_000, 1_800_000_000_000, mostOf("jitterSeconds")
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
		{"too much jitter", func(s *Spec) { s.JitterSeconds = mostOf("jitterSeconds") + 1 }, []string{"jitterSeconds"}},
		{"negative jitter", func(s *Spec) { s.JitterSeconds = -1 }, []string{"jitterSeconds"}},
		{"labels", func(s *Spec) { s.Labels = []string{"0", "team:ops/a_b.c-d", strings.Repeat("x", 63)} }, nil},
		{"a label too long", func(s *Spec) { s.Labels = []string{strings.Repeat("x", 64)} }, []string{"labels"}},
		{"a label with a space", func(s *Spec) { s.Labels = []string{"a b"} }, []string{"labels"}},
		{"a label of nothing", func(s *Spec) { s.Labels = []string{""} }, []string{"labels"}},
		{"a label that begins with a sign", func(s *Spec) { s.Labels = []string{"-a"} }, []string{"labels"}},
		{"a label twice", func(s *Spec) { s.Labels = []string{"a", "a"} }, []string{"labels"}},
		{"too many labels", func(s *Spec) { s.Labels = strings.Split("abcdefghijk", "") }, []string{"labels"}},
		{"alerts", func(s *Spec) {
			s.AlertChannel, s.AlertChatID, s.AlertThreadID, s.AlertAfter, s.AlertCooldownSeconds = "telegram", "7", "3", mostOf("alertAfter"), mostOf("alertCooldownSeconds")
		}, nil},
		{"alerts to nobody", func(s *Spec) { s.AlertChannel = AlertNone }, nil},
		{"alerts to nobody there", func(s *Spec) { s.AlertChannel, s.AlertChatID = AlertNone, "7" }, []string{"alertChannel"}},
		{"alerts without a chat", func(s *Spec) { s.AlertChannel = "telegram" }, []string{"alertChatId"}},
		{"alerts without a channel", func(s *Spec) { s.AlertChatID = "7" }, []string{"alertChannel"}},
		{"alerts in a thread alone", func(s *Spec) { s.AlertThreadID = "7" }, []string{"alertChannel"}},
		{"alerts through a strange channel", func(s *Spec) { s.AlertChannel, s.AlertChatID = "A/b", "7" }, []string{"alertChannel"}},
		{"alerts to a chat with a space", func(s *Spec) { s.AlertChannel, s.AlertChatID = "telegram", "a b" }, []string{"alertChatId"}},
		{"alerts after the job is disabled", func(s *Spec) { s.AlertAfter = mostOf("alertAfter") + 1 }, []string{"alertAfter"}},
		{"alerts too rarely", func(s *Spec) { s.AlertCooldownSeconds = mostOf("alertCooldownSeconds") + 1 }, []string{"alertCooldownSeconds"}},
		{"no retries", func(s *Spec) { s.MaxRetries = new(0) }, nil},
		{"retries without end", func(s *Spec) { s.MaxRetries = new(mostOf("maxRetries") + 1) }, []string{"maxRetries"}},
		{"no such overlap", func(s *Spec) { s.Overlap = "queue" }, []string{"overlap"}},
		{"delays", func(s *Spec) { s.RetryDelaysSeconds = []int{1, mostOf("retryDelaysSeconds"), 1} }, nil},
		{"as many delays as may be", func(s *Spec) { s.RetryDelaysSeconds = slices.Repeat([]int{1}, 10) }, nil},
		{"too many delays", func(s *Spec) { s.RetryDelaysSeconds = slices.Repeat([]int{1}, 10+1) }, []string{"retryDelaysSeconds"}},
		{"no delay, and too long a one", func(s *Spec) { s.RetryDelaysSeconds = []int{0, mostOf("retryDelaysSeconds") + 1} }, []string{"retryDelaysSeconds"}},
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
		{"name with a zero-width space", func(s *Spec) { s.Name = "a\u200bb" }, []string{"name"}},
		{"agent with a bidi control", func(s *Spec) { s.AgentID = "a\u202eb" }, []string{"agentId"}},
		{"session with a mark", func(s *Spec) { s.SessionKey = "a\ufeff" }, []string{"sessionKey"}},
		{"name with a filler", func(s *Spec) { s.Name = "a\u3164" }, []string{"name"}},
		{"name with a blank of Braille", func(s *Spec) { s.Name = "a\u2800" }, []string{"name"}},
		{"name with an emoji in color", func(s *Spec) { s.Name = "\u26a0\ufe0f" }, nil},
		{"agent with the mark of an emoji", func(s *Spec) { s.AgentID = "a\ufe0f" }, []string{"agentId"}},
		{"agent with a space without a break", func(s *Spec) { s.AgentID = "a\u00a0b" }, []string{"agentId"}},
		{"chat with a wide space", func(s *Spec) { s.Channel, s.ChatID = "telegram", "a\u3000b" }, []string{"chatId"}},
		{"session ..", func(s *Spec) { s.SessionKey = ".." }, []string{"sessionKey"}},
		{"session .", func(s *Spec) { s.SessionKey = "." }, []string{"sessionKey"}},
		{"name too long", func(s *Spec) { s.Name = strings.Repeat("x", mostOf("name")+1) }, []string{"name"}},
		{"channel without chat", func(s *Spec) { s.Channel = "telegram" }, []string{"chatId"}},
		{"chat without channel", func(s *Spec) { s.ChatID = "1" }, []string{"channel"}},
		{"peer without channel", func(s *Spec) { s.PeerID = "1" }, nil},
		{"session that is a path", func(s *Spec) { s.SessionKey = "../../etc" }, []string{"sessionKey"}},
		{"session with slashes", func(s *Spec) { s.SessionKey = `agent:main:web:/a/b\c` }, nil},
		{"session that is cleaned as a path", func(s *Spec) { s.SessionKey = "agent:main//a" }, []string{"sessionKey"}},
		{"session of a path in the middle", func(s *Spec) { s.SessionKey = `agent:main\..\a` }, []string{"sessionKey"}},
		{"session above all", func(s *Spec) { s.SessionKey = "/.." }, []string{"sessionKey"}},
		{"made session with a slash", func(s *Spec) { s.Channel, s.ChatID = "slack", `T\U` }, nil},
		{"made session that is a path", func(s *Spec) { s.Channel, s.ChatID = "slack", "T/../U" }, []string{"sessionKey"}},
		{"a chat that ends like a thread", func(s *Spec) { s.Channel, s.ChatID = "slack", "a:thread:b" }, []string{"sessionKey"}},
		{"the same with a session", func(s *Spec) { s.Channel, s.ChatID, s.SessionKey = "slack", "a:thread:b", "s" }, nil},
		{"the same, stored before", func(s *Spec) {
			s.Channel, s.ChatID, s.Session = "slack", "a:thread:b", "agent:main:slack:dm:a:thread:b"
		}, nil},
		{"a thread that is a path", func(s *Spec) { s.Channel, s.ChatID, s.ThreadID = "slack", "a", "b/../c" }, []string{"sessionKey"}},
		{"made session too long by its thread", func(s *Spec) {
			s.Channel, s.ChatID, s.ThreadID = "slack", strings.Repeat("c", 100), strings.Repeat("t", 100)
		}, []string{"sessionKey"}},
		{"the same, stored before threads were part of it", func(s *Spec) {
			s.Channel, s.ChatID, s.ThreadID, s.Session = "slack", strings.Repeat("c", 100), strings.Repeat("t", 100), "agent:main:slack:dm:c"
		}, nil},
		{"thread without channel", func(s *Spec) { s.ThreadID = "1" }, []string{"channel"}},
		{"channel that is a path", func(s *Spec) { s.Channel, s.ChatID = "../x", "1" }, []string{"channel"}},
		{"spaces in ids", func(s *Spec) { s.AgentID, s.SessionKey, s.Model, s.ChatID = "a b", "c\td", "e\nf", "g\u007f" },
			[]string{"chatId", "agentId", "sessionKey", "model", "channel"}},
		{"session too long", func(s *Spec) { s.SessionKey = strings.Repeat("x", 201) }, []string{"sessionKey"}},
		{"made session too long", func(s *Spec) {
			s.AgentID, s.Channel, s.ChatID = strings.Repeat("a", 100), "telegram", strings.Repeat("c", 100)
		}, []string{"sessionKey"}},
		{"unknown policies", func(s *Spec) { s.Misfire, s.OnAmbiguous = "later", "pray" }, []string{"misfire", "onAmbiguous"}},
		{"out of range", func(s *Spec) {
			s.MaxRuns, s.TimeoutSeconds, s.MisfireGraceSeconds = mostOf("maxRuns")+1, mostOf("timeoutSeconds")+1, mostOf("misfireGraceSeconds")+1
		}, []string{"maxRuns", "misfireGraceSeconds", "timeoutSeconds"}},
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

// A new definition has a key by which no two conversations are one; former is the key of
// those that were stored before threads were part of it, which they keep.
func TestResolveSession(t *testing.T) {
	yes, no := true, false
	tests := []struct {
		spec   Spec
		want   string
		former string // "" is the same
	}{
		{Spec{SessionKey: "s", Channel: "telegram", ChatID: "1", ThreadID: "3"}, "s", ""},
		{Spec{}, "agent:main:cron:j", ""},
		{Spec{AgentID: "a"}, "agent:a:cron:j", ""},
		{Spec{Context: ContextIsolated}, "agent:main:cron:j:isolated", ""},
		{Spec{Context: ContextIsolated, AgentID: "a", Channel: "telegram", ChatID: "1", ThreadID: "3"}, "agent:a:cron:j:isolated", ""},
		{Spec{ChatID: "1", PeerID: "2"}, "agent:main:cron:j", ""},
		{Spec{Channel: "telegram", ChatID: "1"}, "agent:main:telegram:dm:1", ""},
		{Spec{Channel: "telegram", ChatID: "1", PeerID: "2"}, "agent:main:telegram:dm:2", ""},
		{Spec{Channel: "telegram", ChatID: "1", PeerID: "2", IsGroup: &no}, "agent:main:telegram:dm:2", ""},
		{Spec{Channel: "telegram", ChatID: "-100abc", PeerID: "2", IsGroup: &yes}, "agent:main:telegram:group:-100abc", ""},

		{Spec{Channel: "telegram", ChatID: "-100123", ThreadID: "11", IsGroup: &yes}, "agent:main:telegram:group:-100123:thread:11", "agent:main:telegram:group:-100123"},
		{Spec{Channel: "telegram", ChatID: "-100123", ThreadID: "22"}, "agent:main:telegram:group:-100123:thread:22", "agent:main:telegram:dm:-100123"},
		{Spec{Channel: "telegram", ChatID: "-100123"}, "agent:main:telegram:group:-100123", "agent:main:telegram:dm:-100123"},
		{Spec{Channel: "telegram", ChatID: "-100123", PeerID: "2"}, "agent:main:telegram:group:-100123", "agent:main:telegram:dm:2"},
		{Spec{Channel: "telegram", ChatID: "-100123", IsGroup: &no}, "agent:main:telegram:group:-100123", "agent:main:telegram:dm:-100123"},
		{Spec{Channel: "telegram", ChatID: "@news"}, "agent:main:telegram:group:@news", "agent:main:telegram:dm:@news"},
		{Spec{Channel: "telegram", ChatID: "1", PeerID: "1", ThreadID: "3"}, "agent:main:telegram:dm:1:thread:3", "agent:main:telegram:dm:1"},
		{Spec{Channel: "whatsapp", ChatID: "49151-1600@g.us", PeerID: "49151"}, "agent:main:whatsapp:group:49151-1600@g.us", "agent:main:whatsapp:dm:49151"},
		{Spec{Channel: "whatsapp", ChatID: "49151@s.whatsapp.net", PeerID: "49151"}, "agent:main:whatsapp:dm:49151", ""},
		{Spec{Channel: "whatsapp", ChatID: "+49151"}, "agent:main:whatsapp:dm:+49151", ""},
		// Whether it is a group is unknown: the peer may be in others, too.
		{Spec{Channel: "slack", ChatID: "C1", PeerID: "U1"}, "agent:main:slack:dm:C1", "agent:main:slack:dm:U1"},
		{Spec{Channel: "slack", ChatID: "D1", PeerID: "U1", IsGroup: &no}, "agent:main:slack:dm:U1", ""},
	}
	for _, tt := range tests {
		if tt.former == "" {
			tt.former = tt.want
		}
		if got := tt.spec.ResolveSession("j"); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.spec, got, tt.want)
		}
		asked, stored := tt.spec, tt.spec
		asked.SessionForm, stored.Session = FormerSession, tt.former
		if got := asked.ResolveSession("j"); got != tt.former {
			t.Errorf("%+v formerly: %s, want %s", tt.spec, got, tt.former)
		}
		if got := stored.ResolveSession("j"); got != tt.former {
			t.Errorf("%+v, stored: %s, want %s", tt.spec, got, tt.former)
		}
		want := TodaysSession
		if tt.want != tt.former {
			want = FormerSession
		}
		if a, b, c := asked.SessionFormOf("j"), stored.SessionFormOf("j"), tt.spec.SessionFormOf("j"); a != want || b != want || c != TodaysSession {
			t.Errorf("%+v has the form %d if it asks for the former, %d stored with it, and %d else", tt.spec, a, b, c)
		}
	}
}

// Two chats, or two threads of one, are never one session.
func TestSessionsAreApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{"1", "2", "-1", "1:thread:2", "thread:1", "1:thread", "a", "@a", "1@g.us", ":", "a:thread:"})
		draw := func(label string) Spec {
			s := valid()
			s.Channel = rapid.SampledFrom([]string{"telegram", "whatsapp", "slack"}).Draw(t, label)
			s.ChatID = part.Draw(t, label+" chat")
			if rapid.Bool().Draw(t, label+" in a thread") {
				s.ThreadID = part.Draw(t, label+" thread")
			}
			return s
		}
		a, b := draw("a"), draw("b")
		same := a.Channel == b.Channel && a.ChatID == b.ChatID && a.ThreadID == b.ThreadID
		if a.Validate() == nil && b.Validate() == nil && (a.ResolveSession("j") == b.ResolveSession("j")) != same {
			t.Fatalf("%s %q %q and %s %q %q: %s and %s", a.Channel, a.ChatID, a.ThreadID, b.Channel, b.ChatID, b.ThreadID,
				a.ResolveSession("j"), b.ResolveSession("j"))
		}
	})
}

// What a key is made of is what SameConversation compares.
func TestSameConversation(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Spec)
		same   bool
	}{
		"nothing": {func(*Spec) {}, true},
		"what else there is": {func(s *Spec) {
			s.Name, s.Task, s.Enabled, s.Schedule, s.Model, s.Deliver = "n", "y", false, "1 1 * * *", "m", DeliverNever
		}, true},
		"a default, spelled": {func(s *Spec) { s.AgentID, s.Context, s.IsGroup = "main", ContextSession, new(true) }, true},
		"agentId":            {func(s *Spec) { s.AgentID = "a" }, false},
		"sessionKey":         {func(s *Spec) { s.SessionKey = "s" }, false},
		"channel":            {func(s *Spec) { s.Channel = "slack" }, false},
		"chatId":             {func(s *Spec) { s.ChatID = "-2" }, false},
		"peerId":             {func(s *Spec) { s.PeerID = "3" }, false},
		"threadId":           {func(s *Spec) { s.ThreadID = "" }, false},
		"isGroup":            {func(s *Spec) { s.IsGroup = nil }, false},
		"isGroup, otherwise": {func(s *Spec) { s.IsGroup = new(false) }, false},
		"context":            {func(s *Spec) { s.Context = ContextIsolated }, false},
	} {
		before := valid()
		before.Channel, before.ChatID, before.PeerID, before.ThreadID, before.IsGroup = "telegram", "-1", "2", "7", new(true)
		after := before
		tt.change(&after)
		if before.SameConversation(after) != tt.same || after.SameConversation(before) != tt.same {
			t.Errorf("%s: the same conversation is %v", name, !tt.same)
		}
		before.Session, after.Session = "former", "former"
		if got := after.EditOf(before).Session; got != map[bool]string{true: "former"}[tt.same] {
			t.Errorf("%s: an edit leaves the session %q", name, got)
		}
		after.SessionForm = TodaysSession
		if got := after.EditOf(before).Session; got != "" {
			t.Errorf("%s: an edit that asks for a form leaves the session %q", name, got)
		}
	}
}

func TestGroup(t *testing.T) {
	says := func(b *bool) string {
		if b == nil {
			return "unknown"
		}
		return strconv.FormatBool(*b)
	}
	for _, tt := range []struct {
		channel, chat string
		said          *bool
		want          string
	}{
		{"telegram", "-100123", nil, "true"}, {"telegram", "-100123", new(false), "true"}, {"telegram", "@news", nil, "true"},
		{"telegram", "123", nil, "false"}, {"telegram", "123", new(true), "false"}, {"telegram", "?", nil, "unknown"}, {"telegram", "?", new(true), "true"},
		{"whatsapp", "1-2@g.us", nil, "true"}, {"whatsapp", "1@s.whatsapp.net", nil, "false"}, {"whatsapp", "+49151", nil, "false"},
		{"whatsapp", "status@broadcast", nil, "true"}, {"whatsapp", "x@y", nil, "unknown"}, {"whatsapp", "x", new(false), "false"},
		{"slack", "-1", nil, "unknown"}, {"slack", "-1", new(false), "false"}, {"slack", "C1", new(true), "true"},
		{"", "", nil, "unknown"},
	} {
		if got := says(Spec{Channel: tt.channel, ChatID: tt.chat, IsGroup: tt.said}.Group()); got != tt.want {
			t.Errorf("%s %s, said to be %s: %s, want %s", tt.channel, tt.chat, says(tt.said), got, tt.want)
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
			s.Channel, s.ChatID, s.ThreadID = "telegram", part.Draw(t, "chat id"), part.Draw(t, "thread")
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

// mostOf is the upper bound of a field.
func mostOf(name string) int {
	f, _ := jobfield.Named(name)
	return f.Most
}
