package api_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// TestOddPathsTouchNothing is about what clients send when an id is empty or a
// path: none of it may mean "all jobs", and none may be redirected.
func TestOddPathsTouchNothing(t *testing.T) {
	paths := []string{
		"/api/cron/jobs/", "/api/cron/jobs//", "/api/cron/jobs//run", "/api/cron/jobs/run/", "/api/cron/jobs/a/", "/api/cron/jobs/a/run/",
		"/api/cron/", "/api/cron", "/api/", "/", "//", "/api//cron/jobs", "/api/cron/jobs/..", "/api/cron/jobs/../jobs", "/api/cron/jobs/./a",
		"/api/cron/jobs/%2e%2e", "/api/cron/jobs/%2E%2E/run", "/api/cron/jobs/%2F", "/api/cron/jobs/%2Frun", "/api/cron/jobs/a%2Frun",
		"/api/cron/jobs/*", "/api/cron/jobs/%2A", "/api/cron/jobs/%20", "/api/cron/jobs/%00", "/api/cron/jobs/A", "/api/cron/jobs/a%00",
		"/api/cron/jobs/%2561", "/api/cron/jobs/" + strings.Repeat("a", 65), "/api/cron/jobs/%C3%A4", "/api/cron/jobs/%ff", "/api/cron/jobs/-a",
		"/api/cron/runs/", "/api/sessions", "/api/sessions/", "/API/cron/jobs/a", "/api/agents/subagents",
	}
	for _, path := range paths {
		for _, method := range []string{"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS", "BREW"} {
			t.Run(method+" "+path, func(t *testing.T) {
				b := setup(t)
				b.seed("a")
				a := b.call(method, path, "")
				if a.status != http.StatusNotFound && a.status != http.StatusMethodNotAllowed {
					t.Errorf("status = %d\n%s", a.status, a.raw)
				}
				if len(b.store.calls) > 0 {
					t.Errorf("the store was asked to %v", b.store.calls)
				}
			})
		}
	}
}

