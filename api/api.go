// Package api owns the REST API: its routes, the shapes of requests and
// answers, the checks of what a client sends, authentication, and the one place
// where errors become HTTP.
//
// It stands on small interfaces of its own, which the caller fills. It must not
// import the store, the scheduler, the handlers, asynq or Redis: whatever
// changes a job goes through the store's atomic operations.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/doctor"
	"github.com/gatewaycron/gatewaycron/internal/guess"
	"github.com/gatewaycron/gatewaycron/internal/health"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

// JobStore keeps the jobs. Every change is one atomic step that moves the job's
// next slot along with its definition.
type JobStore interface {
	// CreateJob stores a new job; an empty id has the store make one.
	// It returns job.ErrExists when the id is taken. With the Once of a request that was
	// carried out before it answers what that made; it returns job.ErrOtherRequest, and
	// *job.SpentError when that is gone.
	CreateJob(ctx context.Context, id string, spec job.Spec, once ...job.Once) (job.Job, error)
	// UpdateJob applies edit to the job's newest definition, and again when the
	// job changed meanwhile, each time after the checks. An error of theirs is returned as
	// it is. It returns job.ErrNotFound, and job.ErrConflict when the changes never ended.
	UpdateJob(ctx context.Context, id string, edit func(job.Spec) (job.Spec, error), checks ...func(job.Job) error) (job.Job, error)
	// DeleteJob returns job.ErrNotFound for an unknown id. The checks are asked about the
	// job as it is deleted, and an error of theirs is returned as it is.
	DeleteJob(ctx context.Context, id string, checks ...func(job.Job) error) error
	// DeleteJobAndRuns is DeleteJob, cancels the unfinished runs of the job in the same
	// step, and returns how many.
	DeleteJobAndRuns(ctx context.Context, id string, checks ...func(job.Job) error) (job.Stopped, error)
	// Job returns job.ErrNotFound for an unknown id.
	Job(ctx context.Context, id string) (job.Job, error)
	// RunJob queues a manual run and returns its id. It returns job.ErrNotFound,
	// job.ErrTooMany when too many runs of the job are unfinished, and job.ErrPaused
	// while everything is paused. Once is as for CreateJob.
	RunJob(ctx context.Context, id string, once ...job.Once) (job.Job, string, error)
}

// HistoryStore keeps the runs, which outlive their job.
type HistoryStore interface {
	// Run returns job.ErrNotFound for an unknown id.
	Run(ctx context.Context, id string) (job.Run, error)
	// CancelRun ends an unfinished run. It returns job.ErrNotFound and job.ErrEnded.
	CancelRun(ctx context.Context, id string) error
	// Redeliver sends the reply of an ended run once more. It returns job.ErrNotFound,
	// job.ErrUnfinished, job.ErrNoReply, job.ErrReplyDropped, job.ErrNoTarget, job.ErrForeign and
	// job.ErrTooOften. Once is as for CreateJob.
	Redeliver(ctx context.Context, id string, once ...job.Once) error
}

// Finder answers lists. An empty cursor asks for the first page, and the last page has no
// next one; a page before it may be short or empty, because a call looks at a bounded
// number of records. It returns a *job.InvalidError for a cursor it did not make.
type Finder interface {
	// FindJobs returns a page of the jobs that the filter picks, oldest first.
	FindJobs(ctx context.Context, filter job.JobFilter, cursor string, limit int) ([]job.Job, string, error)
	// FindRuns returns a page of the runs that the filter picks, newest first. It returns
	// job.ErrNotFound when the filter names a job of which there is neither a record nor
	// a history.
	FindRuns(ctx context.Context, filter job.RunFilter, cursor string, limit int) ([]job.Run, string, error)
	// Upcoming returns the next limit slots of all jobs, at most within from now; 0 is
	// no bound.
	Upcoming(ctx context.Context, within time.Duration, limit int) (job.Upcoming, error)
}

// SessionStore keeps what runs said in their sessions.
type SessionStore interface {
	// ReadSession returns the newest messages, or those before the page that the cursor comes
	// from, oldest first: at most limit, and of maxBytes at most unless the first alone has
	// more. It returns job.ErrNotFound, and *job.InvalidError for a cursor it did not make.
	ReadSession(ctx context.Context, key, cursor string, limit, maxBytes int) (s job.Session, next string, err error)
}

// Switch stops everything and lets it go on.
type Switch interface {
	// Pause returns when nothing begins any more. An empty reason keeps the one there is.
	Pause(ctx context.Context, reason string) error
	// CancelPaused cancels every unfinished run, while everything is paused, and returns
	// how many.
	CancelPaused(ctx context.Context) (int, error)
	// Resume returns since when everything was paused, 0 when it was not.
	Resume(ctx context.Context) (job.Millis, error)
	Status(ctx context.Context) (job.Status, error)
}

