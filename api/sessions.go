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
)

// sessionView is what our runs said in a session, oldest first.
type sessionView struct {
	Key       string        `json:"key"`
	UpdatedAt job.Millis    `json:"updatedAt,omitempty"`
	Messages  []job.Message `json:"messages"`
}

func (s *server) getSession(w http.ResponseWriter, r *http.Request) error {
	key, err := pathParam(r, "key")
	if err != nil {
		return err
	}
	if !validSessionKey(key) {
		return job.ErrNotFound
	}
	limit := defaultMessages
	if err := readParams(r, countParam("limit", maxMessages, "50", &limit)); err != nil {
		return err
	}
	session, err := s.Sessions.Session(r.Context(), key, limit)
	if err != nil {
		return err
	}
	v := sessionView{Key: session.Key, UpdatedAt: session.UpdatedAt, Messages: session.Messages}
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
