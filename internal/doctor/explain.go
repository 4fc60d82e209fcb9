package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/health"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

const (
	// lastSlots is how many slots are explained if no time is given.
	lastSlots = 3
	// records is how many records of a job's history are looked through.
	records, page = 1000, 200
	// overdueAfter is how long after it was due a slot may have no run before that is
	// told as a failure.
	overdueAfter = time.Minute
)

// Records is what an explanation reads of the records.
type Records interface {
	Now(ctx context.Context) (time.Time, error)
	Status(ctx context.Context) (job.Status, error)
	Job(ctx context.Context, id string) (job.Job, error)
	Trace(ctx context.Context, j job.Job) (job.Trace, error)
	Runs(ctx context.Context, jobID, cursor string, limit int) ([]job.Run, string, error)
}

// subject is a job under examination, with all that was read of it.
type subject struct {
	now       time.Time
	job       job.Job
	status    job.Status
	trace     job.Trace
	runs      []job.Run // newest first
	timetable *schedule.Timetable
	report    health.Report
}

// Explain says how a job stands and why it ran, or did not, at a time; at the last of
// its slots if at is zero. What keeps a due slot from running is looked for in the report
// of the deployment. A job that does not exist is a finding, no error.
func Explain(ctx context.Context, r Records, schedules *schedule.Cache, report health.Report, id string, at time.Time) ([]Finding, error) {
	s := subject{report: report}
	var err error
	if s.now, err = r.Now(ctx); err != nil {
		return nil, err
	}
	if s.status, err = r.Status(ctx); err != nil {
		return nil, err
	}
	var jobErr error
	s.job, jobErr = r.Job(ctx, id)
	if s.runs, err = history(ctx, r, id); err != nil && jobErr == nil {
		return nil, err
	}
	if jobErr != nil {
		return s.withoutJob(id, jobErr, at), nil
	}
	if s.trace, err = r.Trace(ctx, s.job); err != nil {
		return nil, err
	}
	findings := s.quarantined("job:" + id)
	if s.timetable, err = schedules.Timetable(s.job.Timing(id, s.job.Anchor)); err != nil {
		f := Finding{Level: Fail, What: "schedule", Found: "it cannot be read: " + err.Error(),
			Remedy: "PATCH /api/cron/jobs/" + id + " with a schedule and a timezone that can", Command: "gateway-cron job edit " + id}
		return append(findings, f), nil //nolint:nilerr // it is the finding
	}
	findings = append(findings, s.definition(), s.schedule())
	if s.status.PausedSince != 0 {
		findings = append(findings, Finding{Level: Warn, What: "pause", Found: pausedFor(s.status, s.now),
			Remedy: "POST /api/cron/all/resume", Command: "gateway-cron resume-all"})
	}
	findings = append(findings, s.cursor())
	if s.job.CutAt != 0 {
		findings = append(findings, Finding{Level: OK, What: "bounds", Found: "whole replies in its history, or older messages of our copy of its session, went at " +
			s.clock(s.job.CutAt.Time()) + " to keep to the bounds in bytes (GATEWAY_CRON_HISTORY_BYTES; 8 MiB of a session)"})
	}
	for _, run := range s.trace.Unfinished {
		findings = append(findings, s.unfinished(run))
	}
	if !at.IsZero() {
		return append(findings, s.at(at)...), nil
	}
	slots := s.before(s.now, lastSlots)
	if next := s.job.NextSlot.Time(); s.job.NextSlot != 0 && len(slots) > 0 && next.Before(slots[0]) {
		slots = append([]time.Time{next}, slots...) // which the others are behind
	}
	for _, slot := range slots {
		findings = append(findings, s.slot(slot))
	}
	if len(slots) == 0 {
		findings = append(findings, Finding{Level: OK, What: "slots", Found: "none since the job was created"})
	}
	return findings, nil
}

// history reads the newest records of a job.
func history(ctx context.Context, r Records, id string) ([]job.Run, error) {
	var all []job.Run
	for cursor := ""; len(all) < records; {
		runs, next, err := r.Runs(ctx, id, cursor, page)
		if err != nil {
			return nil, err
		}
		all = append(all, runs...)
		if cursor = next; next == "" {
			break
		}
	}
	return all, nil
}

