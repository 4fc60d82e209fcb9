package golden

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	_ "time/tzdata"

	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/app"
	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/producttest"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/tasks"
)

// serve runs roles of this build on a Redis, until the test ends.
func serve(t *testing.T, server *redistest.Server, roles app.Roles, env map[string]string) client {
	t.Helper()
	c, err := config.Load(func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	})
	if err != nil {
		t.Fatal(err)
	}
	c.RedisURL, c.Addr, c.RateLimitPerMinute = server.URL(), "127.0.0.1:0", 0
	c.RedisCheck = config.RedisCheckOff
	var out, log producttest.Buffer
	a, err := app.Start(t.Context(), app.Options{Name: "golden", Config: c, Roles: roles, Stdout: &out,
		Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", log.String())
		}
	})
	producttest.Until(t, "the process is ready", patience, func() bool { return strings.Contains(out.String(), "ready") })
	return client{"http://" + a.Addr()}
}

// TestRecordsOfReleasesAreReadAsTheyWere has each request answered that the release was
// asked, by its records as they are, however old. They say when something was, and nothing
// that is told of them depends on what the time is now.
func TestRecordsOfReleasesAreReadAsTheyWere(t *testing.T) {
	everyRelease(t, func(t *testing.T, r release) {
		server := redistest.Start(t)
		rdb := server.Client()
		load(t, rdb, r.keys)
		api := serve(t, server, app.Roles{API: true}, newOutside(t, behaviour{}).env)

		c := compareWith(t, r.name)
		asked := map[string]bool{}
		for _, x := range slices.Concat(r.answers, r.previews) {
			asked[x.Path] = true
			c.answers(x, api.do(t, x))
		}
		for kind, path := range map[string]string{"job:": "/api/cron/jobs/", "run:": "/api/cron/runs/"} {
			for _, id := range ids(r.keys, kind) {
				if !asked[path+id] && !isOneOfMany(id) {
					t.Errorf("the release was not asked for %s%s", kind, id)
				}
			}
		}
		now := api.do(t, exchange{Path: "/api/cron/export"}).Answer
		compareLines(t, c, r.export, now)

		for _, id := range ids(r.keys, "job:") {
			if session := r.session(id); !api.inSession(t, id, session) {
				t.Errorf("%s is no job of the session %s, as it was", id, session)
			}
		}

		// To be asked has changed none of the records, but when a token was used.
		after := map[text]entry{}
		for _, e := range dump(t, rdb) {
			after[e.Key] = e
		}
		for _, e := range r.keys {
			if !slices.Equal(e.Value, after[e.Key].Value) && !strings.Contains(string(e.Key), ":token:") {
				t.Errorf("%s was changed by asking:\n%q\n%q", e.Key, e.Value, after[e.Key].Value)
			}
		}
		load(t, rdb, r.pausedKeys)
		for _, x := range r.pausedAnswers {
			c.answers(x, api.do(t, x))
		}
		c.done()
	})
}

// isOneOfMany reports whether an id is of the jobs that are there only to be many.
func isOneOfMany(id string) bool { return strings.HasPrefix(id, "crowd-") }

// compareLines holds the lines of an export against those of the release, by id.
func compareLines(t *testing.T, c *comparison, old, now []byte) {
	t.Helper()
	lines := linesByID(t, now)
	for id, was := range linesByID(t, old) {
		if lines[id] == nil {
			t.Errorf("%s is not exported", id)
			continue
		}
		c.json("export", was, lines[id])
	}
	if was := bytes.Count(old, []byte("\n")); len(lines) != was {
		t.Errorf("%d jobs are exported, were %d", len(lines), was)
	}
}

func linesByID(t *testing.T, export []byte) map[string][]byte {
	t.Helper()
	lines := map[string][]byte{}
	for line := range bytes.Lines(export) {
		var j struct{ ID string }
		if err := json.Unmarshal(line, &j); err != nil {
			t.Fatal(err)
		}
		lines[j.ID] = line
	}
	return lines
}

