package store

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// former brings the store to what a release left that kept no list of agents, and
// distinguished nothing: of each agent there is a job that has spoken.
func former(f *fixture, agents ...string) *Store {
	f.t.Helper()
	for i, agent := range agents {
		id := id(i)
		f.create(id, of("fresh-"+id))
		f.must(f.rdb.HSet(f.ctx, f.keys.job(id), "agentId", agent, "session", "agent:"+agent+":cron:"+id).Err())
		f.commit(f.begin(f.runNow(id)), "the reply of "+agent)
	}
	f.must(f.rdb.Del(f.ctx, f.keys.agentIDs()).Err())
	return New(f.rdb, Options{})
}

func TestSessionsOfAnAgentWhoseIdBeginsLikeAnothers(t *testing.T) {
	f := setup(t, Options{})
	s := former(f, "alpha", "alpha:ops", "alpha:ops:night")
	ofAlpha := job.WithToken(f.ctx, &job.Token{ID: "t", AgentID: "alpha", MaxJobs: 10})
	for key, mine := range map[string]bool{
		"agent:alpha:cron:job-0":           true,
		"agent:alpha:ops:cron:job-1":       false,
		"agent:alpha:ops:night:cron:job-2": false,
	} {
		_, err := s.Session(ofAlpha, key, 10)
		if (err == nil) != mine || err != nil && !errors.Is(err, job.ErrNotFound) {
			t.Errorf("read %s: %v", key, err)
		}
		_, _, err = s.ReadSession(ofAlpha, key, "", 10, 1<<20)
		if (err == nil) != mine || err != nil && !errors.Is(err, job.ErrNotFound) {
			t.Errorf("read a page of %s: %v", key, err)
		}
		spec := of("alpha")
		spec.SessionKey = key
		_, err = s.CreateJob(ofAlpha, "", spec)
		var refused *job.OutOfScopeError
		if mine != (err == nil) || !mine && (!errors.As(err, &refused) || refused.Problem.Field != "sessionKey") {
			t.Errorf("a job in %s: %v", key, err)
		}
		_, err = s.UpdateJob(ofAlpha, "job-0", func(old job.Spec) (job.Spec, error) { old.SessionKey = key; return old, nil })
		if mine != (err == nil) || !mine && !errors.As(err, &refused) {
			t.Errorf("an edit into %s: %v", key, err)
		}
	}
	// What there was goes on.
	for i, agent := range []string{"alpha", "alpha:ops", "alpha:ops:night"} {
		_, err := s.UpdateJob(f.ctx, id(i), func(old job.Spec) (job.Spec, error) { old.Task = "another"; return old, nil })
		f.must(err)
		_, err = s.CreateJob(f.ctx, "", of(agent))
		f.must(err)
	}
}

// TestTokenForASessionActsAsItsAgent, which is the longest that the key begins with.
func TestTokenForASessionActsAsItsAgent(t *testing.T) {
	f := setup(t, Options{})
	s := former(f, "alpha", "alpha:ops")
	for key, agent := range map[string]string{"agent:alpha:ops:x": "alpha:ops", "agent:alpha:x": "alpha", "x": "main", "agent:new:x": "new"} {
		made, secret, err := s.CreateToken(f.ctx, job.Token{Name: "n", SessionKey: key})
		f.must(err)
		for range 2 { // as it is made now, and as formerly
			known, err := s.Token(f.ctx, secret)
			f.must(err)
			if known.Agent() != agent {
				t.Errorf("the token for %s acts as %s", key, known.Agent())
			}
			f.must(f.rdb.HDel(f.ctx, f.keys.token(made.ID), "owner").Err())
		}
	}
}

