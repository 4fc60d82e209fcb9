package app

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// TestEndsOfJobs: what a client finds of a job that has had its runs, and of one whose time
// passed while nothing could run it.
func TestEndsOfJobs(t *testing.T) {
	_, ai := echoAI(t)
	server := redistest.Start(t)
	with := func(c *config.Config) { c.RedisURL, c.AIServerURL = server.URL(), ai }
	p := boot(t, Roles{API: true}, with)
	eventually(t, "the ready line", p.ready)
	create := func(body string) {
		t.Helper()
		if status, _, answer := p.call("POST", "/api/cron/jobs", body); status != http.StatusCreated {
			t.Fatalf("create: %d %s", status, answer)
		}
	}
	has := func(path string, parts ...string) func() bool {
		return func() bool {
			_, _, answer := p.call("GET", path, "")
			for _, part := range parts {
				if !strings.Contains(answer, part) {
					return false
				}
			}
			return true
		}
	}
	create(fmt.Sprintf(`{"id":"missed","name":"Bread","at":%d,"task":"x"}`, time.Now().Add(time.Hour).UnixMilli()/1000*1000))
	create(`{"id":"goes-on","every":86400,"task":"x"}`)
	// Three hours pass, in which nothing runs.
	slot := strconv.FormatInt(time.Now().Add(-3*time.Hour).UnixMilli()/1000*1000, 10)
	rdb := server.Client()
	prefix := "{" + p.opts.Config.Prefix + "}:"
	if err := rdb.HSet(t.Context(), prefix+"job:missed", "nextSlot", slot, "at", slot).Err(); err != nil {
		t.Fatal(err)
	}
	score, _ := strconv.ParseFloat(slot, 64)
	if err := rdb.ZAdd(t.Context(), prefix+"due", redis.Z{Score: score, Member: "missed"}).Err(); err != nil {
		t.Fatal(err)
	}
	work := boot(t, Roles{Scheduler: true, Worker: true}, with)
	eventually(t, "the ready line", work.ready)
	eventually(t, "the job has ended", has("/api/cron/jobs/missed", `"ended":true`, `"lastOutcome":"missed"`, `"lastOutcomeSlot":`+slot))
	eventually(t, "it is left out of the list", func() bool {
		_, _, answer := p.call("GET", "/api/cron/jobs", "")
		return strings.Contains(answer, "goes-on") && !strings.Contains(answer, "Bread")
	})
	if !has("/api/cron/jobs?ended=true", "Bread")() || !has("/api/cron/status", `"jobs":1,`)() {
		t.Error("the list of ended jobs has it not, or the status counts it")
	}

	// Its id is free.
	create(fmt.Sprintf(`{"id":"missed","name":"Rolls","at":%d,"task":"x"}`, time.Now().Add(2*time.Second).UnixMilli()/1000*1000))
	eventually(t, "the other one is gone", has("/api/cron/jobs/missed", `"status":410`, `"Rolls\" ran 1 of 1 times and is gone`, `"lastOutcome":"succeeded"`,
		`"history":"/api/cron/jobs/missed/runs"`))
	if !has("/api/cron/jobs/missed/runs", `"outcome":"succeeded"`, `"outcome":"missed"`)() {
		t.Error("the history lacks something")
	}
}