// withoutJob is what can be said of a job that cannot be read.
func (s subject) withoutJob(id string, err error, at time.Time) []Finding {
	f := Finding{Level: Fail, What: "job"}
	switch {
	case errors.Is(err, job.ErrNewerVersion):
		f.Found, f.Remedy = "was written by a newer release, which this one leaves alone", "upgrade the processes that are behind"
		return []Finding{f}
	case !errors.Is(err, job.ErrNotFound):
		f.Found, f.Remedy = "cannot be read: "+err.Error(), "mend its key in Redis, or delete it"
		return append(s.quarantined("job:"+id), f)
	case len(s.runs) == 0:
		f.Found, f.Remedy = "there is none of that id, and no history of one", "GET /api/cron/jobs lists those that exist; their ids are case-sensitive"
		f.Command = "gateway-cron job list shows those that exist; their ids are case-sensitive"
		return []Finding{f}
	}
	f.Level, f.Found = Warn, "it was deleted; its history is still kept"
	if gone, had := errors.AsType[*job.GoneError](err); had {
		f.Level, f.Found = OK, fmt.Sprintf("it ran %d of %d times and is gone, as it was meant to be; its history is still kept", gone.Runs, gone.Of)
	}
	findings := []Finding{f}
	s.timetable, err = schedule.NewCache(1).Timetable(schedule.Timing{Cron: "* * * * *"}) // for UTC
	if err != nil {
		return findings
	}
	if !at.IsZero() {
		slot := at.Truncate(time.Second)
		if run, found := s.record(slot); found {
			return append(findings, s.recorded(slot, run))
		}
		return append(findings, Finding{Level: Warn, What: s.name(slot), Found: "no record of that time is kept" + s.reach()})
	}
	for _, run := range s.runs[:min(lastSlots, len(s.runs))] {
		if run.Slot != 0 {
			findings = append(findings, s.recorded(run.LastSlot.Time(), run))
		}
	}
	return findings
}

func (s subject) quarantined(entry string) []Finding {
	for _, q := range s.status.Repairs.Quarantined {
		if q.Entry == entry {
			return []Finding{{Level: Fail, What: "record", Found: unreadable(q), Remedy: "mend its key in Redis, or delete it; it is tried every minute"}}
		}
	}
	return nil
}

// clock is a time in the job's zone.
func (s subject) clock(t time.Time) string {
	layout := "2006-01-02 15:04"
	if t.Second() != 0 {
		layout += ":05"
	}
	loc := s.timetable.Location()
	return t.In(loc).Format(layout) + " " + loc.String()
}

func (s subject) name(slot time.Time) string { return "slot " + s.clock(slot) }

func (s subject) definition() Finding {
	j := s.job
	f := Finding{Level: OK, What: "job", Found: "enabled"}
	if !j.Enabled {
		f = resume(j.ID, Finding{Level: Warn, What: "job", Found: "paused"})
		if j.PauseReason != "" {
			f.Found += ": " + j.PauseReason
		}
	}
	if j.Name != "" {
		f.Found = fmt.Sprintf("%q is %s", j.Name, f.Found)
	}
	f.Found += "; created " + s.clock(j.CreatedAt.Time())
	if j.UpdatedAt > j.CreatedAt {
		f.Found += ", last edited " + s.clock(j.UpdatedAt.Time())
	}
	if j.Failures > 0 {
		f.Found += fmt.Sprintf("; %s failed in a row", count(j.Failures, "run"))
	}
	return f
}

func (s subject) schedule() Finding {
	f := Finding{Level: OK, What: "schedule", Found: s.timetable.Describe()}
	if s.job.Schedule != "" {
		f.Found += fmt.Sprintf(" (%s), by the clock of %s", s.job.Schedule, s.timetable.Location())
	}
	if jitter := s.job.Timing(s.job.ID, s.job.Anchor).Jitter; jitter > 0 {
		f.Found += fmt.Sprintf("; due %s after each slot, by its jitterSeconds of %d", span(jitter), s.job.JitterSeconds)
	}
	return f
}

// resume returns f with the remedy of a job that is paused.
func resume(id string, f Finding) Finding {
	f.Remedy, f.Command = "POST /api/cron/jobs/"+id+"/resume", "gateway-cron job resume "+id
	return f
}

