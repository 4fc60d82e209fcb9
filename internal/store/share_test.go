package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// of is a job of an agent with a session of its own, which never runs by itself.
func of(agent string) job.Spec {
	spec := everyMinute()
	spec.AgentID = agent
	return spec
}

// work gives the sign of life of a worker with so many places.
func (f *fixture) work(host string, places int) job.Process {
	f.t.Helper()
	p := job.Process{Role: "worker", Host: host, PID: 1, Places: places}
	f.must(f.Beat(f.ctx, p, time.Minute))
	return p
}

// start asks for a run of a job, and begins it.
func (f *fixture) start(id string) job.Begun {
	f.t.Helper()
	return f.begin(f.runNow(id))
}

// holds are the runs that hold a place of an agent.
func (f *fixture) holds(agent string) []string {
	f.t.Helper()
	runs, err := f.rdb.SMembers(f.ctx, f.keys.busy(agent)).Result()
	f.must(err)
	slices.Sort(runs)
	return runs
}

func (f *fixture) wantState(run string, want job.State) {
	f.t.Helper()
	if got := f.record(run).State; got != want {
		f.t.Errorf("run %s is %s, want %s", run, got, want)
	}
}

// crowd fills the share of the agent a, of whom two may hold a place, and lets others of it
// wait. A job of the agent b is there, too.
func (f *fixture) crowd(waiting int) (running, parked []string) {
	f.t.Helper()
	f.create("b", of("b"))
	for i := range 2 + waiting {
		f.create(id(i), of("a"))
	}
	f.work("w", 4)
	for i := range 2 + waiting {
		b := f.begun2(id(i))
		if want := i < 2; (b.Verdict == job.BeginOK) != want {
			f.t.Fatalf("run %d of the agent: %s", i, b.Verdict)
		}
		if run := job.RunID(id(i), f.job(id(i)).NextSlot-60_000); i < 2 {
			running = append(running, run)
		} else {
			parked = append(parked, run)
		}
	}
	return running, parked
}

// begun2 claims the slot of this minute of a job that is there.
func (f *fixture) begun2(id string) job.Begun {
	f.t.Helper()
	f.rewind(id, f.minute(0))
	return f.claim(f.job(id), f.minute(0), newToken())
}

// attempt is the running attempt of a run, as far as its end needs it.
func (f *fixture) attempt(run string) job.Begun {
	f.t.Helper()
	epoch, err := f.rdb.HGet(f.ctx, f.keys.run(run), "epoch").Int64()
	f.must(err)
	return job.Begun{Run: job.Run{ID: run}, Epoch: epoch}
}

func TestNoAgentHoldsMoreThanItsShare(t *testing.T) {
	for name, tt := range map[string]struct {
		percent int
		workers []int
		others  bool // there are jobs of another agent
		most    int  // of 8 runs
	}{
		"half of four":                      {0, []int{4}, true, 2},
		"half of what two workers have":     {0, []int{3, 4}, true, 3},
		"a third":                           {33, []int{9}, true, 2},
		"one always":                        {1, []int{4}, true, 1},
		"one of two":                        {0, []int{2}, true, 1},
		"no bound with a single place":      {0, []int{1}, true, 8},
		"no bound for an agent alone":       {0, []int{4}, false, 8},
		"no bound if none is wished for":    {100, []int{4}, true, 8},
		"no bound while no worker is known": {0, nil, true, 8},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, Options{AgentShare: tt.percent})
			for i := range 8 {
				f.create(id(i), of("a"))
			}
			if tt.others {
				f.create("other", everyMinute())
			}
			for i, places := range tt.workers {
				f.work(fmt.Sprint("w", i), places)
			}
			f.must(f.Beat(f.ctx, job.Process{Role: "scheduler", Host: "s", Places: 100}, time.Minute))
			began := 0
			for i := range 8 {
				// By either way in: the claim of a slot, and the begin of a run.
				var b job.Begun
				if i%2 == 0 {
					b = f.begun2(id(i))
				} else {
					b = f.start(id(i))
				}
				if b.Verdict == job.BeginOK {
					began++
				} else if b.Verdict != job.BeginParked {
					t.Fatalf("run %d: %s", i, b.Verdict)
				}
			}
			if began != tt.most {
				t.Errorf("%d runs of the agent hold a place, want %d", began, tt.most)
			}
			if tt.others {
				if b := f.start("other"); b.Verdict != job.BeginOK {
					t.Errorf("the run of another agent: %s", b.Verdict)
				}
			}
		})
	}
}

