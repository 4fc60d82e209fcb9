package store

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// What a run costs Redis: the commands that its scripts execute there. Each takes but a
// microsecond or two, and a minute may have ten thousand runs. Of these a claim spends two on
// the place of its agent (enter it, ask how many there may be), a commit two (take it out,
// ask whether anybody waits), a renewal one.
func TestCommandsOfARun(t *testing.T) {
	for name, tt := range map[string]struct {
		delivery job.DeliveryState
		most     map[string]int
	}{
		"a run":                         {job.DeliveryNotRequested, map[string]int{"emitted": 6, "claim": 27, "renew": 5, "commit": 24}},
		"a run with a reply to deliver": {job.DeliveryPending, map[string]int{"emitted": 6, "claim": 27, "renew": 5, "commit": 29}},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, Options{})
			j := f.create("a", everyMinute())
			// The first run makes the keys of the job and of its session.
			for n, which := range []string{"the first", "the second", "the third"} {
				spent := map[string]int{}
				f.life(j, f.minute(n-2), tt.delivery, func(step string, do func()) {
					before := f.executed()
					do()
					spent[step] = f.executed() - before
				})
				t.Logf("%s executes %v", which, spent)
				for step, most := range tt.most {
					if spent[step] == 0 || spent[step] > most {
						t.Errorf("%s of %s executes %d commands, want at most %d", step, which, spent[step], most)
					}
				}
			}
		})
	}
}

// life takes a slot of a job through the steps of a run.
func (f *fixture) life(j job.Job, slot job.Millis, delivery job.DeliveryState, each func(step string, do func())) {
	f.t.Helper()
	f.rewind(j.ID, slot)
	each("emitted", func() { f.must(f.MarkEmitted(f.ctx, []job.Slot{{JobID: j.ID, At: slot}})) })
	var b job.Begun
	each("claim", func() {
		var err error
		b, err = f.Claim(f.ctx, job.Claim{JobID: j.ID, UID: j.UID, Slot: slot, Revision: j.Revision,
			Next: slot + 60_000, NextDue: slot + 60_000, Token: newToken(), Worker: "w1"})
		f.must(err)
	})
	if b.Verdict != job.BeginOK {
		f.t.Fatalf("claim: %s", b.Verdict)
	}
	each("renew", func() { f.must(f.Renew(f.ctx, b.Run.ID, b.Epoch)) })
	c := commitOf(b, "the reply")
	c.Delivery = delivery
	each("commit", func() {
		_, err := f.Commit(f.ctx, c)
		f.must(err)
	})
}

// executed is how many commands Redis has executed, but for those that only carry or
// count others.
func (f *fixture) executed() int {
	f.t.Helper()
	info, err := f.rdb.Info(f.ctx, "commandstats").Result()
	f.must(err)
	total := 0
	for line := range strings.Lines(info) {
		// cmdstat_hset:calls=5,usec=12,...
		name, stat, _ := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		switch name {
		case "info", "eval", "evalsha", "hello", "select", "client|setinfo":
			continue
		}
		calls, _, _ := strings.Cut(stat, ",")
		n, _ := strconv.Atoi(calls) // the heading has none
		total += n
	}
	return total
}

// BenchmarkRun tells how long the four scripts of a run keep Redis busy, the way to it and
// back included. That is time of the processor, so that it says nearly the same whatever
// else the machine does.
func BenchmarkRun(b *testing.B) {
	f := setup(b, Options{})
	jobs := make([]job.Job, b.N)
	for i := range jobs {
		jobs[i] = f.create(id(i), everyMinute())
	}
	f.must(f.rdb.ConfigSet(f.ctx, "appendonly", "yes").Err())
	defer f.rdb.ConfigSet(f.ctx, "appendonly", "no")
	b.ResetTimer()
	for n, unit := range []string{"redis-µs/first-run", "redis-µs/run"} {
		slot, before := f.minute(n-1), f.busy()
		for _, j := range jobs {
			f.life(j, slot, job.DeliveryNotRequested, func(_ string, do func()) { do() })
		}
		b.ReportMetric(float64((f.busy()-before).Microseconds())/float64(b.N), unit)
	}
}

// busy is how long Redis has worked.
func (f *fixture) busy() time.Duration {
	f.t.Helper()
	info, err := f.rdb.Info(f.ctx, "cpu").Result()
	f.must(err)
	total := 0.0
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user_main_thread" || name == "used_cpu_sys_main_thread" {
			seconds, err := strconv.ParseFloat(value, 64)
			f.must(err)
			total += seconds
		}
	}
	return time.Duration(total * float64(time.Second))
}
