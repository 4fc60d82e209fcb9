package app

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// TestGuessesCountWhereverTheyAreMade: the API, the tools and the dashboard slow an address
// down together, also at the page that only says more to the administrator, and keep
// nobody waiting who had the right token there before.
func TestGuessesCountWhereverTheyAreMade(t *testing.T) {
	_, ai := echoAI(t)
	url := redistest.Start(t).URL()
	p := boot(t, AllRoles(), func(c *config.Config) { c.RedisURL, c.Token, c.AIServerURL = url, "administrator", ai })
	eventually(t, "the ready line", p.ready)
	asTools := map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
	admin, guess := caller{p, "administrator", asTools}, caller{p, "guess", asTools}
	_, holder := admin.make(`{"name":"ada","agentId":"main"}`)
	holder.header = asTools
	holder.want(200, "GET", "/api/cron/jobs", "", nil)

	const list = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_cron_jobs"}}`
	surfaces := []string{"GET /api/cron/jobs", "POST /mcp " + list, "GET /monitoring/api/queues"}
	var mu sync.Mutex
	seen := map[string]map[int]int{}
	var wg sync.WaitGroup
	for range 20 {
		for _, surface := range surfaces {
			wg.Go(func() {
				part := strings.SplitN(surface+" ", " ", 3)
				status, _ := guess.call(part[0], part[1], part[2])
				mu.Lock()
				defer mu.Unlock()
				if seen[surface] == nil {
					seen[surface] = map[int]int{}
				}
				seen[surface][status]++
			})
		}
		wg.Go(func() {
			if _, page := guess.call("GET", "/readyz?full=true", ""); strings.Contains(page, `"reasons":[{"code"`) && strings.Contains(page, `"remedy"`) {
				t.Errorf("readyz tells a stranger %s", page)
			}
		})
	}
	wg.Wait()
	told, refused := 0, 0
	for surface, statuses := range seen {
		told += statuses[http.StatusUnauthorized]
		refused += statuses[http.StatusTooManyRequests]
		if statuses[http.StatusUnauthorized]+statuses[http.StatusTooManyRequests] != 20 {
			t.Errorf("%s: %v", surface, statuses)
		}
	}
	// Each may have had ten and a few turns, but not all together.
	if refused == 0 || told > 40 {
		t.Errorf("%d guesses are told, %d refused: %v", told, refused, seen)
	}
	for _, who := range []caller{admin, holder} {
		who.want(200, "GET", "/api/cron/jobs", "", nil)
		if answer := who.want(200, "POST", "/mcp", list, nil); strings.Contains(answer, `"isError":true`) {
			t.Errorf("a tool: %s", answer)
		}
	}
	admin.want(200, "GET", "/monitoring/api/queues", "", nil)
	if n := p.log.count("wrong tokens"); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
}
