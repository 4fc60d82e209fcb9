package handlers

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// sessions answers the requests for stored sessions in place of the ai-server.
func sessions(answer http.HandlerFunc) func(http.Handler) http.Handler {
	return func(ai http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/api/gateway/sessions/") {
				answer(w, r)
				return
			}
			ai.ServeHTTP(w, r)
		})
	}
}

// The ai-server replaces its session by what a call sends: a run in a
// conversation must bring all of it along.
func TestConversationSurvives(t *testing.T) {
	f := setup(t, setupOptions{})
	const session = "agent:main:slack:dm:U1"
	talk := []standin.ChatMessage{
		{Role: "system", Text: "be brief", Timestamp: "1770000000"},
		{Role: "user", Text: "what is this? 😀", Timestamp: "1770000001", Images: json.RawMessage(`[{"data":"AA==","mimeType":"image/png"}]`)},
		{Role: "assistant", Text: "a cat", Timestamp: "1770000002"},
	}
	f.ai.SetSession(session, talk, standin.ChatGateway{Channel: "slack", PeerID: "U1", DisplayName: "Grace H.", SessionKey: session})
	spec := toChat()
	spec.PeerID, spec.IsGroup = "U1", new(false)
	slot, run := f.due("a", spec)
	must(t, f.turn(slot))

	calls := f.ai.Calls()
	if len(calls) != 1 {
		t.Fatalf("%d calls", len(calls))
	}
	task := standin.ChatMessage{Role: "user", Text: spec.Task, Timestamp: seconds(f.record(run).StartedAt)}
	if diff := cmp.Diff(append(talk, task), calls[0].Messages); diff != "" {
		t.Errorf("what the ai-server received: %s", diff)
	}
	if calls[0].Gateway.DisplayName != "Grace H." || calls[0].SessionID != session {
		t.Errorf("on behalf of %+v in %s", calls[0].Gateway, calls[0].SessionID)
	}
	stored, _ := f.ai.Session(session)
	if diff := cmp.Diff(append(talk, task, standin.ChatMessage{Role: "assistant", Text: "Echo: say hello"}), stored); diff != "" {
		t.Errorf("the conversation afterwards: %s", diff)
	}

	// What people say between two runs wins over what we remember.
	talk = append(stored, standin.ChatMessage{Role: "user", Text: "thanks", Timestamp: "1780000000"})
	f.ai.SetSession(session, talk, standin.ChatGateway{})
	next, _ := f.manual("a")
	must(t, f.turn(next))
	if got := f.ai.Calls()[1].Messages; !cmp.Equal(got[:len(got)-1], talk) {
		t.Errorf("the second call: %s", cmp.Diff(talk, got[:len(got)-1]))
	}
}

func seconds(m job.Millis) json.Number {
	return json.Number(strconv.FormatInt(int64(m)/1000, 10))
}

