package chaos

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/chaos/judge"
)

// cancelSome cancels a run that is under way, of one of some jobs.
func (o *operator) cancelSome(ctx context.Context, nth int) error {
	for _, index := range o.plan.dice("cancel", nth).Perm(len(o.plan.Jobs))[:40] {
		j := o.known(index)
		if j == nil {
			continue
		}
		var page struct{ Runs []struct{ ID, State string } }
		err := o.once(ctx, http.MethodGet, "/api/cron/jobs/"+url.PathEscape(j.ID)+"/runs?limit=3", nil, &page)
		if err != nil {
			continue // the API is away, or the job is
		}
		for _, r := range page.Runs {
			if r.State != "done" {
				return o.cancel(ctx, r.ID)
			}
		}
	}
	return nil
}

// cancel asks for the end of a run until that is answered. The run may end by itself,
// or by a request whose answer was lost.
func (o *operator) cancel(ctx context.Context, run string) error {
	for {
		c := judge.Cancel{Run: run, Asked: now()}
		o.cancels.add(c)
		err := o.once(ctx, http.MethodPost, "/api/cron/runs/"+url.PathEscape(run)+"/cancel", nil, nil)
		var refused refusal
		switch {
		case err == nil:
			c.Acked = now() + 1
			o.cancels.add(c)
			return nil
		case errors.Is(err, errConflict), errors.Is(err, errGone):
			return nil
		case errors.As(err, &refused), ctx.Err() != nil:
			return err
		}
		o.wait(ctx, 300*time.Millisecond)
	}
}
