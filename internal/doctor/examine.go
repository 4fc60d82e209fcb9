package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/health"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

// Party is somebody outside whom we need.
type Party struct {
	What string // "ai-server", "telegram"
	// Ask asks how it is, without any effect, and answers what it says of itself.
	Ask func(ctx context.Context) (string, error)
	// Unsure is an error of Ask that says nothing about how it is.
	Unsure error
	Remedy string // if it does not answer
}

// askWithin bounds each question to a party.
const askWithin = 10 * time.Second

// Parties asks everybody outside, all at once.
func Parties(ctx context.Context, parties []Party) []Finding {
	findings := make([]Finding, len(parties))
	done := make(chan struct{})
	for i, p := range parties {
		go func() {
			findings[i] = ask(ctx, p)
			done <- struct{}{}
		}()
	}
	for range parties {
		<-done
	}
	return findings
}

func ask(ctx context.Context, p Party) Finding {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	said, err := p.Ask(ctx)
	switch {
	case err == nil:
		return Finding{Level: OK, What: p.What, Found: said}
	case p.Unsure != nil && errors.Is(err, p.Unsure):
		return Finding{Level: OK, What: p.What, Found: "not asked: it " + err.Error()}
	}
	return Finding{Level: Fail, What: p.What, Found: err.Error(), Remedy: p.Remedy}
}

// Zones looks at a zone whose rules are known.
func Zones(schedules *schedule.Cache) Finding {
	const zone = "Europe/Berlin"
	what := "time zones"
	tt, err := schedules.Timetable(schedule.Timing{Cron: "0 9 * * *", Zone: zone})
	if err != nil {
		return Finding{Level: Fail, What: what, Found: zone + " cannot be loaded: " + err.Error(), Remedy: zoneRemedy}
	}
	summer, _ := tt.Next(time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC))
	winter, _ := tt.Next(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC))
	if summer.Hour() != 7 || winter.Hour() != 8 {
		return Finding{Level: Fail, What: what, Remedy: zoneRemedy,
			Found: fmt.Sprintf("wrong: 09:00 in %s is %s in July and %s in December", zone, summer.Format("15:04 MST"), winter.Format("15:04 MST"))}
	}
	return Finding{Level: OK, What: what, Found: "loaded; " + zone + " has its summer time"}
}

const zoneRemedy = "mend the tz database of this machine, or unset ZONEINFO; the program has one of its own"

// areas are what a deployment is told by, in this order: each with the reasons that belong
// to it, and what is said where there are none.
var areas = []struct {
	what  string
	codes []health.Code
	well  func(health.Facts) string // "" says nothing
}{
	{"disk", []health.Code{health.DiskFull}, nil},
	{"redis", []health.Code{health.RedisAway, health.RedisDenies, health.RedisRefuses, health.ClockStep}, nil},
	{"store", []health.Code{health.StoreEmptied}, nil},
	{"schedulers", []health.Code{health.NoScheduler, health.NoLeader}, schedulers},
	{"workers", []health.Code{health.NoWorker, health.PlacesTaken, health.RunsWaiting}, workers},
	{"processes", []health.Code{health.ProcessLost}, nil},
	{"queues", []health.Code{health.QueuePaused}, nil},
	{"pause", []health.Code{health.Paused}, func(health.Facts) string { return "not paused" }},
	{"slots", []health.Code{health.SlotsLate, health.SlotsAbsent}, func(f health.Facts) string { return count(f.Status.Jobs, "job") + ", none late" }},
	{"jobs", []health.Code{health.JobDisabled, health.JobFailing}, func(health.Facts) string { return "none keeps failing" }},
	{"deliveries", []health.Code{health.DeliveryFailing}, func(health.Facts) string { return "none keeps failing" }},
	{"unfinished", []health.Code{health.WorkStuck}, func(f health.Facts) string {
		return fmt.Sprintf("%d runs and deliveries, none stuck", f.Status.Unfinished)
	}},
	{"records", []health.Code{health.Unreadable}, func(health.Facts) string { return "all that were looked at can be read" }},
	{"ai-server", []health.Code{health.AIServerAway, health.AIServerKey, health.AIServerFailing}, aiServer},
	{"channels", []health.Code{health.ChannelAway, health.ChannelFailing}, channels},
}

