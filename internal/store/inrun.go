package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// Here is what holds for a job that is made in a run besides what put_job decides in the
// step itself: what can change meanwhile is there, what cannot is here.

// permitsInRun says why a job may not be defined so in the run that ctx names; before is nil
// of a new one. What a token keeps its holder from, the runs of the jobs that were made with
// it must not do either.
func (s *Store) permitsInRun(ctx context.Context, id string, before *job.Spec, spec job.Spec) error {
	run := job.OriginOf(ctx).Run
	if run == "" {
		return nil
	}
	if spec.AllowScheduling != (before != nil && before.AllowScheduling) {
		return &job.InRunError{Code: job.SchedulingIsFixed, Run: run}
	}
	t, err := s.TokenOfRun(ctx, run)
	if err != nil {
		return err
	}
	return s.permits(ctx, t, id, before, spec)
}

// TokenOfRun is the token that made the job of a run, against whose quotas the jobs count
// that are made in it. It is nil if there is none, or none any more, or no such run that is
// the caller's.
func (s *Store) TokenOfRun(ctx context.Context, run string) (*job.Token, error) {
	of, err := s.parts(ctx, []string{run}, s.keys.run, []string{"job", "uid", "agent", "home"})
	if err != nil {
		return nil, fmt.Errorf("look up the token of run %s: %w", run, err)
	}
	made, err := s.parts(ctx, []string{of[0]["job"]}, s.keys.job, []string{"uid", "maker"})
	if err != nil {
		return nil, fmt.Errorf("look up the token of run %s: %w", run, err)
	}
	id := made[0]["maker"]
	if id == "" || made[0]["uid"] != of[0]["uid"] || !pass(runScope(ctx), of[0]) {
		return nil, nil //nolint:nilnil // nil is a token: that of who may do everything
	}
	f, err := s.client(ctx).HGetAll(ctx, s.keys.token(id)).Result()
	if err != nil {
		return nil, fmt.Errorf("look up the token of run %s: %w", run, err)
	}
	t, err := decodeToken(id, f)
	if errors.Is(err, job.ErrNotFound) {
		return nil, nil //nolint:nilnil // as above
	}
	if err == nil {
		t, err = s.withOwner(ctx, t)
	}
	return &t, err
}
