package handlers

import (
	"strings"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// inSession is a job in a session.
func inSession(key, task string) job.Spec {
	spec := rarely()
	spec.SessionKey, spec.Task = key, task
	return spec
}

// TestConversationsAreApart at an ai-server that replaces characters: no run hears what
// was said under another key.
func TestConversationsAreApart(t *testing.T) {
	for _, keys := range [][]string{
		{"agent:ada@corp:main", "agent:ada_corp:main"},
		{"agent:main:早报", "agent:main:晚报", "agent:main:__"},
		{"agent:main:web:/a/b", `agent:main:web:/a\b`},
		{"agent:main:News", "agent:main:news"},
	} {
		t.Run(keys[0], func(t *testing.T) {
			f := setup(t, setupOptions{})
			for round := range 2 {
				for i, key := range keys {
					name := "job-" + string(rune('a'+i))
					if round == 0 {
						f.create(name, inSession(key, "said to "+key))
					}
					task, run := f.manual(name)
					must(t, f.turn(task))
					if got := f.record(run); got.Outcome != job.Succeeded || got.SessionKey != key {
						t.Fatalf("run of %s: %s in %s", key, got.Outcome, got.SessionKey)
					}
				}
			}
			files := map[string]string{}
			for _, call := range f.ai.Calls() {
				key := call.Gateway.SessionKey
				for _, m := range call.Messages {
					if !strings.HasSuffix(m.Text, "said to "+key) {
						t.Errorf("%s was told %q", key, m.Text)
					}
				}
				file := strings.ToLower(call.SessionID)
				if other, is := files[file]; is && other != key {
					t.Errorf("%s and %s are both called %s", other, key, file)
				}
				files[file] = key
			}
			if first := f.ai.Calls()[0]; first.SessionID != keys[0] {
				t.Errorf("the first, %s, is called %s", keys[0], first.SessionID)
			}
			if last := f.ai.Calls()[len(keys)*2-1]; len(last.Messages) != 3 {
				t.Errorf("%d messages of the second round: it has to go on with the first", len(last.Messages))
			}
		})
	}
}

// TestConversationThatWasThereBefore stays whose it is, whether that is this key or another.
func TestConversationThatWasThereBefore(t *testing.T) {
	for stored, mine := range map[string]bool{"agent:main:早报": true, "": true, "agent:main:晚报": false} {
		t.Run(stored, func(t *testing.T) {
			f := setup(t, setupOptions{})
			const key = "agent:main:早报"
			talk := []standin.ChatMessage{{Role: "user", Text: "between us"}, {Role: "assistant", Text: "of course"}}
			f.ai.SetSession(key, talk, standin.ChatGateway{SessionKey: stored})
			f.create("a", inSession(key, "the news"))
			for n := range 2 {
				task, _ := f.manual("a")
				must(t, f.turn(task))
				call := f.ai.Calls()[n]
				if heard := call.Messages[0].Text == "between us"; heard != mine {
					t.Errorf("run %d: heard the conversation: %v", n, heard)
				}
				if call.Gateway.SessionKey != key || (call.SessionID == key) != mine {
					t.Errorf("run %d: called %s for %s", n, call.SessionID, call.Gateway.SessionKey)
				}
			}
			if now, _ := f.ai.Session(key); !mine && len(now) != len(talk) {
				t.Errorf("the other conversation has %d messages now", len(now))
			}
			if again := f.ai.Calls()[1]; !mine && len(again.Messages) != 3 {
				t.Errorf("%d messages in the second run", len(again.Messages))
			}
		})
	}
}

// TestIsolatedRunHasASessionIDToo, although it asks for no transcript.
func TestIsolatedRunHasASessionIDToo(t *testing.T) {
	f := setup(t, setupOptions{})
	for i, agent := range []string{"Ada", "é", "è"} {
		spec := rarely()
		spec.AgentID, spec.Context = agent, job.ContextIsolated
		name := "job-" + string(rune('a'+i))
		if agent == "è" { // as it was stored when nothing kept the two apart
			spec.AgentID = "grave"
		}
		f.create(name, spec)
		if agent == "è" {
			must(t, f.rdb.HSet(f.ctx, key("job", name), "session", "agent:è:cron:job-b:isolated").Err())
		}
		task, _ := f.manual(name)
		must(t, f.turn(task))
	}
	calls := f.ai.Calls()
	if calls[0].SessionID != "agent:Ada:cron:job-a:isolated" || calls[1].SessionID != "agent:é:cron:job-b:isolated" ||
		!strings.HasPrefix(calls[2].SessionID, "agent:è:cron:job-b:isolated-") {
		t.Errorf("called %s, %s and %s", calls[0].SessionID, calls[1].SessionID, calls[2].SessionID)
	}
}
