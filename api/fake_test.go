package api_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// fakeStore is a test fake of the three stores: maps, no next-slot arithmetic,
// no concurrency. Setting err makes every call fail with it.
type fakeStore struct {
	err      error
	jobs     map[string]job.Job
	runs     map[string][]job.Run // by job id, newest first
	sessions map[string]job.Session
	status   job.Status
	upcoming job.Upcoming

	jobFilter job.JobFilter // asked for last
	runFilter job.RunFilter

	abandoned int // turns that a cancel of several runs leaves behind

	calls   []string   // the operations asked for, in order
	limits  []int      // the limits asked for, in order
	replays int        // how often UpdateJob runs its edit again
	running sync.Mutex // RunJob can be called by several at once
	manual  int        // manual runs so far
	// meanwhile changes a job under the next edit, which is done again then.
	meanwhile func()
	onces     map[string]fakeOnce
	audit     []job.Audited // newest first
}

// fakeOnce is what became of a request with a key.
type fakeOnce struct{ print, made string }

func newFakeStore() *fakeStore {
	return &fakeStore{onces: map[string]fakeOnce{}, jobs: map[string]job.Job{}, runs: map[string][]job.Run{}, sessions: map[string]job.Session{}}
}

func (f *fakeStore) called(op, key string) error {
	f.calls = append(f.calls, op+" "+key)
	if f.err != nil {
		return fmt.Errorf("%s %s: %w", op, key, f.err)
	}
	return nil
}

func (f *fakeStore) CreateJob(ctx context.Context, id string, spec job.Spec, once ...job.Once) (job.Job, error) {
	if err := f.called("create", id); err != nil {
		return job.Job{}, err
	}
	if first, err := f.first(once); first != "" || err != nil {
		return f.jobs[first], err
	}
	if _, ok := f.jobs[id]; ok {
		return job.Job{}, fmt.Errorf("create job %s: %w", id, job.ErrExists)
	}
	if id == "" {
		id = "job" + strconv.Itoa(len(f.jobs)+1)
	}
	j := job.Job{Spec: spec, ID: id, UID: "UIDOF" + id, Revision: 1, CreatedAt: nowMillis, UpdatedAt: nowMillis,
		MadeBy: job.OriginOf(ctx).MadeBy}
	if spec.Enabled {
		j.NextSlot = slotMillis
	}
	f.jobs[id] = j
	f.remember(once, id)
	return j, nil
}

// first is what a request made when it came before, "" if it did not.
func (f *fakeStore) first(once []job.Once) (string, error) {
	if len(once) == 0 {
		return "", nil
	}
	before, ok := f.onces[once[0].Key]
	if ok && before.print != once[0].Print {
		return "", job.ErrOtherRequest
	}
	if j, _, _ := strings.Cut(before.made, ":"); ok && f.jobs[j].ID == "" {
		return "", &job.SpentError{ID: before.made}
	}
	return before.made, nil
}

func (f *fakeStore) remember(once []job.Once, made string) {
	if len(once) > 0 {
		f.onces[once[0].Key] = fakeOnce{once[0].Print, made}
	}
}

func (f *fakeStore) UpdateJob(_ context.Context, id string, edit func(job.Spec) (job.Spec, error), checks ...func(job.Job) error) (job.Job, error) {
	if err := f.called("update", id); err != nil {
		return job.Job{}, err
	}
	j, ok := f.jobs[id]
	if !ok {
		return job.Job{}, job.ErrNotFound
	}
	again := f.replays
	for n := 0; n <= again; n++ {
		for _, check := range checks {
			if err := check(f.jobs[id]); err != nil {
				return job.Job{}, err
			}
		}
		spec, err := edit(f.jobs[id].Spec)
		if err != nil {
			return job.Job{}, fmt.Errorf("update job %s: %w", id, err)
		}
		j.Spec = spec
		if f.meanwhile != nil {
			f.meanwhile()
			f.meanwhile, again = nil, again+1
		}
	}
	j.Revision++
	if !j.Enabled {
		j.NextSlot = 0
	}
	f.jobs[id] = j
	return j, nil
}

func (f *fakeStore) DeleteJob(_ context.Context, id string, checks ...func(job.Job) error) error {
	if err := f.called("delete", id); err != nil {
		return err
	}
	j, ok := f.jobs[id]
	if !ok {
		return fmt.Errorf("delete job %s: %w", id, job.ErrNotFound)
	}
	for _, check := range checks {
		if err := check(j); err != nil {
			return err
		}
	}
	delete(f.jobs, id)
	return nil
}

func (f *fakeStore) DeleteJobAndRuns(ctx context.Context, id string, checks ...func(job.Job) error) (job.Stopped, error) {
	if err := f.DeleteJob(ctx, id, checks...); err != nil {
		return job.Stopped{}, err
	}
	f.calls = append(f.calls, "cancel runs of "+id)
	return job.Stopped{Runs: 2, AbandonedTurns: f.abandoned}, nil
}

func (f *fakeStore) Job(_ context.Context, id string) (job.Job, error) {
	if err := f.called("get", id); err != nil {
		return job.Job{}, err
	}
	j, ok := f.jobs[id]
	if !ok {
		return job.Job{}, fmt.Errorf("job %s: %w", id, job.ErrNotFound)
	}
	return j, nil
}

func (f *fakeStore) FindJobs(_ context.Context, filter job.JobFilter, cursor string, limit int) ([]job.Job, string, error) {
	f.limits = append(f.limits, limit)
	f.jobFilter = filter
	if err := f.called("list", cursor); err != nil {
		return nil, "", err
	}
	all := make([]job.Job, 0, len(f.jobs))
	for _, id := range slices.Sorted(maps.Keys(f.jobs)) {
		all = append(all, f.jobs[id])
	}
	return fakePage(all, cursor, limit)
}

