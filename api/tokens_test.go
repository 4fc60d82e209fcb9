package api_test

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/api"
	"github.com/gatewaycron/gatewaycron/internal/job"
)

// fakeTokens keeps tokens by what their holders present.
type fakeTokens struct {
	tokens map[string]job.Token
	err    error
	asked  int
	ofRuns map[string]job.Token
}

func (f *fakeTokens) Token(_ context.Context, secret string) (job.Token, error) {
	f.asked++
	if t, ok := f.tokens[secret]; ok || f.err != nil {
		return t, f.err
	}
	return job.Token{}, job.ErrNotFound
}

func (f *fakeTokens) CreateToken(_ context.Context, t job.Token) (job.Token, string, error) {
	t.ID, t.CreatedAt = "new", nowMillis
	f.tokens["gct_new"] = t
	return t, "gct_new", nil
}

func (f *fakeTokens) Tokens(context.Context) ([]job.Token, error) {
	var list []job.Token
	for _, t := range f.tokens {
		list = append(list, t)
	}
	return list, nil
}

func (f *fakeTokens) TokenOfRun(_ context.Context, run string) (*job.Token, error) {
	if t, ok := f.ofRuns[run]; ok || f.err != nil {
		return &t, f.err
	}
	return nil, nil //nolint:nilnil // no token made its job
}

func (f *fakeTokens) RevokeToken(_ context.Context, id string) (job.Token, error) {
	for secret, t := range f.tokens {
		if t.ID == id {
			delete(f.tokens, secret)
			t.RevokedAt = nowMillis
			return t, nil
		}
	}
	return job.Token{}, job.ErrNotFound
}

// withTokens has the API know one token, gct_a of the agent a.
func withTokens(f *fakeTokens, admin string) func(*api.Options) {
	f.tokens = map[string]job.Token{"gct_a": {ID: "ida", Name: "tools", AgentID: "a", MaxJobs: 5, MinIntervalSeconds: 600}}
	return func(o *api.Options) { o.Tokens, o.Token = f, admin }
}

func as(token string) option { return header("Authorization", "Bearer "+token) }

func TestATokenIsLookedUpOnceInAWhile(t *testing.T) {
	f, clock := &fakeTokens{}, now
	b := setup(t, withTokens(f, "s3cret"), func(o *api.Options) { o.Now = func() time.Time { return clock } })
	for range 5 {
		b.call("GET", "/api/cron/jobs", "", as("gct_a")).want(http.StatusOK)
		b.call("GET", "/api/cron/jobs", "", as("gct_b")).want(http.StatusUnauthorized)
	}
	if f.asked != 2 {
		t.Errorf("%d look-ups for two tokens", f.asked)
	}
	delete(f.tokens, "gct_a") // by another process
	clock = clock.Add(8*time.Second - 1)
	b.call("GET", "/api/cron/jobs", "", as("gct_a")).want(http.StatusOK)
	clock = clock.Add(1)
	b.call("GET", "/api/cron/jobs", "", as("gct_a")).want(http.StatusUnauthorized)

	f.err = context.DeadlineExceeded
	b.call("GET", "/api/cron/jobs", "", as("gct_c")).want(http.StatusServiceUnavailable)
	f.err = nil
	b.call("GET", "/api/cron/jobs", "", as("gct_c")).want(http.StatusUnauthorized)
}

func TestARevokedTokenEndsHereAtOnce(t *testing.T) {
	b := setup(t, withTokens(&fakeTokens{}, "s3cret"))
	b.call("GET", "/api/cron/jobs", "", as("gct_a")).want(http.StatusOK)
	b.call("DELETE", "/api/cron/tokens/ida", "", as("s3cret")).want(http.StatusOK)
	b.call("GET", "/api/cron/jobs", "", as("gct_a")).want(http.StatusUnauthorized)
	for _, id := range []string{"ida", "x", "A", "%2e%2e", strings.Repeat("a", 33)} {
		b.call("DELETE", "/api/cron/tokens/"+id, "", as("s3cret")).want(http.StatusNotFound)
	}
}