func TestIdsAreDecodedOnce(t *testing.T) {
	for _, path := range []string{"/api/cron/jobs/ab-c_1", "/api/cron/jobs/%61b-c_1", "/api/cron/jobs/ab%2Dc_1", "/api/cron/jobs/ab%2dc%5F1"} {
		t.Run(path, func(t *testing.T) {
			b := setup(t)
			b.seed("ab-c_1")
			b.call("GET", path, "").want(http.StatusOK)
			b.call("POST", path+"/run", "").want(http.StatusAccepted)
			b.call("DELETE", path, "").want(http.StatusOK)
			if diff := cmp.Diff([]string{"get ab-c_1", "run ab-c_1", "delete ab-c_1"}, b.store.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMethods(t *testing.T) {
	for _, tt := range []struct {
		path  string
		allow []string
	}{
		{"/api/cron/jobs", []string{"GET", "POST"}},
		{"/api/cron/jobs/a", []string{"GET", "PATCH", "DELETE"}},
		{"/api/cron/jobs/%61", []string{"GET", "PATCH", "DELETE"}},
		{"/api/cron/jobs/a/run", []string{"POST"}},
		{"/api/cron/jobs/a/pause", []string{"POST"}},
		{"/api/cron/jobs/a/resume", []string{"POST"}},
		{"/api/cron/jobs/a/runs", []string{"GET"}},
		{"/api/cron/runs", []string{"GET"}},
		{"/api/cron/runs/a:1", []string{"GET"}},
		{"/api/cron/runs/a:1/events", []string{"GET"}},
		{"/api/cron/runs/a:1/cancel", []string{"POST"}},
		{"/api/cron/runs/a%3A1/redeliver", []string{"POST"}},
		{"/api/sessions/a:b", []string{"GET"}},
		{"/api/sessions/a%2Fb", []string{"GET"}},
		{"/api/cron/preview", []string{"POST"}},
		{"/api/cron/status", []string{"GET"}},
		{"/api/cron/audit", []string{"GET"}},
		{"/api/cron/upcoming", []string{"GET"}},
		{"/api/cron/tokens", []string{"GET", "POST"}},
		{"/api/cron/tokens/a", []string{"DELETE"}},
		{"/api/cron/all/pause", []string{"POST"}},
		{"/api/cron/all/resume", []string{"POST"}},
		{"/api/cron/export", []string{"GET"}},
		{"/api/cron/import", []string{"POST"}},
		{"/health", []string{"GET"}},
		{"/readyz", []string{"GET"}},
	} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} {
			if slices.Contains(tt.allow, method) {
				continue
			}
			t.Run(method+" "+tt.path, func(t *testing.T) {
				a := setup(t).call(method, tt.path, "").want(http.StatusMethodNotAllowed)
				if diff := cmp.Diff(tt.allow, a.header.Values("Allow")); diff != "" {
					t.Errorf("Allow (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestOverTheWire sends what an HTTP client library would tidy up.
func TestOverTheWire(t *testing.T) {
	b := setup(t)
	b.seed("a")
	server := httptest.NewServer(b.handler)
	defer server.Close()
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		request string // without Host and Connection
		status  int
	}{
		{"POST /api/cron/jobs/a/run HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 0", http.StatusAccepted},
		{"POST /api/cron/jobs/a/run HTTP/1.1\r\nContent-Type: application/json", http.StatusAccepted},
		{"POST /api/cron/jobs//run HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 0", http.StatusNotFound},
		{"DELETE /api/cron/jobs/ HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 0", http.StatusNotFound},
		{"DELETE /api/cron/jobs/.. HTTP/1.1\r\nContent-Type: application/json", http.StatusNotFound},
		{"POST /api/cron/ HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 0", http.StatusNotFound},
		{"HEAD /health HTTP/1.1", http.StatusOK},
		{"GET /api/cron/jobs HTTP/1.1\r\nContent-Type: application/json", http.StatusOK},
		{"DELETE /api/cron/jobs/a HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 0", http.StatusOK},
	} {
		t.Run(tt.request, func(t *testing.T) {
			conn, err := net.Dial("tcp", address.Host)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, tt.request+"\r\nHost: "+address.Host+"\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			method, _, _ := strings.Cut(tt.request, " ")
			response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != tt.status {
				body, _ := io.ReadAll(response.Body)
				t.Errorf("status = %d, want %d\n%s", response.StatusCode, tt.status, body)
			}
		})
	}
	if _, there := b.store.jobs["a"]; there {
		t.Error("the one good DELETE did not reach the store")
	}
}

func TestARunOnTheWire(t *testing.T) {
	b := setup(t)
	b.store.runs["a"] = []job.Run{
		{
			ID: "a:manual:01JABC", JobID: "a", JobName: "Morning", JobUID: "secret-uid", Trigger: job.TriggerManual, State: job.StateDone, Outcome: job.Succeeded,
			CreatedAt: 1, NotBefore: 1, StartedAt: 2, FinishedAt: 3, SessionKey: "agent:main:cron:a",
			Attempts: []job.Attempt{{N: 1, Worker: "w", StartedAt: 2, EndedAt: 3, Result: job.ResultSucceeded}},
			Reply:    strings.Repeat("ü", 501), DeliveryState: job.DeliveryUnknown,
			Deliveries: []job.Delivery{{
				N: 1, Kind: job.KindReply, State: job.DeliveryUnknown, Target: job.Target{Channel: "telegram", ChatID: "1", ThreadID: "2"},
				Attempts: 3, Parts: 2, MessageIDs: []string{"7"}, Error: "no answer", CreatedAt: 3, FinishedAt: 4,
			}},
		},
		{ID: "a:1774857600", JobID: "a", Trigger: job.TriggerSchedule, State: job.StateWaiting, Slot: slotMillis, LastSlot: slotMillis, Count: 1, CreatedAt: 1, NotBefore: 9},
		{ID: "a:1774771200", JobID: "a", Trigger: job.TriggerSchedule, State: job.StateDone, Outcome: job.Missed, Reason: job.ReasonStale, Slot: 1, LastSlot: 5, Count: 3, CreatedAt: 1, FinishedAt: 1},
	}
	succeeded := map[string]any{
		"id": "a:manual:01JABC", "jobId": "a", "jobName": "Morning", "trigger": "manual", "state": "done", "outcome": "succeeded",
		"createdAt": 1.0, "startedAt": 2.0, "finishedAt": 3.0, "sessionKey": "agent:main:cron:a",
		"attempts": []any{map[string]any{"n": 1.0, "worker": "w", "startedAt": 2.0, "endedAt": 3.0, "result": "succeeded"}},
		"reply":    strings.Repeat("ü", 501), "delivery": "unknown",
		"deliveries": []any{map[string]any{
			"n": 1.0, "kind": "reply", "state": "unknown", "channel": "telegram", "chatId": "1", "threadId": "2", "attempts": 3.0, "parts": 2.0,
			"messageIds": []any{"7"}, "error": "no answer", "createdAt": 3.0, "finishedAt": 4.0,
		}},
	}
	waiting := map[string]any{
		"id": "a:1774857600", "jobId": "a", "trigger": "schedule", "state": "waiting", "slot": float64(slotMillis), "createdAt": 1.0, "notBefore": 9.0,
	}
	missed := map[string]any{
		"id": "a:1774771200", "jobId": "a", "trigger": "schedule", "state": "done", "outcome": "missed", "reason": "stale",
		"slot": 1.0, "lastSlot": 5.0, "count": 3.0, "createdAt": 1.0, "finishedAt": 1.0,
	}
	for path, want := range map[string]map[string]any{
		"/api/cron/runs/a:manual:01JABC":     succeeded,
		"/api/cron/runs/a%3Amanual%3A01JABC": succeeded,
		"/api/cron/runs/%61:manual%3a01JABC": succeeded,
		"/api/cron/runs/a:1774857600":        waiting,
		"/api/cron/runs/a%3A1774771200":      missed,
		"/api/cron/runs/a:1":                 nil,
	} {
		t.Run(path, func(t *testing.T) {
			if want == nil {
				b.call("GET", path, "").want(http.StatusNotFound)
				return
			}
			if diff := cmp.Diff(want, b.call("GET", path, "").want(http.StatusOK).body); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}

	list := b.call("GET", "/api/cron/jobs/a/runs?limit=2", "").want(http.StatusOK).body
	succeeded["reply"], succeeded["replyTruncated"] = strings.Repeat("ü", 500), true
	if diff := cmp.Diff(map[string]any{"runs": []any{succeeded, waiting}, "nextCursor": "2"}, list); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	rest := b.call("GET", "/api/cron/jobs/a/runs?limit=2&cursor=2", "").want(http.StatusOK).body
	if diff := cmp.Diff(map[string]any{"runs": []any{missed}}, rest); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	b.call("GET", "/api/cron/jobs/unknown/runs", "").want(http.StatusNotFound)
}

func TestASessionOnTheWire(t *testing.T) {
	b := setup(t)
	for _, key := range []string{"agent:main:telegram:dm:123", "a/b", "50%", "ключ"} {
		b.store.sessions[key] = job.Session{Key: key, UpdatedAt: 5, Messages: []job.Message{
			{Role: "user", Text: "x", Timestamp: 4, RunID: "a:1"}, {Role: "assistant", Text: "y", Timestamp: 5},
		}}
	}
	for path, key := range map[string]string{
		"/api/sessions/agent:main:telegram:dm:123":         "agent:main:telegram:dm:123",
		"/api/sessions/agent%3Amain%3Atelegram%3Adm%3A123": "agent:main:telegram:dm:123",
		"/api/sessions/a%2Fb":                              "a/b",
		"/api/sessions/50%25":                              "50%",
		"/api/sessions/%D0%BA%D0%BB%D1%8E%D1%87":           "ключ",
		"/api/sessions/a/b":                                "",
		"/api/sessions/a%252Fb":                            "",
		"/api/sessions/unknown":                            "",
	} {
		t.Run(path, func(t *testing.T) {
			a := b.call("GET", path, "")
			if key == "" {
				a.want(http.StatusNotFound)
				return
			}
			want := map[string]any{"key": key, "updatedAt": 5.0, "messages": []any{
				map[string]any{"role": "user", "text": "x", "timestamp": 4.0, "runId": "a:1"},
				map[string]any{"role": "assistant", "text": "y", "timestamp": 5.0},
			}}
			if diff := cmp.Diff(want, a.want(http.StatusOK).body); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	b.store.sessions["empty"] = job.Session{Key: "empty"}
	if got := b.call("GET", "/api/sessions/empty", "").raw; strings.TrimSpace(got) != `{"key":"empty","messages":[]}` {
		t.Errorf("an empty session: %s", got)
	}
}

// TestWhatCannotBeAnIdIsNotLookedUp keeps text that no id consists of away from
// the store, which makes keys of ids.
func TestWhatCannotBeAnIdIsNotLookedUp(t *testing.T) {
	for _, path := range []string{
		"/api/cron/runs/a", "/api/cron/runs/:1", "/api/cron/runs/a:", "/api/cron/runs/A:1", "/api/cron/runs/a%253A1774771200",
		"/api/cron/runs/a:1%00", "/api/cron/runs/a:1%0A", "/api/cron/runs/..:1", "/api/cron/runs/a:1%2F..%2Fb", "/api/cron/runs/a:%2A",
		"/api/cron/runs/a:" + strings.Repeat("1", 101),
		"/api/cron/jobs/A/runs", "/api/cron/jobs/a:1/runs", "/api/cron/jobs//runs",
		"/api/sessions/a%00", "/api/sessions/a%20b", "/api/sessions/%ff", "/api/sessions/a%0Ab", "/api/sessions/" + strings.Repeat("a", 1025),
	} {
		t.Run(path, func(t *testing.T) {
			b := setup(t)
			b.call("GET", path, "").want(http.StatusNotFound)
			if len(b.store.calls) > 0 {
				t.Errorf("the store was asked to %v", b.store.calls)
			}
		})
	}
}

func TestPreview(t *testing.T) {
	b := setup(t)
	b.store.err = errUnknown // a preview needs no store
	a := b.call("POST", "/api/cron/preview", `{"schedule":"30  2 * * *","timezone":"Europe/Berlin","after":"2026-03-28T12:00:00Z","count":3}`).want(http.StatusOK)
	want := map[string]any{
		"schedule": "30 2 * * *", "timezone": "Europe/Berlin", "description": "At 02:30 every day",
		// 02:30 does not exist on the 29th: it runs at the first instant after the gap.
		"next":  []any{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"},
		"local": []any{"2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00", "2026-03-31T02:30:00+02:00"},
	}
	if diff := cmp.Diff(want, a.body); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	standard := b.call("POST", "/api/cron/preview", `{"schedule":"@hourly","after":null}`).want(http.StatusOK)
	next := standard.body["next"].([]any)
	if len(next) != 5 || next[0] != "2026-03-27T13:00:00Z" || standard.body["timezone"] != "UTC" || standard.body["schedule"] != "0 * * * *" {
		t.Errorf("with defaults: %s", standard.raw)
	}

	every := b.call("POST", "/api/cron/preview", `{"every":90,"timezone":"Asia/Kolkata","count":2}`).want(http.StatusOK)
	if d := cmp.Diff([]any{"2026-03-27T12:01:30Z", "2026-03-27T12:03:00Z"}, every.body["next"]); d != "" || every.body["description"] != "Every 90 seconds" {
		t.Errorf("every: %s%s", d, every.raw)
	}
	once := b.call("POST", "/api/cron/preview", `{"at":"2026-04-01T09:00:00+02:00"}`).want(http.StatusOK)
	if d := cmp.Diff([]any{"2026-04-01T07:00:00Z"}, once.body["next"]); d != "" {
		t.Errorf("at: %s%s", d, once.raw)
	}

	for _, tt := range []struct{ body, field string }{
		{`{"every":5}`, "every"},
		{`{"at":1774857600000,"every":60}`, "at"},
		{``, "body"},
		{`{}`, "schedule"},
		{`{"schedule":"x"}`, "schedule"},
		{`{"schedule":"* * * * *","timezone":"x"}`, "timezone"},
		{`{"schedule":"* * * * *","count":0}`, "count"},
		{`{"schedule":"* * * * *","count":51}`, "count"},
		{`{"schedule":"* * * * *","after":"tomorrow"}`, "after"},
		{`{"schedule":"* * * * *","after":"2026-03-27"}`, "after"},
		{`{"schedule":"* * * * *","after":1774857600}`, "after"},
		{`{"schedule":"* * * * *","after":"9999-01-01T00:00:00Z"}`, "after"},
		{`{"schedule":"* * * * *","task":"x"}`, "task"},
		{`{"schedule":["* * * * *"]}`, "schedule"},
	} {
		t.Run(tt.body, func(t *testing.T) {
			a := b.call("POST", "/api/cron/preview", tt.body).want(http.StatusBadRequest)
			if diff := cmp.Diff([]string{tt.field}, a.fields()); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
}
