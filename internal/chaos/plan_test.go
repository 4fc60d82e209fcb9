package chaos

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// size is how much there is of everything.
type size struct {
	Minutes int // of firing: as many slots has a job of every minute
	Slots   int // expected of all jobs, at least
	Kills   int // of processes, at least
	// CrashesPerPoint is how often each crash point is to kill, on average.
	CrashesPerPoint float64
	Freezes         int           // of a process
	FreezeMax       time.Duration // they last 20 s at least
	Cuts            int           // of the way between a process and Redis
	Cancels         int           // of runs
	RedisKills      int           // it starts again by itself
	FullDisks       int           // of Redis, which ends with each write
	RedisFreezes    int
	RedisFreeze     time.Duration
	ClockSteps      int // of Redis's clock, beside yearAhead
	RulesChanges    int // of the zone ruled
}

// plan is everything that will be done, and follows from the seed alone. Times
// count from the first slot.
type plan struct {
	Seed  uint64
	Size  size
	Jobs  []jobPlan
	Edits []edit
	// Cancels is when runs are cancelled, whichever are under way then.
	Cancels []time.Duration
	Events  []event

	first atomic.Int64 // the first slot, unix ms: the one thing that depends on when it is run
}

// at is an instant of the plan.
func (p *plan) at(d time.Duration) time.Time { return time.UnixMilli(p.first.Load()).Add(d) }

// jobPlan is a job as the API gets it, and when.
type jobPlan struct {
	Fields map[string]any
	// Instants are the fields that are instants, in whole seconds.
	Instants map[string]time.Duration
	At       time.Duration // before the first slot, if negative
}

func (j jobPlan) name() string { return j.Fields["name"].(string) }

// has reports whether an instant is among the fields.
func (j jobPlan) has(instant string) bool {
	_, ok := j.Instants[instant]
	return ok
}

// When the jobs are made that are there from the beginning: before anybody knows when
// the first slot is, and as soon as that is known, which those with instants have to
// wait for. Nothing is killed yet.
const (
	beforehand = -2 * time.Minute
	onceKnown  = -time.Minute
)

// edit is a change of a job while it fires.
type edit struct {
	At   time.Duration
	Job  int    // index in plan.Jobs
	Kind string // pause, resume, task, delete, run
}

// event is something that is done to a process, a link or Redis.
type event struct {
	At     time.Duration
	Kind   string // kill, freeze, cut up, cut down, cut both, redis kill, full disk, redis freeze, clock, rules
	Target string
	For    time.Duration // how long
	By     time.Duration // how far a clock is set
}

// yearAhead comes before there is a job: a clock that is so far ahead ends what Redis keeps
// for a time, the records of ended runs too.
var yearAhead = event{Kind: "clock", For: 20 * time.Second, By: 366 * 24 * time.Hour}

// ruled is the zone whose rules become those of otherRules and back. What is an even minute
// of an hour by the ones is an odd one by the others.
const (
	ruled      = "Asia/Kolkata"
	otherRules = "Asia/Kathmandu"
)

var (
	schedulers = []string{"scheduler-1", "scheduler-2"}
	workers    = []string{"worker-1", "worker-2", "worker-3"}
	crashes    = []string{"after_claim", "before_call", "after_call", "before_commit", "after_commit", "before_send", "after_send"}
)

func newPlan(seed uint64, s size) *plan {
	rng := rand.New(rand.NewPCG(seed, 1))
	p := &plan{Seed: seed, Size: s}
	p.planJobs(rng)
	p.planEdits(rng)
	p.planCancels(rng)
	p.planEvents(rng)
	return p
}

// schedules of the jobs, by how many of 20 have them. All fire within any three
// minutes.
var schedules = []struct {
	of20 int
	expr string
}{
	{15, "* * * * *"}, {1, "*/2 * * * *"}, {1, "*/3 * * * *"}, {1, "1-59/2 * * * *"},
	{1, "0,1,2,10-20,21-49/1,50-59 * * * *"}, {1, "*/1 */1 * 1-12 0-7"},
}

// perJob is how many slots a job has in n minutes, on average and in thousandths.
func perJob(n int) int {
	cron := 1000 * n * (17*6 + 3 + 2 + 3) / (20 * 6) // three of twenty fire every second or third minute
	every := (1100 + 3800) * n / 2                   // a minute divided by each of its values, of both kinds
	ends := cron * 3 / 4
	return (17*cron + every + ends + 1000) / 20 // see timed: one of each, and one at
}

