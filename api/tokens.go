package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// TokenStore keeps the tokens.
type TokenStore interface {
	// Token is the token that somebody presents; job.ErrNotFound if it is none.
	Token(ctx context.Context, secret string) (job.Token, error)
	// CreateToken answers the token and what its holder presents, which is told only
	// here. It returns job.ErrTooManyTokens.
	CreateToken(ctx context.Context, t job.Token) (job.Token, string, error)
	// Tokens are all tokens, oldest first, those that were revoked lately included.
	Tokens(ctx context.Context) ([]job.Token, error)
	// TokenOfRun is the token that made the job of a run, nil if none did.
	TokenOfRun(ctx context.Context, run string) (*job.Token, error)
	// RevokeToken returns job.ErrNotFound for an unknown id.
	RevokeToken(ctx context.Context, id string) (job.Token, error)
}

// tokenView is a token on the wire.
type tokenView struct {
	ID                 string     `json:"id"`
	Name               string     `json:"name"`
	AgentID            string     `json:"agentId,omitempty"`
	SessionKey         string     `json:"sessionKey,omitempty"`
	MaxJobs            int        `json:"maxJobs"`
	Jobs               *int       `json:"jobs,omitempty"` // made with it, and there; in the list
	MinIntervalSeconds int        `json:"minIntervalSeconds,omitempty"`
	MaxRunsPerDay      int        `json:"maxRunsPerDay,omitempty"`
	MaxConcurrent      int        `json:"maxConcurrent,omitempty"`
	CreatedAt          job.Millis `json:"createdAt"`
	CreatedBy          string     `json:"createdBy,omitempty"`
	LastUsedAt         job.Millis `json:"lastUsedAt,omitempty"`
	RevokedAt          job.Millis `json:"revokedAt,omitempty"`
}

type tokenList struct {
	Tokens []tokenView `json:"tokens"`
}

// newTokenView is the one answer with the secret.
type newTokenView struct {
	tokenView
	Token string `json:"token"`
}

func viewOfToken(t job.Token) tokenView {
	return tokenView{ID: t.ID, Name: t.Name, AgentID: t.AgentID, SessionKey: t.SessionKey, MaxJobs: t.MaxJobs,
		MinIntervalSeconds: t.MinIntervalSeconds, MaxRunsPerDay: t.MaxRunsPerDay, MaxConcurrent: t.MaxConcurrent, CreatedAt: t.CreatedAt, CreatedBy: t.CreatedBy,
		LastUsedAt: t.LastUsedAt, RevokedAt: t.RevokedAt}
}

var tokenShape = shape[job.Token]{
	fields: []field[job.Token]{
		text("name", `"tools of main"`, func(t *job.Token) *string { return &t.Name }),
		text("agentId", `"main"`, func(t *job.Token) *string { return &t.AgentID }),
		text("sessionKey", `"agent:main:telegram:dm:123"`, func(t *job.Token) *string { return &t.SessionKey }),
		count("maxJobs", job.MaxMaxJobs, "20", func(t *job.Token) *int { return &t.MaxJobs }),
		count("minIntervalSeconds", job.MaxMinIntervalSeconds, "900", func(t *job.Token) *int { return &t.MinIntervalSeconds }),
		count("maxRunsPerDay", job.MaxMaxRunsPerDay, "200", func(t *job.Token) *int { return &t.MaxRunsPerDay }),
		count("maxConcurrent", job.MaxMaxConcurrent, "4", func(t *job.Token) *int { return &t.MaxConcurrent }),
	},
	readOnly: []string{"id", "createdAt", "createdBy", "lastUsedAt", "revokedAt", "jobs"},
	synonyms: map[string]string{"agent": "agentId", "session": "sessionKey", "mininterval": "minIntervalSeconds", "runsperday": "maxRunsPerDay", "concurrency": "maxConcurrent"},
	example:  `{"name":"tools of main","agentId":"main"}`,
}

func (s *server) createToken(w http.ResponseWriter, r *http.Request) error {
	in, err := readObject(s, w, r, tokenShape, nullIsAbsent)
	if err != nil {
		return err
	}
	t := job.Token{MaxJobs: job.DefaultMaxJobs}
	in.apply(&t)
	if err := in.check(tokenProblems(t)); err != nil {
		return err
	}
	t, secret, err := s.Tokens.CreateToken(r.Context(), t)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, newTokenView{viewOfToken(t), secret})
}

