package chaos

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/chaos/judge"
	"github.com/gatewaycron/gatewaycron/internal/producttest"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// short is the size that runs with all other tests.
var short = size{Minutes: 3, Slots: 500, Kills: 32, CrashesPerPoint: 2, Freezes: 3, FreezeMax: 35 * time.Second,
	Cuts: 8, Cancels: 24, RedisKills: 2, FullDisks: 1, RedisFreezes: 1, RedisFreeze: 25 * time.Second, ClockSteps: 1, RulesChanges: 1}

// long is the size of make chaos for as many slots and kills, in so many minutes of
// firing, as were asked for.
func long(slots, kills, minutes int) size {
	return size{Minutes: minutes, Slots: slots, Kills: kills, CrashesPerPoint: 12, Freezes: minutes, FreezeMax: time.Minute,
		Cuts: 3 * minutes, Cancels: 8 * minutes, RedisKills: minutes / 2, FullDisks: max(minutes/4, 1), RedisFreezes: max(minutes/6, 1), RedisFreeze: 50 * time.Second,
		ClockSteps: max(minutes/4, 1), RulesChanges: max(minutes/9, 1)}
}

// TestChaos kills, freezes and cuts off the product while it works, lets it
// settle, and has the judge compare what is on record with what arrived outside.
//
// CHAOS_SEED replays a plan, CHAOS_DIR keeps the journals, the logs and the
// verdict; CHAOS_SLOTS, CHAOS_KILLS and CHAOS_MINUTES make it the long run.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the clock")
	}
	redistest.NeedClock(t)
	seed := fromEnv(t, "CHAOS_SEED", rand.Uint64())
	s, race := short, producttest.Raced()
	if os.Getenv("CHAOS_SLOTS") != "" {
		number := func(name string, standard uint64) int { return int(fromEnv(t, name, standard)) }
		s, race = long(number("CHAOS_SLOTS", 10_000), number("CHAOS_KILLS", 300), number("CHAOS_MINUTES", 18)), false
	}
	if os.Geteuid() != 0 {
		t.Log("no disk fills up: only root may give Redis one of its own")
		s.FullDisks = 0
	}
	dir := artifacts(t)
	t.Logf("CHAOS_SEED=%d, files in %s", seed, dir)
	binary := build(t, dir, race)

	c := &chaos{t: t, dir: dir, plan: newPlan(seed, s)}
	text, err := json.MarshalIndent(c.plan, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "plan.json"), text)
	c.run(binary)
}

func fromEnv(t *testing.T, name string, standard uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return standard
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// artifacts is where everything is written down. Without CHAOS_DIR it goes away
// with a test that passes.
func artifacts(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("CHAOS_DIR"); dir != "" {
		dir, err := filepath.Abs(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Fatalf("CHAOS_DIR %s must be empty: what it holds belongs to another run (%v)", dir, err)
		}
		return dir
	}
	dir, err := os.MkdirTemp("", "gateway-cron-chaos-") //nolint:usetesting // it outlives a test that fails
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			_ = os.RemoveAll(dir)
		}
	})
	return dir
}

// build makes the binary with the crash points in it.
func build(t *testing.T, dir string, race bool) string {
	t.Helper()
	binary := filepath.Join(dir, "gateway-cron")
	flags := []string{"-tags", "faults"}
	if race {
		flags = append(flags, "-race")
	}
	if err := producttest.Build(binary, flags...); err != nil {
		t.Fatal(err)
	}
	return binary
}

