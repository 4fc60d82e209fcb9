package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/producttest"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// TestClockOfRedisIsSet: a year ahead for twenty seconds, then two hours for nine: no slot
// runs before its time, none that is due later is lost, and afterwards all go on.
func TestClockOfRedisIsSet(t *testing.T) {
	t.Parallel()
	redistest.NeedClock(t)
	w := newWorld(t, nil, redistest.WithClock())
	schedulers := []*process{w.start("scheduler"), w.start("scheduler")}
	w.start("worker")
	at := time.Now().Truncate(time.Second)
	soon, later := at.Add(70*time.Second), at.Add(90*time.Minute)
	create := func(id string, spec job.Spec) {
		t.Helper()
		spec.Enabled, spec.Task = true, id
		if _, err := w.store.CreateJob(t.Context(), id, spec); err != nil {
			t.Fatal(err)
		}
	}
	create("often", job.Spec{EverySeconds: 5})
	create("soon", job.Spec{At: job.ToMillis(soon)})
	create("later", job.Spec{At: job.ToMillis(later)})
	create("yearly", job.Spec{Schedule: "0 0 1 1 *"})
	yearly, err := w.store.Job(t.Context(), "yearly")
	if err != nil {
		t.Fatal(err)
	}
	w.until("it runs", time.Minute, func() bool { return w.ai.Count() >= 2 })
	for _, step := range []struct{ by, lasts time.Duration }{{366 * 24 * time.Hour, 20 * time.Second}, {2 * time.Hour, 9 * time.Second}} {
		w.redis.SetClock(step.by)
		w.at(time.Now().Add(step.lasts))
		w.redis.SetClock(0)
		before := w.ai.Count()
		w.until("it runs again", time.Minute, func() bool { return w.ai.Count() >= before+3 })
	}
	w.until("the reminder has run", 3*time.Minute, func() bool {
		for _, c := range w.ai.Calls() {
			if strings.HasPrefix(c.IdempotencyKey, "soon:") {
				return true
			}
		}
		return false
	})
	for id, want := range map[string]job.Millis{"later": job.ToMillis(later), "yearly": yearly.NextSlot} {
		if j, err := w.store.Job(t.Context(), id); err != nil || j.NextSlot != want {
			t.Errorf("%s: the next slot is %s (%v)", id, j.NextSlot.Time(), err)
		}
	}
	seen := map[string]bool{}
	for _, c := range w.ai.Calls() {
		id, _, _ := strings.Cut(c.IdempotencyKey, ":")
		if seen[c.IdempotencyKey] || id != "often" && id != "soon" {
			t.Errorf("call of %s", c.IdempotencyKey)
		}
		seen[c.IdempotencyKey] = true
	}
	w.until("all cursors are checked", time.Minute, func() bool {
		c, err := w.store.Clock(t.Context())
		return err == nil && c.Check.Why == job.CheckClock && !c.Check.Pending() && c.Held.By == 0
	})
	said := schedulers[0].Log.String() + schedulers[1].Log.String()
	for _, text := range []string{"the clock of redis was set", "the clock of redis counts again", "all cursors are checked"} {
		if !strings.Contains(said, text) {
			t.Errorf("no log says %q", text)
		}
	}
}

// TestZoneRulesChange: at the next start with other rules the slot is that of the timetable.
func TestZoneRulesChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	first := w.start("scheduler")
	j, err := w.store.CreateJob(t.Context(), "daily", job.Spec{Schedule: "23 19 * * *", Timezone: "Europe/Berlin", Enabled: true, Task: "x"})
	if err != nil {
		t.Fatal(err)
	}
	checked := func() bool {
		c, err := w.store.Clock(t.Context())
		return err == nil && c.Check.Rules != "" && !c.Check.Pending()
	}
	w.until("the rules are on record", time.Minute, checked)
	first.Stop()
	second := w.start("scheduler", "ZONEINFO="+berlinLikeLondon(t))
	w.until("the cursor follows", time.Minute, func() bool {
		now, err := w.store.Job(t.Context(), "daily")
		return err == nil && (now.NextSlot-j.NextSlot+86400_000)%86400_000 == 3600_000
	})
	w.until("all are checked", time.Minute, checked)
	second.Stop()
	w.start("scheduler")
	w.until("the cursor is back", time.Minute, func() bool {
		now, err := w.store.Job(t.Context(), "daily")
		return err == nil && now.NextSlot == j.NextSlot
	})
}

// berlinLikeLondon is a zone database in which Berlin has the rules of London.
func berlinLikeLondon(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "Europe"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Europe", "Berlin"), producttest.Zone(t, "Europe/London"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
