package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

const (
	// editTries bounds how often an edit is applied again to a job that changes
	// under it (each claim of a slot is such a change when the cursor is set).
	editTries = 20
	// maxUnfinishedRuns bounds the unfinished runs of one job, which manual runs
	// could otherwise pile up without end.
	maxUnfinishedRuns = 100
	// maxPassedSlots bounds the walk over due slots that an edit passes over: a month of
	// every minute. It takes a fraction of a second: an edit whose next slot has passed by
	// the time that it is made is made again.
	maxPassedSlots = 50_000
)

// CreateJob stores a new job with its first slot after now. An empty id is
// replaced by a generated one; that of a job that has ended is free. The spec must be valid. With the Once of a request that
// made a job already, it returns that job. Errors: job.ErrExists, job.ErrOtherRequest,
// *job.SpentError, job.ErrJobQuota, *job.OutOfScopeError, and of a job that is made in a run
// *job.InRunError.
func (s *Store) CreateJob(ctx context.Context, id string, spec job.Spec, once ...job.Once) (job.Job, error) {
	if id == "" {
		id = "job_" + strings.ToLower(ulid.Make().String())
	}
	if err := s.permits(ctx, job.TokenOf(ctx), id, nil, spec); err != nil {
		return job.Job{}, err
	}
	if err := s.learnAgents(ctx); err != nil {
		return job.Job{}, fmt.Errorf("create job %s: %w", id, err)
	}
	if err := s.permitsInRun(ctx, id, nil, spec); err != nil {
		return job.Job{}, fmt.Errorf("create job %s: %w", id, err)
	}
	uid := newToken()
	for range editTries {
		now, err := s.Now(ctx)
		if err != nil {
			return job.Job{}, fmt.Errorf("create job %s: %w", id, err)
		}
		start := spec.AnchorAt(now)
		next, err := s.firstSlot(id, spec, start, now)
		if err != nil {
			return job.Job{}, fmt.Errorf("create job %s: %w", id, err)
		}
		fields := specFields(id, spec)
		note := creation(id, fields)
		fields["anchor"] = positive(int64(start))
		said, j, err := s.put(ctx, put{
			id: id, mode: "create", origin: job.OriginOf(ctx), uid: uid, token: uid, cursor: cursorSet, next: next, fields: fields,
			note: note, once: onceOf(once), agent: spec.ResolveAgent(),
		})
		switch {
		case err != nil:
			return job.Job{}, fmt.Errorf("create job %s: %w", id, err)
		case said == saidSame && !job.TokenOf(ctx).Owns(j.ID, j.Spec):
			return job.Job{}, &job.SpentError{ID: j.ID}
		case said == saidOK, said == saidSame:
			return j, nil
		}
		// late: the slot became due between the look at the clock and the script.
	}
	return job.Job{}, fmt.Errorf("create job %s: %w", id, job.ErrConflict)
}

// UpdateJob applies edit to the job's newest definition and stores the result,
// which must be valid. An edit that leaves the slots alone leaves the cursor
// alone, and one that leaves the conversation alone the session. If the job changes
// meanwhile, edit is called again on the newer definition, and so are the checks, each
// time before it. Errors: job.ErrNotFound, job.ErrConflict, job.ErrNewerVersion,
// job.ErrJobQuota (of a job that had ended and counts again), *job.OutOfScopeError,
// *job.InRunError, and whatever edit and the checks return.
func (s *Store) UpdateJob(ctx context.Context, id string, edit func(job.Spec) (job.Spec, error),
	checks ...func(job.Job) error) (job.Job, error) {
	token := newToken()
	for range editTries {
		old, now, err := s.jobAndTime(ctx, id)
		if err != nil {
			return job.Job{}, fmt.Errorf("update job %s: %w", id, err)
		}
		if err := passes(old, checks); err != nil {
			return job.Job{}, err
		}
		spec, err := edit(old.Spec)
		spec = spec.EditOf(old.Spec)
		if err == nil {
			err = s.permits(ctx, job.TokenOf(ctx), id, &old.Spec, spec)
		}
		if err == nil {
			err = s.permitsInRun(ctx, id, &old.Spec, spec)
		}
		if err != nil {
			return job.Job{}, err
		}
		was, is := specFields(id, old.Spec), specFields(id, spec)
		p := put{id: id, mode: "edit", uid: old.UID, token: token, rev: old.Revision, seen: old.NextSlot,
			cursor: cursorKeep, fields: changed(was, is), note: edition(was, is), origin: job.Origin{Run: job.OriginOf(ctx).Run}}
		if agent := spec.ResolveAgent(); agent != old.ResolveAgent() {
			if err := s.learnAgents(ctx); err != nil {
				return job.Job{}, fmt.Errorf("update job %s: %w", id, err)
			}
			p.agent = agent
		}
		if spec.Enabled && !old.Enabled { // the next failure is the first again
			p.fields["failures"], p.fields["alertedAt"], p.fields["disabledAt"] = "", "", ""
		}
		if err := s.editCursor(&p, old, spec, now); err != nil {
			return job.Job{}, fmt.Errorf("update job %s: %w", id, err)
		}
		said, j, err := s.put(ctx, p)
		switch {
		case err != nil:
			return job.Job{}, fmt.Errorf("update job %s: %w", id, err)
		case said == saidOK:
			return j, nil
		}
	}
	return job.Job{}, fmt.Errorf("update job %s: %w", id, job.ErrConflict)
}

