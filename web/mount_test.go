package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/web"
)

// api is asynqmon's API, of the queue of the bundle.
const api = "/monitoring/api/queues/" + queue

// fill brings tasks of the bundle's queue into every state.
func (b *bundle) fill() *asynq.Inspector {
	b.t.Helper()
	inspector := asynq.NewInspector(b.db.Asynq())
	client := asynq.NewClient(b.db.Asynq())
	b.t.Cleanup(func() { _ = inspector.Close(); _ = client.Close() })
	for _, id := range []string{"pending", "archived"} {
		b.enqueue(client, id)
	}
	b.enqueue(client, "scheduled", asynq.ProcessIn(time.Hour))
	b.enqueue(client, "aggregating", asynq.Group("g"))
	if err := inspector.ArchiveTask(queue, "archived"); err != nil {
		b.t.Fatal(err)
	}
	return inspector
}

func (b *bundle) enqueue(client *asynq.Client, id string, opts ...asynq.Option) {
	b.t.Helper()
	opts = append([]asynq.Option{asynq.Queue(queue), asynq.TaskID(id)}, opts...)
	if _, err := client.Enqueue(asynq.NewTask("cron:run", []byte(`{}`)), opts...); err != nil {
		b.t.Fatal(err)
	}
}

// keys is all that is in Redis under asynq's prefix, with its type and content.
func (b *bundle) keys() map[string]string {
	b.t.Helper()
	ctx := context.Background()
	c := b.db.Client()
	names, err := c.Keys(ctx, "asynq:*").Result()
	if err != nil {
		b.t.Fatal(err)
	}
	all := map[string]string{}
	for _, name := range names {
		dump, err := c.Dump(ctx, name).Result()
		if errors.Is(err, redis.Nil) {
			continue // a sign of life, which runs out
		}
		if err != nil {
			b.t.Fatal(err)
		}
		all[name] = dump
	}
	return all
}

// TestWhatWouldStopJobsIsRefused, with words that say what to do instead, on each route of
// asynqmon that changes something, spelled in any way.
func TestWhatWouldStopJobsIsRefused(t *testing.T) {
	b := setup(t, nil)
	b.fill()
	type call struct{ method, path string }
	calls := []call{{"POST", api + ":pause"}, {"DELETE", api}, {"PUT", api}, {"PATCH", api}, {"POST", api}}
	for _, list := range []string{"active", "pending", "scheduled", "retry", "archived", "completed", "groups/g/aggregating"} {
		at := api + "/" + list + "_tasks"
		for _, id := range []string{"pending", "scheduled", "archived", "aggregating"} {
			calls = append(calls, call{"DELETE", at + "/" + id}, call{"POST", at + "/" + id + ":archive"}, call{"POST", at + "/" + id + ":cancel"})
		}
		for _, action := range []string{"delete_all", "archive_all", "cancel_all", "batch_delete", "batch_archive", "batch_cancel"} {
			calls = append(calls, call{"POST", at + ":" + action}, call{"PUT", at + ":" + action})
			if list != "completed" || action != "delete_all" {
				calls = append(calls, call{"DELETE", at + ":" + action})
			}
		}
	}
	for _, p := range []string{
		"/monitoring//api/queues/q:pause", "/monitoring/api//queues/q:pause", "/monitoring/api/queues//q:pause", "/monitoring/x/../api/queues/q:pause",
		"/monitoring/api/./queues/q:pause", "/monitoring/api/queues/q%3Apause", "/monitoring/api%2Fqueues%2Fq:pause", "/monitoring/api/queues%2Fq:pause",
		"/monitoring/%61pi/queues/q:pause", "/monitoring/api/queues/q:pause/", "/monitoring/api/queues/q:pause?x=:resume", "/monitoring/api/queues/q:resume:pause",
		"/monitoring/api/queues/q:resume/../q:pause", "/monitoring/api/queues/q%2F..%2Fq:pause", "/monitoring/static/../api/queues/q:pause",
		"/monitoring/api/queues/q/retry_tasks/../pending_tasks/pending:archive", "/monitoring/api/queues/q/retry_tasks/x%2F..%2Fpending:run",
		"/MONITORING/api/queues/q:pause", "/monitoring/API/queues/q:pause", "/monitoring/api/queues/q:pause;x", "/monitoring/api/queues/q:pause%00", "/monitoring/api/queues/q:pause%0a:resume",
	} {
		calls = append(calls, call{"POST", p})
	}
	before := b.keys()
	for _, c := range calls {
		r, err := http.NewRequest(c.method, b.server.URL+c.path, strings.NewReader(`{"task_ids":["pending","scheduled","archived","aggregating"]}`))
		if err != nil {
			t.Fatal(err)
		}
		got := b.send(r, bearer)
		if got.status < 300 {
			t.Errorf("%s %s: status %d", c.method, c.path, got.status)
		}
		if diff := cmp.Diff(before, b.keys()); diff != "" {
			t.Fatalf("%s %s changed the queue: %s", c.method, c.path, diff)
		}
	}
	// No header makes another method of one that only reads.
	b.do("GET", api+":pause", func(r *http.Request) {
		bearer(r)
		for _, h := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
			r.Header.Set(h, "POST")
		}
	})
	b.do("GET", api+":pause?_method=POST", bearer)
	if diff := cmp.Diff(before, b.keys()); diff != "" {
		t.Errorf("a read changed the queue: %s", diff)
	}

	for path, words := range map[string][]string{
		api + ":pause":                       {"gateway-cron pause-all", "/api/cron/all/pause", "/api/cron/jobs/{id}/pause"},
		api + "/active_tasks/x:cancel":       {"gateway-cron run cancel", "/api/cron/runs/{id}/cancel"},
		api + "/active_tasks:cancel_all":     {"gateway-cron run cancel"},
		api + "/pending_tasks:batch_archive": {"gateway-cron job pause"},
	} {
		got := b.do("POST", path, bearer)
		var problem struct{ Detail string }
		if err := json.Unmarshal([]byte(got.body), &problem); err != nil || got.status != 403 {
			t.Errorf("%s: status %d: %s", path, got.status, got.body)
		}
		for _, word := range words {
			if !strings.Contains(problem.Detail, word) {
				t.Errorf("%s: %q does not name %s", path, problem.Detail, word)
			}
		}
	}
}