func TestAgentsThatCouldBeMistakenAreRefused(t *testing.T) {
	for _, in := range []string{"alpha", "ada@corp", "a:b:c", "日"} {
		for other, refused := range map[string]map[string]bool{
			"alpha":    {"alpha:ops": true, "ALPHA": true, "Alpha:Ops": true, "alpha.": true, "alphabet": false, "alpha-ops": false},
			"ada@corp": {"ada_corp": true, "ADA@corp": true, "ada corp": false, "ada@corp:x": true, "adacorp": false},
			"a:b:c":    {"a": true, "a:b": true, "A:B": true, "a:b:c:d": true, "a:x": false, "b": false, "a:b:cc": false},
			"日":        {"月": true, "_": true, "日:x": true, "日本": false},
		}[in] {
			if other == "ada corp" {
				continue // is no id
			}
			t.Run(in+" and "+other, func(t *testing.T) {
				f := setup(t, Options{})
				f.create("first", of(in))
				f.create("elsewhere", of("elsewhere"))
				check := func(what, field string, err error) {
					t.Helper()
					var invalid *job.InvalidError
					switch {
					case !refused && err != nil, refused && err == nil:
						t.Errorf("%s: %v", what, err)
					case refused && (!errors.As(err, &invalid) || len(invalid.Problems) != 1 || invalid.Problems[0].Field != field):
						t.Errorf("%s: %v", what, err)
					}
				}
				_, err := f.CreateJob(f.ctx, "second", of(other))
				check("a job", "agentId", err)
				_, err = f.UpdateJob(f.ctx, "elsewhere", func(s job.Spec) (job.Spec, error) { s.AgentID = other; return s, nil })
				check("an edit", "agentId", err)
				_, _, err = f.CreateToken(f.ctx, job.Token{Name: "n", AgentID: other})
				check("a token", "agentId", err)
				_, err = f.CreateJob(f.ctx, "third", of(in))
				f.must(err)
			})
		}
	}
}

// TestAgentsInUseAreApart: whatever ids are asked for, in any order, no key can be of two that
// were let in, not even at a server that replaces characters and ignores case.
func TestAgentsInUseAreApart(t *testing.T) {
	f := setup(t, Options{})
	seen := func(id string) string {
		return strings.ToLower(strings.Map(func(r rune) rune {
			if r < utf8.RuneSelf && r != '@' {
				return r
			}
			return '_'
		}, "agent:"+id+":"))
	}
	rapid.Check(t, func(t *rapid.T) {
		if err := f.rdb.Del(f.ctx, f.keys.agentIDs()).Err(); err != nil {
			t.Fatal(err)
		}
		var in []string
		for _, id := range rapid.SliceOfN(rapid.StringMatching(`[aA@_é]{1,2}(:[aA@é]{1,2}){0,2}`), 2, 12).Draw(t, "ids") {
			var invalid *job.InvalidError
			_, err := f.CreateJob(f.ctx, "", of(id))
			switch {
			case err == nil:
				in = append(in, id)
			case !errors.As(err, &invalid):
				t.Fatal(err)
			}
		}
		for _, a := range in {
			for _, b := range in {
				if a != b && strings.HasPrefix(seen(a), seen(b)) {
					t.Fatalf("%s and %s are both in use", a, b)
				}
			}
		}
	})
}

// TestAgentOfATokenIsInUse as one of a job is.
func TestAgentOfATokenIsInUse(t *testing.T) {
	f := setup(t, Options{})
	f.with(job.Token{Name: "n", AgentID: "alpha"})
	f.with(job.Token{Name: "n", SessionKey: "agent:beta:x"})
	for _, agent := range []string{"alpha:ops", "beta:x"} {
		var invalid *job.InvalidError
		if _, err := f.CreateJob(f.ctx, "a", of(agent)); !errors.As(err, &invalid) {
			t.Errorf("a job of %s: %v", agent, err)
		}
	}
}

