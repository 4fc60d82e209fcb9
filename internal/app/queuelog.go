package app

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
)

// queueLog hands what asynq has to say to slog. asynq formats its own lines, so
// the line is the detail of a constant message.
//
// While Redis is away every loop of asynq says so, several times a second: of
// lines above info, one is kept every few seconds, and the others are for debug.
type queueLog struct {
	ctx    context.Context // of the process: ended while it stops
	logger *slog.Logger
	quiet  *atomic.Int64 // UnixNano until which lines are for debug
}

const queueLogEvery = 5 * time.Second

func newQueueLog(ctx context.Context, logger *slog.Logger) queueLog {
	return queueLog{ctx: ctx, logger: logger, quiet: &atomic.Int64{}}
}

func (q queueLog) Debug(args ...any) { q.say(slog.LevelDebug, args) }
func (q queueLog) Info(args ...any)  { q.say(slog.LevelDebug, args) }
func (q queueLog) Error(args ...any) { q.say(slog.LevelError, args) }

// Warn hides what is ordinary here: a carrier that is given up frees its id, and
// the wake list decides what follows.
func (q queueLog) Warn(args ...any) {
	level := slog.LevelWarn
	if line := fmt.Sprint(args...); strings.HasPrefix(line, "revoke task") {
		level = slog.LevelDebug
	}
	q.say(level, args)
}

// Fatal is asynq's word for errors it does not expect; ending the process is not
// for a library to decide.
func (q queueLog) Fatal(args ...any) { q.say(slog.LevelError, args) }

func (q queueLog) say(level slog.Level, args []any) {
	line := fmt.Sprint(args...)
	switch {
	case q.ctx.Err() != nil && level < slog.LevelError,
		// asynq reports that it cannot close a client that is ours.
		strings.Contains(line, "shared so the Client can't be closed"):
		level = slog.LevelDebug
	case level > slog.LevelInfo:
		now, until := time.Now().UnixNano(), q.quiet.Load()
		if now < until || !q.quiet.CompareAndSwap(until, now+int64(queueLogEvery)) {
			level = slog.LevelDebug
		}
	}
	q.logger.Log(context.WithoutCancel(q.ctx), level, "queue", "detail", line)
}