func TestWhatWaitsForAPlaceBeginsInOrder(t *testing.T) {
	f := setup(t, Options{})
	running, parked := f.crowd(3)
	signs, err := f.Signs(f.ctx, 0)
	f.must(err)
	if signs.Late.Count != 0 || signs.Untouched.Count != 0 || signs.Wake.Count != 0 {
		t.Errorf("what waits for a place counts as late: %+v", signs)
	}
	for i, run := range running {
		carriers := f.commit(f.attempt(run), "done")
		if len(carriers) != 1 || carriers[0].ID != parked[i] {
			t.Fatalf("the end of run %d lets %v begin, want %s", i, carriers, parked[i])
		}
		// Who comes now does not overtake the run whose task is still on its way.
		f.create("new"+id(i), of("a"))
		if b := f.start("new" + id(i)); b.Verdict != job.BeginParked {
			t.Errorf("a later run: %s", b.Verdict)
		}
		if b := f.begin(parked[i]); b.Verdict != job.BeginOK {
			t.Errorf("the first that waited: %s", b.Verdict)
		}
	}
	if carriers := f.commit(f.attempt(parked[0]), "done"); len(carriers) != 1 || carriers[0].ID != parked[2] {
		t.Errorf("then %v begins, want %s", carriers, parked[2])
	}
	if d := cmp.Diff([]string{parked[1], parked[2]}, f.holds("a")); d != "" {
		t.Error(d)
	}
}