func (p *plan) planJobs(rng *rand.Rand) {
	// A third more: there are those that are created late, paused, deleted or limited, and
	// an hour in which there are many of them must not be too few for the test.
	n := p.Size.Slots*1340/perJob(p.Size.Minutes) + 1
	session := 0
	for i := range n {
		fields := map[string]any{
			"name": fmt.Sprintf("job-%03d", i), "schedule": pickSchedule(rng), "task": task(i, 1),
			// Shorter than a turn that hangs, longer than any other.
			"timeoutSeconds": 15 + rng.IntN(15),
		}
		if i%12 < 6 { // two groups of three that share a session, of every twelve
			if i%3 == 0 {
				session++
			}
			fields["sessionKey"] = fmt.Sprintf("chaos:shared-%d", session)
		}
		switch rng.IntN(10) {
		case 0: // the reply stays in the history
		case 1, 2:
			fields["channel"], fields["chatId"] = "telegram", strconv.Itoa(1000+i)
		default:
			fields["channel"], fields["chatId"] = "chat-"+strconv.Itoa(rng.IntN(6)), "room-"+strconv.Itoa(i)
		}
		for _, policy := range policies {
			if rng.IntN(3) == 0 {
				fields[policy.name] = policy.values[rng.IntN(len(policy.values))]
			}
		}
		if fields["sessionKey"] == nil && rng.IntN(4) == 0 {
			fields["context"] = "isolated"
		}
		if rng.IntN(3) == 0 {
			fields["timezone"] = []string{ruled, ruled, "America/New_York", "UTC"}[rng.IntN(4)]
		}
		if rng.IntN(25) == 0 {
			fields["maxRuns"] = 1 + rng.IntN(2)
		}
		at := beforehand
		if i%10 == 9 { // under faults
			at = time.Duration(rng.Int64N(int64(p.firing() / 3)))
		}
		instants := p.timed(rng, i, fields)
		if len(instants) > 0 {
			at = max(at, onceKnown)
		}
		p.Jobs = append(p.Jobs, jobPlan{Fields: fields, Instants: instants, At: at})
	}
}

// timed makes one of twenty jobs one of every so many seconds, one a job for one
// instant, and lets one end early. The latter two are not made under faults, which could
// take so long that their time is over.
func (p *plan) timed(rng *rand.Rand, i int, fields map[string]any) map[string]time.Duration {
	seconds := func(low, high time.Duration) time.Duration {
		return (low + time.Duration(rng.Int64N(int64(high-low)))).Truncate(time.Second)
	}
	instants := map[string]time.Duration{}
	switch {
	case i%40 == 4, i%40 == 29: // the second one under faults
		delete(fields, "schedule")
		if fields["every"] = 30 + rng.IntN(61); rng.IntN(2) == 0 {
			takesLong(rng, i, fields)
		} else { // has several slots to catch up with after an outage of half a minute
			fields["every"], fields["misfire"] = 12+rng.IntN(9), "run_all"
			delete(fields, "jitterSeconds") // it could be longer
		}
		instants["startAt"] = seconds(-time.Minute, time.Minute)
	case i%20 == 11:
		delete(fields, "schedule")
		delete(fields, "maxRuns")
		instants["at"] = seconds(10*time.Second, p.firing())
	case i%20 == 16:
		fields["schedule"] = schedules[0].expr // of every third minute there could be none by then, which is refused
		end := seconds(p.firing()/2, p.firing())
		if rng.IntN(2) == 0 {
			end = end.Truncate(time.Minute) // a slot of most
		}
		instants["endAt"] = end
	case i%20 == 8:
		takesLong(rng, i, fields)
	}
	return instants
}

// takesLong gives a job turns that the ai-server takes about as long for as it is to the
// next slot, and an overlap policy.
func takesLong(rng *rand.Rand, i int, fields map[string]any) {
	fields["task"] = longTask + task(i, 1)
	fields["timeoutSeconds"] = 60
	fields["overlap"] = []string{"skip", "queue_one", "allow", "cancel_previous"}[rng.IntN(4)]
}

