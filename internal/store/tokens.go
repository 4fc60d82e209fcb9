package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// Here are the tokens, and what they keep their holders from. The token of a call is in
// its context, and every method that a request reaches obeys it: what is not the
// holder's does not exist. Whose a job is, its definition says; whose a run is, its
// record, which outlives the job. A record of a run that says nothing of it is of before
// there were tokens, and no holder's.

// usedEvery is how old the note of a token's last use becomes before it is renewed.
const usedEvery = time.Hour

// presented is the form of a token: gct_<id>_<secret>.
var presented = regexp.MustCompile(`^gct_([a-z0-9]{16})_([A-Z2-7]{52})$`)

// CreateToken makes a token and returns it with its secret form, which is not kept. A
// plain SHA-256 of it is: the secret has 260 random bits, which nobody tries out, so that
// a slow hash would only slow down the requests. Errors: job.ErrTooManyTokens, and
// *job.InvalidError for an agent that could not be told from another one's.
func (s *Store) CreateToken(ctx context.Context, t job.Token) (job.Token, string, error) {
	t.ID = strings.ToLower(rand.Text()[:16])
	t.CreatedBy = job.ActorOf(ctx)
	if err := s.learnAgents(ctx); err != nil {
		return job.Token{}, "", fmt.Errorf("create token: %w", err)
	}
	t, err := s.withOwner(ctx, t)
	if err != nil {
		return job.Token{}, "", fmt.Errorf("create token: %w", err)
	}
	secret := "gct_" + t.ID + "_" + rand.Text() + rand.Text()
	what, err := json.Marshal(map[string]any{"id": t.ID, "name": t.Name, "agentId": t.AgentID, "sessionKey": t.SessionKey,
		"maxJobs": t.MaxJobs, "minIntervalSeconds": t.MinIntervalSeconds, "maxRunsPerDay": t.MaxRunsPerDay, "maxConcurrent": t.MaxConcurrent})
	if err != nil {
		return job.Token{}, "", fmt.Errorf("create token: %w", err)
	}
	agent, folds, stems := agentArgs(t.Agent())
	args := []any{t.ID, job.MaxTokens, t.CreatedBy, what, agent, folds, stems, "hash", hashOf(secret)}
	owner := ""
	if t.SessionKey != "" {
		owner = t.Agent()
	}
	for name, value := range map[string]string{"name": t.Name, "owner": owner, "agentId": t.AgentID, "sessionKey": t.SessionKey, "createdBy": t.CreatedBy,
		"maxJobs": positive(int64(t.MaxJobs)), "minInterval": positive(int64(t.MinIntervalSeconds)),
		"maxRunsPerDay": positive(int64(t.MaxRunsPerDay)), "maxConcurrent": positive(int64(t.MaxConcurrent))} {
		if value != "" {
			args = append(args, name, value)
		}
	}
	said, rest, err := s.durably(ctx, s.scripts.putToken, args...)
	switch {
	case err != nil:
		return job.Token{}, "", fmt.Errorf("create token: %w", err)
	case said == saidAgent && t.AgentID == "":
		return job.Token{}, "", errAgentOf("sessionKey", `"agent:main:morning"`)
	case said == saidAgent:
		return job.Token{}, "", errAgent()
	case len(rest) != 1:
		return job.Token{}, "", fmt.Errorf("create token: %w", s.scripts.putToken.notSo(said, rest))
	}
	t.CreatedAt = job.Millis(number(rest[0]))
	return t, secret, nil
}

// Token is the token that somebody presents. Errors: job.ErrNotFound for one that was
// never made, or was revoked.
func (s *Store) Token(ctx context.Context, secret string) (job.Token, error) {
	form := presented.FindStringSubmatch(secret)
	if form == nil {
		return job.Token{}, fmt.Errorf("look up a token: %w", job.ErrNotFound)
	}
	f, err := s.client(ctx).HGetAll(ctx, s.keys.token(form[1])).Result()
	if err != nil {
		return job.Token{}, fmt.Errorf("look up token %s: %w", form[1], err)
	}
	t, err := decodeToken(form[1], f)
	if err != nil || t.RevokedAt != 0 || subtle.ConstantTimeCompare([]byte(f["hash"]), []byte(hashOf(secret))) != 1 {
		return job.Token{}, fmt.Errorf("look up token %s: %w", form[1], job.ErrNotFound)
	}
	now, err := s.Now(ctx)
	if err != nil {
		return job.Token{}, fmt.Errorf("look up token %s: %w", form[1], err)
	}
	if now.Sub(t.LastUsedAt.Time()) >= usedEvery {
		if _, _, err := s.answer(ctx, s.scripts.useToken, t.ID); err != nil {
			return job.Token{}, fmt.Errorf("note the use of token %s: %w", t.ID, err)
		}
	}
	if t, err = s.withOwner(ctx, t); err != nil {
		return job.Token{}, fmt.Errorf("look up token %s: %w", t.ID, err)
	}
	return t, nil
}