func write(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// chaos is one run. Everything but the operator happens in the goroutine of the
// test, one thing after the other.
type chaos struct {
	t     *testing.T
	dir   string
	plan  *plan
	redis *embedded
	rdb   *redis.Client // to see when all is quiet; the judge does not use it
	fleet *fleet
	todo  []deed // by time

	clockSet bool // Redis's
}

// deed is something to do at a time.
type deed struct {
	at time.Time
	do func()
}

func (c *chaos) later(at time.Time, do func()) {
	c.todo = append(c.todo, deed{at, do})
	slices.SortStableFunc(c.todo, func(a, b deed) int { return a.at.Compare(b.at) })
}

// until works off what is to be done, and buries the dead, until over says so.
// It asks every now and then.
func (c *chaos) until(over func() bool) {
	c.t.Helper()
	for !over() {
		wait := 250 * time.Millisecond
		if len(c.todo) > 0 {
			wait = min(wait, time.Until(c.todo[0].at))
		}
		timer := time.NewTimer(wait)
		select {
		case p := <-c.fleet.exits:
			c.later(time.Now().Add(c.fleet.buried(p)), func() { c.fleet.start(p.crew) })
		case <-timer.C:
		case <-c.t.Context().Done():
			c.t.Fatal(c.t.Context().Err())
		}
		timer.Stop()
		for len(c.todo) > 0 && !c.todo[0].at.After(time.Now()) {
			next := c.todo[0]
			c.todo = c.todo[1:]
			next.do()
		}
	}
}

// within is until with a limit, which ends a hopeless test.
func (c *chaos) within(limit time.Duration, what string, over func() bool) {
	c.t.Helper()
	end := time.Now().Add(limit)
	c.until(func() bool {
		if time.Now().After(end) {
			c.t.Fatalf("gave up waiting until %s; files in %s", what, c.dir)
		}
		return over()
	})
}

func (c *chaos) run(binary string) {
	t := c.t
	c.redis = startRedis(t, c.plan.Size.FullDisks > 0)
	c.rdb = c.redis.client()
	ai, chats := startAIServer(t, c.plan, c.dir), startChat(t, c.plan, c.dir)
	c.fleet = newFleet(t, c.plan, c.dir, binary, c.redis.options, ai.url, chats.url)
	for _, crew := range c.fleet.crews {
		c.fleet.start(crew)
	}
	c.within(2*time.Minute, "all are ready", c.allReady)

	c.befall(yearAhead)
	op := newOperator(t, c.plan, c.dir, c.fleet.api)
	operated := make(chan error, 1)
	go func() { operated <- op.prepare(t.Context()) }()
	c.within(5*time.Minute, "the first jobs are made", func() bool { return received(t, operated) })
	c.plan.first.Store(time.Now().Add(3*time.Second + time.Minute - 1).Truncate(time.Minute).UnixMilli())
	go func() { operated <- op.run(t.Context()) }()
	for _, e := range c.plan.Events {
		c.later(c.plan.at(e.At), func() { c.befall(e) })
	}
	over := c.plan.at(c.plan.firing())
	c.until(func() bool { return time.Now().After(over) })

	c.calmDown(ai, chats)
	c.within(5*time.Minute, "the edits are made", func() bool { return received(t, operated) })
	go func() { operated <- op.stopFiring(t.Context()) }()
	c.within(5*time.Minute, "no job fires any more", func() bool { return received(t, operated) })
	c.within(12*time.Minute, "nothing is unfinished", c.quiet())
	go func() { operated <- op.collect(t.Context(), c.dir) }()
	c.within(10*time.Minute, "everything is read", func() bool { return received(t, operated) })
	c.fleet.scanLogs()
	c.verdict()
}

// received reports whether something that runs beside the test has ended.
func received(t *testing.T, done <-chan error) bool {
	t.Helper()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
		return true
	default:
		return false
	}
}

func (c *chaos) allReady() bool {
	for _, crew := range c.fleet.crews {
		if crew.current == nil {
			return false
		}
		select {
		case <-crew.current.ready:
		default:
			return false
		}
	}
	return true
}

