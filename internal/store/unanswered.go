package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// Unanswered is a hook for clients of Redis: what Redis refuses for a reason that
// passes, above all in the middle of a failover, becomes the error of a Redis that did
// not answer. Whoever asks may then treat both alike: the API answers 503, a worker
// asks again. It comes after the retries of the client, which it leaves alone.
type Unanswered struct{}

// DialHook changes nothing.
func (Unanswered) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook rewrites the error of a command.
func (Unanswered) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := unanswered(next(ctx, cmd))
		if err != nil {
			cmd.SetErr(err)
		}
		return err
	}
}

// ProcessPipelineHook rewrites the errors of a pipeline. What was refused as a whole, when
// the connection was made, each of its commands says: the client leaves those without an
// error, as if they had been executed, and returned nothing.
func (Unanswered) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := unanswered(next(ctx, cmds))
		whole := err
		for _, cmd := range cmds {
			if cmdErr := cmd.Err(); cmdErr != nil {
				cmd.SetErr(unanswered(cmdErr))
				whole = nil
			}
		}
		for _, cmd := range cmds {
			if whole != nil {
				cmd.SetErr(whole)
			}
		}
		return err
	}
}

// passing are the words that begin a refusal which passes. Redis before 7 wraps what
// a script runs into, with a dash before the word.
var passing = []string{
	"LOADING",     // reading its data after a start
	"READONLY",    // no longer, or not yet, the master
	"MASTERDOWN",  // a replica without its master
	"NOREPLICAS",  // fewer replicas than min-replicas-to-write
	"CLUSTERDOWN", // no node for the slot, or too few nodes to tell
	"TRYAGAIN",    // the slot is moving
	"MOVED", "ASK",
	"OOM", "MISCONF", // no memory, or no disk
	"BUSY",         // a script runs for too long
	"UNBLOCKED",    // a WAIT on a master that became a replica
	"NOMASTERLINK", // as MASTERDOWN
}

// denials are how refusals begin that are about the user of this process.
var denials = []string{"NOAUTH ", "WRONGPASS ", "NOPERM ", "ERR AUTH "}

// unanswered hides a refusal that passes, and what the client says when it finds no
// server to ask. A denial it wraps in job.ErrStoreDenied. Other errors it returns as they
// are.
func unanswered(err error) error {
	if err == nil || errors.Is(err, job.ErrStoreDenied) {
		return err
	}
	var refusal redis.Error
	if !errors.As(err, &refusal) {
		if errors.Is(err, redis.ErrPoolTimeout) || strings.HasPrefix(err.Error(), "redis: all sentinels") ||
			strings.HasPrefix(err.Error(), "redis: cluster has no nodes") {
			return &unansweredError{text: err.Error()}
		}
		return err
	}
	text := refusal.Error()
	if text == "ERR max number of clients reached" {
		return &unansweredError{text: text}
	}
	denied := strings.Contains(text, "The user executing the script can't") // within a script
	for _, word := range denials {
		denied = denied || strings.HasPrefix(text, word)
	}
	if denied {
		return fmt.Errorf("%w: %w", job.ErrStoreDenied, err)
	}
	for _, word := range passing {
		if strings.HasPrefix(text, word+" ") ||
			strings.HasPrefix(text, "ERR ") && strings.Contains(text, "user_script") && strings.Contains(text, " -"+word+" ") {
			moved, _ := redis.IsMovedError(refusal)
			return &unansweredError{text: text, moved: moved, full: word == "OOM" || word == "MISCONF"}
		}
	}
	return err
}

// unansweredError is a net.Error. It wraps nothing: it must not be taken for an answer
// of Redis.
type unansweredError struct {
	text string
	// moved is the address of the node that has the slot now, of a refusal that names it.
	moved string
	full  bool // it is job.ErrStoreFull
}

func (e *unansweredError) Error() string { return "redis does not serve at the moment: " + e.text }

// Is reports whether the refusal is of this kind.
func (e *unansweredError) Is(target error) bool { return e.full && target == job.ErrStoreFull }

// Timeout implements net.Error.
func (e *unansweredError) Timeout() bool { return false }

// Temporary implements net.Error.
func (e *unansweredError) Temporary() bool { return true }