// TestExportsOfReleasesAreTheSameJobs imports what a release has exported into an empty
// deployment: it is exported again as it was, comes due when it did, and speaks in the same
// sessions.
func TestExportsOfReleasesAreTheSameJobs(t *testing.T) {
	everyRelease(t, func(t *testing.T, r release) {
		server := redistest.Start(t)
		rdb := server.Client()
		api := serve(t, server, app.Roles{API: true}, newOutside(t, behaviour{}).env)
		now := job.ToMillis(must(rdb.Time(t.Context()).Result())(t))

		// What is over by now can be imported no more; all else can.
		var body []byte
		over := 0
		for line := range bytes.Lines(r.export) {
			if isOver(t, line, now) {
				over++
				continue
			}
			body = append(body, line...)
		}
		if len(body) == 0 {
			t.Fatal("the export has nothing in it")
		}
		var report struct {
			Created, Failed int
			Problems        json.RawMessage
		}
		x := api.do(t, exchange{Method: http.MethodPost, Path: "/api/cron/import", Body: body})
		if err := json.Unmarshal(x.Answer, &report); err != nil {
			t.Fatalf("%v in %s", err, x.Answer)
		}
		if lines := bytes.Count(body, []byte("\n")); report.Created != lines || report.Failed != 0 {
			t.Fatalf("%d of %d jobs were made: %s", report.Created, lines, report.Problems)
		}
		t.Logf("%d jobs, and %d that are over", report.Created, over)

		c := compareWith(t, r.name)
		exported := api.do(t, exchange{Path: "/api/cron/export"}).Answer
		compareLines(t, c, body, append(exported, '\n'))

		again := linesByID(t, exported)
		told := map[string]exchange{}
		for _, x := range r.previews {
			told[string(x.Body)] = x
		}
		for id, line := range again {
			x, ok := previewOf(t, line, r.about.RecordedAt)
			if !ok {
				continue
			}
			old, known := told[string(x.Body)]
			if !known {
				t.Errorf("%s has another timing than it had: %s", id, x.Body)
				continue
			}
			c.answers(old, api.do(t, x))
		}
		for id := range again {
			if session := r.session(id); !api.inSession(t, id, session) && !c.meant("import", id+".session") {
				t.Errorf("%s is no job of the session %s, as it was", id, session)
			}
		}
	})
}

// session is the session of a job, as the release has kept it.
func (r release) session(job string) string { return find(r.keys, "job:"+job).fields()["session"] }

// inSession reports whether an API counts a job among those of a session.
func (c client) inSession(t *testing.T, id, session string) bool {
	t.Helper()
	var list struct{ Jobs []struct{ ID string } }
	c.want(t, http.MethodGet, "/api/cron/jobs?limit=100&sessionKey="+url.QueryEscape(session), nil, &list)
	return slices.ContainsFunc(list.Jobs, func(j struct{ ID string }) bool { return j.ID == id })
}

// isOver reports whether a job of an export has no slot left by then.
func isOver(t *testing.T, line []byte, now job.Millis) bool {
	t.Helper()
	var j struct {
		Enabled   bool
		At, EndAt string
	}
	if err := json.Unmarshal(line, &j); err != nil {
		t.Fatal(err)
	}
	past := func(at string) bool { return at != "" && at < rfc3339(now.Time()) }
	return j.Enabled && (past(j.At) || past(j.EndAt))
}

// queued are the slots and the tasks that a release has left in its queues, by the state
// that asynq has them in.
func queued(t *testing.T, server *redistest.Server) (slots []string, states map[string]int) {
	t.Helper()
	inspector := asynq.NewInspector(server.Asynq())
	defer inspector.Close()
	states = map[string]int{}
	queues := tasks.NewQueues("gateway-cron", 0)
	for _, queue := range []string{queues.Run(), queues.Deliver()} {
		for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
			inspector.ListPendingTasks, inspector.ListRetryTasks, inspector.ListActiveTasks, inspector.ListCompletedTasks} {
			for _, info := range must(list(queue, asynq.PageSize(1000)))(t) {
				states[info.Type+" "+info.State.String()]++
				if info.State == asynq.TaskStatePending {
					slots = append(slots, slotsOf(t, asynq.NewTask(info.Type, info.Payload))...)
				}
			}
		}
	}
	return slots, states
}

// slotsOf are the runs that the slots of a task will be.
func slotsOf(t *testing.T, task *asynq.Task) (runs []string) {
	t.Helper()
	switch task.Type() {
	case tasks.TypeRun:
		if p := must(tasks.ParseRun(task))(t); p.Run == "" {
			runs = append(runs, job.RunID(p.Job, job.Millis(p.Slot)))
		}
	case tasks.TypeBatch:
		for _, p := range must(tasks.ParseBatch(task))(t).Slots {
			runs = append(runs, job.RunID(p.Job, job.Millis(p.Slot)))
		}
	case tasks.TypeDeliver:
		_ = must(tasks.ParseDeliver(task))(t)
	default:
		t.Errorf("a task of the unknown type %s", task.Type())
	}
	return runs
}