func TestEveryEndFreesAPlace(t *testing.T) {
	for name, end := range map[string]func(f *fixture, run string){
		"a commit":           func(f *fixture, run string) { f.commit(f.attempt(run), "x") },
		"a failure":          func(f *fixture, run string) { f.fail(f.attempt(run), job.RetryNever, 0) },
		"a failure, for now": func(f *fixture, run string) { f.fail(f.attempt(run), job.RetryFree, time.Second) },
		"a cancel":           func(f *fixture, run string) { _, err := f.CancelRun(f.ctx, run); f.must(err) },
		"the end of a worker": func(f *fixture, run string) {
			f.must(f.rdb.HSet(f.ctx, f.keys.job(f.record(run).JobID), "onAmbiguous", "fail").Err())
			f.declareDead(run)
			if b := f.begin(run); b.Verdict != job.BeginEnded {
				f.t.Errorf("the dead attempt: %s", b.Verdict)
			}
		},
		"a delete": func(f *fixture, run string) {
			_, err := f.DeleteJobAndRuns(f.ctx, f.record(run).JobID)
			f.must(err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, Options{})
			running, parked := f.crowd(1)
			f.wantState(parked[0], job.StateParked)
			end(f, running[0])
			f.wantState(parked[0], job.StateWaiting)
			if b := f.begin(parked[0]); b.Verdict != job.BeginOK {
				t.Errorf("begins: %s", b.Verdict)
			}
			want := []string{running[1], parked[0]}
			slices.Sort(want)
			if d := cmp.Diff(want, f.holds("a")); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestADeadAttemptKeepsItsPlaceForTheNext(t *testing.T) {
	f := setup(t, Options{})
	running, parked := f.crowd(1)
	f.declareDead(running[0])
	if b := f.begin(running[0]); b.Verdict != job.BeginOK || b.Attempt != 2 {
		t.Errorf("the next attempt: %s, %d", b.Verdict, b.Attempt)
	}
	f.wantState(parked[0], job.StateParked)
}

func TestACancelOfARunThatWaitsForAPlace(t *testing.T) {
	f := setup(t, Options{})
	running, parked := f.crowd(2)
	_, err := f.CancelRun(f.ctx, parked[0])
	f.must(err)
	f.wantState(parked[0], job.StateDone)
	if carriers := f.commit(f.attempt(running[0]), "x"); len(carriers) != 1 || carriers[0].ID != parked[1] {
		t.Errorf("then %v begins, want %s", carriers, parked[1])
	}
	f.commit(f.attempt(running[1]), "x")
	f.begin(parked[1])
	f.commit(f.attempt(parked[1]), "x")
	for _, pattern := range []string{"busy:*", "queue:*", "lock:*", "wait:*"} {
		if left := f.rdb.Keys(f.ctx, f.keys.prefix+pattern).Val(); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// A run that waits for a place goes on to wait for another agent's if its job is given to it.
func TestAWaitingRunOfAJobThatGoesToAnotherAgent(t *testing.T) {
	f := setup(t, Options{})
	running, parked := f.crowd(1)
	_, err := f.UpdateJob(f.ctx, f.record(parked[0]).JobID, func(s job.Spec) (job.Spec, error) { s.AgentID = "b"; return s, nil })
	f.must(err)
	f.commit(f.attempt(running[0]), "x")
	if b := f.begin(parked[0]); b.Verdict != job.BeginOK {
		t.Errorf("begins: %s", b.Verdict)
	}
	if d := cmp.Diff([]string{parked[0]}, f.holds("b")); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(running[1:], f.holds("a")); d != "" {
		t.Error(d)
	}
}

func TestASessionComesBeforeAPlace(t *testing.T) {
	f := setup(t, Options{})
	for _, one := range []string{"x", "y", "z"} {
		spec := of("a")
		spec.SessionKey = "shared"
		f.create(one, spec)
	}
	f.create("alone", of("a"))
	f.create("b", of("b"))
	f.work("w", 4)
	first := f.start("x")
	second := f.start("y")
	if second.Verdict != job.BeginParked || len(f.holds("a")) != 1 {
		t.Fatalf("a run behind its session: %s, places %v", second.Verdict, f.holds("a"))
	}
	alone := f.start("alone")
	if alone.Verdict != job.BeginOK {
		t.Fatalf("a run that waits for its session takes a place: %s", alone.Verdict)
	}
	last := f.start("b") // so that there is another who runs
	f.work("w", 2)       // one place for an agent now: two are held, and end by themselves
	if carriers := f.commit(first, "x"); len(carriers) != 1 || carriers[0].ID != f.runs("y")[0].ID {
		t.Fatalf("the session goes on with %v", carriers)
	}
	y := f.runs("y")[0].ID
	if b := f.begin(y); b.Verdict != job.BeginParked {
		t.Fatalf("with its session and without a place: %s", b.Verdict)
	}
	trace, err := f.Trace(f.ctx, f.job("y"))
	f.must(err)
	if trace.Holders["shared"] != y {
		t.Errorf("the session is held by %q, want %s", trace.Holders["shared"], y)
	}
	if b := f.start("z"); b.Verdict != job.BeginParked {
		t.Errorf("the next of the session: %s", b.Verdict)
	}
	if carriers := f.commit(alone, "x"); len(carriers) != 1 || carriers[0].ID != y {
		t.Errorf("the place goes to %v, want %s", carriers, y)
	}
	b := f.begin(y)
	if b.Verdict != job.BeginOK {
		t.Fatalf("with both: %s", b.Verdict)
	}
	if carriers := f.commit(b, "x"); len(carriers) != 1 || carriers[0].ID != f.runs("z")[0].ID {
		t.Errorf("the session goes on with %v", carriers)
	}
	f.commit(last, "x")
}

// Whatever ends in whatever order, no agent holds more than its share, and all comes to an
// end: sessions and places never wait for each other.
func TestPlacesAndSessionsNeverWaitForEachOther(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			f := setup(t, Options{})
			r := rand.New(rand.NewPCG(seed, 0))
			agents := map[string]string{} // of the jobs
			for i := range 12 {
				agents[id(i)] = []string{"a", "b", "c"}[r.IntN(3)]
				spec := of(agents[id(i)])
				spec.SessionKey = fmt.Sprint("s", r.IntN(6)) // of several agents, too
				f.create(id(i), spec)
			}
			f.work("w", 4)
			left, running := 0, map[string]job.Begun{}
			for i := range 36 {
				f.runNow(id(i % 12))
				left++
			}
			for step := 0; left > 0; step++ {
				if step > 2000 {
					t.Fatalf("%d runs never end", left)
				}
				var may []string // begin
				for i := range 12 {
					for _, run := range f.runs(id(i)) {
						if run.State == job.StateWaiting {
							may = append(may, run.ID)
						}
					}
				}
				switch {
				case len(may) > 0 && (len(running) == 0 || r.IntN(3) > 0):
					run := may[r.IntN(len(may))]
					f.letBegin(run)
					if b := f.begin(run); b.Verdict == job.BeginOK {
						running[run] = b
					}
				case len(running) > 0:
					ids := make([]string, 0, len(running))
					for run := range running {
						ids = append(ids, run)
					}
					slices.Sort(ids)
					run := ids[r.IntN(len(ids))]
					switch how := r.IntN(4); {
					case how == 0 && f.fail(running[run], job.RetryCounted, time.Second):
					case how == 1:
						_, err := f.CancelRun(f.ctx, run)
						f.must(err)
						left--
					case how == 0:
						left--
					default:
						f.commit(running[run], "x")
						left--
					}
					delete(running, run)
				default:
					t.Fatalf("%d runs wait, and none may begin", left)
				}
				holders := map[string]int{}
				for run := range running {
					holders[agents[f.record(run).JobID]]++
				}
				for agent, n := range holders {
					if n > 2 {
						t.Fatalf("step %d: agent %s holds %d places", step, agent, n)
					}
				}
			}
			if keys := f.rdb.Keys(f.ctx, f.keys.prefix+"busy:*").Val(); len(keys) != 0 {
				t.Errorf("left behind: %v", keys)
			}
		})
	}
}

func TestMorePlacesLetBeginWhatWaits(t *testing.T) {
	for name, change := range map[string]func(f *fixture){
		"another worker":     func(f *fixture) { f.work("w2", 2) },
		"a worker with more": func(f *fixture) { f.work("w", 7) },
		"the others are gone": func(f *fixture) {
			f.must(f.rdb.ZRem(f.ctx, f.keys.agents(), "b").Err())
			f.work("w", 4)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, Options{})
			_, parked := f.crowd(1)
			change(f)
			f.wantState(parked[0], job.StateWaiting)
			if b := f.begin(parked[0]); b.Verdict != job.BeginOK {
				t.Errorf("begins: %s", b.Verdict)
			}
		})
	}
}

