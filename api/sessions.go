package api

import (
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

const (
	defaultMessages = 50
	maxMessages     = 200
	// maxSessionBytes bounds a page of messages, of which each can have a megabyte.
	maxSessionBytes = 4 << 20
)

// sessionView is what our runs said in a session, oldest first.
type sessionView struct {
	Key       string        `json:"key"`
	UpdatedAt job.Millis    `json:"updatedAt,omitempty"`
	Messages  []job.Message `json:"messages"`
	// NextCursor is for the messages before these.
	NextCursor string `json:"nextCursor,omitempty"`
}

func (s *server) getSession(w http.ResponseWriter, r *http.Request) error {
	key, err := pathParam(r, "key")
	if err != nil {
		return err
	}
	if !validSessionKey(key) {
		return job.ErrNotFound
	}
	page, err := readPage(r, defaultMessages, maxMessages)
	if err != nil {
		return err
	}
	session, next, err := s.Sessions.ReadSession(r.Context(), key, page.cursor, page.limit, maxSessionBytes)
	if err != nil {
		return err
	}
	v := sessionView{Key: session.Key, UpdatedAt: session.UpdatedAt, Messages: session.Messages, NextCursor: next}
	if v.Messages == nil {
		v.Messages = []job.Message{} // [] and not null, for clients that iterate
	}
	return writeJSON(w, http.StatusOK, v)
}

// validSessionKey holds for every key that a job can have.
func validSessionKey(key string) bool {
	return key != "" && utf8.ValidString(key) && len(key) <= maxDerivedSessionBytes &&
		!strings.ContainsFunc(key, func(r rune) bool { return r == ' ' || unicode.IsControl(r) })
}

// maxDerivedSessionBytes bounds a session key in a path: keys that are derived
// from agent, channel and chat can be longer than those a client may name.
const maxDerivedSessionBytes = 1 << 10
