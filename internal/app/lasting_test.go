package app

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// TestStreamsEndWithTheServer: cleanly, instead of being cut when the patience of the
// stop is over.
func TestStreamsEndWithTheServer(t *testing.T) {
	p := boot(t, Roles{API: true}, on(redistest.Start(t).URL()))
	eventually(t, "the ready line", p.ready)
	id := p.create("hello")
	var run struct{ RunID string }
	status, _, body := p.call("POST", "/api/cron/jobs/"+id+"/run?wait=1", "") // there is no worker
	if err := json.Unmarshal([]byte(body), &run); err != nil || status != http.StatusAccepted || run.RunID == "" {
		t.Fatalf("run: %d %s", status, body)
	}

	ask := func(path string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.Addr()+"/api/cron/runs/"+run.RunID+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return res
	}
	events := bufio.NewReader(ask("/events").Body)
	if line, err := events.ReadString('\n'); err != nil || line != "event: run\n" {
		t.Fatalf("%q %v", line, err)
	}
	if err := p.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	rest, err := io.ReadAll(events)
	if err != nil || !strings.Contains(string(rest), `"waiting"`) || strings.Contains(string(rest), "event: end") {
		t.Errorf("the stream ended with %v: %s", err, rest)
	}
}

// TestRateLimitOfAProcess: the settings reach the API, and the probes are outside.
func TestRateLimitOfAProcess(t *testing.T) {
	url := redistest.Start(t).URL()
	p := boot(t, Roles{API: true}, func(c *config.Config) { c.RedisURL, c.RateLimitPerMinute, c.RateLimitBurst = url, 1, 2 })
	eventually(t, "the ready line", p.ready)
	for i, want := range []int{200, 200, 429} {
		status, header, body := p.call("GET", "/api/cron/jobs", "")
		if status != want || (header.Get("Retry-After") != "") != (want == 429) {
			t.Errorf("request %d: %d %v %s", i+1, status, header, body)
		}
	}
	if ready, health := p.status("/readyz"), p.status("/health"); ready != 200 || health != 200 {
		t.Errorf("/readyz %d, /health %d", ready, health)
	}
}