// A worker that is gone takes its places with it.
func TestPlacesOfWorkersThatAreGone(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", of("a"))
	f.create("b", of("b"))
	f.work("w1", 6)
	gone := f.work("w2", 6)
	share := func(want string) {
		t.Helper()
		if got := f.rdb.Get(f.ctx, f.keys.share()).Val(); got != want {
			t.Errorf("one agent may hold %q places, want %q", got, want)
		}
	}
	share("6")
	f.must(f.Rest(f.ctx, gone))
	f.work("w1", 6)
	share("3")
	f.work("w2", 6)
	f.must(f.rdb.Del(f.ctx, f.keys.beat(processName(gone))).Err()) // it ended without a word
	f.work("w1", 6)
	share("3")
}

// Agents are known from the jobs that there are, also those that an older release has stored.
func TestAgentsAreKnownByTheirJobs(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", of("a"))
	f.create("main", everyMinute())
	f.must(f.rdb.Del(f.ctx, f.keys.agents()).Err())
	f.work("w", 4)
	if f.rdb.Exists(f.ctx, f.keys.share()).Val() != 0 {
		t.Error("agents are bound before their jobs were seen")
	}
	_, err := f.CheckJobs(f.ctx, "", 100)
	f.must(err)
	f.work("w", 4)
	if got := f.rdb.Get(f.ctx, f.keys.share()).Val(); got != "2" {
		t.Errorf("one agent may hold %q places, want 2", got)
	}
	agents, err := f.rdb.ZRange(f.ctx, f.keys.agents(), 0, -1).Result()
	f.must(err)
	if slices.Sort(agents); !slices.Equal(agents, []string{"a", "main"}) {
		t.Errorf("agents %v", agents)
	}
	// Of one of them nothing was seen for over a day.
	f.must(f.rdb.ZAdd(f.ctx, f.keys.agents(), redis.Z{Score: float64(int64(f.now()) - 25*3600*1000), Member: "a"}).Err())
	f.work("w", 4)
	if f.rdb.Exists(f.ctx, f.keys.share()).Val() != 0 {
		t.Error("an agent is bound that is alone by now")
	}
}