// policies of jobs beside the defaults.
var policies = []struct {
	name   string
	values []any
}{
	{"misfire", []any{"run_once", "skip", "run_all"}},
	{"overlap", []any{"queue_one", "allow", "cancel_previous"}},
	{"onAmbiguous", []any{"retry", "fail"}},
	{"misfireGraceSeconds", []any{120, 3600}},
	{"deliver", []any{"always", "on_failure"}},
	{"maxRetries", []any{0, 1, 2, 3}},
	{"jitterSeconds", []any{0, 5, 20}},
}

func pickSchedule(rng *rand.Rand) string {
	n := rng.IntN(20)
	for _, s := range schedules {
		if n -= s.of20; n < 0 {
			return s.expr
		}
	}
	panic("the schedules are not of 20")
}

// task is the text of a job's nth definition.
func task(job, nth int) string { return fmt.Sprintf("task of job-%03d, edition %d", job, nth) }

// longTask begins the text of those that take long.
const longTask = "long "

// firing is how long the jobs fire and the faults last.
func (p *plan) firing() time.Duration {
	return time.Duration(p.Size.Minutes)*time.Minute - 30*time.Second
}

func (p *plan) planEdits(rng *rand.Rand) {
	for i, j := range p.Jobs {
		if j.Fields["maxRuns"] != nil || j.At > 0 || j.has("at") || j.has("endAt") {
			continue // it can be over by then
		}
		at := time.Duration(rng.Int64N(int64(p.firing() / 2)))
		switch rng.IntN(20) {
		case 0, 1:
			p.Edits = append(p.Edits, edit{at, i, "pause"},
				edit{at + 20*time.Second + time.Duration(rng.Int64N(int64(p.firing()/3))), i, "resume"})
		case 2, 3:
			p.Edits = append(p.Edits, edit{at, i, "task"})
		case 4:
			p.Edits = append(p.Edits, edit{at, i, "run"})
		case 5:
			p.Edits = append(p.Edits, edit{at + p.firing()/3, i, "delete"})
		}
	}
	slices.SortStableFunc(p.Edits, func(a, b edit) int { return cmp.Compare(a.At, b.At) })
}

// planCancels puts most of them where most is under way, as the faults.
func (p *plan) planCancels(rng *rand.Rand) {
	for range p.Size.Cancels {
		at := time.Duration(rng.Int64N(int64(p.firing())))
		if rng.IntN(3) > 0 {
			at = at.Truncate(time.Minute) + time.Duration(rng.Int64N(int64(12*time.Second)))
		}
		p.Cancels = append(p.Cancels, at)
	}
}

func (p *plan) planEvents(rng *rand.Rand) {
	length := int64(p.firing())
	// Spread out, each somewhere in its own piece of the time.
	spread := func(n int, one func(at time.Duration) event) {
		for i := range n {
			at := (int64(i)*length + rng.Int64N(length)) / int64(n)
			p.Events = append(p.Events, one(time.Duration(at)))
		}
	}
	between := func(low, high time.Duration) time.Duration { return low + time.Duration(rng.Int64N(int64(high-low)+1)) }
	victim := func() string { // the workers have the most to lose
		all := slices.Concat(workers, workers, workers, schedulers, schedulers, []string{"api"})
		return all[rng.IntN(len(all))]
	}
	// busy is when most is under way, in the same minute.
	busy := func(at time.Duration) time.Duration { return at.Truncate(time.Minute) + between(0, 12*time.Second) }
	spread(p.Size.Kills, func(at time.Duration) event {
		if rng.IntN(3) == 0 {
			at = busy(at)
		}
		return event{At: at, Kind: "kill", Target: victim()}
	})
	spread(p.Size.Freezes, func(at time.Duration) event {
		return event{At: busy(at), Kind: "freeze", Target: victim(), For: between(20*time.Second, p.Size.FreezeMax)}
	})
	spread(p.Size.Cuts, func(at time.Duration) event {
		kind := []string{"cut up", "cut down", "cut both"}[rng.IntN(3)]
		return event{At: at, Kind: kind, Target: victim(), For: between(2*time.Second, 30*time.Second)}
	})
	spread(p.Size.RulesChanges, func(at time.Duration) event { return event{At: at, Kind: "rules", Target: ruled} })
	// One thing at a time for Redis: in turn, in equal pieces of the time.
	kinds := slices.Concat(slices.Repeat([]string{"redis kill"}, p.Size.RedisKills),
		slices.Repeat([]string{"full disk"}, p.Size.FullDisks), slices.Repeat([]string{"redis freeze"}, p.Size.RedisFreezes), slices.Repeat([]string{"clock"}, p.Size.ClockSteps))
	rng.Shuffle(len(kinds), func(i, k int) { kinds[i], kinds[k] = kinds[k], kinds[i] })
	for i, kind := range kinds {
		piece := length / int64(len(kinds))
		e := event{Kind: kind, Target: "redis", For: between(200*time.Millisecond, 5*time.Second)}
		switch kind {
		case "redis freeze":
			e.For = p.Size.RedisFreeze
		case "clock":
			e.For, e.By = 9*time.Second, 2*time.Hour
			if rng.IntN(3) == 0 {
				e.By = -e.By
			}
		}
		e.At = time.Duration(int64(i)*piece + rng.Int64N(max(piece-int64(e.For)-int64(2*time.Second), 1)))
		if early := e.At.Truncate(time.Minute) + 2*time.Second; early >= time.Duration(int64(i)*piece) {
			e.At = early // in the middle of things
		}
		p.Events = append(p.Events, e)
	}
	slices.SortStableFunc(p.Events, func(a, b event) int { return cmp.Compare(a.At, b.At) })
}