func pausedFor(s job.Status, now time.Time) string {
	text := "everything is paused since " + moment(s.PausedSince.Time()) + ", for " + span(now.Sub(s.PausedSince.Time()))
	if s.PauseReason != "" {
		text += ": " + s.PauseReason
	}
	return text
}

// cursor says which slot is the next one, or why there is none.
func (s subject) cursor() Finding {
	j := s.job
	f := Finding{Level: OK, What: "next"}
	if j.NextSlot == 0 {
		switch {
		case !j.Enabled:
			f.Found = "no slot, while it is paused"
		case j.MaxRuns > 0 && j.Claims >= j.MaxRuns:
			f.Found = fmt.Sprintf("no slot: its %s are used up (maxRuns)", count(j.MaxRuns, "run"))
		case j.At != 0 && !j.Ended():
			f.Found = "no slot: its one instant, " + s.clock(j.At.Time()) + ", has its run"
		case j.At != 0:
			f.Level, f.Found = Warn, "no slot: its one instant, "+s.clock(j.At.Time())+", passed without a run"
			f.Remedy = "PATCH /api/cron/jobs/" + j.ID + " with another at, or POST /api/cron/jobs/" + j.ID + "/run"
		default:
			f.Level, f.Found = Warn, "no slot: its schedule has ended"
			f.Remedy, f.Command = "PATCH /api/cron/jobs/"+j.ID+" with another schedule or endAt", "gateway-cron job edit "+j.ID
		}
		return f
	}
	f.Found = s.clock(j.NextSlot.Time())
	if j.NextDue != j.NextSlot {
		f.Found += ", due " + s.clock(j.NextDue.Time())
	}
	if s.trace.Look == 0 {
		f.Level, f.Found = Fail, f.Found+", but the index that schedulers read does not have it"
		f.Remedy = "a scheduler mends that within minutes, and counts it among the repairs"
	}
	return f
}

func (s subject) unfinished(r job.Run) Finding {
	f := Finding{Level: OK, What: "unfinished", Found: "run " + r.ID + " " + s.progress(r)}
	if r.State == job.StateWaiting && s.now.Sub(r.NotBefore.Time()) > overdueAfter {
		f = s.because(f, forWorkers)
	}
	waits := func(why health.Reason) bool {
		return why.Code == health.MemoryTaken && slices.Contains(why.Jobs, r.JobID)
	}
	if i := slices.IndexFunc(s.report.Reasons, waits); r.State == job.StateRunning && i >= 0 {
		why := Of(s.report.Reasons[i], f.What)
		f.Level, f.Found = Warn, f.Found+"; it waits for memory: its conversation is long, and so are those of other turns in hand"
		f.Remedy, f.Command = why.Remedy, why.Command
	}
	return f
}

// progress says in words where an unfinished run is.
func (s subject) progress(r job.Run) string {
	switch r.State {
	case job.StateRunning:
		if n := len(r.Attempts); n > 0 {
			a := r.Attempts[n-1]
			return fmt.Sprintf("is in progress: attempt %d, for %s, on %s", a.N, span(s.now.Sub(a.StartedAt.Time())), a.Worker)
		}
		return "is in progress"
	case job.StateParked:
		if s.trace.Holders[r.SessionKey] == r.ID {
			return "waits for a place of its agent, which has as many runs in progress as one agent may have at once (GATEWAY_CRON_AGENT_SHARE)"
		}
		return fmt.Sprintf("waits for the session %s, which run %s holds", r.SessionKey, cmp.Or(s.trace.Holders[r.SessionKey], "(nobody any more)"))
	case job.StateQueued:
		return "waits until no other run of the job is in progress (overlap: queue_one)"
	case job.StateWaiting:
		last := ""
		if n := len(r.Attempts); n > 0 {
			last = fmt.Sprintf("; attempt %d was %s", n, attempted(r.Attempts[n-1]))
		}
		if wait := r.NotBefore.Time().Sub(s.now); wait > 0 {
			return "is tried again in " + span(wait) + last
		}
		return fmt.Sprintf("may begin, for %s already, and no worker has begun it", span(s.now.Sub(r.NotBefore.Time()))) + last
	case job.StateDone:
	}
	return "is " + string(r.State)
}