// Our own transcript is for a server that has lost its one, or keeps none.
func TestOwnTranscript(t *testing.T) {
	f := setup(t, setupOptions{front: sessions(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"error":"Session not found"}`, http.StatusNotFound)
	})})
	f.create("a", rarely())
	first, run := f.manual("a")
	must(t, f.turn(first))
	second, again := f.manual("a")
	must(t, f.turn(second))

	session, err := f.store.Session(f.ctx, "agent:main:cron:a", 10)
	must(t, err)
	want := []standin.ChatMessage{
		{Role: "user", Text: "say hello", Timestamp: seconds(f.record(run).StartedAt)},
		{Role: "assistant", Text: "Echo: say hello", Timestamp: seconds(session.Messages[1].Timestamp)},
		{Role: "user", Text: "say hello", Timestamp: seconds(f.record(again).StartedAt)},
	}
	calls := f.ai.Calls()
	if len(calls) != 2 || !cmp.Equal(calls[0].Messages, want[:1]) || !cmp.Equal(calls[1].Messages, want) {
		t.Errorf("calls %+v", calls)
	}
}

// ownBytes is how much of our own transcript goes along.
const ownBytes = 4 << 20

// Of a long transcript of ours the newest part is sent.
func TestOwnTranscriptIsBounded(t *testing.T) {
	f := setup(t, setupOptions{})
	slot, _ := f.due("a", rarely())
	long := strings.Repeat("x", ownBytes/4)
	for n := range 6 {
		m, err := json.Marshal(job.Message{Role: "user", Text: strconv.Itoa(n) + long[1:]})
		must(t, err)
		must(t, f.rdb.RPush(f.ctx, key("session", "agent:main:cron:a"), m).Err())
	}
	must(t, f.turn(slot))
	var sent []string
	for _, m := range f.ai.Calls()[0].Messages {
		sent = append(sent, m.Text[:1])
	}
	if !cmp.Equal(sent, []string{"3", "4", "5", "s"}) { // the last is the task
		t.Errorf("sent %q", sent)
	}
}

// Without the history no call can be made: it would replace the conversation.
func TestNoCallWithoutTheHistory(t *testing.T) {
	tests := map[string]struct {
		answer http.HandlerFunc
		cause  job.Cause
		delay  time.Duration // before the retry; 0: none
	}{
		"an error": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"error":"disk on fire"}`, http.StatusInternalServerError)
		}, job.CauseAIError, 30 * time.Second},
		"busy": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "9")
			http.Error(w, "", http.StatusTooManyRequests)
		}, job.CauseRateLimited, 9 * time.Second},
		"not a session":    {func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"id":"x"}`)) }, job.CauseAIError, 30 * time.Second},
		"dropped":          {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, job.CauseAIError, 30 * time.Second},
		"refused for good": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, job.CauseAIError, 0},
		// A read that hangs did nothing: unlike a turn, it can be tried again.
		"hanging": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, job.CauseAIError, 30 * time.Second},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // one of them waits for its deadline
			f := setup(t, setupOptions{front: sessions(tc.answer)})
			spec := rarely()
			if name == "hanging" {
				spec.TimeoutSeconds = 1
			}
			slot, run := f.due("a", spec)
			must(t, f.turn(slot))
			f.wantFailed(run, job.ResultFailed, tc.cause, tc.delay)
			if f.ai.Count() != 0 {
				t.Errorf("%d calls", f.ai.Count())
			}
		})
	}
}

// A damaged record of ours is our defect, not the ai-server's.
func TestOwnTranscriptCannotBeRead(t *testing.T) {
	f := setup(t, setupOptions{})
	slot, run := f.due("a", rarely())
	must(t, f.rdb.RPush(f.ctx, key("session", "agent:main:cron:a"), "{").Err())
	must(t, f.turn(slot))
	f.wantFailed(run, job.ResultFailed, job.CauseInternal, 30*time.Second)
	if f.ai.Count() != 0 {
		t.Errorf("%d calls", f.ai.Count())
	}
}

// TestIsolatedRunsBeginWithNothing: neither the ai-server's transcript nor ours goes
// along, not even that of the job's own last run.
func TestIsolatedRunsBeginWithNothing(t *testing.T) {
	f := setup(t, setupOptions{})
	spec := toChat()
	spec.Context, spec.AllowScheduling = job.ContextIsolated, true
	slot, _ := f.due("a", spec)
	must(t, f.turn(slot))
	second, _ := f.manual("a")
	must(t, f.turn(second))
	calls := f.ai.Calls()
	if len(calls) != 2 {
		t.Fatalf("%d calls", len(calls))
	}
	for _, c := range calls {
		if len(c.Messages) != 1 || c.SessionID != "agent:main:cron:a:isolated" || c.Gateway.Lane != "cron" {
			t.Errorf("call: %d messages in %s, lane %s", len(c.Messages), c.SessionID, c.Gateway.Lane)
		}
	}
}