// Deployment says how a deployment stands: what is wrong is what its report says, and
// of the rest that it is well.
func Deployment(f health.Facts, r health.Report) []Finding {
	read := f.Redis.Away == "" && f.Redis.Denies == "" && f.Redis.Refuses == ""
	var findings []Finding
	for _, area := range areas {
		said := false
		for _, reason := range r.Reasons {
			if slices.Contains(area.codes, reason.Code) {
				said = true
				findings = append(findings, Of(reason, area.what))
			}
		}
		if said || area.well == nil || !read {
			continue
		}
		if found := area.well(f); found != "" {
			findings = append(findings, Finding{Level: OK, What: area.what, Found: found})
		}
	}
	if counts := f.Status.Repairs.Counts; len(counts) > 0 {
		var kinds []string
		for _, kind := range slices.Sorted(maps.Keys(counts)) {
			kinds = append(kinds, fmt.Sprintf("%s %d", kind, counts[kind]))
		}
		findings = append(findings, Finding{Level: Warn, What: "repairs", Found: "damage was repaired: " + strings.Join(kinds, ", "),
			Remedy: "look for the cause: no step of ours leaves such damage"})
	}
	return findings
}

// Of is a reason as a finding: a failure if it is one of the deployment, or if work is
// late because of it.
func Of(r health.Reason, what string) Finding {
	f := Finding{Level: Warn, What: what, Code: string(r.Code), Found: r.Text, Remedy: r.Fix.Call}
	if r.State == health.Failing || r.Late {
		f.Level = Fail
	}
	if r.Since != 0 {
		f.Found += " (since " + moment(r.Since.Time()) + ")"
	}
	if r.Fix.Command != r.Fix.Call {
		f.Command = r.Fix.Command
	}
	return f
}

func schedulers(f health.Facts) string {
	looked := fmt.Sprintf("one looked %s ago; the leader is %s", span(f.Now.Time().Sub(f.Signs.Looked.Time())), f.Signs.Emitter)
	if alive := places(f.Signs, "scheduler"); alive != "" {
		return alive + "; " + looked
	}
	return looked
}

func workers(f health.Facts) string {
	text := places(f.Signs, "worker")
	if taken, all := health.Places(f.Signs); all > 0 {
		text += fmt.Sprintf("; %d of %d places taken", taken, all)
	}
	return text
}

func aiServer(f health.Facts) string {
	if found := partiesOf(f.Signs); slices.Contains(found, health.AIServer) {
		return "well, say the workers"
	}
	return ""
}

func channels(f health.Facts) string {
	found := slices.DeleteFunc(partiesOf(f.Signs), func(name string) bool { return name == health.AIServer })
	if len(found) == 0 {
		return "none is connected to a worker: replies stay in the history"
	}
	return strings.Join(found, ", ") + ": well, say the workers"
}

// partiesOf are the names of everybody outside whom workers have told of.
func partiesOf(s job.Signs) (names []string) {
	for _, w := range health.Alive(s, "worker") {
		for _, p := range w.Parties {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// places lists where a role is alive.
func places(s job.Signs, role string) string {
	var alive []string
	for _, p := range health.Alive(s, role) {
		alive = append(alive, health.Place(p))
	}
	if len(alive) == 0 {
		return ""
	}
	return "on " + strings.Join(alive, ", ")
}

func unreadable(q job.Quarantined) string {
	return fmt.Sprintf("%s cannot be read since %s: %s", q.Entry, moment(q.Since.Time()), q.Reason)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