// befall lets an event of the plan happen.
func (c *chaos) befall(e event) {
	f, from := c.fleet, now()
	if f.calm {
		return
	}
	after := func(do func()) { c.later(time.Now().Add(e.For), do) }
	switch e.Kind {
	case "kill":
		if p := f.victim(e.Target); p != nil {
			f.kill(p)
		} else { // all are down: as soon as one is back
			c.later(time.Now().Add(time.Second), func() { c.befall(e) })
		}
	case "freeze":
		if p := f.victim(e.Target); p != nil && p.frozen == 0 {
			f.freeze(p)
			after(func() {
				if p.crew.current == p {
					f.thaw(p)
				}
			})
		}
	case "cut up", "cut down", "cut both":
		way := f.crew(e.Target).proxy
		way.cut(e.Kind != "cut down", e.Kind != "cut up")
		after(func() {
			f.note(judge.Cut, e.Target, from, strings.TrimPrefix(e.Kind, "cut "))
			way.heal()
		})
	case "redis kill":
		c.redis.kill()
		after(func() { c.back(func() { f.note(judge.Killed, "redis", from, "") }) })
	case "full disk":
		c.redis.fillDisk()
		after(func() {
			c.redis.freeDisk()
			c.back(func() { f.note(judge.FullDisk, "redis", from, "") })
		})
	case "redis freeze":
		c.redis.freeze()
		after(func() {
			c.redis.thaw()
			f.note(judge.Frozen, "redis", from, "")
		})
	case "clock":
		if c.clockSet { // the year ahead may have begun late
			c.later(time.Now().Add(200*time.Millisecond), func() { c.befall(e) })
			return
		}
		c.clockSet = true
		c.redis.setClock(e.By)
		after(func() {
			c.clockSet = false
			c.redis.setClock(0)
			f.note(judge.Clock, "redis", from, e.By.String())
		})
	case "rules":
		c.changeRules(from)
	default:
		c.t.Fatalf("event of kind %q", e.Kind)
	}
}

// rulesApart is between the ends of the processes that read the old rules of a zone.
// rulesSettled is more than it takes until no cursor follows those any more: the restart of a
// scheduler, its lease, and the next look at all jobs, which finds what a process wrote that
// still read them.
const (
	rulesApart   = 2 * time.Second
	rulesSettled = 4 * time.Minute
)

// changeRules lets the processes read other rules of a zone from their next start on, and
// kills them one by one.
func (c *chaos) changeRules(from int64) {
	last := time.Now()
	for _, crew := range c.fleet.crews {
		p := crew.current
		if p == nil {
			continue
		}
		c.later(last, func() {
			if crew.current == p {
				c.fleet.kill(p)
			}
		})
		last = last.Add(rulesApart)
	}
	c.fleet.troubles.add(judge.Trouble{Kind: judge.Rules, Process: ruled, From: from, To: last.Add(rulesSettled).UnixMilli(), Detail: c.fleet.changeRules()})
}

// calmDown ends all faults: what is still to be ended, ends; then every process is
// stopped in order and started again, without crash points.
func (c *chaos) calmDown(ai *aiServer, chats *chat) {
	ai.calmDown()
	chats.calmDown()
	c.fleet.calm = true
	for len(c.todo) > 0 {
		next := c.todo[0]
		c.todo = c.todo[1:]
		next.do()
	}
	c.within(2*time.Minute, "all are ready again", c.allReady)
	for _, crew := range c.fleet.crews {
		p := crew.current
		p.doomed = judge.Stopped
		c.fleet.signal(p, syscall.SIGTERM)
	}
	stopped := func() bool {
		return !slices.ContainsFunc(c.fleet.crews, func(crew *crew) bool {
			return crew.current != nil && crew.current.doomed != ""
		})
	}
	c.within(2*time.Minute, "all have stopped", stopped)
	c.within(2*time.Minute, "all are ready for the end", c.allReady)
}