func (f *fakeStore) Upcoming(_ context.Context, within time.Duration, limit int) (job.Upcoming, error) {
	f.limits = append(f.limits, limit)
	return f.upcoming, f.called("upcoming", within.String())
}

func (f *fakeStore) RunJob(_ context.Context, id string, once ...job.Once) (job.Job, string, error) {
	f.running.Lock()
	defer f.running.Unlock()
	if err := f.called("run", id); err != nil {
		return job.Job{}, "", err
	}
	j, ok := f.jobs[id]
	if !ok {
		return job.Job{}, "", job.ErrNotFound
	}
	run, err := f.first(once)
	if err == nil && run == "" {
		f.manual++
		run = fmt.Sprintf("%s:manual:01JABCDE%d", id, f.manual)
		f.remember(once, run)
	}
	return j, run, err
}

func (f *fakeStore) FindRuns(_ context.Context, filter job.RunFilter, cursor string, limit int) ([]job.Run, string, error) {
	f.limits = append(f.limits, limit)
	f.runFilter = filter
	if err := f.called("runs", filter.JobID); err != nil {
		return nil, "", err
	}
	runs, ok := f.runs[filter.JobID]
	if !ok {
		return nil, "", job.ErrNotFound
	}
	return fakePage(runs, cursor, limit)
}

func (f *fakeStore) Run(_ context.Context, id string) (job.Run, error) {
	if err := f.called("getrun", id); err != nil {
		return job.Run{}, err
	}
	for _, runs := range f.runs {
		for _, r := range runs {
			if r.ID == id {
				return r, nil
			}
		}
	}
	return job.Run{}, job.ErrNotFound
}

func (f *fakeStore) CancelRun(_ context.Context, id string) error {
	return f.change("cancel", id, job.ErrEnded, func(r *job.Run) bool {
		open := r.State != job.StateDone
		r.State, r.Outcome, r.Reason = job.StateDone, job.Cancelled, job.ReasonRequested
		return open
	})
}

func (f *fakeStore) Redeliver(_ context.Context, id string, _ ...job.Once) error {
	return f.change("redeliver", id, job.ErrNoReply, func(r *job.Run) bool {
		r.DeliveryState = job.DeliveryPending
		return r.Reply != ""
	})
}

// change does something with a run, or answers why it may not.
func (f *fakeStore) change(op, id string, refused error, do func(*job.Run) bool) error {
	if err := f.called(op, id); err != nil {
		return err
	}
	for _, runs := range f.runs {
		for i := range runs {
			if r := runs[i]; r.ID == id {
				if !do(&r) {
					return refused
				}
				runs[i] = r
				return nil
			}
		}
	}
	return job.ErrNotFound
}

func (f *fakeStore) ReadSession(_ context.Context, key, cursor string, limit, _ int) (job.Session, string, error) {
	f.limits = append(f.limits, limit)
	if err := f.called("session", key); err != nil {
		return job.Session{}, "", err
	}
	s, ok := f.sessions[key]
	if !ok {
		return job.Session{}, "", job.ErrNotFound
	}
	var next string
	var err error
	s.Messages, next, err = fakePage(s.Messages, cursor, limit)
	return s, next, err
}

func (f *fakeStore) Pause(_ context.Context, reason string) error {
	if err := f.called("pause", reason); err != nil {
		return err
	}
	f.status.PausedSince, f.status.PauseReason = nowMillis, reason
	return nil
}

func (f *fakeStore) CancelPaused(context.Context) (int, error) {
	if err := f.called("cancel", "all"); err != nil {
		return 0, err
	}
	n := f.status.Unfinished
	f.status.Unfinished, f.status.AbandonedTurns = 0, f.status.AbandonedTurns+f.abandoned
	return n, nil
}

func (f *fakeStore) Resume(context.Context) (job.Millis, error) {
	if err := f.called("resume", "all"); err != nil {
		return 0, err
	}
	since := f.status.PausedSince
	f.status.PausedSince, f.status.PauseReason, f.status.AbandonedTurns = 0, "", 0
	return since, nil
}

func (f *fakeStore) Status(context.Context) (job.Status, error) {
	return f.status, f.called("status", "")
}

func (f *fakeStore) Now(context.Context) (time.Time, error) { return now, f.called("now", "") }

func (f *fakeStore) Trace(_ context.Context, j job.Job) (job.Trace, error) {
	return job.Trace{Look: j.NextSlot}, f.called("trace", j.ID)
}

func (f *fakeStore) Runs(_ context.Context, id, cursor string, limit int) ([]job.Run, string, error) {
	if err := f.called("runs", id); err != nil {
		return nil, "", err
	}
	return fakePage(f.runs[id], cursor, limit)
}

func (f *fakeStore) Audit(_ context.Context, target, cursor string, limit int) ([]job.Audited, string, error) {
	f.limits = append(f.limits, limit)
	if err := f.called("audit", target); err != nil {
		return nil, "", err
	}
	return fakePage(f.audit, cursor, limit)
}

// fakePage uses the offset as its cursor.
func fakePage[T any](all []T, cursor string, limit int) ([]T, string, error) {
	from := 0
	if cursor != "" {
		n, err := strconv.Atoi(cursor)
		if err != nil || n < 0 || n > len(all) {
			return nil, "", &job.InvalidError{Problems: []job.Problem{{Field: "cursor", Detail: "is none of ours"}}}
		}
		from = n
	}
	to := min(from+limit, len(all))
	next := ""
	if to < len(all) {
		next = strconv.Itoa(to)
	}
	return all[from:to], next, nil
}
