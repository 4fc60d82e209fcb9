package aiserver

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/executor"
)

const (
	// withoutScheduling is a lane that takes the writing and scheduling tools from the
	// model: a job must not make jobs. withScheduling leaves them.
	withoutScheduling = "subagent"
	withScheduling    = "cron"

	// smallSession is the largest stored session that is loaded without asking for room:
	// what so many turns as there are places hold of such is little.
	smallSession = 256 << 10
	// copies is how often a transcript is in memory while a turn begins: as it came, as
	// messages, and as the request.
	copies = 3
)

// Calls are the calls of a Client.
type Calls interface {
	Chat(ctx context.Context, r ChatRequest) (Reply, error)
	Session(ctx context.Context, id, workspaceID string, most int) (session Session, found bool, err error)
	Health(ctx context.Context) (Keys, error)
}

// ExecutorOptions configures an Executor.
type ExecutorOptions struct {
	Calls    Calls
	Sessions Sessions
	// WorkspaceID goes with each call; may be empty.
	WorkspaceID string
	// Model and Effort are of jobs that name none; "" means the ai-server's own.
	Model, Effort string
}

// Executor runs turns at an ai-server, which owns the transcript.
type Executor struct {
	o          ExecutorOptions
	transcript transcript
}

var _ executor.Executor = (*Executor)(nil)

// NewExecutor returns an executor; it makes no call.
func NewExecutor(o ExecutorOptions) *Executor {
	return &Executor{o: o, transcript: transcript{remote: o.Calls, local: o.Sessions, workspaceID: o.WorkspaceID}}
}

// Run implements executor.Executor.
func (e *Executor) Run(ctx context.Context, t executor.Turn) (string, error) {
	deadline := time.Now().Add(time.Duration(t.Job.TimeoutSeconds) * time.Second)
	c, waited, err := e.open(ctx, t, deadline)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithDeadline(ctx, deadline.Add(waited))
	defer cancel()
	lane := withoutScheduling
	if t.Job.AllowScheduling {
		lane = withScheduling
	}
	answer, err := e.o.Calls.Chat(ctx, ChatRequest{
		SessionID:       c.id,
		Messages:        append(c.history.Messages, Message{Role: "user", Text: t.Job.Task, Timestamp: int64(t.Now) / 1000}),
		Model:           cmp.Or(t.Job.Model, e.o.Model),
		ReasoningEffort: cmp.Or(t.Job.Effort, e.o.Effort),
		WorkspaceID:     e.o.WorkspaceID,
		Gateway: Gateway{
			Channel: t.Job.Channel, PeerID: t.Job.PeerID, ChatID: t.Job.ChatID, IsGroup: t.Job.Group(),
			DisplayName: c.history.DisplayName, AgentID: t.Job.ResolveAgent(), SessionKey: t.Run.SessionKey, Lane: lane,
		},
		IdempotencyKey: t.Run.ID,
		Before:         t.Before,
	})
	if err != nil {
		return "", err
	}
	t.Memory.Set(copies * int64(len(answer.Text))) // of the transcript nothing is needed any more
	return answer.Text, nil
}

// open opens the conversation of a run. A long one is loaded when there is room for it.
func (e *Executor) open(ctx context.Context, t executor.Turn, deadline time.Time) (c conversation, waited time.Duration, err error) {
	open := func(most int) {
		ctx, cancel := context.WithDeadline(ctx, deadline.Add(waited))
		defer cancel()
		c, err = e.transcript.open(ctx, t.Begun, most)
	}
	open(smallSession)
	if larger, ok := errors.AsType[*LargerError](err); ok {
		came := time.Now()
		if err := t.Memory.Wait(ctx, copies*larger.Bytes); err != nil {
			return conversation{}, 0, err
		}
		waited = time.Since(came)
		open(0)
	}
	if err == nil {
		t.Memory.Set(copies * c.history.Size())
	}
	return c, waited, err
}

// Probe implements executor.Executor: the key of the provider whose model is used may be missing.
func (e *Executor) Probe(ctx context.Context) (executor.Status, error) {
	keys, err := e.o.Calls.Health(ctx)
	provider := keys.Lacks(e.o.Model)
	if err != nil || provider == "" {
		return executor.Status{Usable: err == nil}, err
	}
	return executor.Status{Lacks: "the key of " + provider + ", which " + cmp.Or(e.o.Model, "its usual model") + " needs", Usable: keys.Any()}, nil
}
