package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

type reason struct{ Code, Text, Remedy string }

// told is how one of those who tell it says that the deployment stands.
type told struct {
	State   string
	Reasons []reason
	exit    int // of the doctor
	text    string
}

func (h told) has(code string) bool {
	return slices.ContainsFunc(h.Reasons, func(r reason) bool { return r.Code == code && r.Remedy != "" })
}

// status asks GET /api/cron/status, whatever its answer.
func (p *process) status() told {
	p.t.Helper()
	var v struct{ Health told }
	p.call("GET", "/api/cron/status", "", &v)
	return v.Health
}

// fullyReady asks the readiness page, and holds its status against its state.
func (p *process) fullyReady() told {
	p.t.Helper()
	var v struct{ Health told }
	if status := p.call("GET", "/readyz?full=true", "", &v); (status == 503) != (v.Health.State == "failing") {
		p.t.Errorf("/readyz?full=true is %d of a deployment that is %s", status, v.Health.State)
	}
	return v.Health
}

// doctor runs the doctor beside a gateway.
func (w *world) doctor(p *process, args ...string) told {
	w.t.Helper()
	cmd := exec.Command(binary, append([]string{"doctor", "--json"}, args...)...)
	cmd.Env = append(os.Environ(), "GATEWAY_CRON_CONFIG=none", "GATEWAY_CRON_URL="+p.URL)
	out, err := cmd.Output()
	var v struct {
		State    string
		Findings []struct{ Code, Found, Remedy, Command string }
	}
	if jsonErr := json.Unmarshal(out, &v); jsonErr != nil {
		w.t.Fatalf("doctor: %v\n%s", jsonErr, out)
	}
	h := told{State: v.State, text: string(out)}
	for _, f := range v.Findings {
		h.Reasons = append(h.Reasons, reason{f.Code, f.Found, f.Remedy})
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		h.exit = exit.ExitCode()
	}
	return h
}

// stands waits until the status is as wanted, and returns it.
func (w *world) stands(p *process, what string, wanted func(told) bool) (s told) {
	w.t.Helper()
	defer func() {
		if w.t.Failed() {
			w.t.Logf("the status is %+v", s)
		}
	}()
	w.until(what, 3*time.Minute, func() bool { s = p.status(); return wanted(s) })
	return s
}

// names waits until everybody says a reason with its remedy, and the same state.
func (w *world) names(p *process, code, state string) told {
	w.t.Helper()
	status := w.stands(p, "the status names "+code, func(s told) bool { return s.has(code) && s.State == state })
	ready, doctor := p.fullyReady(), w.doctor(p)
	for who, h := range map[string]told{"status": status, "readiness": ready, "doctor": doctor} {
		if !h.has(code) || h.State != state {
			w.t.Errorf("%s of %s: %+v, want it %s", who, code, h, state)
		}
	}
	if failing := state == "failing"; failing && doctor.exit != 1 {
		w.t.Errorf("doctor of %s: exit code %d", code, doctor.exit)
	}
	return status
}

// well waits until everybody says that nothing is wrong.
func (w *world) well(p *process) {
	w.t.Helper()
	w.stands(p, "all is well", func(s told) bool { return s.State == "ok" })
	if ready, doctor := p.fullyReady(), w.doctor(p); ready.State != "ok" || doctor.State != "ok" || doctor.exit != 0 {
		w.t.Errorf("ready: %+v, doctor: %+v", ready, doctor)
	}
}

// whole starts one of each role, and returns the API when all is well.
func (w *world) whole() *process {
	w.t.Helper()
	api := w.start("api")
	w.start("scheduler")
	w.start("worker")
	w.well(api)
	return api
}

// Processes that are dead are named until others take their place.
func TestHealthOfDeadProcesses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	api, scheduler, worker := w.start("api"), w.start("scheduler"), w.start("worker")
	w.well(api)
	worker.Kill()
	w.names(api, "no_worker", "failing")
	w.start("worker")
	w.well(api)
	scheduler.Kill()
	w.names(api, "no_scheduler", "failing")
	w.start("scheduler")
	w.well(api)
}