// quiet reports, now and then, whether nothing is unfinished, nothing waits in the
// queues and nothing is being worked on. Tasks of killed workers are active until
// the queue has revived them, and then turn out to be nothing.
func (c *chaos) quiet() func() bool {
	var next time.Time
	return func() bool {
		if time.Now().Before(next) {
			return false
		}
		next = time.Now().Add(time.Second)
		ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
		defer cancel()
		left, err := c.rdb.ZCard(ctx, "{gateway-cron}:wake").Result()
		// The jobs that fire no more are due in half a year; others may have one slot left.
		due, dueErr := c.rdb.ZCount(ctx, "{gateway-cron}:due", "-inf", strconv.FormatInt(now()+time.Hour.Milliseconds(), 10)).Result()
		alerts, alertsErr := c.rdb.ZCard(ctx, "{gateway-cron}:alerts").Result()
		left, err = left+due+alerts, errors.Join(err, dueErr, alertsErr)
		for _, queue := range []string{"asynq:{gateway-cron-run}:", "asynq:{gateway-cron-deliver}:"} {
			for _, list := range []string{"pending", "active"} {
				n, listErr := c.rdb.LLen(ctx, queue+list).Result()
				left, err = left+n, errors.Join(err, listErr)
			}
			for _, set := range []string{"scheduled", "retry"} {
				n, setErr := c.rdb.ZCard(ctx, queue+set).Result()
				left, err = left+n, errors.Join(err, setErr)
			}
		}
		return err == nil && left == 0
	}
}

// verdict has the judge decide, and tells.
func (c *chaos) verdict() {
	t, until := c.t, now()
	log, err := judge.Read(c.dir, until)
	if err != nil {
		t.Fatal(err)
	}
	report := judge.Check(log)
	table := report.Table()
	t.Logf("seed %d\n%s", c.plan.Seed, table)
	var text strings.Builder
	fmt.Fprintf(&text, "seed %d, judged at %d\n%s", c.plan.Seed, until, table)
	told := map[string]bool{}
	for i, v := range report.Violations {
		fmt.Fprintf(&text, "\n%s\n", v)
		if v.Run != "" && !told[v.Run] {
			told[v.Run] = true
			fmt.Fprint(&text, log.Story(v.Run))
		}
		if i < 10 {
			t.Errorf("%s\n%s", v, log.Story(cmp.Or(v.Run, "none")))
		}
	}
	write(t, filepath.Join(c.dir, "verdict.txt"), []byte(text.String()))
	if len(report.Violations) > 0 {
		c.keepRedis()
		t.Errorf("%d violations; the logs and all stories are in %s; CHAOS_SEED=%d", len(report.Violations), c.dir, c.plan.Seed)
	}

	for _, why := range tooEasy(report, c.plan.Size, c.fleet.killed) {
		t.Errorf("too easy to prove anything: %s", why)
	}
}

// back waits until Redis serves again.
func (c *chaos) back(then func()) {
	if c.redis.proc.Err() == nil {
		then()
		return
	}
	c.later(time.Now().Add(50*time.Millisecond), func() { c.back(then) })
}

// keepRedis saves the log of every command beside the other files.
func (c *chaos) keepRedis() {
	c.redis.stop()
	if err := os.CopyFS(filepath.Join(c.dir, "redis"), os.DirFS(c.redis.dir)); err != nil {
		c.t.Logf("the files of Redis are not kept: %v", err)
	}
}

// TestJudgeAgain judges the files of an earlier run: CHAOS_JUDGE is its directory.
func TestJudgeAgain(t *testing.T) {
	dir := os.Getenv("CHAOS_JUDGE")
	if dir == "" {
		t.Skip("CHAOS_JUDGE names no directory")
	}
	info, err := os.Stat(filepath.Join(dir, judge.SessionsFile)) // the last to be written
	if err != nil {
		t.Fatal(err)
	}
	log, err := judge.Read(dir, info.ModTime().UnixMilli())
	if err != nil {
		t.Fatal(err)
	}
	report := judge.Check(log)
	t.Log("\n" + report.Table())
	for _, v := range report.Violations {
		t.Errorf("%s\n%s", v, log.Story(cmp.Or(v.Run, "none")))
	}
}