// crashChance is the probability at each passing of a point.
func (p *plan) crashChance() float64 { return p.Size.CrashesPerPoint / float64(p.Size.Slots) }

// dice give every question its own answer, which follows from the seed and the
// question alone, whatever happens in what order.
func (p *plan) dice(question ...any) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprintln(h, question...)
	return rand.New(rand.NewPCG(p.Seed, h.Sum64()))
}

func TestPlanFollowsFromTheSeed(t *testing.T) {
	a, b := newPlan(7, short), newPlan(7, short)
	if !reflect.DeepEqual(a, b) {
		t.Error("one seed gave two plans")
	}
	if sum := len(a.Jobs) * perJob(short.Minutes); sum < 1250*short.Slots || sum > 1500*short.Slots {
		t.Errorf("%d jobs have %d slots in thousandths, wanted are %d and some more", len(a.Jobs), sum, short.Slots)
	}
	timed, isolated := map[string]int{}, 0
	for i, j := range a.Jobs {
		if j.Fields["context"] == "isolated" {
			isolated++
			if j.Fields["sessionKey"] != nil {
				t.Errorf("job %d is isolated and names a session", i)
			}
		}
		if j.has("endAt") && j.Fields["schedule"] != schedules[0].expr {
			t.Errorf("job %d of %v may end before its first slot", i, j.Fields["schedule"])
		}
		for name, offset := range j.Instants {
			timed[name]++
			if j.At == beforehand || offset%time.Second != 0 || name != "startAt" && offset < j.At+10*time.Second {
				t.Errorf("job %d has %s at %s and is made at %s", i, name, offset, j.At)
			}
		}
	}
	if timed["startAt"] < len(a.Jobs)/25 || timed["at"] < len(a.Jobs)/25 || timed["endAt"] < len(a.Jobs)/25 {
		t.Errorf("%v instants of %d jobs", timed, len(a.Jobs))
	}
	if isolated < len(a.Jobs)/25 {
		t.Errorf("%d of %d jobs are isolated", isolated, len(a.Jobs))
	}
	if reflect.DeepEqual(a.Events, newPlan(8, short).Events) {
		t.Error("two seeds gave one plan")
	}
	if a.dice("x", 1).Uint64() != b.dice("x", 1).Uint64() || a.dice("x", 1).Uint64() == a.dice("x", 2).Uint64() {
		t.Error("dice do not follow from seed and question")
	}
	kinds := map[string]int{}
	for _, e := range a.Events {
		kinds[e.Kind]++
		if e.At < 0 || e.At > a.firing()+12*time.Second {
			t.Errorf("%s at %s is out of the time", e.Kind, e.At)
		}
	}
	if kinds["kill"] != short.Kills || kinds["redis kill"] != short.RedisKills || kinds["full disk"] != short.FullDisks || kinds["freeze"] != short.Freezes ||
		kinds["clock"] != short.ClockSteps || kinds["rules"] != short.RulesChanges {
		t.Errorf("events %v of %+v", kinds, short)
	}
}
