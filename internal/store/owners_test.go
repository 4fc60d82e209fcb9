package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// mine and talk are whose the jobs are that the tests ask for.
const (
	mine = "mine"
	talk = "agent:mine:talk"
)

// ownSpec is a job of the agent, in the session if there is one.
func ownSpec(agent, session string) job.Spec {
	s := everyMinute()
	s.AgentID, s.SessionKey = agent, session
	return s
}

// holders are the holders of a token of the agent and of one of its session.
func (f *fixture) holders() map[string]context.Context {
	f.t.Helper()
	agent, _, _ := f.with(job.Token{Name: "n", AgentID: mine})
	session, _, _ := f.with(job.Token{Name: "n", SessionKey: talk})
	return map[string]context.Context{"an agent": agent, "a session": session}
}

// anew is what a process that has just begun sees.
func (f *fixture) anew() *fixture {
	return &fixture{Store: New(f.rdb, Options{}), t: f.t, rdb: f.rdb, ctx: f.ctx}
}

// others writes n jobs of others straight into the database, each due before any other job
// and with a run that is newer than any, as a release without lists of owners leaves them.
func (f *fixture) others(n int) {
	f.t.Helper()
	now := f.now()
	_, err := f.rdb.Pipelined(f.ctx, func(p redis.Pipeliner) error {
		for i := range n {
			// Of another agent, and of another session of this one.
			spec := ownSpec("other", "agent:other:talk")
			if i%2 == 0 {
				spec = ownSpec("othe", talk)
			}
			one := "x" + strconv.Itoa(i)
			h := specFields(one, spec)
			h["uid"], h["nextSlot"], h["failures"], h["lastDelivery"] = "u", strconv.FormatInt(int64(now)+30_000, 10), "2", "failed"
			p.HSet(f.ctx, f.keys.job(one), h)
			p.ZAdd(f.ctx, f.keys.jobs(), redis.Z{Score: float64(1000 + 7*i), Member: one})
			p.ZAdd(f.ctx, f.keys.due(), redis.Z{Score: float64(now) + 30_000, Member: one})
			p.ZAdd(f.ctx, f.keys.failing(), redis.Z{Score: float64(1 + i), Member: one})
			p.ZAdd(f.ctx, f.keys.undelivered(), redis.Z{Score: float64(1 + i), Member: one})
			p.ZAdd(f.ctx, f.keys.ended(), redis.Z{Score: float64(1000 + 7*i), Member: "e" + one})
			run := one + ":1"
			p.HSet(f.ctx, f.keys.run(run), "v", 1, "job", one, "uid", "u", "state", "done", "agent", h["agentId"], "home", h["session"])
			p.ZAdd(f.ctx, f.keys.allRuns(), redis.Z{Score: float64(1000*int64(now) + 3600_000_000 + int64(i)), Member: run})
		}
		return nil
	})
	f.must(err)
}

// lists are what the holder of a token is shown, by the list.
func (f *fixture) lists(ctx context.Context) map[string][]string {
	f.t.Helper()
	out := map[string][]string{}
	for list, ended := range map[string]bool{"jobs": false, "ended": true} {
		jobs, next, err := f.FindJobs(ctx, job.JobFilter{Ended: ended}, "", 50)
		f.must(err)
		for _, j := range jobs {
			out[list] = append(out[list], j.ID)
		}
		if next != "" {
			out[list] = append(out[list], "goes on at "+next)
		}
	}
	runs, next, err := f.FindRuns(ctx, job.RunFilter{}, "", 50)
	f.must(err)
	for _, r := range runs {
		out["runs"] = append(out["runs"], r.JobID)
	}
	if next != "" {
		out["runs"] = append(out["runs"], "goes on at "+next)
	}
	upcoming, err := f.Upcoming(ctx, 0, 3)
	f.must(err)
	for _, s := range upcoming.Slots {
		out["upcoming"] = append(out["upcoming"], s.JobID)
	}
	ailing, err := f.Ailing(ctx, 5)
	f.must(err)
	for _, j := range ailing.Failing {
		out["failing"] = append(out["failing"], j.ID)
	}
	for _, j := range ailing.Undelivered {
		out["undelivered"] = append(out["undelivered"], j.ID)
	}
	return out
}

