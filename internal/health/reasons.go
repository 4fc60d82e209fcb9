package health

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// named is how many jobs, processes or records a text names.
const named = 5

func (j *judge) disk() {
	if d := j.Disk; d.Short != "" {
		j.add(Reason{Code: DiskFull, State: Failing, Since: d.Since,
			Text: "the disk of Redis has too little room: " + d.Short + "; no turn begins, because its reply might not be stored",
			Fix: both("make room where " + d.Dir + " lies, or lower GATEWAY_CRON_MIN_FREE_BYTES; " +
				"if Redis is away too, stop nothing meanwhile: the worker holds the replies that could not be written")})
	}
}

func (j *judge) redis() {
	if why := j.Redis.Refuses; why != "" {
		j.add(Reason{Code: RedisRefuses, State: Failing, Text: "Redis takes no changes: " + why + "; nothing starts, and what ends cannot be written",
			Fix: both(j.Redis.Fix)})
	} else if j.Redis.Nearly != "" {
		j.add(Reason{Code: RedisMemory, State: Degraded, Text: j.Redis.Nearly + "; when it is full, changes are refused",
			Fix: both("raise maxmemory of Redis")})
	}
	for _, l := range j.Redis.Lossy {
		j.add(Reason{Code: RedisNotDurable, State: Degraded, Text: "Redis: " + l.What, Fix: both(l.Fix)})
	}
	j.clock()
	if e := j.Signs.Emptied; e.At != 0 && !j.past(e.At, j.EmptiedFor) {
		j.add(Reason{Code: StoreEmptied, State: Degraded, Since: e.At, Count: e.Jobs,
			Text: fmt.Sprintf("the store was emptied, or another took its place: %s that it had %s gone", count(e.Jobs, "job"), isAre(e.Jobs)),
			Fix:  Fix{"restore Redis from a backup, or gateway-cron job import FILE", "restore Redis from a backup, or POST /api/cron/import"}})
	}
}

// clock says that the clock of Redis was set: as long as nothing starts because of it, and
// for a while what came of it.
func (j *judge) clock() {
	const check = "gateway-cron job list shows when the jobs run next"
	switch c := j.Clock; {
	case c.Held.By != 0:
		j.add(Reason{Code: ClockStep, State: Failing, Since: c.Held.Since,
			Text: fmt.Sprintf("the clock of Redis was set %s by %s: nothing starts until it is right again, or for two minutes", way(c.Held.By), Span(c.Held.By)),
			Fix:  both("set the clock of the machine of Redis right, and keep it so with NTP")})
	case c.Check.Why == job.CheckClock && !j.past(c.Check.Since, j.SteppedFor):
		text := "the clock of Redis was set"
		if c.Last.By != 0 {
			text += " " + way(c.Last.By) + " by " + Span(c.Last.By) + ", and goes by that now"
		}
		if c.Check.Pending() {
			text += fmt.Sprintf("; the cursors of %s were looked at, and it goes on", count(c.Check.Checked, "job"))
		} else {
			text += fmt.Sprintf("; the next slots of all jobs were looked at, and %d put right", c.Check.Moved)
		}
		j.add(Reason{Code: ClockStep, State: Degraded, Since: c.Check.Since, Text: text, Fix: Fix{check, "GET /api/cron/upcoming shows when the jobs run next"}})
	}
}

func way(by time.Duration) string { return pick(by < 0, "back", "forward") }