// Deployment says how the deployment as a whole stands. Health and Doctor never fail: what
// cannot be read is part of what they say.
type Deployment interface {
	// Health says what is wrong, by facts that are a second old at most.
	Health(ctx context.Context) health.Report
	// Doctor says of everything how it is.
	Doctor(ctx context.Context) []doctor.Finding
	// Jobs says what is wrong with the jobs of the token in ctx.
	Jobs(ctx context.Context) ([]health.Reason, error)
}

// Options are what the API needs.
type Options struct {
	Jobs     JobStore
	History  HistoryStore
	Find     Finder
	Sessions SessionStore
	Switch   Switch
	Audit    AuditLog
	Tokens   TokenStore

	Deployment Deployment
	Records    doctor.Records // for the explanation of a job

	// CheckTarget says what is wrong with a job's chat target, such as a channel
	// that is not connected. It is asked when a job with a channel is created or
	// edited; nil accepts every target.
	CheckTarget func(job.Target) []job.Problem
	// Ready returns nil when the process can serve requests.
	Ready func(ctx context.Context) error

	// Token is what the administrator has to present as a bearer token. When it is empty
	// nobody has to, and only requests addressed to this machine are served.
	Token string
	// Guesses slows down who tries out tokens. It is one for all that take them; nil is one
	// for this handler alone.
	Guesses *guess.Guard
	// MaxBodyBytes bounds a request's body; 0 means 1 MiB.
	MaxBodyBytes int64
	// RatePerMinute is how often a client may ask in a minute, and RateBurst how often at
	// once; 0 a minute is as often as it likes. Routes with a reserve have as much, each for
	// itself.
	RatePerMinute, RateBurst int
	// MaxReads bounds the reads that work at a time; 0 means 8.
	MaxReads int
	// MaxLasting bounds the requests that wait or stream at a time; 0 means 200. Each client
	// may have a quarter.
	MaxLasting int
	// MaxUnread bounds the bytes of what is written and not yet taken at a time; 0 means
	// 128 MiB. Each client may have a quarter.
	MaxUnread int
	// Stopping is closed when the server is about to stop: requests that wait or stream
	// end then. Nil is never.
	Stopping <-chan struct{}
	// Version is shown by /health.
	Version string
	Now     func() time.Time
	Logger  *slog.Logger
}

const (
	defaultMaxBodyBytes = 1 << 20
	// defaultMaxReads keeps a few cores busy, and no longer from anything else than a few
	// reads take.
	defaultMaxReads = 8
	// defaultMaxUnread is many times the largest answer.
	defaultMaxUnread = 128 << 20

	// requestTimeout ends a request whose store does not answer, well before
	// clients give up, so that they get an error they can read.
	requestTimeout = 10 * time.Second
	// readyTimeout is shorter, because probes are.
	readyTimeout = 2 * time.Second
)

// New returns the handler of all API routes. It has to be mounted where nothing
// cleans paths: http.ServeMux answers `/api/cron/jobs//run` with a redirect, which
// turns a client's POST into a GET of the list.
func New(o Options) http.Handler {
	if o.MaxBodyBytes <= 0 {
		o.MaxBodyBytes = defaultMaxBodyBytes
	}
	if o.MaxLasting <= 0 {
		o.MaxLasting = defaultMaxLasting
	}
	if o.MaxUnread <= 0 {
		o.MaxUnread = defaultMaxUnread
	}
	if o.MaxReads <= 0 {
		o.MaxReads = defaultMaxReads
	}
	if o.CheckTarget == nil {
		o.CheckTarget = func(job.Target) []job.Problem { return nil }
	}
	if o.Guesses == nil {
		o.Guesses = o.newGuesses()
	}
	return (&server{
		Options: o, schedules: schedule.NewCache(1024),
		tokens:  newTokenCache(o.Tokens, o.Now),
		lasting: newShares(o.MaxLasting), answering: newShares(o.MaxUnread), reads: make(chan struct{}, o.MaxReads),
		ordinary: o.newRates(o.RatePerMinute, o.RateBurst),
		docsPage: sync.OnceValues(renderDocs),
	}).routes()
}

func (o Options) newGuesses() *guess.Guard {
	return guess.New(guess.Options{Now: o.Now, Logger: o.Logger})
}

// server carries the dependencies of the handlers.
type server struct {
	Options
	schedules *schedule.Cache
	ordinary  rates // of the requests without a reserve
	tokens    *tokenCache
	lasting   *shares       // of the requests that last
	answering *shares       // of the bytes that are being written
	reads     chan struct{} // holds one for each read that works
	docsPage  func() ([]byte, error)
}
