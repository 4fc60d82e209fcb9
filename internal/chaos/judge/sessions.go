package judge

import (
	"cmp"
	"fmt"
	"slices"
)

// noticed is how long the ai-server may take to notice that a caller hung up.
const noticed = 2_000

// checkOverlaps: a session has one call at a time, and so has a job that does not
// allow its runs to overlap, unless whoever made the earlier one was lost to the others.
func (b *bench) checkOverlaps() {
	under := map[string][]*Call{} // by session and by job, those that have not ended
	for i := range b.log.Calls {
		c := &b.log.Calls[i]
		b.besideOthers(c, session(c), under)
		if j := b.jobOf(c); j != nil && j.Overlap != "allow" {
			b.besideOthers(c, "job "+j.ID, under)
		}
	}
}

func session(c *Call) string { return "session " + c.Session }

func (b *bench) besideOthers(c *Call, place string, under map[string][]*Call) {
	still := under[place][:0]
	for _, e := range under[place] {
		ends := e.EndedAt
		if e.How == HowHungUp {
			ends -= noticed
		}
		if e.EndedAt != 0 && ends <= c.At {
			continue
		}
		still = append(still, e)
		if e.Session == c.Session && place != session(c) {
			continue // told by the session
		}
		switch {
		case b.troubled(e.Process, e.At-thawed, c.At, Killed, Crashed, Stopped, Frozen, Cut), b.cancelled(e, c.At), b.unheardOf(c):
			b.report.Overlaps++
		default:
			b.fail("calls overlap", c.Run, fmt.Sprintf("call %d by %s arrived in %s while call %d by %s for %s was under way",
				c.N, c.Process, place, e.N, e.Process, e.Run))
		}
	}
	under[place] = append(still, c)
}

// jobOf is the job of a call's run, nil if nobody made it.
func (b *bench) jobOf(c *Call) *Job {
	r := b.runs[c.Run]
	if r == nil {
		return nil
	}
	return b.jobs[r.JobID]
}

// checkOrder: the runs of a job are made in the order of their slots.
func (b *bench) checkOrder(j *Job) {
	if j.Overlap == "allow" {
		return
	}
	var newest *Run
	for i := range b.log.Calls {
		c := &b.log.Calls[i]
		r := b.runs[c.Run]
		if r == nil || r.JobID != j.ID || r.Trigger != "schedule" {
			continue
		}
		if newest != nil && r.Slot < newest.Slot && !b.troubled(c.Process, c.At-thawed, c.At, Frozen) && !b.unheardOf(c) {
			b.fail("wrong order", r.ID, fmt.Sprintf("call %d arrived after one for %s", c.N, newest.ID))
		}
		if newest == nil || r.Slot > newest.Slot {
			newest = r
		}
	}
}

// sessionMessages is how many messages of a session are kept.
const sessionMessages = 200

// checkSessions: each committed reply is in its session once, in the order of the
// commits, and each call was sent along with what was committed before it. The session
// of an isolated job has its last reply alone, and its calls nothing along.
func (b *bench) checkSessions() {
	committed := map[string][]*Run{} // by session, in the order of commit
	for i := range b.log.Runs {
		if r := &b.log.Runs[i]; r.Outcome == "succeeded" {
			committed[r.SessionKey] = append(committed[r.SessionKey], r)
		}
	}
	for _, runs := range committed {
		slices.SortFunc(runs, func(x, y *Run) int { return cmp.Compare(x.FinishedAt, y.FinishedAt) })
	}
	for _, s := range b.log.Sessions {
		b.checkTranscript(s, committed[s.Key])
		delete(committed, s.Key)
	}
	for key, runs := range committed {
		b.fail("transcript", runs[0].ID, fmt.Sprintf("session %s does not exist", key))
	}
	b.checkHeard()
}

func (b *bench) checkTranscript(s Session, committed []*Run) {
	said := map[string]int{}
	var newest int64
	for _, m := range s.Messages {
		if m.Role != "assistant" {
			continue
		}
		r := b.runs[m.RunID]
		said[m.RunID]++
		switch {
		case r == nil || r.SessionKey != s.Key || r.Outcome != "succeeded" || r.Empty:
			b.fail("transcript", m.RunID, fmt.Sprintf("session %s has a reply of it, which is not committed there", s.Key))
			continue
		case said[m.RunID] > 1 || nonceOf(m.Text) != nonceOf(r.Reply):
			b.fail("two replies", m.RunID, fmt.Sprintf("session %s has the reply %s, on record is %s", s.Key, nonceOf(m.Text), nonceOf(r.Reply)))
		case b.isolated(r) && r != committed[len(committed)-1]:
			b.fail("transcript", m.RunID, fmt.Sprintf("session %s, which holds the last run only, has an earlier reply", s.Key))
		case r.FinishedAt < newest:
			b.fail("wrong order", m.RunID, fmt.Sprintf("in session %s it comes after a reply that was committed later", s.Key))
		}
		newest = max(newest, r.FinishedAt)
	}
	if len(committed) > 0 && b.isolated(committed[0]) {
		committed = committed[len(committed)-1:]
	}
	for _, r := range kept(committed) {
		if said[r.ID] == 0 {
			b.fail("transcript", r.ID, fmt.Sprintf("its reply is not in session %s", s.Key))
		}
	}
}

// kept are the runs whose replies are among the newest messages of a session, which are all
// that is kept of it: a task and a reply of each run, the task alone of an empty one.
func kept(committed []*Run) []*Run {
	var with []*Run
	messages := 0
	for _, r := range slices.Backward(committed) {
		if messages++; messages > sessionMessages {
			break
		}
		if !r.Empty {
			messages++
			with = append(with, r)
		}
	}
	slices.Reverse(with)
	return with
}

// isolated reports whether a run is of a job whose runs begin with nothing: its session
// is of that job alone.
func (b *bench) isolated(r *Run) bool {
	j := b.jobs[r.JobID]
	return j != nil && j.Isolated
}

// checkHeard: where the ai-server keeps no session, a call brings every reply
// committed before it; an isolated one brings none, wherever the session is kept. No call
// brings an empty one.
func (b *bench) checkHeard() {
	commits := map[string][]*Run{}
	for i := range b.log.Runs {
		if r := &b.log.Runs[i]; r.Outcome == "succeeded" {
			commits[r.SessionKey] = append(commits[r.SessionKey], r)
		}
	}
	for _, list := range commits {
		slices.SortFunc(list, func(x, y *Run) int { return cmp.Compare(x.FinishedAt, y.FinishedAt) })
	}
	for i := range b.log.Calls {
		c := &b.log.Calls[i]
		if j := b.jobOf(c); j != nil && j.Isolated {
			if len(c.Heard) > 0 {
				b.fail("transcript", c.Run, fmt.Sprintf("call %d of an isolated run was sent with %v", c.N, c.Heard))
			}
			continue
		}
		if slices.Contains(c.Heard, "") {
			b.fail("transcript", c.Run, fmt.Sprintf("call %d was sent with an empty message, which a model refuses", c.N))
		}
		before := commits[c.Session]
		if i := slices.IndexFunc(before, func(r *Run) bool { return r.FinishedAt >= c.At }); i >= 0 {
			before = before[:i]
		}
		var want []string
		for _, r := range kept(before) {
			want = append(want, nonceOf(r.Reply))
		}
		if c.Kept || slices.Equal(want, c.Heard) || b.troubled(c.Process, c.At-minute, c.At, Frozen, Cut) {
			continue
		}
		b.fail("transcript", c.Run, fmt.Sprintf("call %d was sent with %v, committed before were %v", c.N, c.Heard, want))
	}
}