// TestATokenBindsWithoutAnAdministrators: where every program of this machine may do all,
// one that shows a token may not, nor does a token open the door to others.
func TestATokenBindsWithoutAnAdministrators(t *testing.T) {
	b := setup(t, withTokens(&fakeTokens{}, ""))
	b.call("GET", "/api/cron/tokens", "").want(http.StatusOK)
	b.call("GET", "/api/cron/tokens", "", as("gct_a")).want(http.StatusForbidden)
	b.call("GET", "/api/cron/jobs", "", as("gct_a")).want(http.StatusOK)
	b.call("GET", "/api/cron/jobs", "", as("gct_wrong")).want(http.StatusUnauthorized)
	b.call("GET", "/api/cron/jobs", "", as("gct_a"), host("evil.example")).want(http.StatusForbidden)
	b.call("POST", "/api/cron/jobs", `{"schedule":"@daily","task":"x"}`, as("gct_a"), header("Sec-Fetch-Site", "cross-site")).want(http.StatusForbidden)
}

func TestTheAdministratorsTokenMayLookLikeOne(t *testing.T) {
	f := &fakeTokens{}
	b := setup(t, withTokens(f, "gct_admin"))
	b.call("GET", "/api/cron/tokens", "", as("gct_admin")).want(http.StatusOK)
	if f.asked != 0 {
		t.Error("it was looked up")
	}
}

func TestWhatATokenMayNotSay(t *testing.T) {
	b := setup(t, withTokens(&fakeTokens{}, "s3cret"))
	for timing, refused := range map[string]bool{
		`"every":599`: true, `"every":600`: false, `"schedule":"*/10 * * * *"`: false, `"schedule":"*/9 * * * *"`: true,
		`"schedule":"0,55 * * * *"`: true, `"schedule":"58 23 * * *","timezone":"Europe/Berlin"`: false, `"schedule":"* 1 1 1 *"`: true,
		`"at":"2027-01-01T00:00:00Z"`: false,
	} {
		a := b.call("POST", "/api/cron/jobs", `{"task":"x",`+timing+`}`, as("gct_a"))
		if (a.status == http.StatusBadRequest) != refused {
			t.Errorf("%s: %d %s", timing, a.status, a.raw)
		}
	}
	b.call("POST", "/api/cron/jobs", `{"task":"x","every":10}`, as("s3cret")).want(http.StatusCreated)
	b.seed("j")
	b.call("PATCH", "/api/cron/jobs/j", `{"every":10}`, as("gct_a")).want(http.StatusBadRequest)
	b.call("PATCH", "/api/cron/jobs/j", `{"task":"y"}`, as("gct_a")).want(http.StatusOK)

	made := b.call("POST", "/api/cron/jobs", `{"task":"x","schedule":"@daily"}`, as("gct_a")).want(http.StatusCreated)
	if made.body["agentId"] != "a" {
		t.Errorf("made for %v", made.body["agentId"])
	}
}

func TestEachTokenHasAnAllowance(t *testing.T) {
	f := &fakeTokens{}
	b := setup(t, withTokens(f, "s3cret"), func(o *api.Options) { o.RatePerMinute, o.RateBurst = 1, 1 })
	f.tokens["gct_b"] = job.Token{ID: "idb", Name: "tools", AgentID: "a"}
	for _, token := range []string{"gct_a", "gct_b", "s3cret"} {
		b.call("GET", "/api/cron/jobs", "", as(token)).want(http.StatusOK)
		b.call("GET", "/api/cron/jobs", "", as(token)).want(http.StatusTooManyRequests)
	}
}