// All places of the workers are taken: what waits is counted from when it was due, by
// everybody, and the doctor of a job says why it does not run.
func TestHealthOfTakenPlaces(t *testing.T) {
	t.Parallel()
	forever := make(chan struct{})
	w := newWorld(t, func(standin.ChatCall) standin.Answer { <-forever; return standin.Answer{} })
	t.Cleanup(func() { close(forever) })
	api := w.start("api")
	w.start("scheduler")
	w.start("worker", "GATEWAY_CRON_CONCURRENCY=1")
	soon := time.Now().Add(20 * time.Second).UnixMilli() // when all are made
	for n := range 5 {
		api.create(map[string]any{"id": fmt.Sprintf("job-%d", n), "every": 3600, "startAt": soon, "task": "x"})
	}
	w.names(api, "places_taken", "degraded")
	late := w.names(api, "slots_late", "degraded")
	found := false
	for _, r := range late.Reasons {
		found = found || r.Code == "slots_late" && strings.HasPrefix(r.Text, "4 slots late, the oldest 1 min") && strings.HasSuffix(r.Text, "workers: 1 of 1 place taken")
	}
	if !found {
		t.Errorf("%+v", late)
	}
	if h := w.doctor(api); h.exit != 1 {
		t.Errorf("doctor: exit code %d", h.exit)
	}
	waiting := slices.IndexFunc([]int{0, 1, 2, 3, 4}, func(n int) bool {
		return strings.Contains(w.doctor(api, "--job", fmt.Sprintf("job-%d", n)).text, "no worker has taken it, because")
	})
	if waiting < 0 {
		t.Error("nobody says why a job does not run")
	}
}

// Redis is away, full, or takes no writes.
func TestHealthOfRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	api := w.whole()
	w.redis.Freeze()
	w.names(api, "redis_away", "failing")
	w.redis.Thaw()
	w.well(api)

	set := func(args ...any) {
		t.Helper()
		if err := w.rdb.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("config", "set", "maxmemory", "1mb")
	w.names(api, "redis_refuses_writes", "failing")
	set("config", "set", "maxmemory", "0")
	w.well(api)
	set("replicaof", "127.0.0.1", "1")
	w.names(api, "redis_refuses_writes", "failing")
	set("replicaof", "no", "one")
	w.well(api)

	api.create(map[string]any{"id": "a", "schedule": "0 0 1 1 *", "task": "x"})
	w.at(time.Now().Add(6 * time.Second)) // a heartbeat has counted it
	set("flushall")
	w.names(api, "store_emptied", "degraded")
}

// The ai-server is away, hangs, or has no key; a channel refuses all.
func TestHealthOfParties(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	answer := make(chan http.HandlerFunc, 1)
	answer <- func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"status":"ok","hasAnthropicKey":true}`) }
	ai := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := <-answer
		answer <- h
		h(w, r)
	}))
	t.Cleanup(ai.Close)
	becomes := func(h http.HandlerFunc) { <-answer; answer <- h }
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(refusing.Close)
	api := w.start("api")
	w.start("scheduler")
	w.start("worker", "GATEWAY_CRON_AI_SERVER_URL="+ai.URL)
	w.well(api)
	becomes(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"status":"ok","hasAnthropicKey":false}`) })
	w.names(api, "ai_server_key", "failing")
	becomes(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	w.names(api, "ai_server_away", "failing")
	becomes(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			fmt.Fprint(w, `{"status":"ok"}`)
			return
		}
		w.WriteHeader(http.StatusInternalServerError)
	})
	api.create(map[string]any{"id": "a", "every": 10, "maxRetries": 0, "task": "x"})
	w.names(api, "ai_server_failing", "degraded")
	w.names(api, "job_disabled", "degraded")

	other := newWorld(t, nil)
	api = other.start("api")
	other.start("scheduler")
	other.start("worker", "GATEWAY_CRON_CHANNEL_MANAGER_URL="+refusing.URL)
	for n := range 3 {
		api.create(map[string]any{"id": fmt.Sprintf("job-%d", n), "every": 10, "task": "x", "channel": "telegram", "chatId": fmt.Sprint(n)})
	}
	other.names(api, "channel_failing", "degraded")
	other.names(api, "delivery_failing", "degraded")
}