func attempted(a job.Attempt) string {
	text := string(cmp.Or(a.Result, "in progress"))
	if a.Cause != "" {
		text += " (" + string(a.Cause) + ")"
	}
	if a.Error != "" {
		text += ": " + a.Error
	}
	return text
}

// before are the last n slots of the job up to a time, oldest first, none from before it
// was created.
func (s subject) before(until time.Time, n int) []time.Time {
	created := s.job.CreatedAt.Time()
	for _, back := range []time.Duration{5 * time.Minute, time.Hour, day, 8 * day, 35 * day, 400 * day, 10 * 366 * day} {
		after := until.Add(-back)
		last := after.Before(created)
		if last {
			after = created.Add(-time.Second)
		}
		var slots []time.Time
		for {
			next, ok := s.timetable.Next(after)
			if !ok || next.After(until) {
				break
			}
			if slots = append(slots, next); len(slots) > n {
				slots = slots[1:]
			}
			after = next
		}
		if len(slots) == n || last {
			return slots
		}
	}
	return nil
}

const day = 24 * time.Hour

// at explains one time, which need not be a slot.
func (s subject) at(at time.Time) []Finding {
	at = at.Truncate(time.Second)
	if next, ok := s.timetable.Next(at.Add(-time.Second)); ok && next.Equal(at) {
		return []Finding{s.slot(at)}
	}
	if run, found := s.record(at); found { // by an earlier definition
		return []Finding{s.recorded(at, run)}
	}
	previous := s.before(at, 1)
	if len(previous) == 1 && !s.timetable.Due(previous[0]).Before(at) {
		return []Finding{s.slot(previous[0])} // still put off by the jitter
	}
	f := Finding{Level: Warn, What: s.clock(at)}
	switch j := s.job; {
	case at.Before(j.CreatedAt.Time()):
		f.Found = "the job was not there yet: it was created " + s.clock(j.CreatedAt.Time())
	case j.StartAt != 0 && at.Before(j.StartAt.Time()):
		f.Found = "its schedule begins at " + s.clock(j.StartAt.Time()) + " (startAt)"
	case j.EndAt != 0 && at.After(j.EndAt.Time()):
		f.Found = "its schedule ended at " + s.clock(j.EndAt.Time()) + " (endAt)"
	default:
		f.Found = "is no time of its schedule as it is now"
		if next, ok := s.timetable.Next(at); ok {
			f.Found += "; the next one after it is " + s.clock(next)
		}
		if j.UpdatedAt > j.CreatedAt && j.UpdatedAt.Time().After(at) {
			f.Found += "; what it was then is not kept: it was edited " + s.clock(j.UpdatedAt.Time())
		}
	}
	findings := []Finding{f}
	for _, slot := range previous {
		findings = append(findings, s.slot(slot))
	}
	return findings
}

// record is what the history has of a slot.
func (s subject) record(slot time.Time) (job.Run, bool) {
	at := job.ToMillis(slot)
	i := slices.IndexFunc(s.runs, func(r job.Run) bool {
		return r.Slot != 0 && r.Slot <= at && at <= max(r.Slot, r.LastSlot) && (s.job.UID == "" || r.JobUID == s.job.UID)
	})
	if i < 0 {
		return job.Run{}, false
	}
	return s.runs[i], true
}

// reach says how far back the history goes.
func (s subject) reach() string {
	if len(s.runs) == 0 {
		return "; there is no history"
	}
	return "; the history goes back to " + s.clock(s.runs[len(s.runs)-1].CreatedAt.Time())
}

// reaches reports whether the history is older than a slot.
func (s subject) reaches(slot time.Time) bool {
	return len(s.runs) > 0 && s.runs[len(s.runs)-1].CreatedAt.Time().Before(slot)
}