// editCursor says what an edit of a job at now does with its cursor. What leaves the slots
// as they are moves none that is due, and only another EverySeconds or StartAt begins to
// count anew. Errors: *job.InvalidError.
func (s *Store) editCursor(p *put, old job.Job, spec job.Spec, now time.Time) error {
	used := spec.MaxRuns > 0 && old.Claims >= spec.MaxRuns
	if spec.MaxRuns != old.MaxRuns {
		if used {
			return &job.InvalidError{Problems: []job.Problem{{Field: "maxRuns",
				Detail:  fmt.Sprintf("must be more than the %d runs the job has had", old.Claims),
				Example: strconv.Itoa(old.Claims + 1)}}}
		}
		p.cursor = cursorCheck // a claim meanwhile would count
	}
	switch {
	case !spec.SameSlots(old.Spec):
		// Of a job for one instant that is claimed, there is no other slot.
		if old.NextSlot == 0 && spec.Enabled && old.Enabled && spec.At != 0 && spec.At == old.At {
			return nil
		}
	case p.cursor != cursorCheck || old.NextSlot != 0:
		return nil
	}
	p.cursor = cursorSet
	var err error
	if p.passed, err = s.passedSlots(old, now); err != nil {
		return err
	}
	start := old.Anchor
	if spec.MovesAnchor(old.Spec) {
		start = spec.AnchorAt(now)
		p.fields["anchor"] = positive(int64(start))
	}
	if spec.At != old.At && spec.At != 0 {
		p.fields["claims"] = "" // another instant, another run
	}
	if p.passed.Count > 0 && old.Enabled && spec.Enabled && !used {
		stays, err := s.dueSlotStays(p, old, spec, start, now)
		if err != nil || stays {
			return err
		}
	}
	p.reason = job.ReasonEdited
	if !spec.Enabled || !old.Enabled { // the failure that disabled it may have left a due slot
		p.reason = job.ReasonDisabled
	}
	after := now
	if last := max(old.LastSlot, p.passed.Last); last.Time().After(after) {
		after = last.Time()
	}
	if !used {
		p.next, err = s.firstSlot(p.id, spec, start, after)
	}
	return err
}

