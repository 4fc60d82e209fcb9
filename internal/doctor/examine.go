package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

// Records is what an examination reads of the records.
type Records interface {
	Now(ctx context.Context) (time.Time, error)
	Status(ctx context.Context) (job.Status, error)
	Signs(ctx context.Context) (job.Signs, error)
	Job(ctx context.Context, id string) (job.Job, error)
	Trace(ctx context.Context, j job.Job) (job.Trace, error)
	Runs(ctx context.Context, jobID, cursor string, limit int) ([]job.Run, string, error)
}

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

// Deployment says how a deployment stands by its records.
func Deployment(ctx context.Context, r Records) ([]Finding, error) {
	status, err := r.Status(ctx)
	if err != nil {
		return nil, err
	}
	signs, err := r.Signs(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Concat(
		[]Finding{schedulers(signs), workers(signs)}, dead(signs),
		[]Finding{paused(status, signs.Now), due(status, signs), unfinished(status, signs)}, quarantine(status.Repairs),
	), nil
}

// lookedLately is how old the last look of a scheduler may be.
const lookedLately = 10 * time.Second

func schedulers(s job.Signs) Finding {
	f := Finding{Level: OK, What: "schedulers"}
	alive := hosts(s, "scheduler")
	ago := s.Now.Time().Sub(s.Looked.Time())
	switch {
	case s.Looked == 0:
		f.Level, f.Found, f.Remedy = Fail, "none has ever run", startScheduler
	case ago > lookedLately:
		f.Level, f.Found, f.Remedy = Fail, fmt.Sprintf("none has looked for %s, since %s", span(ago), moment(s.Looked.Time())), startScheduler
	case s.Emitter == "":
		f.Level, f.Found = Warn, "none does the ordinary work at the moment: another takes over within 3 s"
		f.Remedy = "ask again"
	default:
		f.Found = fmt.Sprintf("one looked %s ago; the emitter is %s", span(ago), s.Emitter)
		if alive != "" {
			f.Found = alive + "; " + f.Found
		}
	}
	return f
}

const startScheduler = "start one: gateway-cron scheduler, or serve"

func workers(s job.Signs) Finding {
	f := Finding{Level: OK, What: "workers", Found: hosts(s, "worker")}
	if f.Found == "" {
		f.Level, f.Found, f.Remedy = Fail, "none gives a sign of life: nothing runs", "start one: gateway-cron worker, or serve"
		return f
	}
	if n := s.Untouched.Count; n > 0 {
		f.Level = Fail
		f.Found += fmt.Sprintf("; but %s could have begun since %s and did not: %s", count(n, "run"),
			moment(s.Untouched.Oldest.Time()), strings.Join(s.Untouched.IDs, ", "))
		f.Remedy = "more workers, a higher GATEWAY_CRON_CONCURRENCY, or see their logs"
	}
	return f
}

// hosts lists where a role is alive.
func hosts(s job.Signs, role string) string {
	var alive []string
	for _, b := range s.Beats {
		if b.Role == role && b.Alive {
			alive = append(alive, b.Host)
		}
	}
	if len(alive) == 0 {
		return ""
	}
	return "on " + strings.Join(alive, ", ")
}

// dead tells of roles that ended without saying so.
func dead(s job.Signs) []Finding {
	var findings []Finding
	for _, b := range s.Beats {
		if !b.Alive {
			findings = append(findings, Finding{Level: Warn, What: b.Role + "s",
				Found: fmt.Sprintf("the %s on %s gave its last sign of life %s ago and did not say that it stops",
					b.Role, b.Host, span(s.Now.Time().Sub(b.Last.Time()))),
				Remedy: "see its log; forgotten an hour after the last sign"})
		}
	}
	return findings
}

func paused(s job.Status, now job.Millis) Finding {
	if s.PausedSince == 0 {
		return Finding{Level: OK, What: "pause", Found: "not paused"}
	}
	found := fmt.Sprintf("everything is paused since %s, for %s", moment(s.PausedSince.Time()), span(now.Time().Sub(s.PausedSince.Time())))
	if s.PauseReason != "" {
		found += ": " + s.PauseReason
	}
	return Finding{Level: Warn, What: "pause", Found: found, Remedy: "POST /api/cron/all/resume ends it"}
}

func due(s job.Status, signs job.Signs) Finding {
	f := Finding{Level: OK, What: "jobs", Found: fmt.Sprintf("%d, none overdue", s.Jobs)}
	if o := signs.Due; o.Count > 0 {
		f.Level, f.Remedy = Fail, "a scheduler settles them; if one runs, see its log, or gateway-cron doctor --job "+o.IDs[0]
		f.Found = fmt.Sprintf("%d, of which %d overdue, since %s: %s", s.Jobs, o.Count, moment(o.Oldest.Time()), strings.Join(o.IDs, ", "))
	}
	return f
}

func unfinished(s job.Status, signs job.Signs) Finding {
	f := Finding{Level: OK, What: "unfinished", Found: fmt.Sprintf("%d runs and deliveries, none stuck", s.Unfinished)}
	if o := signs.Wake; o.Count > 0 {
		f.Level, f.Remedy = Fail, "a scheduler looks at them; if one runs, see its log"
		f.Found = fmt.Sprintf("%d runs and deliveries, of which %d stuck, since %s: %s", s.Unfinished, o.Count,
			moment(o.Oldest.Time()), strings.Join(o.IDs, ", "))
	}
	return f
}

// toldRecords is how many records in quarantine are told one by one.
const toldRecords = 5

func quarantine(r job.Repairs) []Finding {
	var findings []Finding
	for i, q := range r.Quarantined {
		if i == toldRecords {
			findings = append(findings, Finding{Level: Fail, What: "records", Found: fmt.Sprintf("%d more cannot be read", len(r.Quarantined)-i),
				Remedy: "GET /api/cron/status has them all"})
			break
		}
		findings = append(findings, Finding{Level: Fail, What: "records", Found: unreadable(q),
			Remedy: "mend its key in Redis, or delete it; it is tried every minute"})
	}
	if len(findings) == 0 {
		findings = append(findings, Finding{Level: OK, What: "records", Found: "all that were looked at can be read"})
	}
	if len(r.Counts) > 0 {
		var kinds []string
		for _, kind := range slices.Sorted(maps.Keys(r.Counts)) {
			kinds = append(kinds, fmt.Sprintf("%s %d", kind, r.Counts[kind]))
		}
		findings = append(findings, Finding{Level: Warn, What: "repairs", Found: "damage was repaired: " + strings.Join(kinds, ", "),
			Remedy: "look for the cause: no step of ours leaves such damage"})
	}
	return findings
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