// TestWhatIsHarmlessIsAllowed in a writable dashboard.
func TestWhatIsHarmlessIsAllowed(t *testing.T) {
	b := setup(t, nil)
	inspector := b.fill()
	if err := inspector.PauseQueue(queue); err != nil {
		t.Fatal(err)
	}
	info := func() *asynq.QueueInfo {
		t.Helper()
		info, err := inspector.GetQueueInfo(queue)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	for _, c := range []struct {
		method, path string
		holds        func(*asynq.QueueInfo) bool
	}{
		{"POST", ":resume", func(i *asynq.QueueInfo) bool { return !i.Paused }},
		{"POST", "/archived_tasks/archived:run", func(i *asynq.QueueInfo) bool { return i.Archived == 0 && i.Pending == 3 }},
		{"POST", "/scheduled_tasks:run_all", func(i *asynq.QueueInfo) bool { return i.Scheduled == 0 && i.Pending == 4 }},
		{"POST", "/retry_tasks:run_all", func(i *asynq.QueueInfo) bool { return i.Pending == 4 }},
		{"DELETE", "/completed_tasks:delete_all", func(i *asynq.QueueInfo) bool { return i.Completed == 0 && i.Pending == 4 }},
	} {
		if got := b.do(c.method, api+c.path, bearer); got.status >= 300 || !c.holds(info()) {
			t.Errorf("%s %s: status %d: %s; %+v", c.method, c.path, got.status, got.body, info())
		}
	}
	r, err := http.NewRequest("POST", b.server.URL+api+"/scheduled_tasks:batch_run", strings.NewReader(`{"task_ids":["none"]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := b.send(r, bearer); got.status != 200 {
		t.Errorf("batch_run: status %d: %s", got.status, got.body)
	}
}

// TestQueuesOfOthers in the same Redis are neither shown nor changed.
func TestQueuesOfOthers(t *testing.T) {
	b := setup(t, func(o *web.Options) { o.Queues = []string{"ours"} })
	if err := b.fill().PauseQueue(queue); err != nil { // of another deployment
		t.Fatal(err)
	}
	client := asynq.NewClient(b.db.Asynq())
	defer client.Close()
	b.enqueue(client, "x", asynq.Queue("ours"))
	scheduler := asynq.NewScheduler(b.db.Asynq(), &asynq.SchedulerOpts{LogLevel: asynq.FatalLevel, HeartbeatInterval: 100 * time.Millisecond})
	for _, q := range []string{queue, "ours"} {
		if _, err := scheduler.Register("0 0 1 1 *", asynq.NewTask("of-"+q, nil), asynq.Queue(q)); err != nil {
			t.Fatal(err)
		}
		serve(t, b, q)
	}
	if err := scheduler.Start(); err != nil {
		t.Fatal(err)
	}
	defer scheduler.Shutdown()
	before := b.keys()
	for _, path := range []string{"", "/pending_tasks", "/tasks/pending", "/groups"} {
		if got := b.do("GET", api+path, bearer); got.status != 404 {
			t.Errorf("%s: status %d: %s", path, got.status, got.body)
		}
	}
	for _, path := range []string{":resume", "/archived_tasks/archived:run", "/archived_tasks:run_all"} {
		if got := b.do("POST", api+path, bearer); got.status != 403 {
			t.Errorf("%s: status %d", path, got.status)
		}
	}
	for name, dump := range b.keys() {
		if was, ok := before[name]; strings.Contains(name, "{"+queue+"}") && (!ok || was != dump) {
			t.Errorf("%s has changed", name)
		}
	}
	for _, path := range []string{"queues", "queue_stats", "servers", "scheduler_entries"} {
		var body string
		until(t, path+" shows ours", func() bool {
			got := b.do("GET", "/monitoring/api/"+path, bearer)
			body = got.body
			return got.status == 200 && strings.Contains(body, "ours")
		})
		if regexp.MustCompile(`"(?:of-)?q"|Queue\(\\"q`).MatchString(body) {
			t.Errorf("%s shows those of others: %s", path, body)
		}
	}
}

// serve has a server of asynq's at a queue.
func serve(t *testing.T, b *bundle, q string) {
	t.Helper()
	server := asynq.NewServer(b.db.Asynq(), asynq.Config{Concurrency: 3, Queues: map[string]int{q: 1}, LogLevel: asynq.FatalLevel})
	if err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil })); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick, late := time.NewTicker(50*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("never: %s", what)
		}
	}
}

