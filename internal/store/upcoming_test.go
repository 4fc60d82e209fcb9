package store

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// someTiming is a job whose slots come at any distance, bounded in any way.
func someTiming(now time.Time) *rapid.Generator[job.Spec] {
	return rapid.Custom(func(t *rapid.T) job.Spec {
		s := job.Spec{Task: "x", Enabled: rapid.IntRange(0, 4).Draw(t, "enabled") > 0, Name: rapid.SampledFrom([]string{"", "n"}).Draw(t, "name")}
		s.Timezone = rapid.SampledFrom([]string{"", "Europe/Berlin", "Asia/Kathmandu"}).Draw(t, "zone")
		in := func(name string) job.Millis {
			return job.ToMillis(now.Add(time.Duration(rapid.IntRange(30, 200_000).Draw(t, name)) * time.Second).Truncate(time.Second))
		}
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			s.At = in("at")
			return s
		case 1:
			s.EverySeconds = rapid.SampledFrom([]int{10, 61, 3600, 100_000}).Draw(t, "every")
		default:
			s.Schedule = rapid.SampledFrom([]string{"* * * * *", "*/7 * * * *", "0 9 * * 1-5", "30 2 * * *", "0 0 1 1 *"}).Draw(t, "cron")
		}
		s.JitterSeconds = rapid.SampledFrom([]int{0, 0, 30, 5000, 86_400}).Draw(t, "jitter")
		s.MaxRuns = rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "most")
		if rapid.IntRange(0, 3).Draw(t, "starts") == 0 {
			s.StartAt = in("start")
		}
		if rapid.IntRange(0, 3).Draw(t, "ends") == 0 {
			s.EndAt = max(s.StartAt, job.ToMillis(now.Truncate(time.Second))) + 1000*job.Millis(rapid.IntRange(3600, 200_000).Draw(t, "end"))
		}
		return s
	})
}

// ahead is what Upcoming is to answer, worked out slot by slot from every job's cursor.
func (f *fixture) ahead(jobs []job.Job, now time.Time, within time.Duration, limit int) []job.UpcomingSlot {
	f.t.Helper()
	var all []job.UpcomingSlot
	for _, j := range jobs {
		if !j.Enabled || j.NextSlot == 0 {
			continue
		}
		tt, err := f.schedules.Timetable(j.Timing(j.ID, j.Anchor))
		f.must(err)
		left := math.MaxInt
		if j.MaxRuns > 0 {
			left = j.MaxRuns - j.Claims
		}
		found, due := 0, j.NextDue.Time()
		for at, ok := j.NextSlot.Time(), true; ok && found < min(limit, left); at, ok = tt.Next(at) {
			if at != j.NextSlot.Time() {
				due = tt.Due(at)
			}
			if !due.After(now) {
				if at == j.NextSlot.Time() {
					left--
				}
				continue
			}
			if within > 0 && due.After(now.Add(within)) {
				break
			}
			found++
			all = append(all, job.UpcomingSlot{JobID: j.ID, Name: j.Name, At: job.ToMillis(at), Due: job.ToMillis(due),
				Zone: tt.Location(), Description: tt.Describe()})
		}
	}
	slices.SortFunc(all, func(a, b job.UpcomingSlot) int {
		if a.Due != b.Due {
			return int(a.Due - b.Due)
		}
		return strings.Compare(a.JobID, b.JobID)
	})
	return all[:min(len(all), limit)]
}

var sameZones = cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })

