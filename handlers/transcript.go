package handlers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/aiserver"
	"github.com/gatewaycron/gatewaycron/internal/job"
)

// SessionStore is what a run needs of our own sessions.
type SessionStore interface {
	Session(ctx context.Context, key string, limit int) (job.Session, error)
	// SessionID returns the id that the conversation of a session key has at the ai-server,
	// which has that of other under the id found ("" if that is not known).
	SessionID(ctx context.Context, key, other, found string) (string, error)
}

type transcripts interface {
	Session(ctx context.Context, id, workspaceID string) (session aiserver.Session, found bool, err error)
}

// loadTimeout bounds the question for a stored session, which is read from a file
// over there; the deadline of the attempt is for the turn.
const loadTimeout = 30 * time.Second

// localMessages and localBytes bound what is sent of our own session when the
// ai-server has none.
const (
	localMessages = 200
	localBytes    = 4 << 20
)

// transcript finds the history of a session. The ai-server replaces its stored
// session by what a call sends, so the call must send all of it.
//
// Where the ai-server has the session, its copy wins, whole: it is the one that
// would be replaced, and people go on talking in it between our runs. Ours is
// for a server that has lost it, or keeps none.
type transcript struct {
	remote      transcripts
	local       SessionStore
	workspaceID string
}

// maxOthers bounds how many ids are tried that turn out to be another conversation's.
const maxOthers = 4

// open returns the id that the run's session has at the ai-server, and its history, which an
// isolated run does without. Errors are those of the ai-server client, or of the store.
func (t *transcript) open(ctx context.Context, b job.Begun) (id string, history aiserver.Session, err error) {
	key, other := b.Run.SessionKey, ""
	id = b.SessionID
	for range maxOthers {
		if id == "" || other != "" {
			if id, err = t.local.SessionID(ctx, key, other, id); err != nil {
				return "", aiserver.Session{}, fmt.Errorf("open the session: %w", err)
			}
		}
		if b.Job.Context == job.ContextIsolated {
			return id, aiserver.Session{}, nil
		}
		if history, err = t.load(ctx, id, key, b.Transcript); err != nil {
			return "", aiserver.Session{}, err
		}
		if history.SessionKey == "" || history.SessionKey == key {
			return id, history, nil
		}
		other = history.SessionKey
	}
	return "", aiserver.Session{}, fmt.Errorf("open the session %s: %w", key, job.ErrConflict)
}

// load answers the history of a session, of which there may be messages of ours; it is
// empty for a new one. Errors are those of the ai-server client, or of the store.
func (t *transcript) load(ctx context.Context, id, key string, ours bool) (aiserver.Session, error) {
	session, found, err := t.loadRemote(ctx, id)
	// The ai-server keeps the empty reply of a turn that only acted, and a model refuses
	// the whole transcript for it.
	session.Messages = slices.DeleteFunc(session.Messages, func(m aiserver.Message) bool {
		return len(m.Images) == 0 && job.Blank(m.Text)
	})
	if err != nil || found || !ours {
		return session, err
	}
	own, err := t.local.Session(ctx, key, localMessages)
	if errors.Is(err, job.ErrNotFound) {
		return aiserver.Session{}, nil
	}
	if err != nil {
		return aiserver.Session{}, fmt.Errorf("load the transcript: %w", err)
	}
	var messages []aiserver.Message
	size := 0
	for _, m := range slices.Backward(own.Messages) {
		if size += len(m.Text); size > localBytes {
			break // the newest are what the agent needs
		}
		messages = append(messages, aiserver.Message{Role: m.Role, Text: m.Text, Timestamp: int64(m.Timestamp) / 1000})
	}
	slices.Reverse(messages)
	return aiserver.Session{Messages: messages}, nil
}

func (t *transcript) loadRemote(ctx context.Context, id string) (aiserver.Session, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	session, found, err := t.remote.Session(ctx, id, t.workspaceID)
	var e *aiserver.Error
	if errors.As(err, &e) && e.Kind == aiserver.KindDeadline {
		// A read that hangs did nothing: unlike a turn, it can be tried again.
		err = &aiserver.Error{Kind: aiserver.KindRetryable, Message: e.Message, Err: err}
	}
	return session, found, err
}