func TestLostPlacesAreMended(t *testing.T) {
	t.Run("a place that no run holds", func(t *testing.T) {
		f := setup(t, Options{})
		running, parked := f.crowd(1)
		f.must(f.rdb.Del(f.ctx, f.keys.run(running[0])).Err())
		page, err := f.Repair(f.ctx, job.IndexAgents, "", 100)
		f.must(err)
		if d := cmp.Diff([]job.Repaired{{Damage: job.PlaceLeaked, ID: "r:" + running[0]}}, page.Repaired); d != "" {
			t.Error(d)
		}
		f.wantState(parked[0], job.StateWaiting)
		if page, err = f.Repair(f.ctx, job.IndexAgents, "", 100); err != nil || len(page.Repaired) != 0 {
			t.Errorf("what is right is repaired: %v, %v", page.Repaired, err)
		}
	})
	t.Run("a run that holds no place", func(t *testing.T) {
		f := setup(t, Options{})
		running, _ := f.crowd(0)
		f.must(f.rdb.Del(f.ctx, f.keys.busy("a")).Err())
		for _, run := range running {
			f.must(f.Renew(f.ctx, run, f.attempt(run).Epoch))
		}
		f.create("late", of("a"))
		if b := f.start("late"); b.Verdict != job.BeginParked {
			t.Errorf("one more: %s", b.Verdict)
		}
	})
	t.Run("a run that is not in the queue", func(t *testing.T) {
		f := setup(t, Options{})
		running, parked := f.crowd(1)
		f.must(f.rdb.Del(f.ctx, f.keys.queue("a")).Err())
		f.commit(f.attempt(running[0]), "x")
		f.wantState(parked[0], job.StateParked)
		f.must(f.rdb.ZAdd(f.ctx, f.keys.wake(), redis.Z{Score: 1, Member: "r:" + parked[0]}).Err())
		if c := f.look(); len(c) != 1 || c[0].ID != parked[0] {
			t.Errorf("the look lets %v begin", c)
		}
	})
	t.Run("a run that lost its session", func(t *testing.T) {
		f := setup(t, Options{})
		_, parked := f.crowd(1)
		f.must(f.rdb.Del(f.ctx, f.keys.lock(f.record(parked[0]).SessionKey)).Err())
		f.must(f.rdb.ZAdd(f.ctx, f.keys.wake(), redis.Z{Score: 1, Member: "r:" + parked[0]}).Err())
		if c := f.look(); len(c) != 1 || c[0].ID != parked[0] {
			t.Fatalf("the look lets %v begin", c)
		}
		if b := f.begin(parked[0]); b.Verdict != job.BeginParked {
			t.Errorf("without a place: %s", b.Verdict)
		}
	})
	for name, key := range map[string]func(f *fixture) string{
		"the places of another type": func(f *fixture) string { return f.keys.busy("a") },
		"the queue of another type":  func(f *fixture) string { return f.keys.queue("a") },
		"the agents of another type": func(f *fixture) string { return f.keys.agents() },
		"the share of another type":  func(f *fixture) string { return f.keys.share() },
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, Options{})
			running, _ := f.crowd(0)
			f.must(f.rdb.Del(f.ctx, key(f)).Err())
			f.must(f.rdb.HSet(f.ctx, key(f), "no", "such").Err())
			f.create("late", of("a"))
			b := f.start("late")
			f.must(f.Renew(f.ctx, running[0], f.attempt(running[0]).Epoch))
			f.commit(f.attempt(running[0]), "x")
			if b.Verdict == job.BeginParked {
				b = f.begin(f.runs("late")[0].ID) // the end has let it
			}
			f.commit(b, "x")
			_, err := f.CheckJobs(f.ctx, "", 100)
			if err != nil && name != "the agents of another type" {
				t.Error(err)
			}
			f.work("w", 4)
			_, err = f.CheckJobs(f.ctx, "", 100)
			f.must(err)
			f.work("w", 4)
			_, err = f.Repair(f.ctx, job.IndexAgents, "", 100)
			f.must(err)
			f.must(f.Renew(f.ctx, running[1], f.attempt(running[1]).Epoch))
			f.create("z1", of("a"))
			f.create("z2", of("a"))
			if b := f.start("z1"); b.Verdict != job.BeginOK {
				t.Errorf("after the repair: %s", b.Verdict)
			}
			if b := f.start("z2"); b.Verdict != job.BeginParked {
				t.Errorf("one too many after the repair: %s", b.Verdict)
			}
		})
	}
}