// TestAgentsAreInUseUntilNothingOfThemIsLeft: the check of all jobs renews what is there, and
// lets go what has been gone for as long as its sessions are kept.
func TestAgentsAreInUseUntilNothingOfThemIsLeft(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", of("alpha"))
	f.create("b", of("beta"))
	f.with(job.Token{Name: "n", AgentID: "gamma"})
	err := f.DeleteJob(f.ctx, "b")
	f.must(err)
	age := func(by time.Duration) {
		for _, m := range f.rdb.ZRange(f.ctx, f.keys.agentIDs(), 0, -1).Val() {
			if m != allAgents {
				f.must(f.rdb.ZIncrBy(f.ctx, f.keys.agentIDs(), -float64(by.Milliseconds()), m).Err())
			}
		}
	}
	known := func() []string {
		f.t.Helper()
		_, err := f.CheckJobs(f.ctx, "", 100)
		f.must(err)
		var ids []string
		for _, id := range []string{"alpha", "beta", "gamma"} {
			found, err := f.longestAgent(context.Background(), []string{id})
			f.must(err)
			if found != "" {
				ids = append(ids, id)
			}
		}
		return ids
	}
	age(89 * 24 * time.Hour)
	if diff := cmp.Diff([]string{"alpha", "beta", "gamma"}, known()); diff != "" {
		t.Errorf("the sessions of one are still there (-want +got):\n%s", diff)
	}
	age(2 * 24 * time.Hour)
	if diff := cmp.Diff([]string{"alpha", "gamma"}, known()); diff != "" {
		t.Errorf("they are gone (-want +got):\n%s", diff)
	}
	f.create("c", of("beta:ops")) // and the name is free
	f.must(f.rdb.Set(f.ctx, f.keys.agentIDs(), "damaged", 0).Err())
	if diff := cmp.Diff([]string{"alpha", "gamma"}, known()); diff != "" {
		t.Errorf("damaged, they are read again (-want +got):\n%s", diff)
	}
}

func TestSessionIDs(t *testing.T) {
	f := setup(t, Options{})
	id := func(key, other, found string) string {
		t.Helper()
		got, err := f.SessionID(f.ctx, key, other, found)
		f.must(err)
		return got
	}
	ada, eve := "agent:ada@corp:main", "agent:ada_corp:main"
	if got := id(ada, "", ""); got != ada {
		t.Errorf("the first is called %s", got)
	}
	f.must(f.rdb.PExpire(f.ctx, f.keys.sessionID(eve), time.Hour).Err())
	want := job.SessionIDs(eve)
	if got := id(eve, "", ""); got != want[1] {
		t.Errorf("the second is called %s", got)
	}
	if left := f.rdb.PTTL(f.ctx, f.keys.sessionID(eve)).Val(); left < 24*time.Hour {
		t.Errorf("while others would have it, an id is kept for %s", left)
	}
	if got := id(want[1], "", ""); got != job.SessionIDs(want[1])[1] {
		t.Errorf("a key that is the id of another is called %s", got)
	}
	// Whoever was there before us keeps its place, and so does the new one.
	if got := id(ada, "agent:ada#corp:main", ada); got != job.SessionIDs(ada)[1] || id(ada, "", "") != got {
		t.Errorf("a key whose conversation was another's is called %s", got)
	}
	if got := id("agent:ada#corp:main", "", ""); got != "agent:ada#corp:main" {
		t.Errorf("the key that was there is called %s", got)
	}
	f.must(f.rdb.Del(f.ctx, f.keys.sessionID("x")).Err())
	f.must(f.rdb.LPush(f.ctx, f.keys.sessionID("x"), "damaged").Err())
	if got := id("X", "", ""); got != "X" {
		t.Errorf("where the note is damaged: %s", got)
	}
}

// TestRunIsToldItsSessionID in the step that begins it, unless its key is an unusual one.
func TestRunIsToldItsSessionID(t *testing.T) {
	f := setup(t, Options{})
	for i, tt := range []struct{ key, want string }{
		{"agent:main:A", "agent:main:A"}, {"agent:main:a", ""}, {"agent:main:A", "agent:main:A"}, {"agent:main:@", ""}, {"agent:main:é", ""},
		{"agent:main:a.", ""}, {"agent:main:a_", "agent:main:a_"},
	} {
		spec := everyMinute()
		spec.SessionKey = tt.key
		j := f.create(id(i), spec)
		f.rewind(j.ID, f.minute(0))
		claimed := f.claim(j, f.minute(0), "t")
		if claimed.SessionID != tt.want {
			t.Errorf("a slot in %s: %q", tt.key, claimed.SessionID)
		}
		f.commit(claimed, "x")
		begun := f.begin(f.runNow(j.ID))
		if begun.SessionID != tt.want {
			t.Errorf("a run in %s: %q", tt.key, begun.SessionID)
		}
		f.commit(begun, "x")
	}
}
