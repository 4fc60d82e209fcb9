package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// with is a context of the holder of a new token, and the token.
func (f *fixture) with(t job.Token) (context.Context, *job.Token, string) {
	f.t.Helper()
	if t.MaxJobs == 0 {
		t.MaxJobs = job.DefaultMaxJobs
	}
	t, secret, err := f.CreateToken(f.ctx, t)
	f.must(err)
	return job.WithToken(f.ctx, &t), &t, secret
}

func TestATokenIsKnownByItsSecretAlone(t *testing.T) {
	f := setup(t, Options{})
	_, made, secret := f.with(job.Token{Name: "n", AgentID: "main", MinIntervalSeconds: 60, MaxRunsPerDay: 7})
	got, err := f.Token(f.ctx, secret)
	f.must(err)
	if got.ID != made.ID || got.Name != "n" || got.AgentID != "main" || got.MinIntervalSeconds != 60 || got.MaxRunsPerDay != 7 || got.CreatedAt == 0 {
		t.Errorf("read %+v", got)
	}
	last := secret[len(secret)-1:]
	other := "A"
	if last == "A" {
		other = "B"
	}
	for _, wrong := range []string{"", "gct_", secret[:len(secret)-1] + other, secret + "A", strings.ToLower(secret), "gct_" + made.ID + "_",
		"gct_../x_" + strings.Repeat("A", 52), strings.Replace(secret, made.ID, strings.Repeat("a", 16), 1)} {
		if _, err := f.Token(f.ctx, wrong); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	for key, value := range f.rdb.HGetAll(f.ctx, f.keys.token(made.ID)).Val() {
		if len(value) > 4 && strings.Contains(secret, value) {
			t.Errorf("%s of the record is part of the secret: %q", key, value)
		}
	}

	list, err := f.Tokens(f.ctx)
	f.must(err)
	if len(list) != 1 || list[0].LastUsedAt == 0 || list[0].RevokedAt != 0 {
		t.Errorf("list %+v", list)
	}
	for range 2 { // the second changes nothing
		revoked, err := f.RevokeToken(f.ctx, made.ID)
		f.must(err)
		if revoked.RevokedAt == 0 || revoked.Name != "n" {
			t.Errorf("revoked %+v", revoked)
		}
	}
	if _, err := f.Token(f.ctx, secret); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("after it was revoked: %v", err)
	}
	if ttl := f.rdb.PTTL(f.ctx, f.keys.token(made.ID)).Val(); ttl <= 0 {
		t.Errorf("the record of a revoked token stays for %s", ttl)
	}
	if _, err := f.RevokeToken(f.ctx, "none"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("revoke none: %v", err)
	}
}

// TestADamagedTokenIsNone: whatever is lost of its record, it must not mean more.
func TestADamagedTokenIsNone(t *testing.T) {
	f := setup(t, Options{})
	_, made, secret := f.with(job.Token{Name: "n", AgentID: "main"})
	for _, damage := range []func(){
		func() { f.must(f.rdb.HSet(f.ctx, f.keys.token(made.ID), "v", job.Version+1).Err()) },
		func() { f.must(f.rdb.HSet(f.ctx, f.keys.token(made.ID), "v", 1, "sessionKey", "x").Err()) },
		func() { f.must(f.rdb.HDel(f.ctx, f.keys.token(made.ID), "agentId", "sessionKey").Err()) },
		func() { f.must(f.rdb.HDel(f.ctx, f.keys.token(made.ID), "hash").Err()) },
	} {
		damage()
		if _, err := f.Token(f.ctx, secret); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("%v: %v", f.rdb.HGetAll(f.ctx, f.keys.token(made.ID)).Val(), err)
		}
	}
}

func TestTokensHaveACap(t *testing.T) {
	f := setup(t, Options{})
	for i := range job.MaxTokens - 1 {
		f.must(f.rdb.Do(f.ctx, "ZADD", f.keys.tokens(), i+1, fmt.Sprint("t", i)).Err())
		f.must(f.rdb.HSet(f.ctx, f.keys.token(fmt.Sprint("t", i)), "hash", "x", "agentId", "a").Err())
	}
	f.with(job.Token{Name: "the last", AgentID: "main"})
	if _, _, err := f.CreateToken(f.ctx, job.Token{Name: "n", AgentID: "main"}); !errors.Is(err, job.ErrTooManyTokens) {
		t.Errorf("one more: %v", err)
	}
	f.must(f.rdb.Del(f.ctx, f.keys.token("t5")).Err()) // its time was over
	f.with(job.Token{Name: "in its place", AgentID: "main"})
}

