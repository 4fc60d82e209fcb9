package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// TestManyChangesAtOnce has several clients change a few jobs at random, all at once,
// until a thousand changes are acknowledged. Afterwards no acknowledged change may be
// lost, halved or doubled, in the jobs or in the audit.
func TestManyChangesAtOnce(t *testing.T) {
	const (
		clients = 8
		changes = 1000
	)
	db := redistest.Fresh(t)
	p := boot(t, Roles{API: true}, func(c *config.Config) { c.RedisURL = db.URL() })
	eventually(t, "the API is ready", func() bool { return p.status("/readyz") == http.StatusOK })
	seed := rand.Uint64()
	t.Logf("seed %d", seed)

	m := &mutations{t: t, p: p, acked: map[string]int{}, tags: map[string]bool{}, revisions: map[string]int64{}, counts: map[string]int{},
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients + 1}}, left: changes}
	defer m.client.CloseIdleConnections()
	m.replies(20)
	before := m.audit("")

	var wg sync.WaitGroup
	for n := range clients {
		random := rand.New(rand.NewPCG(seed, uint64(n)))
		wg.Go(func() {
			for i := 0; m.goesOn(); i++ {
				m.change(random, n, fmt.Sprintf("%d-%d", n, i))
			}
		})
	}
	wg.Wait()

	// Revisions grow by one with each acknowledged change, and the counter with each
	// increment: none was lost, none done twice.
	living := map[string]bool{}
	for id := range m.jobs() {
		status, tag, v := m.call("GET", "/api/cron/jobs/"+id, "", "")
		if status == http.StatusNotFound {
			continue
		}
		uid := definition(tag)[:8]
		living[uid] = true
		if v.Revision != m.revisions[uid] || v.TimeoutSeconds != 1+m.counts[uid] {
			t.Errorf("%s: revision %d after %d changes, counter %d after %d increments", id, v.Revision, m.revisions[uid],
				v.TimeoutSeconds, 1+m.counts[uid])
		}
	}
	if len(m.revisions) < 10 {
		t.Errorf("only %d jobs were ever made", len(m.revisions))
	}

	entries := m.audit("")[len(before):]
	got := map[string]int{}
	for _, a := range entries {
		got[a.key()]++
	}
	// A resume of what is not paused changes nothing, and has no note: which these were, the
	// answer does not tell.
	for id := range m.jobs() {
		key := "change " + id
		if got[key] == 0 || got[key] > m.acked[key] {
			t.Errorf("%d resumes of %s are noted, %d were acknowledged", got[key], id, m.acked[key])
		}
		delete(got, key)
		delete(m.acked, key)
	}
	if d := cmp.Diff(m.acked, got); d != "" {
		t.Errorf("acknowledged changes (-) and noted ones (+):\n%s", d)
	}
	if !slices.IsSortedFunc(entries, func(a, b auditEntry) int { return int(a.At - b.At) }) {
		t.Error("the notes are not in the order of time")
	}
	for id := range m.jobs() {
		of := slices.DeleteFunc(slices.Clone(entries), func(a auditEntry) bool { return a.Target != id && !strings.HasPrefix(a.Target, id+":") })
		if d := cmp.Diff(of, m.audit(id)); d != "" {
			t.Errorf("those of %s: %s", id, d)
		}
	}
	t.Logf("%d jobs, %d living; %d of %d conditional changes refused; %d notes", len(m.revisions), len(living), m.refused, m.refused+m.matched, len(entries))
	if m.refused == 0 || m.matched == 0 {
		t.Errorf("conditions were never met (%d) or never failed (%d)", m.matched, m.refused)
	}
}

// mutations is what the clients of one test have done.
type mutations struct {
	t      testing.TB
	p      *process
	client *http.Client
	done   []string // runs with a reply

	mu        sync.Mutex
	left      int
	acked     map[string]int   // keys of auditEntry
	tags      map[string]bool  // definitions that were ever answered to a change
	revisions map[string]int64 // changes acknowledged, by the uid of the job
	counts    map[string]int   // increments acknowledged, by the uid of the job
	runs      []string
	refused   int // because of If-Match
	matched   int
}

type jobAnswer struct {
	ID, Name, Task, RunID string
	Revision              int64
	TimeoutSeconds        int
	CancelledRuns         int
}

type auditEntry struct {
	ID, Actor, Action, Target string
	At                        int64
	Before, After             map[string]any
}

// key names a change such that two that differ are told apart, so far as its answer can.
func (a auditEntry) key() string {
	switch a.Action {
	case "edit", "pause", "resume": // by what it changed, not by the request
		for _, name := range []string{"name", "pauseReason", "timeoutSeconds"} {
			if v, ok := a.After[name]; ok {
				return fmt.Sprintf("change %s %s=%v", a.Target, name, v)
			}
		}
		return "change " + a.Target
	case "run":
		return fmt.Sprint("run ", a.Target, " ", a.After["runId"])
	default:
		return a.Action + " " + a.Target
	}
}

