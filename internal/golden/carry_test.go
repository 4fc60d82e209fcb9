package golden

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/app"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/producttest"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// patience ends a hopeless test.
const patience = 90 * time.Second

// upgraded is the deployment of a release in the hands of this build.
type upgraded struct {
	t *testing.T
	client
	*outside
	release release
	by      time.Duration // how far it was moved in time
	rdb     *redis.Client
	slots   []string // runs that are slots of tasks in the queue
}

// upgrade takes a deployment over: as if the release had been stopped within the last
// minute. Every instant of its records is moved by the same whole minutes, so that the slots
// keep their seconds, and everything its distance from now. What the records would be after
// the months that have really gone by, the misfire rules say, and their tests.
func upgrade(t *testing.T, r release, keys []entry) *upgraded {
	t.Helper()
	server := redistest.Start(t)
	u := &upgraded{t: t, outside: newOutside(t, behaviour{}), release: r, rdb: server.Client()}
	now := must(u.rdb.Time(t.Context()).Result())(t)
	u.by = now.Sub(r.about.RecordedAt.Time()).Truncate(time.Minute)
	load(t, u.rdb, shifted(keys, r.about.RecordedAt, u.by))
	u.slots, _ = queued(t, server)
	// An operator has mended the lock and the run that nobody could read.
	u.rdb.Del(t.Context(), prefix+"lock:agent:main:cron:"+damagedLock)
	for _, x := range r.runs {
		if x.JobID == damagedRun && x.State == "waiting" {
			u.rdb.HSet(t.Context(), prefix+"run:"+x.ID, "notBefore", now.UnixMilli())
		}
	}
	u.client = serve(t, server, app.AllRoles(), u.env)
	return u
}

// now is where an id of the release is now: most name their slot.
func (u *upgraded) now(id string) string { return shift(id, u.release.about.RecordedAt, u.by) }

func (u *upgraded) look(id string) (found run) {
	u.t.Helper()
	u.want(u.t, http.MethodGet, "/api/cron/runs/"+url.PathEscape(id), nil, &found)
	return found
}

// ended waits until a run has ended and what it has to say is sent.
func (u *upgraded) ended(id string) (found run) {
	u.t.Helper()
	producttest.Until(u.t, id+" has ended", patience, func() bool {
		x := u.do(u.t, exchange{Path: "/api/cron/runs/" + url.PathEscape(id)})
		if x.Status == http.StatusNotFound {
			return false // its slot is still in the queue
		}
		found = u.look(id)
		return found.State == "done" && !slices.ContainsFunc(found.Deliveries, isPending)
	})
	return found
}

// begun reports whether a send of a delivery had begun and was not answered.
func (u *upgraded) begun(run string, d delivery) bool {
	for field, value := range find(u.release.keys, "delivery:"+run+":"+strconv.Itoa(d.N)).fields() {
		if strings.HasPrefix(field, "p") && strings.HasPrefix(value, "b:") {
			return true
		}
	}
	return false
}

// calls counts the calls of each run, and sent the messages of each part.
func (u *upgraded) calls() map[string]int {
	calls := map[string]int{}
	for _, c := range u.ai.Calls() {
		calls[c.IdempotencyKey]++
	}
	return calls
}

func (u *upgraded) sent() map[string]int {
	sent := map[string]int{}
	for _, m := range u.channel.Messages() {
		sent[m.IdempotencyKey]++
	}
	return sent
}

// TestWhatReleasesLeaveIsCarriedOn lets the workers and the scheduler of this build loose on
// what a release has left. What it had begun ends, what it had put into the queue is done,
// what was to be sent is sent, and all of it once.
func TestWhatReleasesLeaveIsCarriedOn(t *testing.T) {
	everyRelease(t, func(t *testing.T, r release) {
		u := upgrade(t, r, r.keys)
		called := map[string]bool{} // the runs that are to be called, once each
		for _, slot := range u.slots {
			called[slot] = true
			if x := u.ended(slot); x.Outcome != "succeeded" {
				t.Errorf("%s, whose task was in the queue: %s %s", slot, x.Outcome, x.Reason)
			}
		}
		messages := map[string]int{} // of the deliveries that were not through
		for id, old := range r.runs {
			now := u.now(id)
			if old.State != "done" {
				x := u.ended(now)
				// What a dead worker had begun is begun again, unless its job forbids that.
				forbidden := old.State == "running" && find(r.keys, "job:"+old.JobID).fields()["onAmbiguous"] == "fail"
				called[now] = !forbidden
				want := "succeeded"
				if forbidden {
					want = "failed"
				}
				if x.Outcome != want {
					t.Errorf("%s was %s and is %s(%s), want %s", id, old.State, x.Outcome, x.Reason, want)
				}
			}
			for _, d := range old.Deliveries {
				if d.State == "pending" {
					u.delivered(now, id, d, messages)
				}
			}
		}
		u.overdue()

		calls, sent := u.calls(), u.sent()
		for id, n := range calls {
			if n != 1 {
				t.Errorf("%s was called %d times", id, n)
			}
		}
		for _, call := range u.ai.Calls() {
			if of, _, _ := strings.Cut(call.IdempotencyKey, ":"); call.SessionID != r.session(of) {
				t.Errorf("%s was called in %s, its job's session was %s", call.IdempotencyKey, call.SessionID, r.session(of))
			}
		}
		for id, once := range called {
			if once != (calls[id] == 1) {
				t.Errorf("%s was called %d times", id, calls[id])
			}
		}
		for id, old := range r.runs {
			if old.State == "done" && calls[u.now(id)] > 0 {
				t.Errorf("%s was over and was called", id)
			}
		}
		for key, n := range sent {
			if n != 1 {
				t.Errorf("%s was sent %d times", key, n)
			}
		}
		for key, n := range messages {
			if sent[key] != n {
				t.Errorf("%s was sent %d times, want %d", key, sent[key], n)
			}
		}
		u.unchanged(sent)
		u.queueIsEmpty()
	})
}