// TestTheJobsOfATokenAreCounted however they go.
func TestTheJobsOfATokenAreCounted(t *testing.T) {
	f := setup(t, Options{})
	ctx, token, _ := f.with(job.Token{Name: "n", AgentID: "main", MaxJobs: 2})
	try := func(id string, spec job.Spec) error {
		_, err := f.CreateJob(ctx, id, spec)
		return err
	}
	once := everyMinute()
	once.MaxRuns = 1
	f.must(try("a", everyMinute()))
	f.must(try("once", once))
	f.create("of the administrator", everyMinute())
	if err := try("c", everyMinute()); !errors.Is(err, job.ErrJobQuota) {
		t.Errorf("one too many: %v", err)
	}
	f.rewind("once", f.minute(0))
	f.commit(f.claim(f.job("once"), f.minute(0), "t"), "done") // deletes it
	f.must(try("c", everyMinute()))
	f.must(f.DeleteJob(f.ctx, "a"))
	f.must(try("d", everyMinute()))
	f.must(f.rdb.Del(f.ctx, f.keys.job("d")).Err()) // lost, not deleted
	f.must(try("e", everyMinute()))
	if err := try("f", everyMinute()); !errors.Is(err, job.ErrJobQuota) {
		t.Errorf("one too many: %v", err)
	}
	list, err := f.Tokens(f.ctx)
	f.must(err)
	if list[0].ID != token.ID || list[0].Jobs != 2 {
		t.Errorf("list %+v", list)
	}
}

func TestTheRunsOfATokenAreCounted(t *testing.T) {
	f := setup(t, Options{})
	ctx, _, _ := f.with(job.Token{Name: "n", AgentID: "main", MaxRunsPerDay: 2})
	j, err := f.CreateJob(ctx, "a", everyMinute())
	f.must(err)
	f.rewind("a", f.minute(-1))
	f.commit(f.claim(j, f.minute(-1), "t1"), "done")
	if _, _, err := f.RunJob(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.RunJob(ctx, "a"); !errors.Is(err, job.ErrRunQuota) {
		t.Errorf("one too many: %v", err)
	}
	if b := f.claim(j, f.minute(0), "t2"); b.Verdict != job.BeginDropped {
		t.Errorf("claim: %s", b.Verdict)
	}
	newest := f.runs("a")[0]
	if newest.Outcome != job.Skipped || newest.Reason != job.ReasonQuota || newest.Slot != f.job("a").LastSlot {
		t.Errorf("record %+v", newest)
	}
	if _, _, err := f.RunJob(f.ctx, "a"); err != nil {
		t.Errorf("the administrator has no quota: %v", err)
	}
}

// TestOwnershipIsCheckedInTheStep: a job that changes hands between the look of the API
// and the script is not touched.
func TestOwnershipIsCheckedInTheStep(t *testing.T) {
	f := setup(t, Options{})
	spec := everyMinute()
	spec.AgentID, spec.SessionKey = "a", "agent:a:x"
	f.create("j", spec)
	_, run, err := f.RunJob(f.ctx, "j")
	f.must(err)
	for _, other := range []job.Token{{Name: "n", AgentID: "b"}, {Name: "n", SessionKey: "agent:a:y"}} {
		ctx, _, _ := f.with(other)
		_, _, runErr := f.RunJob(ctx, "j")
		_, cancelErr := f.CancelRun(ctx, run)
		_, redeliverErr := f.Redeliver(ctx, run)
		_, readErr := f.Run(ctx, run)
		_, editErr := f.UpdateJob(ctx, "j", func(s job.Spec) (job.Spec, error) { return s, nil })
		deleteErr := f.DeleteJob(ctx, "j")
		for what, err := range map[string]error{"run": runErr, "cancel": cancelErr, "redeliver": redeliverErr, "read": readErr, "edit": editErr, "delete": deleteErr} {
			if !errors.Is(err, job.ErrNotFound) {
				t.Errorf("%s by %+v: %v", what, other, err)
			}
		}
	}
	// A record of before there were tokens is nobody's.
	f.must(f.rdb.HDel(f.ctx, f.keys.run(run), "agent", "home").Err())
	ctx, _, _ := f.with(job.Token{Name: "n", AgentID: "a"})
	if _, err := f.Run(ctx, run); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("read a run that says nothing of its agent: %v", err)
	}
	if _, err := f.CancelRun(ctx, run); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("cancel a run that says nothing of its agent: %v", err)
	}
}
