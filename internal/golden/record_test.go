package golden

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/producttest"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// TestRecord makes the directory of a release with its binary; docs/testing.md says how.
// It takes about five minutes, in which the deployment comes to have everything that a
// record can say.
func TestRecord(t *testing.T) {
	binary, dir, name := os.Getenv("GOLDEN_BINARY"), os.Getenv("GOLDEN_DIR"), os.Getenv("GOLDEN_RELEASE")
	if binary == "" {
		t.Skip("set GOLDEN_BINARY, GOLDEN_DIR and GOLDEN_RELEASE to record a release")
	}
	if dir == "" || name == "" {
		t.Fatal("GOLDEN_DIR and GOLDEN_RELEASE say where to, and what it is")
	}
	r := newRecorder(t, binary)
	r.define()
	r.pauseEverything()
	damage := r.damage()
	r.runByHand()
	r.failTenTimes()
	r.loseScheduler()
	r.loseWorkers()
	r.holdUp()
	r.until("the damage is noticed", func() bool {
		return r.rdb.HLen(t.Context(), prefix+"quarantine").Val() == damage
	})
	r.leaveWork()
	r.stop("scheduler")
	r.at(r.overdue.Add(21 * time.Second))
	r.write(dir, name)
}

// recorder drives a deployment of the release that is recorded.
type recorder struct {
	client
	t         *testing.T
	binary    string
	rdb       *redis.Client
	env       []string
	processes map[string]*producttest.Process
	token     string // of an agent; the second one is revoked
	revoked   string
	once      exchange // a request with a key
	overdue   time.Time
}

func newRecorder(t *testing.T, binary string) *recorder {
	release := make(chan struct{})
	out := newOutside(t, behave(release))
	t.Cleanup(func() { close(release) })
	server := redistest.Start(t)
	r := &recorder{t: t, binary: binary, rdb: server.Client(), processes: map[string]*producttest.Process{}}
	r.env = append(os.Environ(), "GATEWAY_CRON_REDIS_URL="+server.URL(), "GATEWAY_CRON_ADDR=127.0.0.1:0", "GATEWAY_CRON_CONFIG=none",
		"GATEWAY_CRON_RATE_LIMIT_PER_MINUTE=0", "GATEWAY_CRON_SHUTDOWN_GRACE=0s", "GATEWAY_CRON_TASK_RETENTION=20s")
	for name, value := range out.env {
		r.env = append(r.env, name+"="+value)
	}
	for _, role := range []string{"api", "scheduler", "worker"} {
		r.start(role)
	}
	r.url = r.processes["api"].URL
	return r
}

func (r *recorder) start(role string) {
	r.t.Helper()
	cmd := exec.Command(r.binary, role)
	cmd.Env = r.env
	r.processes[role] = producttest.Start(r.t, cmd)
}

func (r *recorder) stop(role string) { r.t.Helper(); r.processes[role].Stop() }
func (r *recorder) kill(role string) { r.t.Helper(); r.processes[role].Kill() }

func (r *recorder) until(what string, ok func() bool) {
	r.t.Helper()
	r.t.Logf("%s until %s", time.Now().Format(time.TimeOnly), what)
	producttest.Until(r.t, what, 3*time.Minute, ok)
}

func (r *recorder) at(instant time.Time) { r.t.Helper(); producttest.At(r.t, instant) }

// soon is a whole second that is at least so far away.
func soon(d time.Duration) time.Time { return time.Now().Add(d + time.Second).Truncate(time.Second) }