// TestATokenBoundsItsAgent: the least of what the tokens of an agent say is what it may hold,
// also where it is alone, and no more than its share.
func TestATokenBoundsItsAgent(t *testing.T) {
	f := setup(t, Options{})
	_, three, _ := f.with(job.Token{Name: "three", AgentID: "a", MaxConcurrent: 3})
	_, one, _ := f.with(job.Token{Name: "one", AgentID: "a", MaxConcurrent: 1})
	f.with(job.Token{Name: "of somebody else", AgentID: "c", MaxConcurrent: 1})
	var runs []string
	begin := func() {
		t.Helper()
		n := len(runs)
		f.create(id(n), of("a"))
		f.begun2(id(n))
		runs = append(runs, job.RunID(id(n), f.minute(0)))
	}
	want := func(states ...job.State) {
		t.Helper()
		for i, run := range runs {
			f.wantState(run, states[i])
		}
	}
	begin()
	begin()
	want(job.StateRunning, job.StateParked)

	_, err := f.RevokeToken(f.ctx, one.ID)
	f.must(err)
	want(job.StateRunning, job.StateWaiting) // it is to begin
	f.begin(runs[1])
	begin()
	begin()
	want(job.StateRunning, job.StateRunning, job.StateRunning, job.StateParked)

	// Lost, it is noted again from the token.
	f.must(f.rdb.Set(f.ctx, f.keys.atOnce("a"), "many", 0).Err())
	begin()
	page, err := f.Repair(f.ctx, job.IndexTokens, "", 100)
	f.must(err)
	if d := cmp.Diff([]job.Repaired{{Damage: job.QuotaLost, ID: "token:" + three.ID}}, page.Repaired); d != "" {
		t.Error(d)
	}
	if page, err = f.Repair(f.ctx, job.IndexTokens, "", 100); err != nil || len(page.Repaired) != 0 {
		t.Errorf("what is right is repaired: %v, %v", page.Repaired, err)
	}

	// The share bounds it as well, where that is less.
	f.create("b", of("b"))
	f.work("w", 2)
	for _, run := range []string{runs[0], runs[1], runs[2]} {
		f.commit(f.attempt(run), "x")
		f.wantState(runs[3], job.StateParked)
	}
	f.commit(f.attempt(runs[4]), "x")
	f.wantState(runs[3], job.StateWaiting)
}
