package store

// keys builds every key in Redis. All carry one hash tag, so that the scripts,
// which touch several of them at once, stay within one slot of a cluster. The
// scripts are given them; see constants.go.
//
// Everything but the jobs has a time to live or a cap.
type keys struct{ prefix string }

func newKeys(name string) keys { return keys{prefix: "{" + name + "}:"} }

// job: HASH, the definition, the cursor (nextSlot, lastSlot, emitted), the last slot that ran
// (ranSlot) and the revision; the
// job in whose run it was made (madeBy), and the ids of those made in its own (made).
func (k keys) job(id string) string { return k.prefix + "job:" + id }

// jobs: ZSET of job ids by creation (microseconds, unique).
func (k keys) jobs() string { return k.prefix + "jobs" }

// ended: ZSET of the ids of jobs that have ended by when they did (microseconds, unique); the
// retention.
func (k keys) ended() string { return k.prefix + "ended" }

// owned: ZSET, the lists of the jobs of agents (j:<agent>) and of sessions (js:<agent> <session>),
// and of those that have ended (e:, es:), as <list> <score> <id>, which all have the score 0:
// by the order of their texts each list is in the order of jobs or ended.
func (k keys) owned() string { return k.prefix + "owned" }

// cut: ZSET of the ids of jobs of whose history or session something went because of a bound in
// bytes, by when it last did (ms); a day, capped.
func (k keys) cut() string { return k.prefix + "cut" }

// failing: ZSET of the ids of jobs whose last runs of the schedule failed, or that failures
// disabled, by when the row began (ms).
func (k keys) failing() string { return k.prefix + "failing" }

// undelivered: ZSET of the ids of jobs whose replies do not arrive, by when the first one did
// not (ms).
func (k keys) undelivered() string { return k.prefix + "undelivered" }

// due: ZSET of job ids by the next look (ms): the slot, or the re-check of an enqueued one.
func (k keys) due() string { return k.prefix + "due" }

// unclaimed: ZSET of the jobs whose next slot was put into the queue and that no worker has
// claimed, by when the slot was due (ms). It is there to be read only: damaged, it stops
// nothing.
func (k keys) unclaimed() string { return k.prefix + "unclaimed" }

// wake: ZSET of what is unfinished, r:<run> and d:<run>:<n>, by the next look (ms).
func (k keys) wake() string { return k.prefix + "wake" }

// open: SET of what is unfinished, as in wake; each of the two is mended from the other.
func (k keys) open() string { return k.prefix + "open" }

// run: HASH of one run, or of a range of slots that did not run.
func (k keys) run(id string) string { return k.prefix + "run:" + id }

// runs: ZSET of a job's run ids by creation (microseconds, unique); capped.
func (k keys) runs(job string) string { return k.prefix + "runs:" + job }

// replies: LIST of "<bytes> <run>" of a job's whole long replies, oldest first; as runs.
func (k keys) replies(job string) string { return k.prefix + "replies:" + job }

// allRuns: ZSET of the run ids of all jobs by creation (microseconds, unique); the newest.
func (k keys) allRuns() string { return k.prefix + "runs" }

// ownRuns: ZSET of the run ids of an agent, or where the session is not "" of that session of
// it, as in runs of all jobs; capped.
func (k keys) ownRuns(agent, session string) string {
	if session != "" {
		agent += " " + session
	}
	return k.prefix + "runs@" + agent
}

// active: SET of a job's unfinished run ids; of the job of that uid, because an id
// can be made again.
func (k keys) active(job, uid string) string { return k.prefix + "active:" + job + ":" + uid }

// delivery: HASH of one delivery of a run; id is <run>:<n>.
func (k keys) delivery(id string) string { return k.prefix + "delivery:" + id }

// session: LIST of messages (JSON), oldest first; capped.
func (k keys) session(key string) string { return k.prefix + "session:" + key }

// sessions: ZSET of session keys by the last commit (ms).
func (k keys) sessions() string { return k.prefix + "sessions" }

// sessionID: STRING with a time to live, the session key whose conversation is known by an id
// with that fold at the ai-server.
func (k keys) sessionID(fold string) string { return k.prefix + "sessionid:" + fold }

// lock: STRING, the run that holds the session; never expires by itself.
func (k keys) lock(session string) string { return k.prefix + "lock:" + session }

// wait: ZSET of the runs parked behind the session's holder, first come first (microseconds).
func (k keys) wait(session string) string { return k.prefix + "wait:" + session }

// agents: ZSET of the agents that have jobs, by when one of them was last seen (ms); a day.
func (k keys) agents() string { return k.prefix + "agents" }

// share: STRING with a short time to live, how many places one agent may hold at once; not
// there while no agent is bounded.
func (k keys) share() string { return k.prefix + "share" }

// busy: SET of the runs that hold a place of an agent: those in progress, and those that
// have waited for one and are about to begin.
func (k keys) busy(agent string) string { return k.prefix + "busy:" + agent }

// queue: ZSET of the parked runs that wait for a place of their agent, by creation (ms).
func (k keys) queue(agent string) string { return k.prefix + "queue:" + agent }