func (m *mutations) jobs() map[string]bool {
	return map[string]bool{"job-0": true, "job-1": true, "job-2": true, "job-3": true}
}

func (m *mutations) goesOn() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.left > 0 && !m.t.Failed()
}

func (m *mutations) ack(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.acked[key]++
	m.left--
}

// ackJob is ack of a change of a definition, which has another tag than all before.
func (m *mutations) ackJob(key, tag string, v jobAnswer) {
	m.ack(key)
	m.mu.Lock()
	defer m.mu.Unlock()
	def := definition(tag)
	if m.tags[def] {
		m.t.Errorf("%s: the tag %s was answered to another change", key, def)
	}
	m.tags[def] = true
	m.revisions[def[:8]]++
	if def[9:] != strconv.FormatInt(v.Revision, 10) {
		m.t.Errorf("the tag %s of revision %d", def, v.Revision)
	}
}

func definition(tag string) string {
	def, _, _ := strings.Cut(strings.Trim(tag, `"`), ".")
	return def
}

// replies makes runs whose replies can be delivered again, once each.
func (m *mutations) replies(n int) {
	ctx, s := m.t.Context(), m.p.store
	_, err := s.CreateJob(ctx, "chat", job.Spec{Schedule: "0 9 * * *", Enabled: true, Task: "x", Channel: "telegram", ChatID: "1"})
	for range n {
		var run string
		var b job.Begun
		if err == nil {
			_, run, err = s.RunJob(ctx, "chat")
		}
		if err == nil {
			b, err = s.Begin(ctx, run, "t"+run, "w")
		}
		if err == nil {
			_, err = s.Commit(ctx, job.Commit{RunID: run, Epoch: b.Epoch, Token: "c" + run, Reply: "hello", Delivery: job.DeliveryNotRequested})
		}
		if err != nil {
			m.t.Fatal(err)
		}
		m.done = append(m.done, run)
	}
}

// change does one thing at random, and writes down what was acknowledged.
func (m *mutations) change(random *rand.Rand, client int, marker string) {
	ids := slices.Sorted(maps.Keys(m.jobs()))
	id := ids[random.IntN(len(ids))]
	path := "/api/cron/jobs/" + id
	switch dice := random.IntN(100); {
	case dice < 12:
		m.create(id, marker, random.IntN(2) == 0)
	case dice < 35:
		m.edit("PATCH", path, fmt.Sprintf(`{"name":%q,"task":%q}`, marker, marker), "", fmt.Sprintf("change %s name=%s", id, marker))
	case dice < 60:
		m.increment(id)
	case dice < 68:
		m.edit("POST", path+"/pause", fmt.Sprintf(`{"reason":%q}`, marker), "", fmt.Sprintf("change %s pauseReason=%s", id, marker))
	case dice < 74:
		m.edit("POST", path+"/resume", "", "", "change "+id)
	case dice < 79:
		m.remove(id, random)
	case dice < 88:
		if status, _, v := m.call("POST", path+"/run", "", ""); status == http.StatusAccepted {
			m.ack(fmt.Sprint("run ", id, " ", v.RunID))
			m.mu.Lock()
			m.runs = append(m.runs, v.RunID)
			m.mu.Unlock()
		}
	case dice < 94:
		m.mu.Lock()
		run := "none:1"
		if len(m.runs) > 0 {
			run = m.runs[random.IntN(len(m.runs))]
		}
		m.mu.Unlock()
		if status, _, _ := m.call("POST", "/api/cron/runs/"+run+"/cancel", "", ""); status == http.StatusOK {
			m.ack("cancel " + run)
		}
	case dice < 97:
		run := m.done[random.IntN(len(m.done))]
		if status, _, _ := m.call("POST", "/api/cron/runs/"+run+"/redeliver", "", ""); status == http.StatusAccepted {
			m.ack("redeliver " + run)
		}
	case client == 0: // alone, so that each resume ends a pause
		if status, _, v := m.call("POST", "/api/cron/all/pause", `{"cancelRuns":true}`, ""); status == http.StatusOK {
			m.ack("pause-all *")
			if v.CancelledRuns > 0 {
				m.ack("cancel *")
			}
		}
		if status, _, _ := m.call("POST", "/api/cron/all/resume", "", ""); status == http.StatusOK {
			m.ack("resume-all *")
		}
	default:
		m.read(id)
	}
}

// create makes a job, or finds that somebody else has. With a key it is sent three times
// at once.
func (m *mutations) create(id, marker string, withKey bool) {
	body := fmt.Sprintf(`{"id":%q,"schedule":"0 9 * * *","name":%q,"task":%q,"timeoutSeconds":1}`, id, marker, marker)
	if !withKey {
		if status, tag, v := m.call("POST", "/api/cron/jobs", body, ""); status == http.StatusCreated {
			m.ackJob("create "+id, tag, v)
		}
		return
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		first = map[string]bool{}
	)
	for range 3 {
		wg.Go(func() {
			status, tag, _ := m.call("POST", "/api/cron/jobs", body, "", "Idempotency-Key", marker)
			mu.Lock()
			defer mu.Unlock()
			switch status {
			case http.StatusCreated: // the job as it is, perhaps changed meanwhile
				first[definition(tag)[:8]] = true
			case http.StatusGone: // made, and deleted since
				first["gone"] = true
			}
		})
	}
	wg.Wait()
	if delete(first, "gone"); len(first) > 1 {
		m.t.Errorf("one request made %v", first)
	}
	for uid := range first {
		m.ackJob("create "+id, `"`+uid+`-1"`, jobAnswer{Revision: 1})
	}
}

