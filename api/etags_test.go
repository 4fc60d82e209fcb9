package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

const path = "/api/cron/jobs/a"

func (a answer) etag() string {
	a.t.Helper()
	tag := a.header.Get("ETag")
	if len(tag) < 5 || !strings.HasPrefix(tag, `"`) || !strings.HasSuffix(tag, `"`) {
		a.t.Fatalf("ETag: %s", tag)
	}
	return tag
}

func TestEveryAnswerOfAJobHasItsTag(t *testing.T) {
	b := setup(t)
	b.seed("a")
	read := b.call("GET", path, "").etag()
	if ran := b.call("POST", path+"/run", "").want(http.StatusAccepted).etag(); ran != read {
		t.Errorf("after a run %s, read %s", ran, read)
	}
	seen := map[string]bool{read: true}
	for _, change := range []struct{ method, path, body string }{
		{"POST", "/api/cron/jobs", `{"schedule":"@daily","task":"x"}`}, {"PATCH", path, `{"name":"x"}`},
		{"POST", path + "/pause", ""}, {"POST", path + "/resume", ""},
	} {
		tag := b.call(change.method, change.path, change.body).etag()
		if seen[tag] {
			t.Errorf("%s %s: %s was another definition's", change.method, change.path, tag)
		}
		seen[tag] = true
	}
	if now := b.call("GET", path, "").etag(); !seen[now] {
		t.Errorf("read %s after changes that answered %v", now, seen)
	}
}

func TestIfMatch(t *testing.T) {
	uses := []struct{ method, path, body string }{
		{"PATCH", path, `{"name":"x"}`}, {"DELETE", path, ""}, {"DELETE", path + "?cancelRuns=true", ""},
		{"POST", path + "/pause", `{"reason":"x"}`}, {"POST", path + "/resume", ""},
	}
	for _, tt := range []struct {
		name   string
		value  func(now string) string
		status int
	}{
		{"the present one", func(now string) string { return now }, http.StatusOK},
		{"the definition alone", func(now string) string { return now[:strings.IndexByte(now, '.')] + `"` }, http.StatusOK},
		{"of before a run", func(now string) string { return now[:strings.IndexByte(now, '.')] + `.00000000"` }, http.StatusOK},
		{"any", func(string) string { return "*" }, http.StatusOK},
		{"one of several", func(now string) string { return `"x-1.y" , W/"z",` + now }, http.StatusOK},
		{"an older one", func(string) string { return `"secret-u-2.12345678"` }, http.StatusPreconditionFailed},
		{"of an earlier job of the id", func(string) string { return `"other-ui-3"` }, http.StatusPreconditionFailed},
		{"a weak one", func(now string) string { return "W/" + now }, http.StatusPreconditionFailed},
		{"none", func(string) string { return "" }, http.StatusPreconditionFailed},
		{"without quotes", func(now string) string { return strings.Trim(now, `"`) }, http.StatusBadRequest},
		{"half a quote", func(now string) string { return now + `,"x` }, http.StatusBadRequest},
		{"a revision", func(string) string { return "3" }, http.StatusBadRequest},
		{"no comma", func(now string) string { return now + now }, http.StatusBadRequest},
	} {
		for _, use := range uses {
			t.Run(tt.name+" "+use.method+use.path, func(t *testing.T) {
				b := setup(t)
				b.seed("a")
				now := b.call("GET", path, "").etag()
				a := b.call(use.method, use.path, use.body, header("If-Match", tt.value(now))).want(tt.status)
				j, there := b.store.jobs["a"]
				if changed := !there || j.Revision != 3; changed != (tt.status == http.StatusOK) {
					t.Errorf("changed %v", changed)
				}
				if tt.status == http.StatusPreconditionFailed &&
					(a.etag() != now || a.body["etag"] != now || !strings.Contains(a.body["detail"].(string), now)) {
					t.Errorf("the present tag %s is not told: %s", now, a.raw)
				}
			})
		}
	}
	setup(t).call("PATCH", path, `{"name":"x"}`, header("If-Match", "*")).want(http.StatusNotFound)
}

// A job that changes between the look and the step is checked again.
func TestIfMatchIsAskedAgain(t *testing.T) {
	b := setup(t)
	b.seed("a")
	now := b.call("GET", path, "").etag()
	b.store.meanwhile = func() { b.seed("a", func(j *job.Job) { j.Revision = 4 }) }
	b.call("PATCH", path, `{"name":"x"}`, header("If-Match", now)).want(http.StatusPreconditionFailed)
	if j := b.store.jobs["a"]; j.Name != "" {
		t.Errorf("changed to %q", j.Name)
	}
}

func TestIfNoneMatch(t *testing.T) {
	b := setup(t)
	b.seed("a")
	now := b.call("GET", path, "").etag()
	get := func(method, value string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, nil)
		r.Host = "localhost"
		if value != "" {
			r.Header.Set("If-None-Match", value)
		}
		w := httptest.NewRecorder()
		b.handler.ServeHTTP(w, r)
		return w
	}
	for value, status := range map[string]int{
		now: http.StatusNotModified, "*": http.StatusNotModified, `"x", ` + now: http.StatusNotModified,
		"": http.StatusOK, "W/" + now: http.StatusOK, `"x"`: http.StatusOK, strings.Trim(now, `"`): http.StatusOK,
		now[:strings.IndexByte(now, '.')] + `"`: http.StatusOK,
	} {
		for _, method := range []string{"GET", "HEAD"} {
			w := get(method, value)
			if w.Code != status || w.Header().Get("ETag") != now || (status == http.StatusNotModified && w.Body.Len() > 0) {
				t.Errorf("%s, If-None-Match %s: %d, ETag %s, %d bytes", method, value, w.Code, w.Header().Get("ETag"), w.Body.Len())
			}
		}
	}
	// What a run leaves is another answer, by the same definition.
	b.seed("a", func(j *job.Job) { j.LastOutcome, j.LastRunID = job.Failed, "a:1" })
	if w := get("GET", now); w.Code != http.StatusOK || w.Header().Get("ETag") == now {
		t.Errorf("after a run: %d, %s", w.Code, w.Header().Get("ETag"))
	}
	b.call("PATCH", path, `{"name":"x"}`, header("If-Match", now)).want(http.StatusOK)
}

func TestDeleteWithItsRuns(t *testing.T) {
	b := setup(t)
	b.seed("a")
	for query, field := range map[string]string{"?cancelruns=true": "cancelruns", "?cancelRuns=yes": "cancelRuns", "?cancelRuns": "cancelRuns"} {
		if got := b.call("DELETE", path+query, "").want(http.StatusBadRequest).fields(); len(got) != 1 || got[0] != field {
			t.Errorf("%s: problems with %v", query, got)
		}
	}
	if got := b.call("DELETE", path+"?cancelRuns=true", "").want(http.StatusOK).raw; strings.TrimSpace(got) != `{"id":"a","deleted":true,"cancelledRuns":2}` {
		t.Error(got)
	}
	b.call("DELETE", path+"?cancelRuns=true", "").want(http.StatusNotFound)
	b.seed("a")
	if got := b.call("DELETE", path+"?cancelRuns=false", "").want(http.StatusOK).raw; strings.TrimSpace(got) != `{"id":"a","deleted":true}` {
		t.Error(got)
	}
}