// own makes a job of the session with a run, one that fails, and one that has ended.
func (f *fixture) own() map[string][]string {
	f.t.Helper()
	f.create("first", ownSpec(mine, talk))
	_, run, err := f.RunJob(f.ctx, "first")
	f.must(err)
	f.commit(f.begin(run), "x")
	spec := ownSpec(mine, talk)
	spec.Schedule = "0 9 1 1 *"
	f.create("second", spec)
	f.setHash(f.keys.job("second"), "failures", 2, "lastDelivery", "failed", "lastReplyId", "none")
	f.zadd(f.keys.failing(), f.now(), "second")
	f.zadd(f.keys.undelivered(), f.now(), "second")
	f.create("over", ownSpec(mine, talk))
	f.must(f.rdb.HDel(f.ctx, f.keys.job("over"), "nextSlot").Err())
	f.must(f.rdb.ZRem(f.ctx, f.keys.due(), "over").Err())
	f.must(f.run(f.ctx, f.scripts.relist, "over").Err())
	return map[string][]string{"jobs": {"first", "second"}, "ended": {"over"}, "runs": {"first"}, "upcoming": {"first", "first", "first"},
		"failing": {"second"}, "undelivered": {"second"}}
}

// TestWhatATokenOwnsIsListedWholeAmongMuchOfOthers in one page, also directly after a release
// that has kept no lists of owners, or whatever became of them.
func TestWhatATokenOwnsIsListedWholeAmongMuchOfOthers(t *testing.T) {
	f := setup(t, Options{})
	f.others(manyJobs)
	want := f.own()
	for whose, ctx := range f.holders() {
		for damage, do := range map[string]func(){
			"none": func() {},
			"the lists are of before": func() {
				f.must(f.rdb.Del(f.ctx, f.keys.owned(), f.keys.ownRuns(mine, ""), f.keys.ownRuns(mine, talk)).Err())
			},
			"they are something else": func() { f.must(f.rdb.Set(f.ctx, f.keys.owned(), "x", 0).Err()) },
			"a release knew some":     func() { f.must(f.rdb.ZRemRangeByRank(f.ctx, f.keys.owned(), 3, -1).Err()) },
			"a release made runs":     func() { f.must(f.rdb.ZRemRangeByRank(f.ctx, f.keys.ownRuns(mine, ""), 0, -1).Err()) },
			"a release has deleted jobs": func() {
				f.must(f.rdb.ZAdd(f.ctx, f.keys.owned(), redis.Z{Member: "j:mine 0000000000000001 gone"}).Err())
			},
		} {
			do()
			if d := gocmp.Diff(want, f.anew().lists(ctx)); d != "" {
				t.Errorf("%s, %s:\n%s", whose, damage, d)
			}
		}
	}
	f.ownersAreInStep("at the end")
}

// TestAListOfATokenCostsWhatItOwns however much others have.
func TestAListOfATokenCostsWhatItOwns(t *testing.T) {
	spent := map[string]map[int]int{}
	for _, n := range []int{50, 2000} {
		f := setup(t, Options{})
		f.others(n)
		f.own()
		for whose, ctx := range f.holders() {
			f.lists(ctx) // the first of a process goes over everything
			before := f.executed()
			f.lists(ctx)
			if spent[whose] == nil {
				spent[whose] = map[int]int{}
			}
			spent[whose][n] = f.executed() - before
		}
	}
	for whose, by := range spent {
		t.Logf("the lists of %s execute %v", whose, by)
		if by[50] != by[2000] || by[50] > 100 {
			t.Errorf("the lists of %s execute %d commands among 50 jobs of others, and %d among 2,000", whose, by[50], by[2000])
		}
	}
}

