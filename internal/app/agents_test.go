package app

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/store"
)

// TestATokenReadsNothingOfAnAgentWhoseIdBeginsLikeItsOwn, on a store of a release that let
// both in and kept no list of agents.
func TestATokenReadsNothingOfAnAgentWhoseIdBeginsLikeItsOwn(t *testing.T) {
	_, ai := echoAI(t)
	db := redistest.Start(t)
	rdb := db.Client()
	s := store.New(rdb, store.Options{})
	_, secret, err := s.CreateToken(t.Context(), job.Token{Name: "n", AgentID: "alpha", MaxJobs: 10})
	if err == nil {
		_, err = s.CreateJob(t.Context(), "theirs", job.Spec{Schedule: "0 9 1 1 *", Enabled: true, Task: "the secret", AgentID: "other"})
	}
	if err == nil {
		err = rdb.HSet(t.Context(), "{gateway-cron}:job:theirs", "agentId", "alpha:ops", "session", "agent:alpha:ops:cron:theirs").Err()
	}
	if err == nil {
		err = rdb.Del(t.Context(), "{gateway-cron}:agentids").Err()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := boot(t, AllRoles(), func(c *config.Config) { c.RedisURL, c.Token, c.AIServerURL = db.URL(), "administrator", ai })
	eventually(t, "the ready line", p.ready)
	admin, holder := caller{p: p, token: "administrator"}, caller{p: p, token: secret}

	var run struct{ RunID string }
	admin.want(http.StatusOK, "POST", "/api/cron/jobs/theirs/run?wait=60", "", &run)
	const session = "agent:alpha:ops:cron:theirs"
	if told := admin.want(http.StatusOK, "GET", "/api/sessions/"+session, "", nil); !strings.Contains(told, "the secret") {
		t.Fatalf("the session is %s", told)
	}
	for _, path := range []string{"/api/sessions/" + session, "/api/cron/jobs/theirs", "/api/cron/jobs/theirs/runs", "/api/cron/runs/" + run.RunID} {
		holder.want(http.StatusNotFound, "GET", path, "", nil)
	}
	for _, path := range []string{"/api/cron/jobs?sessionKey=" + session, "/api/cron/runs?agentId=alpha:ops", "/api/cron/runs?sessionKey=" + session} {
		if told := holder.want(http.StatusOK, "GET", path, "", nil); strings.Contains(told, "secret") {
			t.Errorf("%s: %s", path, told)
		}
	}
	holder.want(http.StatusForbidden, "POST", "/api/cron/jobs", `{"schedule":"0 9 1 1 *","task":"x","sessionKey":"`+session+`"}`, nil)
	holder.want(http.StatusCreated, "POST", "/api/cron/jobs", `{"schedule":"0 9 1 1 *","task":"x","sessionKey":"agent:alpha:mine"}`, nil)
	admin.want(http.StatusCreated, "POST", "/api/cron/jobs", `{"schedule":"0 9 1 1 *","task":"x","agentId":"alpha:ops"}`, nil)
	for path, body := range map[string]string{
		"/api/cron/jobs":   `{"schedule":"0 9 1 1 *","task":"x","agentId":"alpha:new"}`,
		"/api/cron/tokens": `{"name":"n","agentId":"Alpha"}`,
	} {
		if told := admin.want(http.StatusBadRequest, "POST", path, body, nil); !strings.Contains(told, `"agentId"`) {
			t.Errorf("%s: %s", body, told)
		}
	}
}