func (j *judge) processes() {
	s := j.Signs
	start := func(role string) Fix { return both("start one: gateway-cron " + role + ", or serve") }
	switch {
	case s.Looked == 0 || j.past(s.Looked, j.LookedWithin):
		text := "no scheduler works: nothing that comes due starts"
		if s.Looked != 0 {
			text += "; one looked last " + Span(j.Now.Time().Sub(s.Looked.Time())) + " ago"
		}
		j.add(Reason{Code: NoScheduler, State: Failing, Since: s.Looked, Text: text, Fix: start("scheduler")})
	case s.Emitter == "":
		j.add(Reason{Code: NoLeader, State: Degraded, Text: "no scheduler leads at the moment; another takes over within 3 s", Fix: both("ask again")})
	}
	if len(j.workers()) == 0 {
		since := job.Millis(0)
		for _, p := range s.Processes {
			if p.Role == "worker" {
				since = max(since, p.Last)
			}
		}
		j.add(Reason{Code: NoWorker, State: Failing, Since: since, Text: "no worker gives a sign of life: nothing runs", Fix: start("worker")})
	}
	for _, p := range Lost(s) {
		j.add(Reason{Code: ProcessLost, State: Degraded, Since: p.Last,
			Text: fmt.Sprintf("the %s on %s gave its last sign of life %s ago and did not say that it stops", p.Role, Place(p), Span(j.Now.Time().Sub(p.Last.Time()))),
			Fix:  both("see its log; it is forgotten an hour after the last sign")})
	}
}

func (j *judge) workers() []job.Process { return Alive(j.Signs, "worker") }

// Alive are the processes of a role that give a sign of life.
func Alive(s job.Signs, role string) (alive []job.Process) {
	for _, p := range s.Processes {
		if p.Alive && p.Role == role {
			alive = append(alive, p)
		}
	}
	return alive
}

// Lost are the processes that ended without saying so, and that none of their role has
// replaced on their host since.
func Lost(s job.Signs) (lost []job.Process) {
	for _, p := range s.Processes {
		replaced := slices.ContainsFunc(s.Processes, func(o job.Process) bool {
			return o.Alive && o.Role == p.Role && o.Host == p.Host && o.StartedAt > p.Last
		})
		if !p.Alive && !replaced {
			lost = append(lost, p)
		}
	}
	return lost
}

// Place is where a process runs, as people find it.
func Place(p job.Process) string {
	if p.PID == 0 {
		return p.Host
	}
	return fmt.Sprintf("%s (pid %d)", p.Host, p.PID)
}

// Places counts the places of the workers that are alive.
func Places(s job.Signs) (taken, places int) {
	for _, w := range Alive(s, "worker") {
		taken, places = taken+w.Taken, places+w.Places
	}
	return taken, places
}

