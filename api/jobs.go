package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

const (
	defaultJobsPage = 50
	maxJobsPage     = 200
)

func (s *server) createJob(w http.ResponseWriter, r *http.Request) error {
	body, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	once, err := readOnce(r, body)
	if err != nil {
		return err
	}
	in, err := decodeObject(body, namedJobShape, nullIsAbsent)
	if err != nil {
		return err
	}
	said := namedJob{Spec: job.Spec{Enabled: true}}
	in.apply(&said)
	tokens, err := s.tokensOf(r.Context())
	if err != nil {
		return err
	}
	id, problems := said.newID()
	for _, t := range tokens {
		t.Fill(&said.Spec)
		problems = append(problems, s.tooOften(t, said.Spec)...)
	}
	if err := in.check(append(problems, s.problems(said.Spec)...)); err != nil {
		return err
	}
	j, err := s.Jobs.CreateJob(r.Context(), id, normalised(said.Spec), once...)
	switch {
	case errors.Is(err, job.ErrExists):
		return taken(id)
	case err != nil:
		return in.respell(err)
	}
	w.Header().Set("Location", "/api/cron/jobs/"+url.PathEscape(j.ID))
	return s.writeJob(w, http.StatusCreated, j)
}

func (s *server) listJobs(w http.ResponseWriter, r *http.Request) error {
	var filter job.JobFilter
	page, err := readPage(r, defaultJobsPage, maxJobsPage, jobFilters(&filter)...)
	if err == nil {
		err = checkWindow("nextAfter", filter.NextAfter, "nextBefore", filter.NextBefore)
	}
	if err != nil {
		return err
	}
	jobs, next, err := s.Find.FindJobs(r.Context(), filter, page.cursor, page.limit)
	if err != nil {
		return err
	}
	list := jobList{Jobs: make([]jobView, len(jobs)), NextCursor: next}
	for i, j := range jobs {
		list.Jobs[i] = leanJob(j)
	}
	return writeJSON(w, http.StatusOK, list)
}