// TestOneRowForAProcess: a worker has several servers of asynq's in one process.
func TestOneRowForAProcess(t *testing.T) {
	b := setup(t, func(o *web.Options) { o.Queues = []string{queue, "other"} })
	for _, q := range []string{queue, queue, "other"} {
		serve(t, b, q)
	}
	type row struct {
		Host        string         `json:"host"`
		PID         int            `json:"pid"`
		Concurrency int            `json:"concurrency"`
		Queues      map[string]int `json:"queue_priorities"`
		Started     string         `json:"start_time"`
		Status      string         `json:"status"`
		Workers     []any          `json:"active_workers"`
	}
	var all struct{ Servers []row }
	until(t, "the three servers have told of themselves", func() bool {
		all.Servers = nil
		got := b.do("GET", "/monitoring/api/servers", bearer)
		if err := json.Unmarshal([]byte(got.body), &all); err != nil {
			t.Fatalf("%v: %s", err, got.body)
		}
		return len(all.Servers) > 0 && all.Servers[0].Concurrency == 9
	})
	if len(all.Servers) != 1 || len(all.Servers[0].Queues) != 2 || all.Servers[0].Status != "active" || all.Servers[0].Workers == nil {
		t.Errorf("rows %+v", all.Servers)
	}
	if _, err := time.Parse(time.RFC3339, all.Servers[0].Started); err != nil {
		t.Error(err)
	}
	none := setup(t, nil).do("GET", "/monitoring/api/servers", bearer)
	if strings.TrimSpace(none.body) != `{"servers":[]}` {
		t.Errorf("without servers: %s", none.body)
	}
}

// TestIDsAreWhole: asynqmon's script cuts them at the first "-", and job ids have some.
func TestIDsAreWhole(t *testing.T) {
	b := setup(t, nil)
	page := b.do("GET", "/monitoring", bearer).body
	var scripts []string
	for _, s := range regexp.MustCompile(`<script src="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		scripts = append(scripts, b.do("GET", s[1], bearer).body)
	}
	if slices.ContainsFunc(scripts, func(s string) bool { return strings.Contains(s, `indexOf("-");return-1===`) }) {
		t.Error("a script of the page cuts ids")
	}
}

func TestDashboardSaysWhatItShows(t *testing.T) {
	b := setup(t, nil)
	page := b.do("GET", "/monitoring", bearer).body
	for _, part := range []string{`id="gateway-cron-note"`, `href="/"`, "counts tasks", `role="alert"`, "XMLHttpRequest"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %s", part)
		}
	}
	if got := b.do("GET", "/", nil).body; !strings.Contains(got, "counts tasks") || !strings.Contains(got, "gateway-cron pause-all") {
		t.Errorf("the landing page does not say what the dashboard's numbers are about: %s", got)
	}
}