// slots says what is late, and why if that can be seen.
func (j *judge) slots() {
	s := j.Signs
	taken, places := Places(s)
	full, since := places > 0, job.Millis(0)
	for _, w := range j.workers() {
		full, since = full && w.FullSince != 0, max(since, w.FullSince)
	}
	lasting := full && j.past(since, j.FullAfter)
	workers := fmt.Sprintf("workers: %d of %s taken", taken, count(places, "place"))
	capacity := Fix{"start more workers, or raise GATEWAY_CRON_CONCURRENCY; gateway-cron run list --state running shows what takes the places",
		"start more workers, or raise GATEWAY_CRON_CONCURRENCY; GET /api/cron/runs?state=running shows what takes the places"}
	if late := s.Late; late.Count > 0 {
		r := Reason{Code: SlotsLate, State: Failing, Count: late.Count, Since: late.Oldest, Late: true, Jobs: late.IDs,
			Text: fmt.Sprintf("%s late, the oldest %s; %s", count(late.Count, "slot"), Span(j.Now.Time().Sub(late.Oldest.Time())), workers),
			Fix: Fix{"gateway-cron doctor --job " + late.IDs[0] + " says what the first waits for",
				"GET /api/cron/jobs/" + late.IDs[0] + "/explain says what the first waits for"}}
		if full {
			r.State, r.Fix = Degraded, capacity
		}
		j.add(r)
	}
	if lasting {
		j.add(Reason{Code: PlacesTaken, State: Degraded, Count: places, Since: since, Late: true, Fix: capacity,
			Text: fmt.Sprintf("all %s of the workers %s taken for %s: what comes due waits", count(places, "place"), isAre(places), Span(j.Now.Time().Sub(since.Time())))})
	}
	j.memory()
	if a := j.Absent; a.Count > 0 {
		j.add(Reason{Code: SlotsAbsent, State: Degraded, Count: a.Count, Since: a.Oldest, Late: true, Jobs: a.IDs,
			Text: fmt.Sprintf("%s should have run and %s no record: of %s", count(a.Count, "slot"), hasHave(a.Count), some(a.IDs, a.Count)),
			Fix: Fix{"gateway-cron doctor --job " + first(a.IDs) + " says what is known of it; was Redis restored, or written to by hand?",
				"GET /api/cron/jobs/" + first(a.IDs) + "/explain says what is known of it; was Redis restored, or written to by hand?"}})
	}
	if u := s.Untouched; u.Count > 0 && !full {
		j.add(Reason{Code: RunsWaiting, State: Degraded, Count: u.Count, Since: u.Oldest, Late: true,
			Text: fmt.Sprintf("%s could have begun and did not, for %s: %s", count(u.Count, "run"), Span(j.Now.Time().Sub(u.Oldest.Time())), some(u.IDs, u.Count)),
			Fix:  both("see the logs of the workers")})
	}
	if w := s.Wake; w.Count > 0 {
		j.add(Reason{Code: WorkStuck, State: Degraded, Count: w.Count, Since: w.Oldest, Late: true,
			Text: fmt.Sprintf("nobody looks after %s, for %s: %s", pick(w.Count == 1, "1 unfinished run or delivery", fmt.Sprintf("%d unfinished runs and deliveries", w.Count)), Span(j.Now.Time().Sub(w.Oldest.Time())), some(w.IDs, w.Count)),
			Fix:  both("a scheduler looks after them; if one runs, see its log")})
	}
	if at := j.Status.PausedSince; at != 0 {
		text := "everything is paused, for " + Span(j.Now.Time().Sub(at.Time()))
		if j.Status.PauseReason != "" {
			text += ": " + j.Status.PauseReason
		}
		j.add(Reason{Code: Paused, State: Degraded, Since: at, Text: text, Fix: Fix{"gateway-cron resume-all", "POST /api/cron/all/resume"}})
	}
}

// memory says which turns wait because those in hand hold as much of long conversations as a
// worker may.
func (j *judge) memory() {
	var jobs []string
	all, since := 0, job.Millis(0)
	for _, w := range j.workers() {
		if w.WaitingCount > 0 {
			jobs, all = append(jobs, w.Waiting...), all+w.WaitingCount
			since = min(cmp.Or(since, w.WaitingSince), w.WaitingSince)
		}
	}
	if all == 0 {
		return
	}
	j.add(Reason{Code: MemoryTaken, State: Degraded, Count: all, Since: since, Jobs: jobs,
		Text: fmt.Sprintf("%s with a long conversation %s until others have ended, whose conversations take what a worker may hold: of %s",
			count(all, "turn"), pick(all == 1, "waits", "wait"), some(jobs, all)),
		Fix: both("raise GATEWAY_CRON_WORKER_MEMORY_BYTES, or start another worker; or shorten the conversations, or give the jobs the context isolated")})
}

func (j *judge) queues() {
	for _, q := range j.Queues {
		if !q.Paused {
			continue
		}
		r := Reason{Code: QueuePaused, State: Failing, Since: q.Since, Text: "the queue " + q.Name + " was paused from outside: nothing that comes due runs",
			Fix: Fix{"wait a minute: a scheduler lets it go on; to stop everything use gateway-cron pause-all",
				"wait a minute: a scheduler lets it go on; to stop everything use POST /api/cron/all/pause"}}
		if !q.Runs {
			r.State, r.Text = Degraded, "the queue "+q.Name+" was paused from outside: no reply is delivered"
		}
		j.add(r)
	}
}