func TestUpcomingIsWhatEveryJobsScheduleSays(t *testing.T) {
	f := setup(t, Options{})
	rapid.Check(t, func(t *rapid.T) {
		f.must(f.rdb.FlushDB(f.ctx).Err())
		specs := rapid.SliceOfN(someTiming(f.now().Time()), 0, 25).Draw(t, "jobs")
		var jobs []job.Job
		for i, spec := range specs {
			j, err := f.CreateJob(f.ctx, id(i), spec)
			if _, refused := errors.AsType[*job.InvalidError](err); refused {
				continue // no slot comes before its end
			}
			f.must(err)
			if j.NextSlot != 0 && spec.At == 0 && rapid.IntRange(0, 2).Draw(t, "behind") == 0 {
				// A due slot that nobody has claimed, looked at again later.
				behind := rapid.SampledFrom([]int{1, 60, 3600, 90_000}).Draw(t, "by")
				f.rewind(j.ID, job.ToMillis(f.now().Time().Truncate(time.Minute).Add(-time.Duration(behind)*time.Second)))
				f.must(f.rdb.HDel(f.ctx, f.keys.job(j.ID), "nextDue").Err())
				f.must(f.rdb.ZAdd(f.ctx, f.keys.due(), redis.Z{Score: float64(f.now()) + 60_000, Member: j.ID}).Err())
				j = f.job(j.ID)
			}
			jobs = append(jobs, j)
		}
		limit := rapid.SampledFrom([]int{1, 20, 100}).Draw(t, "limit")
		within := rapid.SampledFrom([]time.Duration{0, time.Minute, 26 * time.Hour}).Draw(t, "within")
		got, err := f.Upcoming(f.ctx, within, limit)
		f.must(err)
		want := f.ahead(jobs, got.Now.Time(), within, limit)
		if d := cmp.Diff(want, got.Slots, sameZones, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("at %v, %d within %v: %s", got.Now.Time(), limit, within, d)
		}
	})
}

// TestUpcomingOfManyJobs reads the index in several steps.
func TestUpcomingOfManyJobs(t *testing.T) {
	f := setup(t, Options{})
	now := f.now().Time()
	var jobs []job.Job
	for i := range 3*examineBatch + 10 {
		spec := everyMinute()
		// The further down in the index, the less often; the first ones end.
		spec.Schedule, spec.EverySeconds, spec.StartAt = "", 600+i, job.ToMillis(now.Truncate(time.Second))+1000*job.Millis(60+i)
		if i < 2*examineBatch {
			spec.MaxRuns = 1
		}
		jobs = append(jobs, f.create(id(i), spec))
	}
	for _, limit := range []int{10, 100, examineBatch, 900} {
		got, err := f.Upcoming(f.ctx, 0, limit)
		f.must(err)
		if d := cmp.Diff(f.ahead(jobs, got.Now.Time(), 0, limit), got.Slots, sameZones); d != "" {
			t.Errorf("%d: %s", limit, d)
		}
	}
}

func TestUpcomingLeavesOutWhatDoesNotRun(t *testing.T) {
	f := setup(t, Options{})
	for _, id := range []string{"good", "newer", "zoneless", "orphan", "list"} {
		f.create(id, everyMinute())
	}
	f.must(f.rdb.HSet(f.ctx, f.keys.job("newer"), "v", job.Version+1).Err())
	f.must(f.rdb.HSet(f.ctx, f.keys.job("zoneless"), "timezone", "Gone/Zone").Err())
	f.must(f.rdb.Del(f.ctx, f.keys.job("orphan"), f.keys.job("list")).Err())
	f.must(f.rdb.RPush(f.ctx, f.keys.job("list"), "x").Err())
	for range 2 {
		got, err := f.Upcoming(f.ctx, 0, 3)
		f.must(err)
		if len(got.Slots) != 3 {
			t.Fatalf("%d slots", len(got.Slots))
		}
		for i, slot := range got.Slots {
			if slot.JobID != "good" || slot.At != got.Slots[0].At+job.Millis(60_000*i) {
				t.Errorf("%+v", slot)
			}
		}
		// A slot that is due and damaged is no better.
		f.rewind("zoneless", f.minute(-1))
	}
}

func TestUpcomingSaysThatEverythingIsPaused(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	for _, paused := range []bool{false, true, false} {
		if paused {
			f.must(f.Pause(f.ctx, ""))
		} else {
			_, err := f.Resume(f.ctx)
			f.must(err)
		}
		got, err := f.Upcoming(f.ctx, 0, 5)
		f.must(err)
		if got.Paused != paused || len(got.Slots) != 5 {
			t.Errorf("paused %v, want %v, with %d slots", got.Paused, paused, len(got.Slots))
		}
	}
}