// TestCursorsOfATokenAreOfItsOwnRecords: where a page ends tells of nothing between, and
// nothing but others' behind it is the end.
func TestCursorsOfATokenAreOfItsOwnRecords(t *testing.T) {
	f := setup(t, Options{})
	other := ownSpec("other", "agent:other:talk")
	var own []string
	scores := map[string]bool{}
	see := func(key, member string) {
		scores[cursorAt(int64(f.rdb.ZScore(f.ctx, key, member).Val()))] = true
	}
	for i := range 4 {
		f.create(fmt.Sprint("a", i), other)
		one := f.create(fmt.Sprint("b", i), ownSpec(mine, talk))
		own = append(own, one.ID)
		see(f.keys.jobs(), one.ID)
	}
	f.create("last", other)
	// A job that was another's, is the token's, and then another's again.
	f.create("moving", other)
	var runs []string
	for i, spec := range []job.Spec{other, ownSpec(mine, talk), other, ownSpec(mine, talk), other, other} {
		_, err := f.UpdateJob(f.ctx, "moving", func(job.Spec) (job.Spec, error) { return spec, nil })
		f.must(err)
		_, run, err := f.RunJob(f.ctx, "moving")
		f.must(err)
		if i == 1 || i == 3 {
			runs = append(runs, run)
			see(f.keys.runs("moving"), run)
			see(f.keys.allRuns(), run)
		}
	}
	slices.Reverse(runs)
	for whose, ctx := range f.holders() {
		for _, match := range []string{"", "b", "moving"} {
			for list, page := range map[string]func(cursor string) ([]string, string, error){
				"jobs": func(cursor string) (ids []string, next string, err error) {
					jobs, next, err := f.FindJobs(ctx, job.JobFilter{Match: match}, cursor, 1)
					for _, j := range jobs {
						ids = append(ids, j.ID)
					}
					return ids, next, err
				},
				"runs": func(cursor string) (ids []string, next string, err error) {
					found, next, err := f.FindRuns(ctx, job.RunFilter{Match: match}, cursor, 1)
					for _, r := range found {
						ids = append(ids, r.ID)
					}
					return ids, next, err
				},
				"runs of a job": func(cursor string) (ids []string, next string, err error) {
					found, next, err := f.FindRuns(ctx, job.RunFilter{JobID: "moving", Match: match}, cursor, 1)
					for _, r := range found {
						ids = append(ids, r.ID)
					}
					return ids, next, err
				},
			} {
				want := runs
				if list == "jobs" {
					want = own
				}
				if (list == "jobs") == (match == "moving") || list != "jobs" && match == "b" {
					want = nil
				}
				if match == "" && list == "jobs" {
					want = own
				} else if match == "" {
					want = runs
				}
				var got []string
				for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
					ids, next, err := page(cursor)
					f.must(err)
					if pages >= max(1, len(want)) {
						t.Fatalf("%s of %s, %q: page %d of %d records", list, whose, match, pages+1, len(want))
					}
					if got = append(got, ids...); next != "" && !scores[next] {
						t.Errorf("%s of %s, %q: the cursor %s is of no record of its own", list, whose, match, next)
					}
					cursor = next
				}
				if d := gocmp.Diff(want, got); d != "" {
					t.Errorf("%s of %s, %q:\n%s", list, whose, match, d)
				}
			}
		}
	}
}

// TestTheAuditOfATokenTellsOfItsOwnAlone: with more changes of others in between than one page
// looks at.
func TestTheAuditOfATokenTellsOfItsOwnAlone(t *testing.T) {
	f := setup(t, Options{})
	others := func() {
		t.Helper()
		_, err := f.rdb.Pipelined(f.ctx, func(p redis.Pipeliner) error {
			for range maxSearched + 1 {
				p.XAdd(f.ctx, &redis.XAddArgs{Stream: f.keys.audit(), Values: []any{"at", 1, "actor", "api", "action", "edit", "target", "x"}})
			}
			return nil
		})
		f.must(err)
	}
	others()
	f.create("a", ownSpec(mine, talk))
	others()
	_, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) {
		s.Task = "x"
		return s, nil
	})
	f.must(err)
	others()
	for whose, ctx := range f.holders() {
		var actions []string
		for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
			entries, next, err := f.Audit(ctx, "a", cursor, 1)
			f.must(err)
			if len(entries) != 1 || next != "" && next != entries[0].ID || pages > 1 {
				t.Fatalf("%s: page %d is %+v, and goes on at %q", whose, pages+1, entries, next)
			}
			actions = append(actions, entries[0].Action)
			cursor = next
		}
		if d := gocmp.Diff([]string{"edit", "create"}, actions); d != "" {
			t.Errorf("%s:\n%s", whose, d)
		}
	}
}

// ownersAreInStep compares the lists of the owners of jobs with the jobs.
func (f *fixture) ownersAreInStep(when string) {
	f.t.Helper()
	var want []string
	for kind, key := range map[string]string{"j": f.keys.jobs(), "e": f.keys.ended()} {
		for _, z := range f.rdb.ZRangeWithScores(f.ctx, key, 0, -1).Val() {
			id := member(z)
			h := f.rdb.HGetAll(f.ctx, f.keys.job(id)).Val()
			agent := cmp.Or(h["agentId"], job.DefaultAgent)
			want = append(want, fmt.Sprintf("%s:%s %016d %s", kind, agent, int64(z.Score), id),
				fmt.Sprintf("%ss:%s %s %016d %s", kind, agent, h["session"], int64(z.Score), id))
		}
	}
	slices.Sort(want)
	if d := gocmp.Diff(want, f.rdb.ZRange(f.ctx, f.keys.owned(), 0, -1).Val()); d != "" {
		f.t.Errorf("%s (-jobs +owned):\n%s", when, d)
	}
}

