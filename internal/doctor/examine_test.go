package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/health"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

func (f *fixture) deployment() string {
	f.t.Helper()
	before := f.dump()
	facts := health.Facts{}
	var err error
	facts.Signs, err = f.Signs(f.ctx, time.Minute)
	f.must(err)
	facts.Status, err = f.Status(f.ctx)
	f.must(err)
	facts.Now = facts.Signs.Now
	if f.dump() != before {
		f.t.Error("the examination changed Redis")
	}
	var text bytes.Buffer
	f.must(WriteText(&text, Deployment(facts, health.Judge(facts, health.Options{}))))
	return text.String()
}

func (f *fixture) expect(text string, lines ...string) {
	f.t.Helper()
	for _, want := range lines {
		if !hasLine(text, want) {
			f.t.Errorf("no line %s in\n%s", want, text)
		}
	}
}

func TestDeployment(t *testing.T) {
	f := setup(t)
	f.expect(f.deployment(), "fail  schedulers  no scheduler works*  -> start one", "fail  workers  no worker gives a sign of life: nothing runs",
		"ok    pause  not paused", "ok    slots  0 jobs, none late", "ok    unfinished  0 runs and deliveries, none stuck", "ok    records")

	beat := func(role, host string, parties ...job.Party) {
		t.Helper()
		f.must(f.Beat(f.ctx, job.Process{Role: role, Host: host, PID: 1, Places: 2, Taken: 1, Parties: parties}, time.Minute))
	}
	beat("scheduler", "h1")
	beat("worker", "h1", job.Party{Name: health.AIServer}, job.Party{Name: "telegram"})
	beat("worker", "h2")
	f.create(nil)
	_, _, err := f.Look(f.ctx, 10)
	f.must(err)
	f.expect(f.deployment(), "warn  schedulers  no scheduler leads at the moment")
	if _, err := f.HoldEmitter(f.ctx, "s1", time.Minute); err != nil {
		t.Fatal(err)
	}
	text := f.deployment()
	f.expect(text, "ok    schedulers  on h1 (pid 1); one looked * ago; the leader is s1", "ok    workers  on h1 (pid 1), h2 (pid 1); 2 of 4 places taken",
		"ok    slots  1 job, none late", "ok    ai-server  well", "ok    channels  telegram: well")
	if strings.Contains(text, "fail  ") || strings.Contains(text, "warn") {
		t.Errorf("a deployment that is well:\n%s", text)
	}

	b := f.claim(f.minute(-10))
	f.must(f.rdb.HSet(f.ctx, prefix+"run:"+b.Run.ID, "state", "waiting", "notBefore", int64(f.minute(-10))).Err())
	f.must(f.rdb.ZAdd(f.ctx, prefix+"wake", redis.Z{Score: float64(f.minute(-10)), Member: "r:" + b.Run.ID}).Err())
	f.rewind(f.minute(-5))
	f.must(f.rdb.Del(f.ctx, prefix+"beat:worker:h2:1").Err())
	f.must(f.rdb.HSet(f.ctx, prefix+"looks", "last", int64(f.minute(-7))).Err())
	f.must(f.rdb.HSet(f.ctx, prefix+"repairs", "due_missing", 2).Err())
	f.must(f.Pause(f.ctx, "wrong\nchat"))
	var bad []job.Unreadable
	for _, id := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		bad = append(bad, job.UnreadableJob(id, "uid is missing"))
	}
	_, err = f.Quarantine(f.ctx, bad)
	f.must(err)
	text = f.deployment()
	f.expect(text, "fail  schedulers  no scheduler works: *; one looked last 7 min* ago (since * UTC)  -> start one",
		"fail  workers  1 run could have begun and did not, for 1*: j:*  -> see the logs",
		"warn  processes  the worker on h2 (pid 1) gave its last sign of life * ago and did not say that it stops",
		"warn  pause  everything is paused, for *: wrong chat (since * UTC)  -> gateway-cron resume-all",
		"fail  slots  1 slot late, the oldest 5 min*; workers: 1 of 2 places taken (since * UTC)  -> gateway-cron doctor --job j says",
		"fail  unfinished  nobody looks after 1 unfinished run or delivery, for *: r:j:",
		"warn  records  7 records cannot be read: job:*, job:*, job:*, job:*, job:* and 2 more (since * UTC)",
		"warn  repairs  damage was repaired: due_missing 2")
}

func TestZones(t *testing.T) {
	if f := Zones(schedule.NewCache(1)); f.Level != OK {
		t.Errorf("%+v", f)
	}
}

func TestParties(t *testing.T) {
	unsure := errors.New("has no page")
	answer := func(said string, err error) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return said, err }
	}
	got := Parties(t.Context(), []Party{
		{What: "a", Ask: answer("is well", nil), Remedy: "x"},
		{What: "b", Ask: answer("", errors.New("cannot be reached")), Unsure: unsure, Remedy: "start it"},
		{What: "c", Ask: answer("", unsure), Unsure: unsure},
	})
	want := []Finding{{Level: OK, What: "a", Found: "is well"}, {Level: Fail, What: "b", Found: "cannot be reached", Remedy: "start it"},
		{Level: OK, What: "c", Found: "not asked: it has no page"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n := Failed(got); n != 1 {
		t.Errorf("%d failures", n)
	}
}

func TestWrite(t *testing.T) {
	findings := []Finding{{Level: OK, What: "a", Found: "well"}, {Level: Fail, What: "longer", Found: "<x>\nfail  y", Remedy: "mend it"}}
	var text, encoded bytes.Buffer
	if err := errors.Join(WriteText(&text, findings), WriteJSON(&encoded, health.Failing, findings)); err != nil {
		t.Fatal(err)
	}
	if want := "ok    a       well\nfail  longer  <x> fail  y  -> mend it\n"; text.String() != want {
		t.Errorf("%q, want %q", &text, want)
	}
	var got struct {
		OK       bool
		Findings []Finding
	}
	if err := json.Unmarshal(encoded.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(findings, got.Findings); d != "" || got.OK {
		t.Errorf("ok %t: %s", got.OK, d)
	}
}