// parties says how the workers find whom their runs need. What all of them find away stops
// the deployment, if it is the ai-server.
func (j *judge) parties() {
	found := map[string][]finder{}
	var names []string
	for _, w := range j.workers() {
		for _, p := range w.Parties {
			if found[p.Name] == nil {
				names = append(names, p.Name)
			}
			found[p.Name] = append(found[p.Name], finder{w, p})
		}
	}
	slices.Sort(names)
	for _, name := range names {
		by := found[name]
		if name == AIServer {
			j.party(by, Reason{Code: AIServerAway, State: Failing, Fix: both("start the ai-server, or set GATEWAY_CRON_AI_SERVER_URL")}, j.away)
			j.party(by, Reason{Code: AIServerKey, State: Failing,
				Fix: both("give the ai-server the key, for instance in <MOLDABLE_HOME>/shared/.env, and start it anew")}, lacks)
			j.party(by, Reason{Code: AIServerFailing, State: Degraded, Fix: both("see the log of the ai-server")}, j.fails)
			continue
		}
		j.party(by, Reason{Code: ChannelAway, State: Degraded,
			Fix: both("is it up, and are its address and token right? gateway-cron config, beside the worker, shows its settings")}, j.away)
		j.party(by, Reason{Code: ChannelFailing, State: Degraded,
			Fix: Fix{"gateway-cron run list shows the runs whose replies did not arrive", "GET /api/cron/runs lists the runs whose replies did not arrive"}}, j.fails)
	}
}

// finder is a worker with how it finds a party.
type finder struct {
	worker job.Process
	job.Party
}

// party tells what some workers find of a party: not the whole deployment is in trouble
// where others find it well.
func (j *judge) party(by []finder, r Reason, wrong func(job.Party) (text string, since job.Millis)) {
	var on []string
	partly := true
	for _, f := range by {
		text, since := wrong(f.Party)
		if text == "" {
			continue
		}
		r.Text, r.Since = f.Name+" "+text, since
		on = append(on, Place(f.worker))
		partly = partly && f.Partly
	}
	if len(on) == 0 {
		return
	}
	if r.Count = len(on); len(on) < len(by) {
		r.State = Degraded
		r.Text += ", for the worker on " + some(on, len(on))
	}
	if r.Code == AIServerKey && partly {
		r.State = Degraded
	}
	j.add(r)
}

func (j *judge) away(p job.Party) (string, job.Millis) {
	if p.Away == "" || !j.past(p.Since, j.AwayAfter) {
		return "", 0
	}
	return "cannot be reached: " + p.Away, p.Since
}

func lacks(p job.Party) (string, job.Millis) {
	if p.Away != "" || p.Missing == "" {
		return "", 0
	}
	return "lacks " + p.Missing, 0
}

func (j *judge) fails(p job.Party) (string, job.Millis) {
	if p.Away != "" || p.Missing != "" || p.Failures < j.FailingAfter {
		return "", 0
	}
	return fmt.Sprintf("failed %d calls in a row; the last: %s", p.Failures, p.Error), p.LastSuccess
}

// AIServer is the name of the ai-server among the parties.
const AIServer = "ai-server"

func (j *judge) jobs() {
	var disabled, failing []trouble
	for _, a := range j.Ailing.Failing {
		t := trouble{AilingJob: a, why: a.LastError}
		switch {
		case a.DisabledAt != 0:
			disabled = append(disabled, t)
		case a.Failures >= j.FailingAfter:
			failing = append(failing, t)
		}
	}
	undelivered := make([]trouble, len(j.Ailing.Undelivered))
	for i, a := range j.Ailing.Undelivered {
		undelivered[i] = trouble{AilingJob: a, why: a.DeliveryError}
	}
	more := func(all int, listed []job.AilingJob) int { return max(0, all-len(listed)) }
	j.about(JobDisabled, disabled, 0, "was disabled because its runs kept failing", "were disabled because their runs kept failing",
		func(id string) Fix {
			return Fix{"mend it, then gateway-cron job resume " + id, "mend it, then POST /api/cron/jobs/" + id + "/resume"}
		})
	j.about(JobFailing, failing, more(j.Ailing.FailingCount, j.Ailing.Failing), "keeps failing", "keep failing", func(id string) Fix {
		return Fix{"gateway-cron job runs " + id, "GET /api/cron/jobs/" + id + "/runs"}
	})
	j.about(DeliveryFailing, undelivered, more(j.Ailing.UndeliveredCount, j.Ailing.Undelivered),
		"does not get its replies to its chat", "do not get their replies to their chats", func(id string) Fix {
			return Fix{"mend the target: gateway-cron job edit " + id, "mend the target: PATCH /api/cron/jobs/" + id}
		})
}