func TestAKeyIsOfOneToken(t *testing.T) {
	f := &fakeTokens{}
	b := setup(t, withTokens(f, "s3cret"))
	f.tokens["gct_b"] = job.Token{ID: "idb", Name: "tools", AgentID: "a"}
	key := header("Idempotency-Key", "k")
	var ids []string
	for _, token := range []string{"gct_a", "gct_b", "s3cret", "gct_a"} {
		a := b.call("POST", "/api/cron/jobs", `{"task":"x","schedule":"@daily"}`, as(token), key).want(http.StatusCreated)
		ids = append(ids, a.body["id"].(string))
	}
	if diff := cmp.Diff([]string{"job1", "job2", "job3", "job1"}, ids); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMakingTokens(t *testing.T) {
	b := setup(t, withTokens(&fakeTokens{}, "s3cret"))
	for body, fields := range map[string][]string{
		`{}`: {"name", "agentId"}, `{"name":"n"}`: {"agentId"}, `{"agentId":"a"}`: {"name"},
		`{"name":"n","agentId":"a","sessionKey":"s"}`: {"agentId"}, `{"name":"n","agentId":"a:b"}`: {"agentId"},
		`{"name":"n","agentId":"a b"}`: {"agentId"}, `{"name":"n","sessionKey":"a/../b"}`: {"sessionKey"},
		`{"name":"n","agentId":"a","maxJobs":0}`: {"maxJobs"}, `{"name":"n","agentId":"a","maxRunsPerDay":-1}`: {"maxRunsPerDay"},
		`{"name":"n","agentId":"a","admin":true}`: {"admin"},
	} {
		a := b.call("POST", "/api/cron/tokens", body, as("s3cret")).want(http.StatusBadRequest)
		got := slices.Compact(slices.Sorted(slices.Values(a.fields())))
		if diff := cmp.Diff(slices.Sorted(slices.Values(fields)), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", body, diff)
		}
	}
	a := b.call("POST", "/api/cron/tokens", `{"name":"n","session_key":"agent:a:x","min_interval_seconds":60}`, as("s3cret")).want(http.StatusCreated)
	if a.body["token"] != "gct_new" || a.body["sessionKey"] != "agent:a:x" || a.body["maxJobs"] != float64(job.DefaultMaxJobs) {
		t.Errorf("made %s", a.raw)
	}
	list := b.call("GET", "/api/cron/tokens", "", as("s3cret")).want(http.StatusOK)
	if strings.Contains(list.raw, "gct_") || !strings.Contains(list.raw, `"jobs":0`) {
		t.Errorf("list %s", list.raw)
	}
	if strings.Contains(b.log.String(), "gct_") {
		t.Errorf("a token is in the log: %s", b.log)
	}
}

func TestTheStatusForAToken(t *testing.T) {
	b := setup(t, withTokens(&fakeTokens{}, "s3cret"))
	b.store.status = job.Status{PausedSince: nowMillis, PauseReason: "r", Jobs: 3, Unfinished: 4}
	a := b.call("GET", "/api/cron/status", "", as("gct_a")).want(http.StatusOK)
	if a.body["paused"] != true || a.body["reason"] != "r" || strings.Contains(a.raw, `"jobs"`) || strings.Contains(a.raw, "unfinished") {
		t.Errorf("status %s", a.raw)
	}
}

// TestTheAuditForAToken leaves out what was before the job that is there now.
func TestTheAuditForAToken(t *testing.T) {
	b := setup(t, withTokens(&fakeTokens{}, "s3cret"))
	b.seed("j")
	b.store.audit = []job.Audited{{ID: "2-0", At: nowMillis, Action: "create", Target: "j"}, {ID: "1-0", At: nowMillis - 1, Action: "delete", Target: "j"}}
	if a := b.call("GET", "/api/cron/audit?target=j", "", as("gct_a")).want(http.StatusOK); strings.Contains(a.raw, "delete") || !strings.Contains(a.raw, "create") {
		t.Errorf("audit %s", a.raw)
	}
	for _, target := range []string{"", "?target=" + url.QueryEscape("*")} {
		b.call("GET", "/api/cron/audit"+target, "", as("gct_a")).want(http.StatusForbidden)
	}
	b.call("GET", "/api/cron/audit?target=k", "", as("gct_a")).want(http.StatusNotFound)
}