func rfc3339(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// jobs makes jobs whose ids are given.
func (r *recorder) jobs(jobs map[string]object) {
	r.t.Helper()
	var body bytes.Buffer
	for _, id := range sortedKeys(jobs) {
		body.Write(append(must(encode(line(id, jobs[id])))(r.t), '\n'))
	}
	var report struct {
		Created  int
		Problems json.RawMessage
	}
	x := r.do(r.t, exchange{Method: http.MethodPost, Path: "/api/cron/import", Body: body.Bytes()})
	if err := json.Unmarshal(x.Answer, &report); err != nil || report.Created != len(jobs) {
		r.t.Fatalf("import: %d %s", x.Status, x.Answer)
	}
}

// scheduled is a job that is due every ten seconds from then on.
func scheduled(from time.Time, more object) object {
	return object{"schedule": nil, "every": 10, "startAt": rfc3339(from)}.with(more)
}

// once is a job that is due then, and once more after a year.
func once(at time.Time, more object) object {
	return object{"schedule": nil, "every": 366 * 86400, "startAt": rfc3339(at)}.with(more)
}

func (r *recorder) run(id string) (run string) {
	r.t.Helper()
	var started struct{ RunID string }
	r.want(r.t, http.MethodPost, "/api/cron/jobs/"+id+"/run", nil, &started)
	return started.RunID
}

func (r *recorder) look(id string) (found run) {
	r.t.Helper()
	r.want(r.t, http.MethodGet, "/api/cron/runs/"+url.PathEscape(id), nil, &found)
	return found
}

func (r *recorder) history(id string) []run {
	r.t.Helper()
	var list struct{ Runs []run }
	r.want(r.t, http.MethodGet, "/api/cron/jobs/"+id+"/runs?limit=100", nil, &list)
	return list.Runs
}

// has waits until a job has a run that is so.
func (r *recorder) has(id, what string, is func(run) bool) {
	r.t.Helper()
	r.until(id+" has a run that is "+what, func() bool { return slices.ContainsFunc(r.history(id), is) })
}

func outcome(outcome, reason string) func(run) bool {
	return func(x run) bool { return x.Outcome == outcome && x.Reason == reason }
}

func state(state string) func(run) bool { return func(x run) bool { return x.State == state } }

func (r *recorder) patch(id string, fields object) {
	r.t.Helper()
	r.want(r.t, http.MethodPatch, "/api/cron/jobs/"+id, fields, nil)
}

// settle gives a job a schedule that is not due soon.
func (r *recorder) settle(ids ...string) {
	r.t.Helper()
	for _, id := range ids {
		r.patch(id, object{"schedule": yearly, "every": nil, "startAt": nil})
	}
}

func (r *recorder) define() {
	r.jobs(byHand())
	for i, token := range []*string{&r.token, &r.revoked} {
		var made struct{ ID, Token string }
		r.want(r.t, http.MethodPost, "/api/cron/tokens",
			object{"name": fmt.Sprintf("tools %d", i+1), "agentId": "research", "maxJobs": 3, "maxRunsPerDay": 1}, &made)
		*token = made.Token
		if i == 1 {
			r.want(r.t, http.MethodDelete, "/api/cron/tokens/"+made.ID, nil, nil)
		}
	}
	r.want(r.t, http.MethodPost, "/api/cron/tokens", object{"name": "one session", "sessionKey": "agent:main:own", "minIntervalSeconds": 900}, nil)
	r.patch("direct", object{"name": "Directly", "task": "hello again"})
	r.once = r.do(r.t, exchange{Method: http.MethodPost, Path: "/api/cron/jobs", Key: "golden",
		Body: must(encode(object{"schedule": yearly, "task": "hello", "name": "Once", "labels": []string{"golden"}}))(r.t)})
}

// damage damages a job and the lock of a session; the sweeper and asynq stumble over them.
// It returns how many records will be in quarantine in the end.
func (r *recorder) damage() int64 {
	r.rdb.HSet(r.t.Context(), prefix+"job:"+damagedJob, "nextSlot", "garbled")
	r.rdb.RPush(r.t.Context(), prefix+"lock:agent:main:cron:"+damagedLock, "garbled")
	r.run(damagedLock)
	run := r.run(damagedRun)
	r.until("the run is to be damaged", func() bool { return r.look(run).State == "waiting" && len(r.look(run).Attempts) == 1 })
	r.rdb.HSet(r.t.Context(), prefix+"run:"+run, "notBefore", "garbled")
	return 2
}

// pauseEverything leaves a run and a slot that a pause ended, and the end of the pause.
func (r *recorder) pauseEverything() {
	r.jobs(map[string]object{"due-in-pause": once(soon(4*time.Second), object{"task": "hello"})})
	r.run("stopped")
	r.has("stopped", "running", state("running"))
	r.want(r.t, http.MethodPost, "/api/cron/all/pause", object{"reason": "to look into it", "cancelRuns": true}, nil)
	r.has("stopped", "cancelled", outcome("cancelled", "paused"))
	r.has("due-in-pause", "skipped", outcome("skipped", "paused"))
	r.want(r.t, http.MethodPost, "/api/cron/all/resume", nil, nil)
}

// runByHand leaves runs of each outcome that a run by hand can have.
func (r *recorder) runByHand() {
	var runs []string
	for _, id := range []string{"direct", "direct", "group", "thread", "peer", "agent", "own", "isolated", "isolated", "never", "quiet",
		"refused", "timeout", "cut", "retried", "chat-refuses", "chat-unknown", "parts"} {
		runs = append(runs, r.run(id))
	}
	requested := r.run("requested")
	r.run("deleted")
	r.has("requested", "running", state("running"))
	r.has("deleted", "running", state("running"))
	r.want(r.t, http.MethodPost, "/api/cron/runs/"+requested+"/cancel", nil, nil)
	r.want(r.t, http.MethodDelete, "/api/cron/jobs/deleted?cancelRuns=true", nil, nil)
	for _, id := range runs {
		r.until(id+" has ended", func() bool { x := r.look(id); return x.State == "done" && x.Delivery != "pending" })
	}
	r.want(r.t, http.MethodPost, "/api/cron/runs/"+runs[0]+"/redeliver", nil, nil)
	r.until("it was delivered again", func() bool { return r.look(runs[0]).Delivery == "delivered" && len(r.look(runs[0]).Deliveries) == 2 })
}

// failTenTimes leaves a job that failures have disabled, and what overlap, quotas, edits
// and the ends of jobs leave.
func (r *recorder) failTenTimes() {
	from := soon(2 * time.Second)
	r.jobs(map[string]object{
		"failing":   scheduled(from, object{"task": "answer 400", "maxRetries": 0, "channel": "slack", "chatId": "C7", "timezone": "Europe/Berlin"}),
		"skips":     scheduled(from, object{"task": "hang"}),
		"cancels":   scheduled(from, object{"task": "hang", "overlap": "cancel_previous"}),
		"counted":   scheduled(from, object{"task": "hello", "maxRuns": 50}),
		"between":   once(from, object{"task": "answer 500", "retryDelaysSeconds": []int{5}}),
		"last-run":  {"task": "hello", "schedule": nil, "at": rfc3339(from)},
		"last-fail": {"task": "answer 400", "schedule": nil, "at": rfc3339(from), "channel": "slack", "chatId": "C8"},
	})
	quota := r.do(r.t, exchange{Method: http.MethodPost, Path: "/api/cron/jobs", Token: r.token,
		Body: must(encode(scheduled(from, object{"task": "hello", "name": "Of a token", "labels": []string{"golden"}})))(r.t)})
	var made struct{ ID string }
	if err := json.Unmarshal(quota.Answer, &made); err != nil || made.ID == "" {
		r.t.Fatalf("%d %s", quota.Status, quota.Answer)
	}
	r.has("between", "waiting", func(x run) bool { return x.State == "waiting" && len(x.Attempts) == 1 })
	r.want(r.t, http.MethodPost, "/api/cron/jobs/between/pause", object{"reason": "in between"}, nil)
	r.has("between", "cancelled", outcome("cancelled", "disabled"))
	r.has("cancels", "cancelled", outcome("cancelled", "overlap"))
	r.has("skips", "skipped twice", func(x run) bool { return x.Outcome == "skipped" && x.Count == 2 })
	r.has(made.ID, "skipped", outcome("skipped", "quota"))
	r.until("two runs are counted", func() bool { return len(r.history("counted")) >= 2 })
	r.settle("counted", "cancels", made.ID)
	for _, id := range []string{"skips", "cancels"} {
		r.want(r.t, http.MethodPost, "/api/cron/jobs/"+id+"/pause", object{"reason": "seen enough"}, nil)
		for _, x := range r.history(id) {
			if x.State == "running" {
				r.want(r.t, http.MethodPost, "/api/cron/runs/"+x.ID+"/cancel", nil, nil)
			}
		}
	}
	r.until("failures have disabled the job", func() bool {
		return r.rdb.HExists(r.t.Context(), prefix+"job:failing", "disabledAt").Val()
	})
}

// loseScheduler leaves what passes while no scheduler runs.
func (r *recorder) loseScheduler() {
	from := soon(3 * time.Second)
	end := object{"task": "hello", "endAt": rfc3339(from.Add(60 * time.Second))}
	r.jobs(map[string]object{
		"late":      once(from, object{"task": "hello", "misfire": "skip"}),
		"stale":     once(from, object{"task": "hello", "misfireGraceSeconds": 60}),
		"newest":    scheduled(from, end),
		"all":       scheduled(from, end.with(object{"misfire": "run_all"})),
		"to-edit":   once(from, object{"task": "hello"}),
		"to-pause":  once(from, object{"task": "hello"}),
		"to-delete": once(from, object{"task": "hello"}),
	})
	r.stop("scheduler")
	r.at(from.Add(time.Second))
	r.settle("to-edit")
	r.want(r.t, http.MethodPost, "/api/cron/jobs/to-pause/pause", nil, nil)
	r.want(r.t, http.MethodDelete, "/api/cron/jobs/to-delete", nil, nil)
	r.at(from.Add(75 * time.Second))
	r.start("scheduler")
	r.has("late", "missed", outcome("missed", "late"))
	r.has("stale", "missed", outcome("missed", "stale"))
	r.has("newest", "missed", outcome("missed", "superseded"))
	r.until("all have run", func() bool {
		return len(r.history("all")) == 7 && !slices.ContainsFunc(r.history("all"), func(x run) bool { return x.State != "done" })
	})
}

// loseWorkers leaves attempts whose worker died and whose worker was stopped.
func (r *recorder) loseWorkers() {
	r.run("died")
	r.run("died-fails")
	r.has("died", "running", state("running"))
	r.has("died-fails", "running", state("running"))
	r.kill("worker")
	r.start("worker")
	r.has("died-fails", "failed", outcome("failed", ""))
	r.has("died", "running again", func(x run) bool { return x.State == "running" && len(x.Attempts) == 2 })
	r.stop("worker")
	r.start("worker")
	r.has("died", "running once more", func(x run) bool { return x.State == "running" && len(x.Attempts) == 3 })
}

// holdUp leaves runs in each state, and deliveries that are not through.
func (r *recorder) holdUp() {
	from := soon(2 * time.Second)
	r.jobs(map[string]object{
		"queues":     scheduled(from, object{"task": "hang", "overlap": "queue_one"}),
		"allows":     scheduled(from, object{"task": "hang", "overlap": "allow"}),
		"last-hangs": once(from, object{"task": "hang", "maxRuns": 1}),
		"alert-busy": once(from, object{"task": "answer 400", "deliver": "on_failure", "channel": "slack", "chatId": "answer-503"}),
	})
	r.run("holder")
	r.has("holder", "running", state("running"))
	for _, id := range []string{"behind", "behind-too"} {
		r.run(id)
		r.has(id, "parked", state("parked"))
	}
	maker := r.run("maker")
	r.has("maker", "running", state("running"))
	made := r.do(r.t, exchange{Run: maker, Method: http.MethodPost, Path: "/api/cron/jobs",
		Body: must(encode(object{"schedule": yearly, "task": "hello", "name": "Made in a run", "labels": []string{"golden"}}))(r.t)})
	if made.Status != http.StatusCreated {
		r.t.Fatalf("%d %s", made.Status, made.Answer)
	}
	r.has("queues", "queued", state("queued"))
	r.has("queues", "skipped", outcome("skipped", "overlap"))
	r.has("allows", "parked", state("parked"))
	r.has("last-hangs", "running", state("running"))
	r.settle("queues", "allows")
	r.run("dies-fails")
	r.has("dies-fails", "running", state("running"))
	for _, id := range []string{"chat-busy", "chat-hangs", "parts-busy"} {
		r.run(id)
	}
	r.until("a part is begun", func() bool { // and never ends
		return strings.HasPrefix(r.rdb.HGet(r.t.Context(), prefix+"delivery:"+r.history("chat-hangs")[0].ID+":1", "p0").Val(), "b:")
	})
	r.has("chat-busy", "to be sent again", func(x run) bool { return x.Delivery == "pending" && len(r.look(x.ID).Deliveries) == 1 })
	r.until("one part of two is sent", func() bool {
		d := r.look(r.history("parts-busy")[0].ID).Deliveries
		return len(d) == 1 && len(d[0].MessageIDs) == 1 && d[0].Error != ""
	})
	r.has("alert-busy", "failed", outcome("failed", ""))
}

// leaveWork leaves tasks in the queue, and slots that nobody has seen.
func (r *recorder) leaveWork() {
	crowd := map[string]object{}
	at := soon(3 * time.Second)
	if at.Second() == 0 {
		at = at.Add(time.Second) // what is due at a minute is not put together
	}
	for i := range 64 {
		crowd[fmt.Sprintf("crowd-%02d", i)] = once(at, object{"task": "hello", "labels": nil})
	}
	r.run("waiting")
	r.has("waiting", "waiting", func(x run) bool { return x.State == "waiting" && len(x.Attempts) == 1 })
	r.jobs(crowd)
	r.kill("worker")
	r.emitted(crowd)
	r.run("alone")
	r.want(r.t, http.MethodPost, "/api/cron/runs/"+r.history("group")[0].ID+"/redeliver", nil, nil)
	next := soon(2 * time.Second)
	r.overdue = soon(10 * time.Second)
	singles := map[string]object{
		"single":     once(next, object{"task": "hello"}),
		"single-too": once(next, object{"task": "hello", "channel": "slack", "chatId": "C9"}),
		"at":         {"task": "hello", "schedule": nil, "at": rfc3339(next)},
	}
	r.jobs(singles)
	for _, misfire := range []string{"run_once", "run_all", "skip"} {
		r.jobs(map[string]object{"overdue_" + misfire: scheduled(r.overdue, object{"task": "hello", "misfire": misfire, "endAt": rfc3339(r.overdue.Add(20 * time.Second))})})
	}
	r.emitted(singles)
}

// emitted waits until jobs have a slot in the queue.
func (r *recorder) emitted(jobs map[string]object) {
	r.t.Helper()
	r.until(fmt.Sprintf("%d slots are in the queue", len(jobs)), func() bool {
		for id := range jobs {
			if !r.rdb.HExists(r.t.Context(), prefix+"job:"+id, "emitted").Val() {
				return false
			}
		}
		return true
	})
}

// forgetCrowd takes the making of those jobs out of the audit that are there to be many.
func (r *recorder) forgetCrowd() {
	for _, m := range r.rdb.XRange(r.t.Context(), prefix+"audit", "-", "+").Val() {
		if isOneOfMany(fmt.Sprint(m.Values["target"])) {
			r.rdb.XDel(r.t.Context(), prefix+"audit", m.ID)
		}
	}
}

// write writes what there is now.
func (r *recorder) write(dir, name string) {
	t := r.t
	if err := os.MkdirAll(filepath.Join(dir, "paused"), 0o750); err != nil {
		t.Fatal(err)
	}
	at := must(r.rdb.Time(t.Context()).Result())(t)
	r.forgetCrowd()
	keys := anonymous(t, dump(t, r.rdb))
	answers := r.ask(keys)
	export := r.do(t, exchange{Path: "/api/cron/export"})
	var previews []exchange
	asked := map[string]bool{} // many jobs have the same timing
	for line := range bytes.Lines(export.Answer) {
		if x, ok := previewOf(t, line, job.ToMillis(at)); ok && !asked[string(x.Body)] {
			asked[string(x.Body)] = true
			previews = append(previews, r.do(t, x))
		}
	}
	if after := anonymous(t, dump(t, r.rdb)); !slices.EqualFunc(keys, after, func(a, b entry) bool { return a.Key == b.Key && slices.Equal(a.Value, b.Value) }) {
		t.Error("the release has changed something while it was asked")
	}
	r.want(t, http.MethodPost, "/api/cron/all/pause", object{"reason": "an upgrade"}, nil)
	var changed []entry
	for _, e := range anonymous(t, dump(t, r.rdb)) {
		name, ours := strings.CutPrefix(string(e.Key), prefix)
		if ours && e.Type != "stream" && !slices.Equal(e.Value, find(keys, name).Value) {
			changed = append(changed, e) // not the audit again
		}
	}
	writeLines(t, filepath.Join(dir, "redis.jsonl"), keys)
	writeLines(t, filepath.Join(dir, "answers.jsonl"), answers)
	writeLines(t, filepath.Join(dir, "previews.jsonl"), previews)
	writeLines(t, filepath.Join(dir, "about.json"), []about{{Release: name, RecordedAt: job.ToMillis(at)}})
	writeLines(t, filepath.Join(dir, "paused", "redis.jsonl"), changed)
	writeLines(t, filepath.Join(dir, "paused", "answers.jsonl"), []exchange{r.do(t, exchange{Path: "/api/cron/status"})})
	if err := os.WriteFile(filepath.Join(dir, "export.jsonl"), append(export.Answer, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ask asks for every record, and for what a release makes of them.
func (r *recorder) ask(keys []entry) (answers []exchange) {
	process := processIDs(r.t)
	ask := func(x exchange) {
		x = r.do(r.t, x)
		x.Answer = process.ReplaceAll(x.Answer, []byte("host-$1"))
		answers = append(answers, x)
	}
	for _, path := range []string{"status", "tokens", "jobs?limit=20&label=golden", "jobs?enabled=false", "jobs?lastOutcome=failed",
		"jobs?agentId=research", "runs?limit=5", "runs?limit=100&outcome=skipped", "runs?delivery=pending", "runs?state=parked",
		"audit?limit=10", "audit?target=direct", "audit?target=*", "jobs/to-delete", "jobs/deleted/runs", "jobs/no-such-job"} {
		ask(exchange{Path: "/api/cron/" + path})
	}
	for _, id := range ids(keys, "job:") {
		if !isOneOfMany(id) || id == "crowd-00" {
			ask(exchange{Path: "/api/cron/jobs/" + id})
		}
	}
	for _, id := range ids(keys, "run:") {
		ask(exchange{Path: "/api/cron/runs/" + id})
	}
	for _, key := range ids(keys, "session:") {
		ask(exchange{Path: "/api/sessions/" + url.PathEscape(key)})
	}
	answers = append(answers, r.once)
	for _, token := range []string{r.token, r.revoked} {
		ask(exchange{Path: "/api/cron/jobs", Token: token})
		ask(exchange{Path: "/api/cron/jobs/direct", Token: token})
	}
	return answers
}

// previewOf asks for the next slots of a job of an export. Those of a job that counts from
// when it was made cannot be told by its definition.
func previewOf(t *testing.T, line []byte, after job.Millis) (exchange, bool) {
	t.Helper()
	var j object
	if err := json.Unmarshal(line, &j); err != nil {
		t.Fatal(err)
	}
	if j["every"] != nil && j["startAt"] == nil {
		return exchange{}, false
	}
	ask := object{"after": after, "count": 10}
	maps.Copy(ask, j)
	maps.DeleteFunc(ask, func(name string, _ any) bool {
		return !slices.Contains([]string{"schedule", "timezone", "every", "at", "startAt", "endAt", "after", "count"}, name)
	})
	return exchange{Method: http.MethodPost, Path: "/api/cron/preview", Body: must(encode(ask))(t)}, true
}

// anonymous takes the name of the machine out of a dump, and what says only that processes
// live: it names the machine too, and lasts seconds.
func anonymous(t *testing.T, keys []entry) (kept []entry) {
	t.Helper()
	process := processIDs(t)
	life := regexp.MustCompile(`^asynq:(servers|workers|schedulers)\b|^` + regexp.QuoteMeta(prefix) + `beats?\b`)
	for _, e := range keys {
		if life.MatchString(string(e.Key)) {
			continue
		}
		e.Value = slices.Clone(e.Value)
		for i, v := range e.Value {
			e.Value[i] = text(process.ReplaceAllString(string(v), "host-$1"))
		}
		kept = append(kept, e)
	}
	return kept
}

// processIDs are the names by which processes of this machine are known.
func processIDs(t *testing.T) *regexp.Regexp {
	t.Helper()
	return regexp.MustCompile(`\b` + regexp.QuoteMeta(must(os.Hostname())(t)) + `-([0-9a-z]{26})\b`)
}
