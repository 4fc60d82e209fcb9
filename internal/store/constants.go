package store

import (
	"fmt"
	"strings"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// What the scripts alone count by.
const (
	maxHanded     = 100    // runs that begin in one step at most, where places of an agent become free
	maxListedRuns = 20_000 // of the newest, in the list of all jobs' runs
	// replyHead is how many bytes of a reply a list reads: over 500 characters, however long
	// each is.
	replyHead     = 2004
	rememberedFor = 24 * time.Hour // what a request with an idempotency key did

	maxAudited         = 10_000 // changes of the administrator on record, and of all others together
	maxAuditedOfToken  = 1_000
	maxAuditedOfOthers = 5_000          // of the product itself, and of runs without a token
	maxAuditEntries    = 40_000         // in all, whatever became of the shares
	product            = "gateway-cron" // the actor of what nobody asked for

	disableAfter     = 10  // failed runs in a row
	maxDisableReason = 500 // bytes

	alertIfNextAfter = time.Hour          // the first failure is told if the next slot is further away
	alertKeptFor     = 7 * 24 * time.Hour // if nobody sends it
	maxWaitingFacts  = 1_000              // for one target; what comes then is counted
	maxAlertError    = 300                // bytes
)

// luaConstant is a name by which the scripts know a value of ours: a text, a number, or a
// duration, which they have in milliseconds.
type luaConstant struct {
	name  string
	value any
}

// constants are what the scripts know of Go. What a record can hold (states, outcomes,
// reasons and the like) and the durations of the lease protocol are written down in package
// job alone, so that no script can mean another one.
func (o Options) constants(k keys) []luaConstant {
	return []luaConstant{
		{"P", k.prefix}, {"VERSION", job.Version},

		// Keys; what of one there can be many has here what stands before their names.
		{"JOB", k.job("")}, {"RUN", k.run("")}, {"RUNS_OF", k.runs("")}, {"OWN_RUNS", k.ownRuns("", "")}, {"REPLIES", k.replies("")},
		{"ACTIVE", stem(k.active("", ""))}, {"DELIVERY", k.delivery("")}, {"SESSION", k.session("")}, {"SESSION_ID", k.sessionID("")},
		{"LOCK", k.lock("")}, {"WAIT", k.wait("")}, {"BUSY", k.busy("")}, {"QUEUE", k.queue("")}, {"AT_ONCE", k.atOnce("")},
		{"ONCE", k.once("")}, {"TOKEN", k.token("")}, {"TOKEN_JOBS", k.tokenJobs("")}, {"TOKEN_RUNS", stem(k.tokenRuns("", ""))},
		{"AUDIT_OF", k.auditShare("")}, {"ALERT", k.alert("")}, {"FACTS", k.facts("")}, {"TAKEN", k.taken("")}, {"DAMAGED", k.damaged("")},
		{"JOBS", k.jobs()}, {"ENDED", k.ended()}, {"OWNED", k.owned()}, {"CUT", k.cut()}, {"FAILING", k.failing()},
		{"UNDELIVERED", k.undelivered()}, {"DUE", k.due()}, {"UNCLAIMED", k.unclaimed()}, {"WAKE", k.wake()}, {"OPEN", k.open()},
		{"RUNS", k.allRuns()}, {"SESSIONS", k.sessions()}, {"AGENTS", k.agents()}, {"SHARE", k.share()}, {"QUARANTINE", k.quarantine()},
		{"REPAIRS", k.repairs()}, {"AUDIT", k.audit()}, {"AUDITORS", k.auditors()}, {"TOKENS", k.tokens()}, {"AGENT_IDS", k.agentIDs()},
		{"LOOKS", k.looks()}, {"EMITTER", k.emitter()}, {"CANCELS", k.cancels()}, {"PAUSED", k.paused()}, {"ALERTS", k.alerts()},
		{"ALERTER", k.alerter()}, {"TOLD", k.told()}, {"CLOCK", k.clock()}, {"CHECK", k.check()}, {"BEATS", k.beats()},
		{"IDENTITY", k.identity()},

		// The deployment.
		{"HISTORY", o.HistoryPerJob}, {"HISTORY_BYTES", o.HistoryBytes}, {"RETENTION", o.Retention},
		{"SESSION_MESSAGES", o.SessionMessages}, {"SESSION_BYTES", o.SessionBytes}, {"SESSION_TTL", o.SessionTTL},
		{"AGENT_SHARE", o.AgentShare}, {"CLOCK_STEP", o.Clock.Step},
		{"ALERT_AFTER", o.AlertAfter}, {"ALERT_AGAIN", o.AlertCooldown}, {"ALERT_GATHER", o.AlertGather}, {"ALERT_EVERY", o.AlertEvery},

		// Bounds.
		{"MAX_RETRIES", job.DefaultMaxRetries}, {"MAX_ATTEMPTS", maxAttempts}, {"MAX_UNFINISHED", maxUnfinishedRuns},
		{"QUARANTINED", maxQuarantined}, {"LATE", job.LateAfter},
		{"HANDED", maxHanded}, {"RUNS_KEPT", maxListedRuns}, {"REPLY_HEAD", replyHead}, {"REMEMBERED", rememberedFor},
		{"AUDITED", maxAudited}, {"AUDIT_SHARE", maxAuditedOfToken}, {"AUDIT_SHARED", maxAuditedOfOthers}, {"AUDIT_MOST", maxAuditEntries},
		{"DISABLE_AFTER", disableAfter}, {"REASON", maxDisableReason}, {"PRODUCT", product},
		{"ALERT_FAR", alertIfNextAfter}, {"ALERT_KEPT", alertKeptFor}, {"ALERTS_WAIT", maxWaitingFacts}, {"ALERT_ERROR", maxAlertError},

		// The lease protocol.
		{"LEASE", job.LeaseFor}, {"LOOK_GAP", job.SweepGap}, {"DEAD_AFTER", job.DeadAfter},
		{"LOOK_AGAIN", job.TakenUpAfter}, {"LOOK_PARKED", job.WaitsAfter}, {"LOOK_PLACE", job.WaitsForPlaceAfter},
		{"RECHECK", job.UnclaimedAfter}, {"RECHECK_FIRST", job.FirstUnclaimedAfter}, {"DELIVER_WITHIN", job.DeliverWithin},

		// Words in records.
		{"DEFAULT_AGENT", job.DefaultAgent}, {"ALERT_NONE", job.AlertNone},
		{"MISFIRE_SKIP", job.MisfireSkip}, {"MISFIRE_RUN_ALL", job.MisfireRunAll},
		{"OVERLAP_QUEUE_ONE", job.OverlapQueueOne}, {"OVERLAP_ALLOW", job.OverlapAllow}, {"OVERLAP_CANCEL_PREVIOUS", job.OverlapCancelPrevious},
		{"ON_AMBIGUOUS_FAIL", job.OnAmbiguousFail}, {"CONTEXT_ISOLATED", job.ContextIsolated},
		{"DELIVER_NEVER", job.DeliverNever}, {"DELIVER_ON_FAILURE", job.DeliverOnFailure},
		{"TRIGGER_SCHEDULE", job.TriggerSchedule}, {"TRIGGER_MANUAL", job.TriggerManual},
		{"STATE_WAITING", job.StateWaiting}, {"STATE_PARKED", job.StateParked}, {"STATE_QUEUED", job.StateQueued},
		{"STATE_RUNNING", job.StateRunning}, {"STATE_DONE", job.StateDone},
		{"OUTCOME_SUCCEEDED", job.Succeeded}, {"OUTCOME_FAILED", job.Failed}, {"OUTCOME_CANCELLED", job.Cancelled},
		{"OUTCOME_SKIPPED", job.Skipped}, {"OUTCOME_MISSED", job.Missed},
		{"REASON_OVERLAP", job.ReasonOverlap}, {"REASON_DISABLED", job.ReasonDisabled}, {"REASON_DELETED", job.ReasonDeleted},
		{"REASON_EDITED", job.ReasonEdited}, {"REASON_STALE", job.ReasonStale}, {"REASON_REQUESTED", job.ReasonRequested},
		{"REASON_SUPERSEDED", job.ReasonSuperseded}, {"REASON_LATE", job.ReasonLate}, {"REASON_PAUSED", job.ReasonPaused},
		{"REASON_QUOTA", job.ReasonQuota},
		{"RESULT_SUCCEEDED", job.ResultSucceeded}, {"RESULT_CANCELLED", job.ResultCancelled}, {"RESULT_AMBIGUOUS", job.ResultAmbiguous},
		{"CAUSE_LEASE_EXPIRED", job.CauseLeaseExpired},
		{"DELIVERY_PENDING", job.DeliveryPending}, {"DELIVERY_DELIVERED", job.DeliveryDelivered}, {"DELIVERY_FAILED", job.DeliveryFailed},
		{"DELIVERY_UNKNOWN", job.DeliveryUnknown}, {"DELIVERY_NOT_REQUESTED", job.DeliveryNotRequested},
		{"KIND_REPLY", job.KindReply}, {"KIND_ALERT", job.KindAlert},
		{"NOTICE_FAILURE", job.NoticeFailure}, {"NOTICE_DISABLED", job.NoticeDisabled}, {"NOTICE_MISSED", job.NoticeMissed},
		{"NOTICE_NOT_RUN", job.NoticeNotRun}, {"NOTICE_UNDELIVERED", job.NoticeUndelivered}, {"NOTICE_RECOVERED", job.NoticeRecovered},

		// Words in arguments.
		{"RETRY_NEVER", job.RetryNever}, {"RETRY_COUNTED", job.RetryCounted}, {"RETRY_FREE", job.RetryFree},
		{"SEND_SENT", job.PartSent}, {"SEND_DELIVERED", job.PartDelivered}, {"SEND_RETRY", job.PartRetry},
		{"SEND_FAILED", job.PartFailed}, {"SEND_UNKNOWN", job.PartUnknown},
	}
}

// stem is what stands before the first of two names in a key, which a colon parts.
func stem(key string) string { return strings.TrimSuffix(key, ":") }

// mark stands in a script for the value, until the script is made for a deployment.
func (c luaConstant) mark() string {
	if c.number() {
		return c.place()
	}
	return "'" + c.place() + "'"
}

func (c luaConstant) place() string { return "\x00" + c.name + "\x00" }

// text is the value as the scripts are given it: a number, or what is between the quotes.
func (c luaConstant) text() string {
	if d, ok := c.value.(time.Duration); ok {
		return fmt.Sprint(d.Milliseconds())
	}
	return fmt.Sprint(c.value)
}

// number reports whether the value is one.
func (c luaConstant) number() bool {
	switch c.value.(type) {
	case time.Duration, int, int64:
		return true
	}
	return false
}

// fill puts the values of a deployment into a script.
func (o Options) fill(k keys) *strings.Replacer {
	var pairs []string
	for _, c := range o.constants(k) {
		pairs = append(pairs, c.place(), c.text())
	}
	return strings.NewReplacer(pairs...)
}
