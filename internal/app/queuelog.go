package app

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// queueLog hands what asynq has to say to slog. asynq formats its own lines, so
// the line is the detail of a constant message.
type queueLog struct {
	ctx    context.Context // of the process: ended while it stops
	logger *slog.Logger
}

func newQueueLog(ctx context.Context, logger *slog.Logger) queueLog {
	return queueLog{ctx: ctx, logger: logger}
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
	if q.ctx.Err() != nil && level < slog.LevelError || strings.Contains(fmt.Sprint(args...), "shared so the Client can't be closed") {
		level = slog.LevelDebug // asynq reports that it cannot close a client that is ours
	}
	q.logger.Log(context.WithoutCancel(q.ctx), level, "queue", "detail", fmt.Sprint(args...))
}
