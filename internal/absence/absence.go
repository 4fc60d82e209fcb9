// Package absence looks for slots that should have run by the definitions of their jobs
// and that have no record: neither of a run, nor of why there was none.
//
// It is the check on those who fire, so it shares nothing with them but the arithmetic of
// schedules: it goes over the list of all jobs instead of the due index, finds each job's
// newest slot by itself, and asks the history for it. It must import nothing of ours but
// that and the domain. Times are those of Redis's clock.
package absence

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

// Store is what the check reads of the records, and where it says what is absent.
type Store interface {
	Clock(ctx context.Context) (job.Clock, error)
	// ExpectedJobs returns a page of all jobs, and the cursor of the next one; "" after the
	// last.
	ExpectedJobs(ctx context.Context, cursor string, size int) ([]job.Expected, string, error)
	// HaveRecords says of each slot whether its job's history has it, or has been trimmed
	// beyond it.
	HaveRecords(ctx context.Context, slots []job.Slot) ([]bool, error)
	// AbsentJobs are the jobs of which something is absent as far as is known.
	AbsentJobs(ctx context.Context) ([]string, error)
	// NoteAbsent says of which jobs something is absent, and of which nothing is any more.
	// It returns what was not known to be absent before.
	NoteAbsent(ctx context.Context, absent []job.Slot, present []string) ([]job.Slot, error)
}

// Options of New; zero values of the times get the defaults.
type Options struct {
	Store  Store
	Leads  func() bool // one process of the deployment checks
	Logger *slog.Logger
	// Tell is told of each slot once; may be nil.
	Tell func(ctx context.Context, absent []job.Slot)

	// After is how long after it was due a slot must have its record, or be known as late;
	// default 10 s.
	After time.Duration
	// Every is how often a pass over all jobs begins, if the one before has come to its end;
	// default 1 min.
	Every time.Duration
	// Pace is the time between two pages of a pass; default 1 s.
	Pace time.Duration
	// Page is how many jobs are looked at in a page; default 100.
	Page int
}

// lookBack bounds how old the slot may be that is looked for: records are kept for longer.
const lookBack = 8 * 24 * time.Hour

// Check goes over all jobs, again and again.
type Check struct {
	Options
	schedules *schedule.Cache
	rules     func() string // of the zones, as this process reads them

	cursor string
	began  time.Time       // the pass
	seen   map[string]bool // jobs of this pass
	known  map[string]bool // jobs of which something is absent; nil before the first page
}

// New makes a check; Run starts it.
func New(o Options) *Check {
	for field, value := range map[*time.Duration]time.Duration{&o.After: 10 * time.Second, &o.Every: time.Minute, &o.Pace: time.Second} {
		if *field == 0 {
			*field = value
		}
	}
	if o.Page == 0 {
		o.Page = 100
	}
	return &Check{Options: o, schedules: schedule.NewCache(1024), rules: sync.OnceValue(schedule.ZoneRules)}
}

// Run checks until ctx ends. It survives any outage of Redis.
func (c *Check) Run(ctx context.Context) error {
	timer := time.NewTimer(c.Pace)
	defer timer.Stop()
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		done, err := c.step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			c.Logger.Error("absence check fails", "err", err)
		case err == nil && failing:
			c.Logger.Info("absence check works again")
		}
		failing = err != nil
		wait := c.Pace
		if done || failing {
			wait = max(wait, time.Until(c.began.Add(c.Every)))
		}
		timer.Reset(wait)
	}
}

// step looks at one page, and reports whether it was the last of a pass.
func (c *Check) step(ctx context.Context) (done bool, err error) {
	if c.cursor == "" {
		c.began, c.seen = time.Now(), map[string]bool{}
	}
	if !c.Leads() {
		c.cursor, c.known = "", nil
		return true, nil
	}
	if c.known == nil {
		ids, err := c.Store.AbsentJobs(ctx)
		if err != nil {
			return false, err
		}
		c.known = map[string]bool{}
		for _, id := range ids {
			c.known[id] = true
		}
	}
	jobs, next, err := c.Store.ExpectedJobs(ctx, c.cursor, c.Page)
	if err != nil {
		return false, err
	}
	absent, err := c.absent(ctx, jobs)
	if err == nil && len(absent) > 0 {
		// Once more, with all read anew: what was claimed in between is none.
		absent, err = c.again(ctx, jobs, absent)
	}
	if err == nil {
		err = c.note(ctx, jobs, absent, next == "")
	}
	if err != nil {
		return false, err
	}
	c.cursor = next
	return next == "", nil
}