// edit changes a job and answers whether it was acknowledged.
func (m *mutations) edit(method, path, body, ifMatch, key string) (status int, tag string) {
	status, tag, v := m.call(method, path, body, ifMatch)
	if status == http.StatusOK {
		m.ackJob(key, tag, v)
	}
	return status, tag
}

// increment adds one to a number of the job, which is lost if others do so in between.
func (m *mutations) increment(id string) {
	path := "/api/cron/jobs/" + id
	status, seen, v := m.call("GET", path, "", "")
	if status != http.StatusOK {
		return
	}
	next := v.TimeoutSeconds + 1
	status, tag := m.edit("PATCH", path, fmt.Sprintf(`{"timeoutSeconds":%d}`, next), seen, fmt.Sprintf("change %s timeoutSeconds=%d", id, next))
	m.mu.Lock()
	defer m.mu.Unlock()
	switch status {
	case http.StatusOK:
		m.matched++
		m.counts[definition(tag)[:8]]++
	case http.StatusPreconditionFailed:
		m.refused++
	}
}

// remove deletes a job, as it was seen or in any case, with or without its runs.
func (m *mutations) remove(id string, random *rand.Rand) {
	path, seen := "/api/cron/jobs/"+id, ""
	if random.IntN(2) == 0 {
		_, seen, _ = m.call("GET", path, "", "")
	}
	if random.IntN(2) == 0 {
		path += "?cancelRuns=true"
	}
	if status, _, _ := m.call("DELETE", path, "", seen); status == http.StatusOK {
		m.ack("delete " + id)
	}
}

// read looks at one job and at all: a name and a task that were written together are
// read together.
func (m *mutations) read(id string) {
	m.call("GET", "/api/cron/jobs/"+id, "", "")
	_, _, body := m.send("GET", "/api/cron/jobs", "")
	var list struct{ Jobs []jobAnswer }
	if err := json.Unmarshal(body, &list); err != nil {
		m.t.Errorf("%s: %v", body, err)
	}
	for _, v := range list.Jobs {
		m.whole(v)
	}
}

func (m *mutations) whole(v jobAnswer) {
	if v.Name != v.Task && v.ID != "chat" {
		m.t.Errorf("half of an edit: %+v", v)
	}
}

// call asks the API and answers the status, the tag and the job.
func (m *mutations) call(method, path, body, ifMatch string, header ...string) (status int, tag string, v jobAnswer) {
	if ifMatch != "" {
		header = append(header, "If-Match", ifMatch)
	}
	status, tag, text := m.send(method, path, body, header...)
	if status < 300 {
		if err := json.Unmarshal(text, &v); err != nil {
			m.t.Errorf("%s %s: %v\n%s", method, path, err, text)
		}
		if v.Task != "" {
			m.whole(v)
		}
	}
	return status, tag, v
}

func (m *mutations) send(method, path, body string, header ...string) (status int, tag string, text []byte) {
	req, err := http.NewRequestWithContext(m.t.Context(), method, "http://"+m.p.Addr()+path, strings.NewReader(body))
	if err != nil {
		m.t.Error(err)
		return 0, "", nil
	}
	for pair := range slices.Chunk(header, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	res, err := m.client.Do(req)
	if err != nil {
		m.t.Error(err)
		return 0, "", nil
	}
	defer res.Body.Close()
	text, err = io.ReadAll(res.Body)
	switch {
	case err != nil:
		m.t.Error(err)
	case res.StatusCode >= 500 || res.StatusCode == http.StatusBadRequest:
		m.t.Errorf("%s %s: %s", method, path, text)
	}
	return res.StatusCode, res.Header.Get("ETag"), text
}

// audit reads all notes of a target, oldest first.
func (m *mutations) audit(target string) []auditEntry {
	m.t.Helper()
	query := "?limit=200"
	if target != "" {
		query += "&target=" + target
	}
	var all []auditEntry
	for cursor, deadline := "", time.Now().Add(patience); ; {
		_, _, body := m.send("GET", "/api/cron/audit"+query+cursor, "")
		var page struct {
			Entries    []auditEntry
			NextCursor string
		}
		if err := json.NewDecoder(bytes.NewReader(body)).Decode(&page); err != nil || time.Now().After(deadline) {
			m.t.Fatalf("read the audit: %v\n%s", err, body)
		}
		all = append(all, page.Entries...)
		if page.NextCursor == "" {
			slices.Reverse(all)
			return all
		}
		cursor = "&cursor=" + page.NextCursor
	}
}