// TestReleasesHaveLeftEverything guards the others against passing on a store that has
// little in it.
func TestReleasesHaveLeftEverything(t *testing.T) {
	everyRelease(t, func(t *testing.T, r release) {
		server := redistest.Start(t)
		load(t, server.Client(), r.keys)
		_, found := queued(t, server)
		for _, x := range r.runs {
			found[x.Trigger+" "+x.State]++
			found[strings.TrimSuffix(x.Outcome+" "+x.Reason, " ")]++
			found["delivery "+x.Delivery]++
			if x.Count > 1 {
				found["range "+x.Outcome]++
			}
			for _, a := range x.Attempts {
				found[strings.TrimSpace("attempt "+string(a.Result)+" "+string(a.Cause))]++
			}
			for _, d := range x.Deliveries {
				found[d.Kind+" "+d.State]++
				if d.State == "pending" && len(d.MessageIDs) > 0 {
					found["parts in between"]++
				}
			}
		}
		for _, key := range r.keys {
			if rest, ok := strings.CutPrefix(string(key.Key), prefix); ok {
				kind, _, _ := strings.Cut(rest, ":")
				found["key "+kind]++
				if key.Type == "hash" {
					for field, value := range key.fields() {
						found[kind+" "+field]++
						if slices.Contains([]string{"misfire", "overlap", "onAmbiguous", "deliver", "context"}, field) {
							found[kind+" "+field+" "+value]++
						}
					}
				}
			}
		}
		for _, want := range wanted {
			if found[want] == 0 {
				t.Errorf("%s has left no %q", r.name, want)
			}
			delete(found, want)
		}
		t.Logf("besides: %v", found)
	})
}

// wanted is what a release must have left.
var wanted = []string{
	"schedule queued", "schedule parked", "schedule running", "schedule done",
	"manual waiting", "manual parked", "manual running", "manual done",
	"succeeded", "failed", "timed_out", "cancelled requested", "cancelled deleted", "cancelled disabled", "cancelled paused", "cancelled overlap",
	"skipped overlap", "skipped paused", "skipped disabled", "skipped edited", "skipped deleted", "skipped quota",
	"missed superseded", "missed late", "missed stale", "range skipped", "range missed",
	"attempt", "attempt succeeded", "attempt timed_out deadline", "attempt failed ai_error", "attempt failed rate_limited",
	"attempt ambiguous lease_expired", "attempt ambiguous shutdown", "attempt ambiguous connection",
	"attempt cancelled requested", "attempt cancelled overlap", "attempt cancelled paused", "attempt cancelled deleted",
	"delivery pending", "delivery delivered", "delivery failed", "delivery unknown", "delivery suppressed", "delivery not_requested",
	"reply pending", "reply delivered", "reply failed", "reply unknown", "alert delivered", "alert pending", "parts in between",
	"cron:run pending", "cron:run retry", "cron:run active", "cron:run completed", "cron:batch pending", "cron:deliver pending", "cron:deliver completed",
	"key job", "key jobs", "key due", "key wake", "key open", "key run", "key runs", "key active", "key delivery", "key session", "key sessions",
	"key lock", "key wait", "key paused", "key audit", "key idem", "key token", "key tokens", "key tokenjobs", "key tokenruns", "key looks", "key quarantine",

	"job after", "job afterDue", "job agentId", "job alertedAt", "job allowScheduling", "job anchor", "job at", "job channel", "job chatId", "job claims",
	"job disabledAt", "job emitted", "job endAt", "job every", "job failures", "job isGroup", "job jitter", "job labels", "job lastOutcome",
	"job lastRunAt", "job lastRunId", "job lastSlot", "job made", "job madeBy", "job maker", "job maxRetries", "job maxRuns", "job misfireGrace",
	"job model", "job name", "job nextDue", "job nextSlot", "job pauseReason", "job peerId", "job range", "job reasoningEffort", "job retryDelays",
	"job schedule", "job session", "job sessionKey", "job startAt", "job threadId", "job timeout", "job timezone",
	"job misfire run_once", "job misfire run_all", "job misfire skip", "job onAmbiguous retry", "job onAmbiguous fail",
	"job overlap skip", "job overlap queue_one", "job overlap allow", "job overlap cancel_previous",
	"job deliver always", "job deliver on_failure", "job deliver never", "job context session", "job context isolated",
	"run alert", "run cancel", "run catchup", "run commit", "run failedEpoch", "run isolated", "run leaseUntil", "run redelivery", "run a4",
	"delivery alert", "delivery endedEpoch", "delivery leaseUntil", "delivery p1",
	"token agentId", "token sessionKey", "token maxRunsPerDay", "token minInterval", "token lastUsedAt", "token revokedAt",
}
