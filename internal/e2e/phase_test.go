package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestEditsKeepThePhase: what is edited beside every and startAt, or sent back as it was
// told, neither moves the slots of a job nor starves it, however often that is.
func TestEditsKeepThePhase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	serve := w.start("serve")
	type view struct{ NextRunAt int64 }
	look := func(id string) (v view, body string) {
		t.Helper()
		var raw map[string]any
		serve.call("GET", "/api/cron/jobs/"+id, "", &raw)
		serve.call("GET", "/api/cron/jobs/"+id, "", &v)
		for _, set := range []string{"createdAt", "updatedAt", "revision", "description", "next", "nextLocal", "nextRunAt", "nextDueAt"} {
			delete(raw, set) // by the server, and refused
		}
		return v, jsonOf(t, raw)
	}
	patch := func(id, body string) {
		t.Helper()
		var why map[string]any
		if status := serve.call("PATCH", "/api/cron/jobs/"+id, body, &why); status != 200 {
			t.Fatalf("PATCH %s: %d %v", body, status, why)
		}
	}

	daily := serve.create(map[string]any{"id": "daily", "every": 86400, "task": "x"})
	before, whole := look(daily)
	for _, body := range []string{`{"timezone":"UTC"}`, `{"timezone":null}`, `{"timezone":"Europe/Berlin"}`, `{"timezone":""}`, `{"every":86400}`,
		`{"jitterSeconds":30}`, `{"jitterSeconds":0}`, `{"endAt":"2099-01-01T00:00:00Z"}`, `{"endAt":null}`, `{"name":"x"}`, whole} {
		patch(daily, body)
		if after, _ := look(daily); after != before {
			t.Errorf("%s moved the next slot by %d ms", body, after.NextRunAt-before.NextRunAt)
		}
	}
	line := `{"id":"daily","every":86400,"timezone":"UTC","jitterSeconds":5,"task":"another"}`
	if status := serve.call("POST", "/api/cron/import", line, nil); status != 200 {
		t.Fatalf("import: %d", status)
	}
	if after, body := look(daily); after != before || !strings.Contains(body, "another") {
		t.Errorf("an import moved the next slot by %d ms: %s", after.NextRunAt-before.NextRunAt, body)
	}

	often := serve.create(map[string]any{"id": "often", "every": 10, "task": "x"})
	turns := []string{`{"timezone":"UTC"}`, `{"jitterSeconds":9}`, `{"timezone":null}`, `{"endAt":"2099-01-01T00:00:00Z"}`, `{"jitterSeconds":3}`, `{"endAt":null}`}
	// Where each of these began a new count, or passed the slot that is put off, none would run.
	edit := time.NewTicker(4 * time.Second)
	defer edit.Stop()
	n := 0
	w.until("three runs of a job that is edited all the time", 3*time.Minute, func() bool {
		select {
		case <-edit.C:
			patch(often, turns[n%len(turns)])
			n++
		default:
		}
		return w.ai.Count() >= 3
	})
	for _, r := range serve.runs(often) {
		if r.Outcome == "skipped" {
			t.Errorf("%s: %s(%s)", r.ID, r.Outcome, r.Reason)
		}
	}
	serve.Stop()
}
