package aiserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/outcome"
)

// Sessions is what a turn needs of our own sessions.
type Sessions interface {
	ReadSession(ctx context.Context, key, cursor string, limit, maxBytes int) (s job.Session, next string, err error)
	// SessionID returns the id that the conversation of a session key has at the ai-server,
	// which has that of other under the id found ("" if that is not known).
	SessionID(ctx context.Context, key, other, found string) (string, error)
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
	remote      Calls
	local       Sessions
	workspaceID string
}

// maxOthers bounds how many ids are tried that turn out to be another conversation's.
const maxOthers = 4

// conversation is a session as the ai-server has it.
type conversation struct {
	id      string
	history Session // empty of a new one, and for an isolated run
}

// open returns the conversation of a run, if its history has no more than so many bytes; 0
// takes all. Errors are those of the ai-server client, or of the store.
func (t *transcript) open(ctx context.Context, b job.Begun, most int) (conversation, error) {
	key, other := b.Run.SessionKey, ""
	c := conversation{id: b.SessionID}
	for range maxOthers {
		var err error
		if c.id == "" || other != "" {
			if c.id, err = t.local.SessionID(ctx, key, other, c.id); err != nil {
				return conversation{}, fmt.Errorf("open the session: %w", err)
			}
		}
		if b.Job.Context == job.ContextIsolated {
			return c, nil
		}
		if c.history, err = t.load(ctx, c.id, key, b.Transcript, most); err != nil {
			return conversation{}, err
		}
		if c.history.SessionKey == "" || c.history.SessionKey == key {
			return c, nil
		}
		other = c.history.SessionKey
	}
	return conversation{}, fmt.Errorf("open the session %s: %w", key, job.ErrConflict)
}

// load returns the history of a session, of which there may be messages of ours; it is
// empty for a new one. Of the ai-server's it takes so many bytes at most; 0 takes all. Errors
// are those of the ai-server client, or of the store.
func (t *transcript) load(ctx context.Context, id, key string, ours bool, most int) (Session, error) {
	session, found, err := t.loadRemote(ctx, id, most)
	// The ai-server keeps the empty reply of a turn that only acted, and a model refuses
	// the whole transcript for it.
	session.Messages = slices.DeleteFunc(session.Messages, func(m Message) bool {
		return len(m.Images) == 0 && job.Blank(m.Text)
	})
	if err != nil || found || !ours {
		return session, err
	}
	own, _, err := t.local.ReadSession(ctx, key, "", localMessages, localBytes)
	if errors.Is(err, job.ErrNotFound) {
		return Session{}, nil
	}
	if err != nil {
		return Session{}, fmt.Errorf("load the transcript: %w", err)
	}
	messages := make([]Message, len(own.Messages)) // the newest are what the agent needs
	for i, m := range own.Messages {
		messages[i] = Message{Role: m.Role, Text: m.Text, Timestamp: int64(m.Timestamp) / 1000}
	}
	return Session{Messages: messages}, nil
}

func (t *transcript) loadRemote(ctx context.Context, id string, most int) (Session, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	session, found, err := t.remote.Session(ctx, id, t.workspaceID, most)
	var e *outcome.Error
	if errors.As(err, &e) && e.Kind == outcome.Deadline {
		// A read that hangs did nothing: unlike a turn, it can be tried again.
		err = &outcome.Error{Kind: outcome.Retryable, Message: e.Message, Err: err}
	}
	return session, found, err
}
