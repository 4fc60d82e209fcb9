package job

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"
)

// Limits of what a token may be given.
const (
	DefaultMaxJobs        = 100
	MaxMaxJobs            = 1000
	MaxMinIntervalSeconds = MaxEverySeconds
	MaxMaxRunsPerDay      = 1_000_000
	MaxMaxConcurrent      = 10_000
	MaxTokens             = 1000 // of a deployment
)

// Errors about tokens and what they allow.
var (
	// ErrTooManyTokens says that the deployment has MaxTokens already.
	ErrTooManyTokens = errors.New("too many tokens")
	// ErrJobQuota says that a token has made as many jobs as it may have.
	ErrJobQuota = errors.New("the token has as many jobs as it may have")
	// ErrRunQuota says that a token has had its runs of the day.
	ErrRunQuota = errors.New("the token has had its runs of this day")
)

// OutOfScopeError says that a token may not make a job what a request wants it to be.
type OutOfScopeError struct{ Problem Problem }

func (e *OutOfScopeError) Error() string { return e.Problem.Field + " " + e.Problem.Detail }

// Token lets its holder see and touch the jobs of one agent or of one session, and
// nothing else. Its methods hold for a nil Token too, which is the administrator, who
// may do everything.
type Token struct {
	ID   string // not secret
	Name string // for people

	// Exactly one of the two is set.
	AgentID    string
	SessionKey string
	// Owner is the agent of the session, where its key tells so by an agent that is known.
	Owner string

	MaxJobs            int // jobs it has made that exist at a time
	MinIntervalSeconds int // between two slots of a job it defines; 0 is no bound
	MaxRunsPerDay      int // of the jobs it has made, a UTC day; 0 is no bound
	MaxConcurrent      int // runs of its agent in progress at a time, whoever made the jobs; 0 is no bound. Of a session there is one.

	CreatedAt  Millis
	CreatedBy  string
	LastUsedAt Millis // to the hour
	RevokedAt  Millis

	Jobs int // that it has made and that exist; when it is listed
}

// Agent is the agent that the jobs of the token run as. A session has one agent: whoever
// may speak there may not have another one act.
func (t *Token) Agent() string {
	if t == nil {
		return ""
	}
	if agent := cmp.Or(t.AgentID, t.Owner); agent != "" {
		return agent
	}
	if agents := AgentsOf(t.SessionKey); len(agents) > 0 {
		return agents[0]
	}
	if rest, ok := strings.CutPrefix(t.SessionKey, "agent:"); ok && rest != "" && rest[0] != ':' {
		return rest
	}
	return DefaultAgent
}

// Session is the one session of the token's jobs, "" for all of its agent.
func (t *Token) Session() string {
	if t == nil {
		return ""
	}
	return t.SessionKey
}

// Owns reports whether the holder may see and touch the job of that id and definition.
func (t *Token) Owns(id string, s Spec) bool {
	return t == nil || s.ResolveAgent() == t.Agent() && (t.SessionKey == "" || s.ResolveSession(id) == t.SessionKey)
}

// OwnsSession reports whether the holder may read a session, as far as its key says so: it
// can still be that of another agent, whose id is longer; see AgentsOf.
func (t *Token) OwnsSession(key string) bool {
	switch {
	case t == nil:
		return true
	case t.SessionKey != "":
		return key == t.SessionKey
	default:
		return strings.HasPrefix(key, "agent:"+t.AgentID+":")
	}
}

// Fill says in a new definition what the token says, where the definition does not.
func (t *Token) Fill(s *Spec) {
	if t == nil {
		return
	}
	if s.AgentID == "" {
		s.AgentID = t.Agent()
	}
	if s.SessionKey == "" && s.Context != ContextIsolated {
		s.SessionKey = t.SessionKey
	}
}

// Permits returns an *OutOfScopeError if the holder may not define the job of that id so.
// What it was before may stay; before is nil for a new job.
func (t *Token) Permits(id string, before *Spec, s Spec) error {
	switch {
	case t == nil:
		return nil
	case s.ResolveAgent() != t.Agent():
		return &OutOfScopeError{Problem{"agentId", "must be the token's own, " + t.Agent(), strconv.Quote(t.Agent())}}
	case t.SessionKey != "" && s.Context == ContextIsolated:
		return &OutOfScopeError{Problem{"context", "must be session: the token is for one session", `"session"`}}
	case t.SessionKey != "" && s.ResolveSession(id) != t.SessionKey:
		return &OutOfScopeError{Problem{"sessionKey", "must be the token's own, " + t.SessionKey, strconv.Quote(t.SessionKey)}}
	case s.SessionKey == "" || before != nil && before.SessionKey == s.SessionKey || t.OwnsSession(s.SessionKey):
		return nil
	default:
		own := "agent:" + t.AgentID + ":"
		return &OutOfScopeError{Problem{"sessionKey", "must begin with " + own + ", as the token's own sessions do, or be left out", strconv.Quote(own + "morning")}}
	}
}

type tokenKey struct{}

// WithToken bounds what is done with ctx to what the token allows; nil bounds nothing.
func WithToken(ctx context.Context, t *Token) context.Context {
	return context.WithValue(ctx, tokenKey{}, t)
}

// TokenOf is the token that bounds ctx, nil without one.
func TokenOf(ctx context.Context) *Token {
	t, _ := ctx.Value(tokenKey{}).(*Token)
	return t
}