// atOnce: STRING, how many places the tokens of an agent let it hold at once: the least that
// one of them says; not there if none does.
func (k keys) atOnce(agent string) string { return k.prefix + "atonce:" + agent }

// looks: HASH, when the deployment last looked and since when without a gap (ms).
func (k keys) looks() string { return k.prefix + "looks" }

// paused: HASH, since when and why everything is paused (since, reason); until when it
// was, after the last resume (until); and the call that paused it (token).
func (k keys) paused() string { return k.prefix + "paused" }

// audit: STREAM of who changed what; capped by shares.
func (k keys) audit() string { return k.prefix + "audit" }

// auditShare: LIST of the entries of audit that count against one actor, oldest first; capped.
func (k keys) auditShare(of string) string { return k.prefix + "audit:" + of }

// auditors: ZSET of the shares by how many entries they have, but for the
// administrator's ("api"); "*" is all of these together.
func (k keys) auditors() string { return k.prefix + "auditors" }

// once: HASH with a time to live, what a request with an idempotency key did;
// or STRING, for a minute, that a delete is done.
func (k keys) once(key string) string { return k.prefix + "idem:" + key }

// signedOut: STRING with a time to live, that a sign-in at the dashboard was ended.
func (k keys) signedOut(id string) string { return k.prefix + "signedout:" + id }

// token: HASH of a token: the hash of its secret, whose jobs it is for, its quotas.
func (k keys) token(id string) string { return k.prefix + "token:" + id }

// tokens: ZSET of token ids by creation (microseconds, unique); capped.
func (k keys) tokens() string { return k.prefix + "tokens" }

// agentIDs: ZSET of the agent ids in use (i <id>), of what they fold to (f <fold>) and of what
// that begins with (s <stem>), by when that was last seen (ms); and of "*", once it has those
// of all records.
func (k keys) agentIDs() string { return k.prefix + "agentids" }

// tokenJobs: SET of the ids of the jobs that a token has made and that exist.
func (k keys) tokenJobs(id string) string { return k.prefix + "tokenjobs:" + id }

// tokenRuns: STRING with a time to live, how many runs a token has had on a day, which is
// a number of days since the epoch.
func (k keys) tokenRuns(id, day string) string { return k.prefix + "tokenruns:" + id + ":" + day }

// alerts: ZSET of the targets of alerts, by when they may be sent to next (ms).
func (k keys) alerts() string { return k.prefix + "alerts" }

// alert: HASH of one target of alerts: where it is, what is being sent, how often it was
// tried, since when it is free; "*" has only what was too much. A week after the last fact.
func (k keys) alert(to string) string { return k.prefix + "alert:" + to }

// facts: LIST of what there is to tell a target (JSON), oldest first; capped. A week.
func (k keys) facts(to string) string { return k.prefix + "facts:" + to }

// taken: STRING with a short time to live, the target that was taken with a token.
func (k keys) taken(token string) string { return k.prefix + "taken:" + token }

// alerter: STRING with a short time to live, the process that sends the alerts.
func (k keys) alerter() string { return k.prefix + "alerter" }

// told: HASH of what was told and is not over, by its key, since when (ms).
func (k keys) told() string { return k.prefix + "told" }

// cancels: not a key but a channel, on which the ids of cancelled runs are published.
func (k keys) cancels() string { return k.prefix + "cancels" }

// emitter: STRING with a short time to live, the scheduler that does the emitting.
func (k keys) emitter() string { return k.prefix + "emitter" }

// clock: HASH, how the clock of Redis was set last: since, by and until (ms).
func (k keys) clock() string { return k.prefix + "clock" }

// check: HASH, whether all cursors are to be checked (why, since), how far that is (page),
// what came of it (checked, moved, ended), and the zone rules that they were made by (rules).
func (k keys) check() string { return k.prefix + "check" }

// mark: STRING with a short time to live, written to have something to wait for.
func (k keys) mark() string { return k.prefix + "mark" }

// quarantine: HASH of what cannot be read, job:<id>, r:<run>, d:<run>:<n>
// or key:<name>, with since
// when, when it was last tried (ms) and why (JSON); capped.
func (k keys) quarantine() string { return k.prefix + "quarantine" }

// damaged: of any type, what stood at a key that is for another; the retention.
func (k keys) damaged(name string) string { return k.prefix + "damaged:" + name }

// repairs: HASH of how often each kind of damage was repaired.
func (k keys) repairs() string { return k.prefix + "repairs" }

// beat: STRING with a short time to live, the sign of life of a role of a process,
// <role>:<host>:<pid>, and what it says of itself (JSON).
func (k keys) beat(process string) string { return k.prefix + "beat:" + process }

// beats: ZSET of <role>:<host>:<pid> by its last sign of life (ms); an hour.
func (k keys) beats() string { return k.prefix + "beats" }

// absent: HASH of the jobs of which a slot should have run and has no record, with the slot
// (ms); minutes after the check has last been.
func (k keys) absent() string { return k.prefix + "absent" }

// identity: HASH, which store this is (id, since), and when somebody emptied it (emptied,
// and how many jobs it had had).
func (k keys) identity() string { return k.prefix + "identity" }
