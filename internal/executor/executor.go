// Package executor owns what runs the turns of jobs: the interface that each kind of agent
// server serves, in a package of its own beside this one. Who owns the transcript, which tools
// the agent has, what stands for a model that nobody named: that is an executor's business, and
// nobody else's.
//
// It must import no package of this module but job.
package executor

import (
	"context"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// Executor runs turns. It is safe for concurrent use.
type Executor interface {
	// Run makes a turn and returns its reply, which may be empty: the turn has ended, and what
	// it did is done. The turn is made at most once, and ctx bounds it, beside the job's own
	// timeout. Errors: *outcome.Error where it is about the call, what Turn.Before returned as
	// it is, and else what kept the turn from being made here.
	Run(ctx context.Context, t Turn) (reply string, err error)
	// Probe asks how turns would go, without making one. Errors: *outcome.Error.
	Probe(ctx context.Context) (Status, error)
}

// Turn is one turn of an agent, on behalf of an attempt.
type Turn struct {
	job.Begun // the attempt: its run, its job as it stood when it began, and its session
	// Before is the last act before the request is written. If it fails, nothing is sent.
	Before func(context.Context) error
	Memory Memory
}

// Memory is what a turn says of the memory that it takes, so that the turns in hand hold no
// more together than there is.
type Memory interface {
	// Wait returns when there is room for so many bytes, which are held then, or why ctx ended.
	// How long that takes is no part of the turn's time.
	Wait(ctx context.Context, bytes int64) error
	// Set says how many bytes the turn holds from now on; it waits for nothing.
	Set(bytes int64)
}

// Status is how turns would go at the moment.
type Status struct {
	Lacks  string // what is missing, in words; "" if nothing is
	Usable bool   // some turns can be made all the same
}