func (s *server) getJob(w http.ResponseWriter, r *http.Request) error {
	id, err := jobID(r)
	if err != nil {
		return err
	}
	j, err := s.Jobs.Job(r.Context(), id)
	if err != nil {
		return err
	}
	if now := s.tagOf(j); unchanged(r, now) {
		w.Header().Set("ETag", now.String())
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return s.writeJob(w, http.StatusOK, j)
}

// patchJob changes the fields that are sent and leaves the others.
func (s *server) patchJob(w http.ResponseWriter, r *http.Request) error {
	id, err := jobID(r)
	if err != nil {
		return err
	}
	checks, err := s.readIfMatch(r)
	if err != nil {
		return err
	}
	in, err := readObject(s, w, r, namedJobShape, nullClears)
	if err != nil {
		return err
	}
	var said namedJob
	in.apply(&said)
	if wrong := said.oldID(id); len(wrong) > 0 {
		return in.check(wrong)
	}
	if len(in.problems) == 0 && (len(in.set) == 0 || len(in.set) == 1 && said.id != nil) {
		return invalid("body", "names no field to change", `{"enabled":false}`)
	}
	tokens, err := s.tokensOf(r.Context())
	if err != nil {
		return err
	}
	var refused error // by the last call of the edit
	j, err := s.Jobs.UpdateJob(r.Context(), id, func(before job.Spec) (job.Spec, error) {
		said := namedJob{Spec: before}
		in.apply(&said)
		after := replaceTiming(in.sent, said.Spec).EditOf(before)
		found := s.problems(after)
		for _, t := range tokens {
			if !after.SameTiming(before) {
				found = append(found, s.tooOften(t, after)...)
			}
		}
		// A job that today's rules would refuse (its channel has gone, its zone was renamed)
		// can still be paused, and one that has what releases before this one took runs on.
		known := s.problems(before)
		found = slices.DeleteFunc(found, func(p job.Problem) bool {
			return slices.Contains(known, p) && (!after.Enabled || p.TakenBefore())
		})
		refused = in.check(found)
		if refused != nil {
			return job.Spec{}, refused
		}
		if after.Enabled {
			after = after.Resumed()
		}
		if after.Schedule != before.Schedule {
			after = normalised(after)
		}
		return after, nil
	}, checks...)
	switch {
	case refused != nil:
		return refused
	case err != nil:
		return in.respell(err)
	}
	return s.writeJob(w, http.StatusOK, j)
}

// pauseShape is what may be said with a pause.
var pauseShape = shape[job.Spec]{
	fields: []field[job.Spec]{
		text("reason", `"on holiday"`, func(s *job.Spec) *string { return &s.PauseReason }),
	},
	example: `{"reason":"on holiday"}`,
}

// pauseJob disables a job, also one that today's rules would refuse. What is under way
// finishes; what waits is cancelled.
func (s *server) pauseJob(w http.ResponseWriter, r *http.Request) error {
	id, err := jobID(r)
	if err != nil {
		return err
	}
	body, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	var said job.Spec
	if len(body) > 0 {
		in, err := decodeObject(body, pauseShape, nullIsAbsent)
		if err != nil {
			return err
		}
		in.apply(&said)
		if err := in.check(only("reason", said.Validate())); err != nil {
			return err
		}
	}
	return s.editJob(w, r, id, func(before job.Spec) (job.Spec, error) { return before.Paused(said.PauseReason), nil })
}

// resumeJob enables a job. Its next slot is the first one after now: a pause is not
// made up for.
func (s *server) resumeJob(w http.ResponseWriter, r *http.Request) error {
	id, err := jobID(r)
	if err != nil {
		return err
	}
	if err := s.refuseBody(w, r); err != nil {
		return err
	}
	return s.editJob(w, r, id, func(before job.Spec) (job.Spec, error) {
		if found := slices.DeleteFunc(s.problems(before), job.Problem.TakenBefore); len(found) > 0 {
			return job.Spec{}, &job.InvalidError{Problems: found}
		}
		return before.Resumed(), nil
	})
}

// editJob applies an edit and answers the job as it is then.
func (s *server) editJob(w http.ResponseWriter, r *http.Request, id string, edit func(job.Spec) (job.Spec, error)) error {
	checks, err := s.readIfMatch(r)
	if err != nil {
		return err
	}
	j, err := s.Jobs.UpdateJob(r.Context(), id, edit, checks...)
	if err != nil {
		return err
	}
	return s.writeJob(w, http.StatusOK, j)
}

// only are the problems of one field.
func only(field string, err error) []job.Problem {
	return slices.DeleteFunc(problemsOf(err), func(p job.Problem) bool { return p.Field != field })
}

// problemsOf are the problems that a validation found.
func problemsOf(err error) []job.Problem {
	invalid, ok := errors.AsType[*job.InvalidError](err)
	if !ok {
		return nil
	}
	return slices.Clone(invalid.Problems)
}

// deleteJob removes a job. Its runs under way finish, unless they are to be cancelled.
func (s *server) deleteJob(w http.ResponseWriter, r *http.Request) error {
	id, err := jobID(r)
	if err != nil {
		return err
	}
	cancelRuns, err := readFlag(r, "cancelRuns")
	if err != nil {
		return err
	}
	checks, err := s.readIfMatch(r)
	if err != nil {
		return err
	}
	if err := s.refuseBody(w, r); err != nil {
		return err
	}
	deleted := deletedJob{ID: id, Deleted: true}
	if cancelRuns {
		var stopped job.Stopped
		stopped, err = s.Jobs.DeleteJobAndRuns(r.Context(), id, checks...)
		deleted.CancelledRuns, deleted.AbandonedTurns = &stopped.Runs, stopped.AbandonedTurns
		deleted.Note = goesOn(stopped.AbandonedTurns)
	} else {
		err = s.Jobs.DeleteJob(r.Context(), id, checks...)
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, deleted)
}

// runJob answers as soon as the run is queued, since a run takes minutes; or, if the
// client wants to wait, when it has ended.
func (s *server) runJob(w http.ResponseWriter, r *http.Request) error {
	id, err := jobID(r)
	if err != nil {
		return err
	}
	wait, err := readWait(r)
	if err != nil {
		return err
	}
	if err := s.refuseBody(w, r); err != nil {
		return err
	}
	once, err := readOnce(r, nil) // its body, if any, says nothing
	if err != nil {
		return err
	}
	if wait > 0 { // before the start: who is turned away has started nothing
		leave, err := s.last(r)
		if err != nil {
			return err
		}
		defer leave()
	}
	j, runID, err := s.startRun(r.Context(), id, once...)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/api/cron/runs/"+url.PathEscape(runID))
	if wait > 0 {
		run, err := s.awaitEnd(r.Context(), job.Run{ID: runID}, wait)
		if err != nil {
			return err
		}
		if run.State == job.StateDone {
			return writeJSON(w, http.StatusOK, endedRun{runView: wholeRun(run), RunID: runID})
		}
	}
	w.Header().Set("ETag", s.tagOf(j).String()) // of the job, which this answer is
	return writeJSON(w, http.StatusAccepted, startedJob{jobView: wholeJob(j), RunID: runID})
}

// startRun starts a run, in the time that a change may take.
func (s *server) startRun(ctx context.Context, id string, once ...job.Once) (job.Job, string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return s.Jobs.RunJob(ctx, id, once...)
}

// jobID returns the job id of the path. What cannot be an id is answered like
// one that does not exist.
func jobID(r *http.Request) (string, error) {
	id, err := pathParam(r, "id")
	if err == nil && !job.ValidID(id) {
		err = job.ErrNotFound
	}
	return id, err
}

// problems returns everything that is wrong with spec.
func (s *server) problems(spec job.Spec) []job.Problem {
	found := problemsOf(spec.Validate())
	malformed := func(fields ...string) bool {
		return slices.ContainsFunc(found, func(p job.Problem) bool { return slices.Contains(fields, p.Field) })
	}
	var more []job.Problem
	if spec.Channel != "" && !malformed("channel", "chatId", "peerId", "threadId") {
		more = s.CheckTarget(job.Target{Channel: spec.Channel, ChatID: spec.ChatID, PeerID: spec.PeerID, ThreadID: spec.ThreadID, IsGroup: spec.IsGroup})
	}
	if spec.AlertChannel != "" && spec.AlertChannel != job.AlertNone && !malformed("alertChannel", "alertChatId", "alertThreadId") {
		for _, p := range s.CheckTarget(job.Target{Channel: spec.AlertChannel, ChatID: spec.AlertChatID, ThreadID: spec.AlertThreadID}) {
			p.Field = "alert" + strings.ToUpper(p.Field[:1]) + p.Field[1:]
			more = append(more, p)
		}
	}
	return append(found, more...)
}

// normalised returns a valid spec with its schedule as it is stored: macros
// expanded, single spaces, so that equal schedules are equal texts.
func normalised(spec job.Spec) job.Spec {
	if spec.Schedule == "" {
		return spec
	}
	if sched, err := schedule.Parse(spec.Schedule, spec.Timezone); err == nil {
		spec.Schedule = sched.Expr()
	}
	return spec
}

// replaceTiming lets the one of schedule, every and at that an edit sends take the place
// of the others, and at that of what it excludes: nobody means both.
func replaceTiming(sent map[string]string, s job.Spec) job.Spec {
	says := func(name string) bool { return sent[name] != "" }
	switch {
	case says("schedule") && s.Schedule != "" && !says("every") && !says("at"):
		s.EverySeconds, s.At = 0, 0
	case says("every") && s.EverySeconds != 0 && !says("schedule") && !says("at"):
		s.Schedule, s.At = "", 0
	case says("at") && s.At != 0 && !says("schedule") && !says("every"):
		s.Schedule, s.EverySeconds = "", 0
		if !says("startAt") {
			s.StartAt = 0
		}
		if !says("endAt") {
			s.EndAt = 0
		}
		if !says("maxRuns") {
			s.MaxRuns = 0
		}
	}
	return s
}
