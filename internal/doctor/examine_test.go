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

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

func (f *fixture) deployment() string {
	f.t.Helper()
	before := f.dump()
	findings, err := Deployment(f.ctx, f.Store)
	f.must(err)
	if f.dump() != before {
		f.t.Error("the examination changed Redis")
	}
	var text bytes.Buffer
	f.must(WriteText(&text, findings))
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
	f.expect(f.deployment(), "fail  schedulers  none has ever run  -> start one", "fail  workers  none gives a sign of life: nothing runs",
		"ok    pause  not paused", "ok    jobs  0, none overdue", "ok    unfinished  0 runs and deliveries, none stuck", "ok    records")

	for _, role := range []string{"scheduler", "worker"} {
		f.must(f.Beat(f.ctx, role, "h1", time.Minute))
	}
	f.must(f.Beat(f.ctx, "worker", "h2", time.Minute))
	f.create(nil)
	_, _, err := f.Look(f.ctx, 10)
	f.must(err)
	f.expect(f.deployment(), "warn  schedulers  none does the ordinary work at the moment")
	if _, err := f.HoldEmitter(f.ctx, "s1", time.Minute); err != nil {
		t.Fatal(err)
	}
	text := f.deployment()
	f.expect(text, "ok    schedulers  on h1; one looked * ago; the emitter is s1", "ok    workers  on h1, h2", "ok    jobs  1, none overdue")
	if strings.Contains(text, "fail") || strings.Contains(text, "warn") {
		t.Errorf("a deployment that is well:\n%s", text)
	}

	b := f.claim(f.minute(-10))
	f.must(f.rdb.HSet(f.ctx, prefix+"run:"+b.Run.ID, "state", "waiting", "notBefore", int64(f.minute(-10))).Err())
	f.must(f.rdb.ZAdd(f.ctx, prefix+"wake", redis.Z{Score: float64(f.minute(-10)), Member: "r:" + b.Run.ID}).Err())
	f.rewind(f.minute(-5))
	f.must(f.rdb.Del(f.ctx, prefix+"beat:worker:h2").Err())
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
	f.expect(text, "fail  schedulers  none has looked for 7 min*, since * UTC  -> start one",
		"fail  workers  on h1; but 1 run could have begun since * UTC and did not: j:*  -> more workers",
		"warn  workers  the worker on h2 gave its last sign of life * ago and did not say that it stops",
		"warn  pause  everything is paused since * UTC, for *: wrong chat  -> POST /api/cron/all/resume",
		"fail  jobs  1, of which 1 overdue, since * UTC: j  -> ", "fail  unfinished  1 runs and deliveries, of which 1 stuck, since * UTC: r:j:",
		"fail  records  job:* cannot be read since * UTC: uid is missing", "fail  records  2 more cannot be read",
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
	if err := errors.Join(WriteText(&text, findings), WriteJSON(&encoded, findings)); err != nil {
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

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", -7 * time.Millisecond: "7 ms", 59 * time.Second: "59 s", time.Minute: "1 min", 61 * time.Second: "1 min 1 s",
		time.Hour: "1 h", 47*time.Hour + time.Minute: "47 h 1 min", 49 * time.Hour: "2 days 1 h",
	} {
		if got := span(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}