// TestTheListsOfOwnersFollowTheJobs through everything that makes, moves, ends and deletes one.
func TestTheListsOfOwnersFollowTheJobs(t *testing.T) {
	f := setup(t, Options{})
	edit := func(id string, do func(*job.Spec)) {
		t.Helper()
		_, err := f.UpdateJob(f.ctx, id, func(s job.Spec) (job.Spec, error) {
			do(&s)
			return s, nil
		})
		f.must(err)
	}
	soon := func() job.Millis { return f.minute(3) }
	steps := []struct {
		name string
		do   func()
	}{
		{"made", func() { f.create("a", everyMinute()); f.create("b", ownSpec(mine, talk)) }},
		{"another agent", func() { edit("a", func(s *job.Spec) { s.AgentID = "x" }) }},
		{"another session", func() { edit("a", func(s *job.Spec) { s.SessionKey = "agent:x:y" }) }},
		{"no agent", func() { edit("a", func(s *job.Spec) { s.AgentID, s.SessionKey = "", "" }) }},
		{"another task", func() { edit("a", func(s *job.Spec) { s.Task = "x" }) }},
		{"ended", func() { f.passed("c", ownSpec(mine, talk), job.Missed, job.ReasonStale) }},
		{"ended, and another's", func() { edit("c", func(s *job.Spec) { s.AgentID, s.SessionKey, s.Task = "x", "", "x" }) }},
		{"back from there", func() { edit("c", func(s *job.Spec) { s.Schedule, s.At = "", soon() }) }},
		{"ended again", func() {
			f.rewind("c", f.minute(-200))
			f.pass(f.job("c"), f.minute(-200), 0, job.Missed, job.ReasonStale)
		}},
		{"made under the id of an ended one", func() { f.create("c", ownSpec(mine, "")) }},
		{"its runs are used up", func() {
			once := ownSpec(mine, talk)
			once.MaxRuns = 1
			f.commit(f.begun("d", once), "x")
		}},
		{"a cursor that comes back", func() {
			f.passed("e", everyMinute(), job.Missed, job.ReasonStale)
			j := f.job("e")
			f.must(f.run(f.ctx, f.scripts.setCursor, "e", j.UID, j.Revision, "", optional(soon()), optional(soon())).Err())
		}},
		{"deleted", func() { f.must(f.DeleteJob(f.ctx, "b")) }},
		{"damage: unlisted", func() { f.must(f.rdb.ZRem(f.ctx, f.keys.jobs(), "a").Err()); f.repairAll(job.IndexDue) }},
		{"damage: gone", func() {
			f.must(f.rdb.Del(f.ctx, f.keys.job("a")).Err())
			f.repairAll(job.IndexDue)
			f.repairAll(job.IndexJobs)
		}},
		{"damage: listed as ended", func() { f.zadd(f.keys.ended(), 5, "c"); f.repairAll(job.IndexEnded) }},
		{"damage: of everything", func() {
			f.must(f.rdb.ZRemRangeByRank(f.ctx, f.keys.owned(), 0, 1).Err())
			f.must(f.rdb.ZAdd(f.ctx, f.keys.owned(), redis.Z{Member: "j:mine 0000000000000001 c"}, redis.Z{Member: "x"}, redis.Z{Member: "j:nobody 0000000000000001 n"}).Err())
		}},
	}
	for _, step := range steps {
		step.do()
		for cursor := " "; strings.HasPrefix(step.name, "damage") && cursor != ""; {
			var err error
			cursor, err = f.RelistOwners(f.ctx, strings.TrimSpace(cursor), 2)
			f.must(err)
		}
		f.ownersAreInStep(step.name)
	}
	if n := f.rdb.ZCard(f.ctx, f.keys.owned()).Val(); n < 4 {
		t.Errorf("%d entries are left, which says little", n)
	}
}