// tokenProblems is everything that is wrong with a new token.
func tokenProblems(t job.Token) []job.Problem {
	wrong := job.Spec{Name: t.Name, AgentID: t.AgentID, SessionKey: t.SessionKey}.Validate()
	var found []job.Problem
	if strings.TrimSpace(t.Name) == "" {
		found = append(found, job.Problem{Field: "name", Detail: "is required: the audit says by it who did something", Example: `"tools of main"`})
	}
	for _, name := range []string{"name", "agentId", "sessionKey"} {
		found = append(found, only(name, wrong)...)
	}
	switch {
	case (t.AgentID == "") == (t.SessionKey == ""):
		found = append(found, job.Problem{Field: "agentId", Detail: "or sessionKey is required, one of the two: whose jobs the token is for", Example: `"main"`})
	case strings.Contains(t.AgentID, ":"):
		found = append(found, job.Problem{Field: "agentId", Detail: "must have no colon: its sessions could not be told from another agent's", Example: `"main"`})
	case t.SessionKey != "" && t.MaxConcurrent != 0:
		found = append(found, job.Problem{Field: "maxConcurrent", Detail: "is for tokens of an agent: a session has one run at a time; leave it out", Example: `null`})
	}
	return found
}

func (s *server) listTokens(w http.ResponseWriter, r *http.Request) error {
	tokens, err := s.Tokens.Tokens(r.Context())
	if err != nil {
		return err
	}
	list := tokenList{Tokens: make([]tokenView, len(tokens))}
	for i, t := range tokens {
		list.Tokens[i] = viewOfToken(t)
		list.Tokens[i].Jobs = &t.Jobs
	}
	return writeJSON(w, http.StatusOK, list)
}

var tokenIDPattern = regexp.MustCompile(`^[a-z0-9]{1,32}$`)

// revokeToken ends a token: here at once, in other processes within rememberToken.
func (s *server) revokeToken(w http.ResponseWriter, r *http.Request) error {
	id, err := pathParam(r, "id")
	if err == nil && !tokenIDPattern.MatchString(id) {
		err = errNoToken
	}
	if err != nil {
		return err
	}
	if err := s.refuseBody(w, r); err != nil {
		return err
	}
	t, err := s.Tokens.RevokeToken(r.Context(), id)
	if errors.Is(err, job.ErrNotFound) {
		return errNoToken
	}
	if err != nil {
		return err
	}
	s.tokens.forget(id)
	return writeJSON(w, http.StatusOK, viewOfToken(t))
}

var errNoToken = &apiError{status: http.StatusNotFound, detail: "There is no token of that id. List the tokens to see theirs; it is the part between gct_ and the next _."}

const (
	// rememberToken is how long a token that was looked up counts as it was then. With a
	// look at a run after it, and the time to read the token, what a revoked one has open
	// elsewhere ends within 10 s.
	rememberToken = 8 * time.Second
	// maxRemembered bounds what is remembered, which strangers could fill.
	maxRemembered = 4096
)

// tokenCache spares most requests the look-up of their token. It knows tokens by a hash
// of the secret, and those that were refused too.
type tokenCache struct {
	store TokenStore
	now   func() time.Time

	mu    sync.Mutex
	known map[[sha256.Size]byte]knownToken
	ended chan struct{} // closed when a token is revoked here, and made anew
}

type knownToken struct {
	token *job.Token // nil for one that was refused
	until time.Time
}

func newTokenCache(store TokenStore, now func() time.Time) *tokenCache {
	return &tokenCache{store: store, now: now, known: map[[sha256.Size]byte]knownToken{}, ended: make(chan struct{})}
}

// find is the token that somebody presents, nil if it is none.
func (c *tokenCache) find(ctx context.Context, secret string) (*job.Token, error) {
	key := sha256.Sum256([]byte(secret))
	c.mu.Lock()
	known, ok := c.known[key]
	ended := c.ended
	c.mu.Unlock()
	if ok && c.now().Before(known.until) {
		return known.token, nil
	}
	until := c.now().Add(rememberToken) // counted from before it is read
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	known = knownToken{until: until}
	switch t, err := c.store.Token(ctx, secret); {
	case err == nil:
		known.token = &t
	case !errors.Is(err, job.ErrNotFound):
		return nil, fmt.Errorf("who asks: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != ended {
		return known.token, nil // one was revoked since, and it may be this one: the next request looks
	}
	if len(c.known) >= maxRemembered {
		clear(c.known)
	}
	c.known[key] = known
	return known.token, nil
}

// revoked is closed when the next token is revoked here.
func (c *tokenCache) revoked() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// forget has the next request with a token look it up, and those that last.
func (c *tokenCache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.ended)
	c.ended = make(chan struct{})
	for key, known := range c.known {
		if known.token != nil && known.token.ID == id {
			delete(c.known, key)
		}
	}
}
