//go:build unix

package failover

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/producttest"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// The master is killed, and Sentinel makes another one of a replica.
func TestSentinel(t *testing.T) {
	t.Parallel()
	overSentinel(t, (*redistest.Server).Kill)
}

// The master stops to answer, as a machine without power does: connections stay open.
func TestSentinelFrozenMaster(t *testing.T) {
	t.Parallel()
	overSentinel(t, (*redistest.Server).Freeze)
}

func overSentinel(t *testing.T, end func(*redistest.Server)) {
	t.Helper()
	redis := redistest.StartSentinel(t, documentedUser(t, "gateway-cron"), documentedUser(t, "gateway-cron-sentinel"))
	master := redis.Master()
	url := login(redis.URL()) + "?sentinel_username=gateway-cron-sentinel&sentinel_password=" + escapedPassword
	outage(t, url, func() { end(master) }, func() {
		until(t, "another server is the master", func() bool { return redis.Master() != master })
		master.Kill()
		master.Restart()
	})
	nothingDenied(t, redis.Servers...)
}

// The node that has our records is killed and comes back; the queues are on others.
func TestCluster(t *testing.T) {
	t.Parallel()
	redis := redistest.StartCluster(t, documentedUser(t, "gateway-cron")...)
	node := redis.Node("{gateway-cron}:")
	for _, queue := range []string{"{gateway-cron-run}", "{gateway-cron-deliver}"} {
		if redis.Node(queue) == node {
			t.Fatalf("the records and the queue %s are on one node: the test shows nothing", queue)
		}
	}
	outage(t, login(redis.URL()), node.Kill, node.Restart)
	nothingDenied(t, redis.Nodes...)
}

const (
	// ticking is how many jobs run every minute.
	ticking = 10
	// never is the schedule of a job that only has to exist.
	never = "0 0 29 2 *"
	// before the slot the server is killed, so that the slot comes due in the outage.
	before = time.Second
	// resumes is how long a failover may hold up the runs, from the loss of the server to
	// the first of them: what the servers take to agree on another one, and our clients and
	// schedulers to find it. The rest is for a slow machine.
	resumes = 10 * time.Second
)

// outage has a deployment at work, kills what kill kills just before a slot, and holds
// it to its promises: every job that was acknowledged exists, the slot runs on every
// job, and no slot runs twice.
func outage(t *testing.T, url string, kill, mend func()) {
	t.Helper()
	w := newWorld(t, "GATEWAY_CRON_REDIS_URL="+url)
	api := w.start("api")
	w.start("scheduler")
	for range 2 {
		w.start("worker")
	}
	for n := range ticking {
		if id, status := api.create("* * * * *", fmt.Sprint("tick ", n)); id == "" {
			t.Fatalf("create: %d", status)
		}
	}
	slot := time.Now().Add(before + time.Minute - 1).Truncate(time.Minute)

	c := &customer{api: api, stop: make(chan struct{})}
	producttest.At(t, slot.Add(-before-time.Second))
	for n := range 4 {
		c.wg.Go(func() { c.keepCreating(n) })
	}
	producttest.At(t, slot.Add(-before))
	kill()
	killed := time.Now()
	mend()
	until(t, "jobs are acknowledged again", func() bool { return c.since(killed) >= 20 })
	close(c.stop)
	c.wg.Wait()
	t.Logf("%d jobs acknowledged, the first of those asked for after the kill %s after it; refused by status: %v",
		len(c.acknowledged), c.first(killed).Sub(killed).Round(time.Millisecond), c.refused)

	for _, a := range c.acknowledged {
		until(t, "the job can be asked for", func() bool {
			status, _ := api.call("GET", "/api/cron/jobs/"+a.id, nil)
			if status == http.StatusNotFound {
				t.Fatalf("job %s was asked for %s after the kill and acknowledged, and is gone", a.id, a.asked.Sub(killed))
			}
			return status == http.StatusOK
		})
	}
	for status := range c.refused {
		if status != http.StatusServiceUnavailable {
			t.Errorf("a request in the outage was answered %d, want 503", status)
		}
	}

	suffix := fmt.Sprintf(":%d", slot.Unix())
	until(t, "every job ran for the slot that came due in the outage", func() bool { return len(w.runs(suffix)) == ticking })
	began := w.first(suffix)
	t.Logf("the slot of the outage began %s after it was due, %s after the kill",
		began.Sub(slot).Round(time.Millisecond), began.Sub(killed).Round(time.Millisecond))
	if took := began.Sub(killed); took > resumes {
		t.Errorf("the first run of the slot that came due in the outage began %s after the kill, want %s at most", took, resumes)
	}
	for _, page := range []string{"queues", "servers", "redis_info", "scheduler_entries"} {
		if status, answer := api.call("GET", "/monitoring/api/"+page, nil); status != http.StatusOK {
			t.Errorf("the dashboard's %s: %d %v", page, status, answer)
		}
	}
	next := fmt.Sprintf(":%d", slot.Add(time.Minute).Unix())
	until(t, "every job ran for the next slot", func() bool { return len(w.runs(next)) == ticking })
	for run, calls := range w.runs("") {
		if calls != 1 {
			t.Errorf("%d calls for %s", calls, run)
		}
	}
}

// first is when the ai-server was first asked to make one of those runs.
func (w *world) first(suffix string) time.Time {
	for _, call := range w.ai.Calls() { // in the order of arrival
		if strings.HasSuffix(call.IdempotencyKey, suffix) {
			return time.UnixMilli(call.At)
		}
	}
	return time.Time{}
}

// runs are the runs that the ai-server was asked to make, with how often.
func (w *world) runs(suffix string) map[string]int {
	runs := map[string]int{}
	for _, call := range w.ai.Calls() {
		if strings.HasSuffix(call.IdempotencyKey, suffix) {
			runs[call.IdempotencyKey]++
		}
	}
	return runs
}

// customer creates jobs without a pause and keeps what it was told.
type customer struct {
	api  *process
	stop chan struct{}
	wg   sync.WaitGroup

	mu           sync.Mutex
	acknowledged []acknowledged
	refused      map[int]int
}

type acknowledged struct {
	id        string
	asked, at time.Time
}

func (c *customer) keepCreating(n int) {
	for i := 0; ; i++ {
		select {
		case <-c.stop:
			return
		default:
		}
		asked := time.Now()
		id, status := c.api.create(never, fmt.Sprintf("customer %d, job %d", n, i))
		c.mu.Lock()
		if id != "" {
			c.acknowledged = append(c.acknowledged, acknowledged{id, asked, time.Now()})
		} else {
			if c.refused == nil {
				c.refused = map[int]int{}
			}
			c.refused[status]++
		}
		c.mu.Unlock()
	}
}

// since counts what was asked for after the kill, and acknowledged.
func (c *customer) since(killed time.Time) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.acknowledged {
		if a.asked.After(killed) {
			n++
		}
	}
	return n
}

// first is when the first of those was acknowledged.
func (c *customer) first(killed time.Time) time.Time {
	for _, a := range c.acknowledged {
		if a.asked.After(killed) {
			return a.at
		}
	}
	return time.Time{}
}
