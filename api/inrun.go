package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// What an agent asks for in a run: the store decides what a run may make, and the audit
// names the run. See job.RunHeader.

// inRun puts the run that a request names into its context. Whether there is such a run is
// asked where it matters.
func (s *server) inRun(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		values := r.Header.Values(job.RunHeader)
		if len(values) == 0 {
			next.ServeHTTP(w, r)
			return
		}
		if len(values) > 1 || !runIDPattern.MatchString(values[0]) {
			s.renderError(w, r, invalid(job.RunHeader, "must be sent once, with the id of the run in which this is asked for, or not at all",
				"morning-summary:1774854000"))
			return
		}
		actor := "run:" + values[0]
		if by := job.ActorOf(r.Context()); by != job.DefaultActor {
			actor += " " + by
		}
		ctx := job.WithActor(r.Context(), actor)
		next.ServeHTTP(w, r.WithContext(job.WithOrigin(ctx, job.Origin{Run: values[0]})))
	})
}

// tokensOf are those that bound how a job may be defined: the caller's, and in a run the one
// that made the job that runs.
func (s *server) tokensOf(ctx context.Context) ([]*job.Token, error) {
	tokens := []*job.Token{job.TokenOf(ctx)}
	if run := job.OriginOf(ctx).Run; run != "" {
		t, err := s.Tokens.TokenOfRun(ctx, run)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, t)
	}
	return slices.DeleteFunc(tokens, func(t *job.Token) bool { return t == nil }), nil
}

// problemInRun says what stands against a request in a run, and what to do.
func problemInRun(e *job.InRunError) problem {
	of, _, _ := strings.Cut(e.Run, ":")
	var detail string
	switch e.Code {
	case job.RunUnknown:
		detail = fmt.Sprintf("There is no run %s. The header %s must name the run in which the job is made; leave it out where there is none.", e.Run, job.RunHeader)
	case job.RunNotRunning:
		detail = fmt.Sprintf("Run %s is not under way, so that nothing can be made in it.", e.Run)
	case job.SchedulingNotAllowed:
		detail = fmt.Sprintf(`The runs of job %s may not make jobs. Have its owner set "allowScheduling":true on it, or create the job by hand.`, of)
	case job.MadeInARun:
		detail = fmt.Sprintf("Job %s was made in a run itself, so its runs make no others. Have somebody create the job by hand.", of)
	case job.TooManyMade:
		detail = fmt.Sprintf("The runs of job %s have made %d jobs that exist, as many as may be; delete one of them first.", of, job.MaxMadeJobs)
	case job.SchedulingIsFixed:
		detail = "allowScheduling is not for a run to set or to change. Leave it out, or have the job's owner change it."
	case job.NoImport:
		detail = "An import is not for a run. Create the jobs one by one."
	}
	return problem{Status: http.StatusForbidden, Code: string(e.Code), Detail: detail}
}