// slot explains one slot of the schedule.
func (s subject) slot(slot time.Time) Finding {
	if run, found := s.record(slot); found {
		return s.recorded(slot, run)
	}
	f := Finding{Level: Warn, What: s.name(slot)}
	j, due := s.job, s.timetable.Due(slot)
	next := j.NextSlot.Time()
	switch {
	case due.After(s.now):
		f.Level, f.Found = OK, "is not due yet: in "+span(due.Sub(s.now))
		if !due.Equal(slot) {
			f.Found += ", put off by the jitter"
		}
		switch {
		case !j.Enabled:
			f.Level, f.Found = Warn, "will not run: the job is paused"
			f = resume(j.ID, f)
		case s.status.PausedSince != 0:
			f.Level, f.Found = Warn, f.Found+"; it will not run while everything is paused"
			f.Remedy, f.Command = "POST /api/cron/all/resume", "gateway-cron resume-all"
		}
	case slot.Before(j.CreatedAt.Time()):
		f.Found = "the job was not there yet: it was created " + s.clock(j.CreatedAt.Time())
	case j.NextSlot != 0 && !slot.Before(next):
		return s.pending(slot, due)
	case slot.Before(j.UpdatedAt.Time()) && j.UpdatedAt > j.CreatedAt:
		f.Found = "has no record; the job was edited later, " + s.clock(j.UpdatedAt.Time()) +
			": if it was paused or had another schedule until then, that was no slot of it, and it is not made up for"
	case !j.Enabled:
		f.Found = "did not run: the job was paused"
		f = resume(j.ID, f)
		if j.PauseReason != "" {
			f.Found += ": " + j.PauseReason
		}
	case j.MaxRuns > 0 && j.Claims >= j.MaxRuns:
		f.Found = fmt.Sprintf("did not run: its %s were used up (maxRuns)", count(j.MaxRuns, "run"))
	case job.ToMillis(slot) <= j.LastSlot && !s.reaches(slot):
		f.Found = "was settled, but its record is no longer kept" + s.reach()
	default:
		f.Level, f.Found = Fail, "has no record, and nothing says why"+s.reach()
		f.Remedy = "was Redis restored from a backup? See the log of the schedulers around that time"
	}
	return f
}

// pending explains a slot that is due and that the cursor has not passed.
func (s subject) pending(slot, due time.Time) Finding {
	late := s.now.Sub(due)
	f := Finding{Level: OK, What: s.name(slot)}
	since, waits := "has been due for "+span(late), false // for something that will come
	switch {
	case len(s.quarantined("job:"+s.job.ID)) > 0:
		f.Level, f.Found = Fail, since+": the job's record cannot be read"
	case s.status.PausedSince != 0, job.ToMillis(due) <= s.trace.HeldUntil:
		f = Finding{Level: Warn, What: f.What, Found: since + " and does not run: everything was paused when it came due; a scheduler records it as skipped(paused)"}
	case slot.After(s.job.NextSlot.Time()):
		f.Found = since + " behind an earlier slot, " + s.clock(s.job.NextSlot.Time()) + ", which nobody has settled"
	case s.trace.Emitted:
		f.Found = since + " and in the queue; no worker has taken it"
		if len(s.trace.Unfinished) > 0 && s.job.Misfire == job.MisfireRunAll {
			waits = true
			f.Found = since + ", and caught up with when run " + s.trace.Unfinished[0].ID + " has ended (misfire: run_all)"
		}
	case s.trace.Look.Time().After(s.now):
		waits = true
		f.Found = since + " and waits for its turn in the backlog of an outage, until " + s.clock(s.trace.Look.Time())
	default:
		f.Found = since + ", and no scheduler has put it into the queue"
	}
	if f.Level == OK && late > overdueAfter && !waits {
		if s.trace.Emitted {
			return s.because(f, forWorkers)
		}
		return s.because(f, forSchedulers)
	}
	return f
}

// What keeps schedulers from putting a slot into the queue, and workers from beginning what
// stands there.
var (
	forSchedulers = []health.Code{health.RedisRefuses, health.ClockStep, health.NoScheduler}
	forWorkers    = []health.Code{health.RedisRefuses, health.ClockStep, health.NoWorker, health.QueuePaused, health.PlacesTaken, health.SlotsLate}
)

// because adds to what stands still why it does, as far as the deployment knows.
func (s subject) because(f Finding, codes []health.Code) Finding {
	f.Level, f.Remedy = Fail, "see the logs of the schedulers and workers"
	i := slices.IndexFunc(s.report.Reasons, func(r health.Reason) bool { return slices.Contains(codes, r.Code) })
	if i < 0 {
		return f
	}
	why := Of(s.report.Reasons[i], f.What)
	f.Found += ", because " + s.report.Reasons[i].Text
	f.Remedy, f.Command = why.Remedy, why.Command
	return f
}
