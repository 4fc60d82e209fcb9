package app

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// randomJob is a line of a job that is accepted.
func randomJob(r *rand.Rand, id string) string {
	pick := func(values ...any) any { return values[r.IntN(len(values))] }
	j := map[string]any{"id": id, "task": pick("x", "two\nlines", "\"<&>\" \u2028 ☀️", strings.Repeat("long ", 5000))}
	switch r.IntN(3) {
	case 0:
		j["schedule"] = pick("*/5 * * * *", "@daily", " 0  9 * * 1-5 ", "0 0 29 2 *")
	case 1:
		j["every"] = 10 + r.IntN(1000)
	default:
		j["at"] = pick("2100-01-01T00:00:00+01:00", 4102444800001)
	}
	if j["at"] == nil && r.IntN(3) == 0 {
		j["maxRuns"], j["startAt"], j["endAt"] = 1+r.IntN(9), pick("1970-01-02T00:00:00Z", "2090-01-01T00:00:00Z"), "2099-01-01T00:00:00Z"
	}
	if r.IntN(3) == 0 {
		j["channel"], j["chatId"], j["isGroup"] = "telegram", pick("-1001234567890", -1001234567890, "@some_group"), pick(true, nil)
	}
	if r.IntN(3) == 0 {
		j["madeBy"] = pick("j007", "gone", "", nil)
	}
	if r.IntN(3) == 0 {
		j["enabled"], j["pauseReason"] = false, pick("on holiday", "", nil)
	}
	for name, values := range map[string][]any{
		"timezone": {"", "UTC", "Europe/Berlin"}, "name": {"n", ""}, "jitterSeconds": {0, 30}, "agentId": {"main", "a"}, "model": {"m"}, "reasoningEffort": {"low"},
		"misfire": {"run_once", "run_all", "skip"}, "misfireGraceSeconds": {60, 7200}, "overlap": {"skip", "queue_one", "allow", "cancel_previous"},
		"timeoutSeconds": {1, 900}, "onAmbiguous": {"retry", "fail"}, "deliver": {"always", "on_failure", "never"}, "maxRetries": {0, 3, 10},
		"retryDelaysSeconds": {[]int{}, []int{30, 60, 300}, []int{1}}, "context": {"session", "isolated"}, "allowScheduling": {true, false},
	} {
		if r.IntN(2) == 0 {
			j[name] = pick(values...)
		}
	}
	line, _ := json.Marshal(j) // texts and numbers
	return string(line) + "\n"
}

// TestExportAndImport: what was exported makes the same jobs, in a deployment of its own
// or in the one it came from.
func TestExportAndImport(t *testing.T) {
	url := redistest.Start(t).URL()
	deployment := func(prefix string) *process {
		p := boot(t, Roles{API: true}, func(c *config.Config) {
			c.RedisURL, c.Prefix, c.TelegramToken, c.TelegramURL = url, prefix, "12345:abcdefgh", "http://127.0.0.1:1"
		})
		eventually(t, "the ready line", p.ready)
		return p
	}
	first, second := deployment("first"), deployment("second")
	export := func(p *process) string {
		t.Helper()
		status, header, body := p.call("GET", "/api/cron/export", "")
		if status != http.StatusOK || header.Get("Content-Type") != "application/x-ndjson" {
			t.Fatalf("export: %d %s", status, body)
		}
		return body
	}
	take := func(p *process, lines, want string) {
		t.Helper()
		status, _, body := p.call("POST", "/api/cron/import", lines)
		if status != http.StatusOK || !strings.Contains(body, want) {
			t.Fatalf("import: %d %s, want %s", status, body, want)
		}
	}
	jobs := func(p *process) string {
		t.Helper()
		status, _, body := p.call("GET", "/api/cron/jobs?limit=200", "")
		if status != http.StatusOK {
			t.Fatalf("list: %d %s", status, body)
		}
		return body
	}

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const n = 120
	var lines strings.Builder
	for _, i := range r.Perm(n) { // the order of the ids is not the order of the jobs
		lines.WriteString(randomJob(r, fmt.Sprintf("j%03d", i)))
	}
	take(first, lines.String(), fmt.Sprintf(`"created":%d,"updated":0,"unchanged":0,"failed":0`, n))
	first.create("one with an id of the server's making")

	whole := export(first)
	if got := strings.Count(whole, "\n"); got != n+1 {
		t.Errorf("%d lines", got)
	}
	before := jobs(first)
	take(first, whole, fmt.Sprintf(`"created":0,"updated":0,"unchanged":%d,"failed":0`, n+1))
	if d := cmp.Diff(before, jobs(first)); d != "" {
		t.Errorf("an import of what is there changed something: %s", d)
	}

	take(second, whole, fmt.Sprintf(`"created":%d,"updated":0,"unchanged":0,"failed":0`, n+1))
	if d := cmp.Diff(whole, export(second)); d != "" {
		t.Errorf("exported again: %s", d)
	}

	// Back to what it was: every job that was changed since, and no other.
	var changed strings.Builder
	for i := range n / 2 {
		changed.WriteString(randomJob(r, fmt.Sprintf("j%03d", i)))
	}
	take(second, changed.String(), `"failed":0`)
	take(second, whole, `"created":0`)
	if d := cmp.Diff(whole, export(second)); d != "" {
		t.Errorf("exported after a change and an import: %s", d)
	}

	take(second, `{"id":"over","at":"2020-01-01T00:00:00Z","task":"x"}`, `"problems":[{"line":1,"id":"over","problems":[{"field":"at","detail":"is over already"`)
	if status := second.status("/api/cron/jobs/over"); status != http.StatusNotFound {
		t.Errorf("a job whose time is over: %d", status)
	}
}