// again is which of these slots are still absent, by another reading of the same page.
func (c *Check) again(ctx context.Context, before []job.Expected, found []job.Slot) ([]job.Slot, error) {
	jobs, _, err := c.Store.ExpectedJobs(ctx, c.cursor, len(before))
	if err != nil {
		return nil, err
	}
	confirmed, err := c.absent(ctx, jobs)
	if err != nil {
		return nil, err
	}
	seen := map[job.Slot]bool{}
	for _, slot := range found {
		seen[slot] = true
	}
	var still []job.Slot
	for _, slot := range confirmed {
		if seen[slot] {
			still = append(still, slot)
		}
	}
	return still, nil
}

// absent finds the slots of a page that should have run and have no record.
func (c *Check) absent(ctx context.Context, jobs []job.Expected) ([]job.Slot, error) {
	clock, err := c.Store.Clock(ctx)
	if err != nil {
		return nil, err
	}
	since, known := c.rulesSince(clock.Check)
	if !known {
		return nil, nil
	}
	var asked []job.Slot
	for _, j := range jobs {
		j.Since = max(j.Since, since)
		if slot, expected := c.expected(j, clock.Now.Time()); expected {
			asked = append(asked, slot)
		}
	}
	have, err := c.Store.HaveRecords(ctx, asked)
	if err != nil {
		return nil, err
	}
	var absent []job.Slot
	for i, slot := range asked {
		if !have[i] {
			absent = append(absent, slot)
		}
	}
	return absent, nil
}

// rulesSince is since when those who fire follow the rules of the zones that this process
// reads: by others, what is a slot here was none. It is not known while they follow others and
// have not begun to look at the cursors.
func (c *Check) rulesSince(check job.CursorCheck) (since job.Millis, known bool) {
	switch {
	case check.Pending() && check.Why == job.CheckZones:
		return check.Since, true
	case check.Rules != "" && check.Rules != c.rules():
		return 0, false
	}
	return check.RulesAt, true
}

// expected is the newest slot of a job that must have its record by now, and false if there
// is none, or if those who fire know that they owe it: then it is late, and told as that.
func (c *Check) expected(j job.Expected, now time.Time) (job.Slot, bool) {
	if !j.Enabled || j.Newer || j.Spent {
		return job.Slot{}, false
	}
	timetable, err := c.schedules.Timetable(j.Timing)
	if err != nil {
		return job.Slot{}, false // a record that cannot be read is told by others
	}
	slot, found := newest(timetable, j.Since.Time(), now.Add(-c.After))
	if !found {
		return job.Slot{}, false
	}
	at := job.ToMillis(slot)
	owed := j.NextSlot != 0 && j.NextSlot <= at && j.Look != 0 && j.Look.Time().Before(now.Add(lookSoon))
	return job.Slot{JobID: j.ID, At: at}, !owed
}

// lookSoon is how far ahead the next look at a job may lie whose slot is overdue: those of a
// backlog are spread over the minutes after an outage.
const lookSoon = time.Hour

// newest is the last slot after since that was due by then.
func newest(timetable *schedule.Timetable, since, by time.Time) (slot time.Time, found bool) {
	for _, back := range []time.Duration{5 * time.Minute, time.Hour, 24 * time.Hour, lookBack} {
		after := by.Add(-back)
		last := after.Before(since)
		if last {
			after = since
		}
		for {
			next, ok := timetable.Next(after)
			if !ok || timetable.Due(next).After(by) {
				break
			}
			slot, found, after = next, true, next
		}
		if found || last {
			break
		}
	}
	return slot, found
}

// note writes down what was found of a page; after the last, also that of jobs which are
// gone nothing is absent.
func (c *Check) note(ctx context.Context, jobs []job.Expected, absent []job.Slot, last bool) error {
	is := map[string]bool{}
	for _, slot := range absent {
		is[slot.JobID] = true
	}
	var present []string
	for _, j := range jobs {
		c.seen[j.ID] = true
		if c.known[j.ID] && !is[j.ID] {
			present = append(present, j.ID)
		}
	}
	for id := range c.known {
		if last && !c.seen[id] {
			present = append(present, id)
		}
	}
	if len(absent) == 0 && len(present) == 0 && !last {
		return nil
	}
	fresh, err := c.Store.NoteAbsent(ctx, absent, present)
	if err != nil {
		return err
	}
	for _, id := range present {
		delete(c.known, id)
	}
	for _, slot := range absent {
		c.known[slot.JobID] = true
	}
	for _, slot := range fresh {
		c.Logger.Error("slot has no record", "job_id", slot.JobID, "slot", slot.At.Time())
	}
	if len(fresh) > 0 && c.Tell != nil {
		c.Tell(ctx, fresh)
	}
	return nil
}