// A queue is paused by somebody who knows asynq alone, again and again, and goes on as soon
// as that ends; the clock of Redis is set, and right again.
func TestHealthOfQueuesAndClock(t *testing.T) {
	t.Parallel()
	redistest.NeedClock(t)
	w := newWorld(t, nil, redistest.WithClock())
	api, scheduler := w.start("api"), w.start("scheduler")
	w.start("worker")
	w.well(api)
	inspector := asynq.NewInspectorFromRedisClient(w.rdb)
	for queue, state := range map[string]string{"gateway-cron-run": "failing", "gateway-cron-deliver": "degraded"} {
		named, paused := make(chan struct{}), make(chan error, 1)
		go func() {
			for {
				select {
				case <-named:
					paused <- nil
					return
				case <-time.After(50 * time.Millisecond):
				}
				// It is an error to pause what is paused.
				if err := inspector.PauseQueue(queue); err != nil && !strings.Contains(err.Error(), "already paused") {
					paused <- err
					return
				}
			}
		}()
		h := w.names(api, "queue_paused", state)
		close(named)
		if err := <-paused; err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(h.Reasons, func(r reason) bool { return r.Code == "queue_paused" && strings.Contains(r.Text, queue) }) {
			t.Errorf("%s is not named: %+v", queue, h)
		}
		w.well(api)
	}

	for n, by := range []time.Duration{2 * time.Hour, -2 * time.Hour} {
		w.redis.SetClock(by)
		w.names(api, "clock_step", "failing")
		w.until("the scheduler has seen it", time.Minute, func() bool { return strings.Count(scheduler.Log.String(), "clock of redis was set") > n })
		w.redis.SetClock(0)
		w.stands(api, "the status says what came of it", func(s told) bool {
			return s.State == "degraded" && s.has("clock_step") && strings.Contains(s.Reasons[0].Text, "all jobs were looked at")
		})
	}
}

// Everything is paused; a slot is lost to those who fire.
func TestHealthOfSlots(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	api := w.whole()
	if status := api.call("POST", "/api/cron/all/pause", "", nil); status != 200 {
		t.Fatalf("pause: %d", status)
	}
	w.names(api, "paused", "degraded")
	if status := api.call("POST", "/api/cron/all/resume", "", nil); status != 200 {
		t.Fatalf("resume: %d", status)
	}
	w.well(api)

	id := api.create(map[string]any{"schedule": "* * * * *", "task": "x"})
	w.jump(id)
	w.names(api, "slots_absent", "degraded")
}

// A healthy gateway is called so throughout, under load, too. Where the machine is too slow
// to begin them all within a minute, the slots are late, and that is what is said then.
func TestHealthUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, slowly(2*time.Second))
	api := w.whole()
	w.at(nextMinute(0).Add(2 * time.Second))
	due := nextMinute(0)
	w.crowd(1000)
	w.until("all have run", 4*time.Minute, func() bool {
		h := api.status()
		slow := time.Since(due) > time.Minute
		h.Reasons = slices.DeleteFunc(h.Reasons, func(r reason) bool { return slow && (r.Code == "slots_late" || r.Code == "places_taken") })
		if len(h.Reasons) > 0 || !slow && h.State != "ok" {
			t.Errorf("%d calls: %+v", w.ai.Count(), h)
		}
		return t.Failed() || w.ai.Count() >= 1000
	})
	if n := w.ai.Count(); n < 1000 {
		t.Errorf("%d calls", n)
	}
}