// trouble is a job with what is wrong with it.
type trouble struct {
	job.AilingJob
	why string
}

// about is one reason for all jobs of a kind, those that are listed and so many more; the
// fix is for the first.
func (j *judge) about(code Code, jobs []trouble, more int, one, many string, fix func(id string) Fix) {
	if len(jobs) == 0 {
		return
	}
	slices.SortStableFunc(jobs, func(a, b trouble) int { return cmp.Compare(a.Since, b.Since) })
	names, ids := make([]string, len(jobs)), make([]string, len(jobs))
	for i, t := range jobs {
		ids[i] = t.ID
		if names[i] = t.ID; t.Name != "" {
			names[i] = fmt.Sprintf("%q (%s)", t.Name, t.ID)
		}
	}
	all := len(jobs) + more
	r := Reason{Code: code, State: Degraded, Count: all, Since: jobs[0].Since, Jobs: ids, Fix: fix(ids[0])}
	if r.Text = "job " + names[0] + " " + one; jobs[0].why != "" {
		r.Text += "; the last: " + jobs[0].why
	}
	if all > 1 {
		r.Text = fmt.Sprintf("%d jobs %s: %s", all, many, some(names, all))
	}
	j.add(r)
}

// bounds says of which jobs something went to keep to a bound in bytes.
func (j *judge) bounds() {
	if c := j.Signs.Cut; c.Count > 0 {
		j.add(Reason{Code: BoundReached, State: Degraded, Count: c.Count, Since: c.Oldest, Jobs: c.IDs,
			Text: fmt.Sprintf("whole replies in the history of %s, or older messages of our copy of the session, went within a day, to keep to the bounds in bytes: %s",
				count(c.Count, "job"), some(c.IDs, c.Count)),
			Fix: both("raise GATEWAY_CRON_HISTORY_BYTES if the replies are missed, or let the agent be shorter; the ai-server's own session is never cut")})
	}
}

func (j *judge) records() {
	found := j.Status.Repairs.Quarantined
	if len(found) == 0 {
		return
	}
	entries := make([]string, len(found))
	for i, q := range found {
		entries[i] = q.Entry
	}
	text := entries[0] + " cannot be read: " + found[0].Reason
	if len(found) > 1 {
		text = fmt.Sprintf("%d records cannot be read: %s", len(found), some(entries, len(entries)))
	}
	j.add(Reason{Code: Unreadable, State: Degraded, Count: len(found), Since: found[0].Since, Text: text,
		Fix: both("mend its key in Redis, or delete it; it is tried every minute")})
}

func pick[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

func first(ids []string) string {
	if len(ids) == 0 {
		return ""
	}
	return ids[0]
}

// some names the first of so many.
func some(names []string, all int) string {
	text := strings.Join(names[:min(named, len(names))], ", ")
	if more := all - min(named, len(names)); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func isAre(n int) string { return pick(n == 1, "is", "are") }

func hasHave(n int) string { return pick(n == 1, "has", "have") }

// Span is a duration as people say it: no more than two units.
func Span(d time.Duration) string {
	d = d.Abs()
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return units(d, time.Minute, "min", time.Second, "s")
	case d < 48*time.Hour:
		return units(d, time.Hour, "h", time.Minute, "min")
	default:
		return units(d, 24*time.Hour, "days", time.Hour, "h")
	}
}

func units(d, big time.Duration, bigName string, small time.Duration, smallName string) string {
	text := fmt.Sprintf("%d %s", d/big, bigName)
	if rest := d % big / small; rest > 0 {
		text += fmt.Sprintf(" %d %s", rest, smallName)
	}
	return text
}