// dueSlotStays reports whether the slots whose time has come, which were not claimed yet,
// are slots by the new definition too. Then the cursor stays on the first of them, and so
// does when that is due, if it is.
func (s *Store) dueSlotStays(p *put, old job.Job, spec job.Spec, anchor job.Millis, now time.Time) (bool, error) {
	before, err := s.schedules.Timetable(old.Timing(old.ID, old.Anchor))
	if _, broken := errors.AsType[*schedule.ParseError](err); broken {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	after, err := s.schedules.Timetable(spec.Timing(p.id, anchor))
	if err != nil {
		return false, err
	}
	first, last := old.NextSlot, p.passed.Last
	if !before.SameSlots(after) || spec.StartAt > first || spec.EndAt != 0 && spec.EndAt < last {
		return false, nil
	}
	p.passed = passed{Next: p.passed.Next}
	if old.NextDue.Time().After(now) { // put off by a jitter that may be another now
		due := later(after.Due(first.Time()), now)
		p.next = slot{At: first, Due: job.ToMillis(due)}
	} else {
		p.passed, p.cursor = passed{}, cursorCheck
	}
	return true, nil
}

// DeleteJob removes a job. Runs under way finish; waiting ones are cancelled when
// they come to begin; history stays readable. The checks are asked about the job as it
// is removed. Errors: job.ErrNotFound, job.ErrConflict, job.ErrNewerVersion, and whatever
// the checks return.
func (s *Store) DeleteJob(ctx context.Context, id string, checks ...func(job.Job) error) error {
	_, err := s.deleteJob(ctx, id, "", checks)
	return err
}

// DeleteJobAndRuns is DeleteJob, and cancels the unfinished runs of the job in the same
// step, those under way included; it returns how many. What waited behind them begins
// with the next look.
func (s *Store) DeleteJobAndRuns(ctx context.Context, id string, checks ...func(job.Job) error) (job.Stopped, error) {
	return s.deleteJob(ctx, id, "1", checks)
}

func (s *Store) deleteJob(ctx context.Context, id, cancelRuns string, checks []func(job.Job) error) (job.Stopped, error) {
	token := newToken()
	for range editTries {
		f, old, err := s.whatIsLeft(ctx, id)
		if err != nil {
			return job.Stopped{}, fmt.Errorf("delete job %s: %w", id, err)
		}
		now, err := s.Now(ctx)
		if err != nil {
			return job.Stopped{}, fmt.Errorf("delete job %s: %w", id, err)
		}
		if err := passes(old, checks); err != nil {
			return job.Stopped{}, err
		}
		passed, err := s.passedSlots(old, now)
		if err != nil {
			return job.Stopped{}, fmt.Errorf("delete job %s: %w", id, err)
		}
		// The cursor and the revision as they stand there: what is garbled would never be
		// what it is read as.
		said, rest, err := s.durably(ctx, s.scripts.deleteJob, id, old.UID, f["nextSlot"],
			optional(passed.First), optional(passed.Last), passed.Count, optional(passed.Next),
			f["rev"], cancelRuns, job.ActorOf(ctx), deletion(id, specFields(id, old.Spec)).before, token)
		switch {
		case err != nil:
			return job.Stopped{}, fmt.Errorf("delete job %s: %w", id, err)
		case said == saidOK && len(rest) == 2:
			return job.Stopped{Runs: int(number(rest[0])), AbandonedTurns: int(number(rest[1]))}, nil
		}
		// Changed or gone since it was read: the next look says what there is.
	}
	return job.Stopped{}, fmt.Errorf("delete job %s: %w", id, job.ErrConflict)
}

// whatIsLeft reads a job that is to be deleted, as Job does, and the fields that it was read
// of. Of a record that is damaged so far that there is no job in it, the administrator gets
// the rest.
func (s *Store) whatIsLeft(ctx context.Context, id string) (fields, job.Job, error) {
	f, err := s.jobFields(ctx, id)
	if err == nil {
		var j job.Job
		if j, err = decodeJob(id, f); err == nil || !errors.Is(err, job.ErrNotFound) {
			return f, j, err
		}
	}
	if job.TokenOf(ctx) != nil || len(f) == 0 && !wrongType(err) {
		return nil, job.Job{}, err
	}
	return f, job.Job{ID: id}, nil
}

// passes asks each check about a job.
func passes(j job.Job, checks []func(job.Job) error) error {
	for _, check := range checks {
		if err := check(j); err != nil {
			return err
		}
	}
	return nil
}

// RunJob starts a manual run, which ignores enabled, overlap and maxRuns, and
// returns its id. With the Once of a request that started a run already, it returns that
// one. Errors: job.ErrNotFound, job.ErrTooMany, job.ErrPaused, job.ErrOtherRequest,
// *job.SpentError.
func (s *Store) RunJob(ctx context.Context, id string, once ...job.Once) (job.Job, string, error) {
	run := id + ":manual:" + ulid.Make().String()
	first := onceOf(once)
	said, rest, err := s.durably(ctx, s.scripts.runNow, "job", id, "run", run, "most", maxUnfinishedRuns, "actor", job.ActorOf(ctx),
		"key", first.Key, "print", first.Print, "token", tokenID(ctx), "agent", job.TokenOf(ctx).Agent(), "session", job.TokenOf(ctx).Session())
	if err == nil {
		run, rest, err = s.scripts.runNow.firstMade(said, run, rest)
	}
	switch {
	case err != nil:
		return job.Job{}, "", fmt.Errorf("run job %s: %w", id, err)
	case said == saidGone:
		return job.Job{}, "", fmt.Errorf("run job %s: %w", id, s.missing(ctx, id))
	}
	j, err := answeredJob(id, rest)
	if err != nil {
		return job.Job{}, "", fmt.Errorf("run job %s: %w", id, err)
	}
	return j, run, nil
}

// Job reads one job; of another than the caller's it knows nothing. Errors: job.ErrNotFound,
// which is a *job.GoneError of one that has had its runs, and job.ErrNewerVersion.
func (s *Store) Job(ctx context.Context, id string) (job.Job, error) {
	f, err := s.jobFields(ctx, id)
	if err != nil {
		return job.Job{}, fmt.Errorf("read job %s: %w", id, err)
	}
	j, err := decodeJob(id, f)
	if err != nil {
		return job.Job{}, fmt.Errorf("read job %s: %w", id, err)
	}
	return j, nil
}

// jobFields reads the record of a job that the caller may see; errors are those of Job.
func (s *Store) jobFields(ctx context.Context, id string) (fields, error) {
	f, err := s.client(ctx).HGetAll(ctx, s.keys.job(id)).Result()
	switch {
	case err != nil:
		return nil, err
	case len(f) == 0:
		return nil, s.missing(ctx, id)
	case !pass(jobScope(ctx), f):
		return nil, job.ErrNotFound
	}
	return f, nil
}

// cursorMode says what an edit does with the cursor.
type cursorMode string

const (
	cursorKeep  cursorMode = "keep"  // leaves it alone
	cursorCheck cursorMode = "check" // leaves it alone, and it must not have moved
	cursorSet   cursorMode = "set"
)

// put is one call of put_job.
type put struct {
	id, mode, uid, token string
	rev                  int64
	seen                 job.Millis // the cursor as it was read
	cursor               cursorMode
	next                 slot
	passed               passed
	reason               string
	fields               map[string]string
	note                 note
	once                 job.Once
	agent                string     // that is to have it, unless it has it already
	origin               job.Origin // of a new job; of an edit, the run that asks for it
}

func (s *Store) put(ctx context.Context, p put) (word, job.Job, error) {
	args := []any{"job", p.id, "mode", p.mode, "uid", p.uid, "token", p.token, "revision", p.rev, "seen", optional(p.seen),
		"cursor", string(p.cursor), "next", optional(p.next.At), "due", optional(p.next.Due), "reason", p.reason,
		"first", optional(p.passed.First), "last", optional(p.passed.Last), "count", p.passed.Count, "after", optional(p.passed.Next),
		"actor", job.ActorOf(ctx), "action", p.note.action, "was", p.note.before, "becomes", p.note.after,
		"key", p.once.Key, "print", p.once.Print, "caller", tokenID(ctx), "quota", jobQuota(ctx),
		"agent", job.TokenOf(ctx).Agent(), "session", job.TokenOf(ctx).Session(),
		"run", p.origin.Run, "made_in", p.origin.MadeBy, "makes", job.MaxMadeJobs}
	for name, value := range p.fields {
		args = append(args, "="+name, value)
	}
	if p.agent != "" {
		id, folds, stems := agentArgs(p.agent)
		args = append(args, "new_agent", id, "folds", folds, "stems", stems)
	}
	said, rest, err := s.durably(ctx, s.scripts.putJob, args...)
	if err == nil && said == saidInRun && len(rest) == 1 {
		err = &job.InRunError{Code: job.InRunCode(text(rest[0])), Run: p.origin.Run}
	}
	if err == nil {
		p.id, rest, err = s.scripts.putJob.firstMade(said, p.id, rest)
	}
	if err != nil || (said != saidOK && said != saidSame) {
		return said, job.Job{}, err
	}
	j, err := answeredJob(p.id, rest)
	return said, j, err
}

// answeredJob reads the job that a script returns after its word.
func answeredJob(id string, rest []any) (job.Job, error) {
	if len(rest) != 1 {
		return job.Job{}, fmt.Errorf("script answered %d values instead of a job", len(rest))
	}
	f, err := flatFields(rest[0])
	if err != nil {
		return job.Job{}, err
	}
	return decodeJob(id, f)
}

// jobAndTime reads a job and, after it, the clock of Redis.
func (s *Store) jobAndTime(ctx context.Context, id string) (job.Job, time.Time, error) {
	j, err := s.Job(ctx, id)
	if err != nil {
		return job.Job{}, time.Time{}, err
	}
	now, err := s.Now(ctx)
	return j, now, err
}

// slot is a slot and when it is due; the zero value is none.
type slot struct{ At, Due job.Millis }

// firstSlot is the job's first slot after the given time, none if it is not enabled. A
// timing that has none at all is refused: nothing would ever run.
func (s *Store) firstSlot(id string, spec job.Spec, anchor job.Millis, after time.Time) (slot, error) {
	if !spec.Enabled {
		return slot{}, nil
	}
	tt, err := s.schedules.Timetable(spec.Timing(id, anchor))
	if err != nil {
		return slot{}, err
	}
	next, ok := tt.Next(after)
	switch {
	case ok:
		return slot{job.ToMillis(next), job.ToMillis(tt.Due(next))}, nil
	case spec.At != 0:
		return slot{}, &job.InvalidError{Problems: []job.Problem{{Field: "at", Detail: "is over already",
			Example: strconv.Quote(after.Add(time.Hour).Truncate(time.Second).Format(time.RFC3339))}}}
	case spec.EndAt != 0:
		return slot{}, &job.InvalidError{Problems: []job.Problem{{Field: "endAt", Detail: "leaves no slot to run",
			Example: strconv.Quote(after.AddDate(0, 1, 0).Truncate(time.Second).Format(time.RFC3339))}}}
	default:
		return slot{}, nil
	}
}

// passed is a range of slots that will not run, and the slot that comes after it.
type passed struct {
	First, Last job.Millis
	Count       int
	Next        job.Millis
}

// passedSlots are the unclaimed slots of a job whose time has come, due or still put
// off by the jitter.
func (s *Store) passedSlots(j job.Job, now time.Time) (passed, error) {
	if j.DisabledAt != 0 {
		p, err := s.passedUntil(j, j.DisabledAt.Time())
		p.Next = 0
		return p, err
	}
	return s.passedUntil(j, now)
}

func (s *Store) passedUntil(j job.Job, now time.Time) (passed, error) {
	if j.NextSlot == 0 || j.NextSlot.Time().After(now) {
		return passed{Next: j.NextSlot}, nil
	}
	p := passed{First: j.NextSlot, Last: j.NextSlot, Count: 1}
	timing := j.Timing(j.ID, j.Anchor)
	timing.Jitter = 0
	tt, err := s.schedules.Timetable(timing)
	if _, broken := errors.AsType[*schedule.ParseError](err); broken {
		// A damaged definition must not keep its job from being edited or deleted.
		return p, nil
	}
	if err != nil {
		return passed{}, err
	}
	_, last, count, more := tt.Passed(j.NextSlot.Time(), now, maxPassedSlots)
	if count > 0 {
		p.Last, p.Count = job.ToMillis(last), 1+count
	}
	after := p.Last.Time()
	if more { // than are counted; the slot after them all is none of these
		after = now
	}
	if next, ok := tt.Next(after); ok {
		p.Next = job.ToMillis(next)
	}
	return p, nil
}

// changed are the fields of b that differ from a.
func changed(a, b map[string]string) map[string]string {
	diff := map[string]string{}
	for name, value := range b {
		if a[name] != value {
			diff[name] = value
		}
	}
	return diff
}

// optional renders a time as a script argument; 0 is "none".
func optional(m job.Millis) string {
	if m == 0 {
		return ""
	}
	return strconv.FormatInt(int64(m), 10)
}
