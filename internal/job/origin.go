package job

import (
	"context"
	"fmt"
)

// Where a new job comes from, besides whoever asks for it. An agent that may make jobs
// could fill a deployment with jobs that make jobs; so what it makes in a run is counted
// against the job that runs, and makes no others itself.

// RunHeader names the run in which a request is made. The call of the ai-server carries
// it, and tools that pass it on let the API know who asks.
const RunHeader = "X-Gateway-Cron-Run"

// MaxMadeJobs is how many jobs may exist at a time that were made in the runs of one job.
const MaxMadeJobs = 10

// Origin says where the jobs come from that are made with a context.
type Origin struct {
	// Run is the run in which they are asked for, "" for none.
	Run string
	// MadeBy is the job that made them once, of those that are brought here from
	// elsewhere. It is for who may say so, and not looked at in a run.
	MadeBy string
}

type originKey struct{}

// WithOrigin says where the jobs come from that are made with ctx.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// OriginOf is where the jobs come from that are made with ctx.
func OriginOf(ctx context.Context) Origin {
	o, _ := ctx.Value(originKey{}).(Origin)
	return o
}

// InRunCode says why something is not done in a run. Clients see it.
type InRunCode string

// All reasons.
const (
	RunUnknown           InRunCode = "run_unknown"            // there is no such run, or it is somebody else's
	RunNotRunning        InRunCode = "run_not_running"        // it has ended, waits, or its job is gone
	SchedulingNotAllowed InRunCode = "scheduling_not_allowed" // its job may not make others
	MadeInARun           InRunCode = "made_in_a_run"          // its job was made in a run itself
	TooManyMade          InRunCode = "too_many_made"          // its job has MaxMadeJobs
	SchedulingIsFixed    InRunCode = "scheduling_is_fixed"    // allowScheduling is not for a run to give or take
	NoImport             InRunCode = "no_import"              // nor are whole deployments
)

// InRunError says that something is not done because it is asked for in a run.
type InRunError struct {
	Code InRunCode
	Run  string
}

func (e *InRunError) Error() string { return fmt.Sprintf("in run %s: %s", e.Run, e.Code) }