// delivered looks into what became of a delivery that was not through, and says how often
// it is to be sent: not if it may have arrived.
func (u *upgraded) delivered(now, id string, old delivery, messages map[string]int) {
	u.t.Helper()
	x := u.ended(now)
	d := x.Deliveries[old.N-1]
	key := now + ":" + strconv.Itoa(old.N) + ":0"
	want := "delivered"
	messages[key] = 1
	switch {
	case u.begun(id, old):
		want, messages[key] = "unknown", 0
	case old.Channel == "telegram":
		messages[key] = 0
		if texts := u.telegram.texts(); len(texts) != d.Parts-len(old.MessageIDs) {
			u.t.Errorf("%s: %d of %d parts were sent, and %d now", id, len(old.MessageIDs), d.Parts, len(texts))
		}
	}
	if d.State != want || d.Kind != old.Kind || !slices.Equal(d.MessageIDs[:len(old.MessageIDs)], old.MessageIDs) {
		u.t.Errorf("the %s of %s is %s %v, want %s: %s", d.Kind, id, d.State, d.MessageIDs, want, d.Error)
	}
}

// overdue waits until the slots that came due while nothing ran are on record, each once.
func (u *upgraded) overdue() {
	u.t.Helper()
	const slots = 3
	for _, id := range ids(u.release.keys, "job:") {
		if !strings.HasPrefix(id, "overdue") {
			continue
		}
		producttest.Until(u.t, id+" is caught up with", patience, func() bool {
			var list struct{ Runs []run }
			u.want(u.t, http.MethodGet, "/api/cron/jobs/"+id+"/runs", nil, &list)
			count := 0
			for _, x := range list.Runs {
				if x.State == "done" {
					count += max(1, x.Count)
				}
			}
			if count > slots {
				u.t.Fatalf("%s: %d slots are on record, of %d: %+v", id, count, slots, list.Runs)
			}
			return count == slots
		})
	}
}

// unchanged holds what was over against what it was.
func (u *upgraded) unchanged(sent map[string]int) {
	u.t.Helper()
	c := compareWith(u.t, u.release.name)
	for _, x := range u.release.answers {
		id, ok := strings.CutPrefix(x.Path, "/api/cron/runs/")
		old, there := u.release.runs[id]
		if !ok || !there || old.State != "done" || slices.ContainsFunc(old.Deliveries, isPending) {
			continue
		}
		now := u.do(u.t, exchange{Path: "/api/cron/runs/" + u.now(id)})
		x.Answer = []byte(shift(string(x.Answer), u.release.about.RecordedAt, u.by))
		c.answers(x, now)
		for key := range sent {
			if strings.HasPrefix(key, u.now(id)+":") {
				u.t.Errorf("%s was over and %s was sent", id, key)
			}
		}
	}
}

// queueIsEmpty waits until nothing of the release is left in the queue. What its dead
// workers held asynq gives back in its own time.
func (u *upgraded) queueIsEmpty() {
	u.t.Helper()
	for _, queue := range []string{"gateway-cron-run", "gateway-cron-deliver"} {
		for _, state := range []string{"pending", "retry", "scheduled"} {
			producttest.Until(u.t, queue+" has nothing "+state, patience, func() bool {
				key := "asynq:{" + queue + "}:" + state
				n, err := u.rdb.LLen(u.t.Context(), key).Result()
				if err != nil {
					n, err = u.rdb.ZCard(u.t.Context(), key).Result()
				}
				return err == nil && n == 0
			})
		}
	}
}

// TestPausesOfReleasesHold takes over what a release has left with everything paused:
// nothing begins, what was under way ends, replies are sent, and after the resume runs begin.
func TestPausesOfReleasesHold(t *testing.T) {
	everyRelease(t, func(t *testing.T, r release) {
		u := upgrade(t, r, r.paused())
		messages := map[string]int{}
		for id, old := range r.runs {
			now := u.now(id)
			if old.State != "done" {
				if x := u.ended(now); x.Outcome != "cancelled" || x.Reason != "paused" {
					t.Errorf("%s was %s and is %s(%s) in a pause", id, old.State, x.Outcome, x.Reason)
				}
			}
			for _, d := range old.Deliveries {
				if d.State == "pending" {
					u.delivered(now, id, d, messages)
				}
			}
		}
		for _, slot := range u.slots {
			if x := u.ended(slot); x.Outcome != "skipped" || x.Reason != "paused" {
				t.Errorf("%s, whose task was in the queue: %s(%s) in a pause", slot, x.Outcome, x.Reason)
			}
		}
		if calls := u.calls(); len(calls) > 0 {
			t.Errorf("in the pause were called: %v", slices.Sorted(maps.Keys(calls)))
		}
		u.want(t, http.MethodPost, "/api/cron/all/resume", nil, nil)
		var started struct{ RunID string }
		u.want(t, http.MethodPost, "/api/cron/jobs/alone/run", nil, &started)
		if x := u.ended(started.RunID); x.Outcome != string(job.Succeeded) {
			t.Errorf("after the resume a run is %s(%s)", x.Outcome, x.Reason)
		}
		for key, n := range messages {
			if got := u.sent()[key]; got != n {
				t.Errorf("%s was sent %d times, want %d", key, got, n)
			}
		}
	})
}