// TestTheRunsOfOwners are whose their records are, go with those, and do not stay for ever.
func TestTheRunsOfOwners(t *testing.T) {
	f := setup(t, Options{HistoryPerJob: 2, Retention: time.Hour})
	listed := func(agent, session string) []string {
		return f.rdb.ZRange(f.ctx, f.keys.ownRuns(agent, session), 0, -1).Val()
	}
	f.create("a", ownSpec(mine, talk))
	var runs []string
	for range 4 {
		_, run, err := f.RunJob(f.ctx, "a")
		f.must(err)
		f.commit(f.begin(run), "x")
		runs = append(runs, run)
	}
	if d := gocmp.Diff([][]string{runs[2:], runs[2:]}, [][]string{listed(mine, ""), listed(mine, talk)}); d != "" {
		t.Errorf("the newest two:\n%s", d)
	}
	for _, session := range []string{"", talk} {
		if ttl := f.rdb.PTTL(f.ctx, f.keys.ownRuns(mine, session)).Val(); ttl <= 0 || ttl > time.Hour {
			t.Errorf("the list goes after %s", ttl)
		}
	}
	// A run that begins is of whoever has the job then.
	_, run, err := f.RunJob(f.ctx, "a")
	f.must(err)
	_, err = f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) {
		s.AgentID, s.SessionKey = "other", "agent:other:talk"
		return s, nil
	})
	f.must(err)
	b := f.begin(run)
	if slices.Contains(listed(mine, ""), run) || slices.Contains(listed(mine, talk), run) {
		t.Error("it is still listed where it was made")
	}
	if d := gocmp.Diff([][]string{{run}, {run}}, [][]string{listed("other", ""), listed("other", "agent:other:talk")}); d != "" {
		t.Errorf("where it begins:\n%s", d)
	}
	f.commit(b, "x")
	f.must(f.DeleteJob(f.ctx, "a"))
	ctx, _, _ := f.with(job.Token{Name: "n", AgentID: "other"})
	if got, _, err := f.FindRuns(ctx, job.RunFilter{}, "", 5); err != nil || len(got) != 1 || got[0].ID != run {
		t.Errorf("of a deleted job: %+v, %v", got, err)
	}
}

// TestTheRunsOfAnOwnerAreCapped, by the repair.
func TestTheRunsOfAnOwnerAreCapped(t *testing.T) {
	f := setup(t, Options{Retention: time.Hour})
	key, now := f.keys.ownRuns(mine, ""), int64(f.now())*1000
	entries := []redis.Z{{Score: float64(now - 2*time.Hour.Microseconds()), Member: "old"}}
	const most = 20_000
	for i := range most + 30 {
		entries = append(entries, redis.Z{Score: float64(now - 2*most + int64(i)), Member: strconv.Itoa(i)})
	}
	f.must(f.rdb.ZAdd(f.ctx, key, entries...).Err())
	f.create("a", ownSpec(mine, talk))
	_, run, err := f.RunJob(f.ctx, "a")
	f.must(err)
	_, err = f.RelistOwners(f.ctx, "runs 0", 500)
	f.must(err)
	ids := f.rdb.ZRange(f.ctx, key, 0, -1).Val()
	if len(ids) != most || ids[len(ids)-1] != run {
		t.Errorf("%d entries, the newest %q", len(ids), ids[len(ids)-1])
	}
	if ttl := f.rdb.PTTL(f.ctx, key).Val(); ttl <= 0 || ttl > time.Hour {
		t.Errorf("it goes after %s", ttl)
	}
}

// TestSlotsOfOneOwnerAreNotToldToAnother: a record that stands for several slots ends where its
// job changes hands.
func TestSlotsOfOneOwnerAreNotToldToAnother(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("a", ownSpec(mine, talk))
	skip := func(n int) {
		t.Helper()
		f.rewind("a", f.minute(n))
		f.pass(f.job(j.ID), f.minute(n), f.minute(n+1), job.Skipped, job.ReasonPaused)
	}
	skip(-9)
	skip(-8)
	_, err := f.UpdateJob(f.ctx, "a", func(s job.Spec) (job.Spec, error) {
		s.AgentID, s.SessionKey = "other", ""
		return s, nil
	})
	f.must(err)
	skip(-7)
	ctx := f.holders()["an agent"]
	runs, _, err := f.FindRuns(ctx, job.RunFilter{}, "", 5)
	f.must(err)
	if len(runs) != 1 || runs[0].Count != 2 || runs[0].LastSlot != f.minute(-8) {
		t.Errorf("%+v", runs)
	}
	if all := f.runs("a"); len(all) != 2 {
		t.Errorf("%d records", len(all))
	}
}
