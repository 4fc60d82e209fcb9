package api_test

import (
	"net/http"
	"strings"
	"testing"
)

const daily = `{"schedule":"@daily","task":"x"}`

func key(k string) option { return header("Idempotency-Key", k) }

func TestARequestSentAgain(t *testing.T) {
	b := setup(t)
	first := b.call("POST", "/api/cron/jobs", daily, key("k")).want(http.StatusCreated)
	b.call("PATCH", "/api/cron/jobs/job1", `{"name":"renamed"}`)
	again := b.call("POST", "/api/cron/jobs", " "+daily, key("k")).want(http.StatusCreated)
	if again.body["id"] != first.body["id"] || again.body["name"] != "renamed" || len(b.store.jobs) != 1 ||
		again.header.Get("Location") != first.header.Get("Location") {
		t.Errorf("first %s, then %s", first.raw, again.raw)
	}
	b.call("POST", "/api/cron/jobs", daily, key("k2")).want(http.StatusCreated)
	if len(b.store.jobs) != 2 {
		t.Errorf("%d jobs", len(b.store.jobs))
	}

	run := b.call("POST", "/api/cron/jobs/job1/run", "", key("r")).want(http.StatusAccepted)
	reran := b.call("POST", "/api/cron/jobs/job1/run", "{}", key("r")).want(http.StatusAccepted)
	if run.body["runId"] != reran.body["runId"] || b.store.manual != 1 {
		t.Errorf("first %s, then %s", run.raw, reran.raw)
	}

	for _, other := range []struct{ path, body, key string }{
		{"/api/cron/jobs", `{"schedule":"@daily","task":"y"}`, "k"},
		{"/api/cron/jobs/job1/run", "", "k"},
		{"/api/cron/jobs/job2/run", "", "r"},
		{"/api/cron/jobs", daily, "r"},
	} {
		a := b.call("POST", other.path, other.body, key(other.key)).want(http.StatusUnprocessableEntity)
		if !strings.Contains(a.body["detail"].(string), "Idempotency-Key") {
			t.Error(a.raw)
		}
	}

	b.call("DELETE", "/api/cron/jobs/job1", "").want(http.StatusOK)
	if a := b.call("POST", "/api/cron/jobs", daily, key("k")).want(http.StatusGone); !strings.Contains(a.body["detail"].(string), "job1") {
		t.Error(a.raw)
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	b := setup(t)
	b.seed("a")
	for _, bad := range []string{"", "  ", strings.Repeat("k", 201), "a\tb", "schlüssel", "a\x7f"} {
		for _, path := range []string{"/api/cron/jobs", "/api/cron/jobs/a/run", "/api/cron/runs/a:1/redeliver"} {
			body := ""
			if path == "/api/cron/jobs" {
				body = daily
			}
			if got := b.call("POST", path, body, key(bad)).want(http.StatusBadRequest).fields(); len(got) != 1 || got[0] != "Idempotency-Key" {
				t.Errorf("%q: problems with %v", bad, got)
			}
		}
	}
	b.call("POST", "/api/cron/jobs", daily, func(r *http.Request) { r.Header["Idempotency-Key"] = []string{"a", "b"} }).want(http.StatusBadRequest)
	b.call("POST", "/api/cron/jobs", daily, key(strings.Repeat("k", 200))).want(http.StatusCreated)
	if len(b.store.jobs) != 2 || b.store.manual != 0 {
		t.Errorf("%d jobs, %d runs", len(b.store.jobs), b.store.manual)
	}
}

func TestAnIdOfOnesOwn(t *testing.T) {
	b := setup(t)
	named := `{"id":"morning-mail","schedule":"@daily","task":"x"}`
	a := b.call("POST", "/api/cron/jobs", named).want(http.StatusCreated)
	if a.body["id"] != "morning-mail" || a.header.Get("Location") != "/api/cron/jobs/morning-mail" {
		t.Error(a.raw)
	}
	for _, says := range []string{"morning-mail", "Change that one"} {
		if a := b.call("POST", "/api/cron/jobs", named).want(http.StatusConflict); !strings.Contains(a.body["detail"].(string), says) {
			t.Errorf("does not say %s: %s", says, a.raw)
		}
	}
	b.call("POST", "/api/cron/jobs", `{"id":null,"schedule":"@daily","task":"x"}`).want(http.StatusCreated)
	b.call("PATCH", "/api/cron/jobs/morning-mail", `{"id":"morning-mail","name":"Mail"}`).want(http.StatusOK)
	if got := b.store.jobs["morning-mail"].Name; got != "Mail" {
		t.Errorf("name %q", got)
	}
}