// Tokens are all tokens, oldest first; a revoked one for the retention.
func (s *Store) Tokens(ctx context.Context) ([]job.Token, error) {
	ids, err := s.client(ctx).ZRange(ctx, s.keys.tokens(), 0, job.MaxTokens-1).Result()
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	hashes, err := s.hashes(ctx, ids, s.keys.token)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	jobs := make([]*redis.IntCmd, len(ids))
	if len(ids) > 0 {
		if _, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, id := range ids {
				jobs[i] = p.SCard(ctx, s.keys.tokenJobs(id))
			}
			return nil
		}); err != nil && !isReply(err) {
			return nil, fmt.Errorf("list tokens: %w", err)
		}
	}
	tokens := make([]job.Token, 0, len(ids))
	for i, id := range ids {
		if t, err := decodeToken(id, hashes[i]); err == nil {
			t.Jobs = int(jobs[i].Val())
			tokens = append(tokens, t)
		}
	}
	return tokens, nil
}

// RevokeToken ends a token; one that was revoked stays so. Errors: job.ErrNotFound,
// job.ErrNewerVersion.
func (s *Store) RevokeToken(ctx context.Context, id string) (job.Token, error) {
	said, rest, err := s.durably(ctx, s.scripts.revokeToken, id, job.ActorOf(ctx))
	if err == nil && len(rest) != 1 {
		err = s.scripts.revokeToken.notSo(said, rest)
	}
	if err != nil {
		return job.Token{}, fmt.Errorf("revoke token %s: %w", id, err)
	}
	f, err := flatFields(rest[0])
	if err != nil {
		return job.Token{}, fmt.Errorf("revoke token %s: %w", id, err)
	}
	return decodeToken(id, f)
}

func decodeToken(id string, f fields) (job.Token, error) {
	if f["hash"] == "" || (f["agentId"] == "") == (f["sessionKey"] == "") {
		return job.Token{}, job.ErrNotFound // damaged, it must not mean more than it did
	}
	if f.int("v") > job.Version {
		return job.Token{}, job.ErrNewerVersion
	}
	return job.Token{ID: id, Name: f["name"], AgentID: f["agentId"], SessionKey: f["sessionKey"], Owner: f["owner"], MaxJobs: int(f.int("maxJobs")),
		MinIntervalSeconds: int(f.int("minInterval")), MaxRunsPerDay: int(f.int("maxRunsPerDay")), MaxConcurrent: int(f.int("maxConcurrent")), CreatedAt: f.millis("createdAt"),
		CreatedBy: f["createdBy"], LastUsedAt: f.millis("lastUsedAt"), RevokedAt: f.millis("revokedAt")}, nil
}

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// tokenID is the id of the caller's token, "" for the administrator.
func tokenID(ctx context.Context) string {
	if t := job.TokenOf(ctx); t != nil {
		return t.ID
	}
	return ""
}

// jobQuota is how many jobs the caller's token may have, "" for the administrator.
func jobQuota(ctx context.Context) string {
	if t := job.TokenOf(ctx); t != nil {
		return strconv.Itoa(t.MaxJobs)
	}
	return ""
}

// jobScope asks of a job's record whether the job is the caller's.
func jobScope(ctx context.Context) []test {
	t := job.TokenOf(ctx)
	if t == nil {
		return nil
	}
	agent := test{field: "agentId", holds: func(v string) bool { return cmp.Or(v, job.DefaultAgent) == t.Agent() }}
	return append(same("session", t.Session()), agent)
}

// runScope asks of a run's record whether the run is the caller's.
func runScope(ctx context.Context) []test {
	t := job.TokenOf(ctx)
	if t == nil {
		return nil
	}
	return append(same("home", t.Session()), test{field: "agent", holds: func(v string) bool { return v == t.Agent() }})
}

// knowsJob returns job.ErrNotFound if the caller has neither the job nor a run of it.
func (s *Store) knowsJob(ctx context.Context, id string) error {
	if _, err := s.Job(ctx, id); !errors.Is(err, job.ErrNotFound) {
		return err
	}
	z := index{ZRangeArgs: redis.ZRangeArgs{Key: s.keys.runs(id), ByScore: true, Rev: true, Start: "+inf", Stop: "-inf"}}
	found, _, err := s.find(ctx, z, s.keys.run, s.leanRuns, nil, runScope(ctx), 1)
	if err == nil && len(found) == 0 {
		err = job.ErrNotFound
	}
	return err
}
