package store

import "github.com/gatewaycron/gatewaycron/internal/jobfield"

// Here is what the hashes hold, field by field: the format of the records. The scripts write
// them and codec.go reads them; tests hold this page to both, and make the tables of
// docs/protocol.md of it. What is in the other keys, keys.go says.

// layout is what the hashes of one kind hold.
type layout struct {
	key    string // its form
	about  string
	goes   string // when; "" never
	fields []layoutField
}

// layoutField is one field of a hash.
type layoutField struct {
	name   string // <n> stands for a number
	kind   fieldKind
	writes string // the scripts that set it; Go: a method of the store does, alone
	reads  string // the scripts, and functions of modules, that look at it
	goes   string // when that is before the record goes
	about  string // unless the name says it
}

// fieldKind is how a field is written down. One that is not there is empty, none or false.
type fieldKind string

const (
	aText     fieldKind = "text"
	aNumber   fieldKind = "number"
	anInstant fieldKind = "instant" // UTC milliseconds
	aFlag     fieldKind = "flag"    // 1
	inJSON    fieldKind = "JSON"
	aWord     fieldKind = "word" // one of a closed set, see package job
)

// readsOfDefinition are the scripts, and functions of modules, that look at fields of a
// definition.
var readsOfDefinition = map[string]string{
	"timezone":        "count_failure tell_missed tell_recovery tell_undelivered",
	"at":              "tell_missed",
	"agentId":         "begin_run claim delete_job enter entries_of hand_over owned put_job record_slots redeliver scheduling",
	"context":         "attempt_of begin_run",
	"allowScheduling": "scheduling",
	"channel":         "hearer notify target_of",
	"chatId":          "hearer notify target_of",
	"peerId":          "notify target_of",
	"threadId":        "hearer notify target_of",
	"isGroup":         "notify target_of",
	"deliver":         "count_failure hearer notify",
	"maxRuns":         "claim counted ended retire",
	"misfire":         "claim",
	"misfireGrace":    "claim",
	"overlap":         "claim",
	"onAmbiguous":     "begin_run fail",
	"maxRetries":      "may_retry",
	"alertChannel":    "hearer notify tell_undelivered",
	"alertChatId":     "hearer notify",
	"alertThreadId":   "hearer notify",
	"alertAfter":      "count_failure",
	"alertCooldown":   "alert_again",
	"name":            "count_failure delete_job enter put_job record_slots repair tell_missed tell_recovery tell_undelivered",
}

// definition are the fields of a job's definition, but for enabled, which scripts write, too.
func definition() []layoutField {
	var all []layoutField
	for _, f := range jobfield.All() {
		if f.Name == "enabled" {
			continue
		}
		row := layoutField{f.Key(), aText, "put_job", readsOfDefinition[f.Key()], "an edit empties it", ""}
		switch f.Kind {
		case jobfield.Number:
			row.kind = aNumber
		case jobfield.Seconds:
			row.kind, row.about = aNumber, "seconds"
		case jobfield.Truth:
			row.kind = aFlag
		case jobfield.MaybeTruth:
			row.about = "true or false, if it is known"
		case jobfield.Word:
			row.kind = aWord
		case jobfield.Instant:
			row.kind = anInstant
		case jobfield.Labels:
			row.about = "with spaces between"
		case jobfield.Delays:
			row.kind, row.about = inJSON, "seconds"
		default:
		}
		all = append(all, row)
	}
	return all
}

// layouts are the kinds of hashes, by what stands before the first colon of the key. The names
// of fields in quarantine, repairs, told and absent are those of other things; see keys.go.
func layouts() map[string]layout {
	return map[string]layout{
		"job": {key: "job:<id>", about: "a job: its definition as it was asked for, its cursor, and what its last runs came to", goes: "it is deleted, or it ended longer ago than the retention", fields: append(definition(), []layoutField{
			{"v", aNumber, "put_job", "delete_job emitted note_delivery put_job repair scheduling", "", "the format of the record"},
			{"uid", aText, "put_job", "begin_run claim collapse counted delete_job enter fail look note_delivery put_job record_slots redeliver relist repair run_now scheduling set_cursor tell_undelivered", "", "which job of this id it is: an id can be made again"},
			{"rev", aNumber, "put_job fail", "claim collapse delete_job put_job set_cursor", "", "the revision: grows with each edit"},
			{"token", aText, "put_job", "put_job", "", "the call that made the last edit, for its resend"},
			{"createdAt", anInstant, "put_job", "repair", "", ""},
			{"updatedAt", anInstant, "put_job fail", "repair", "", "the last edit"},
			{"maker", aText, "put_job", "claim counted drop_job put_job retire scheduling set_cursor share_of", "", "the id of the token that it was made with"},
			{"madeBy", aText, "put_job", "counted put_job scheduling", "", "the job in whose run it was made"},
			{"made", aText, "put_job", "made_by put_job scheduling", "", "the ids of the jobs made in its own runs, with spaces between"},
			{"anchor", anInstant, "put_job", "", "an edit empties it", "from when `every` and the jitter count"},
			{"enabled", aFlag, "put_job fail", "begin_run claim count_failure counted ended fails pass_slots retire", "", "0 while it is paused"},
			{"pauseReason", aText, "put_job fail", "", "an edit empties it", "why it is paused"},
			{"disabledAt", anInstant, "fail", "fails pass_slots relist", "an edit empties it", "since when it is paused; slots due by then get their records"},
			{"session", aText, "put_job", "attempt_of begin_run claim delete_job enter entries_of hand_over look owned record_slots scheduling", "an edit empties it", "the key of the session that its runs have"},
			{"nextSlot", anInstant, "put_job claim begin collapse set_cursor", "claim collapse count_failure counted delete_job disable due_of emitted ended may_retry put_job redue repair retire set_cursor settled", "no slot is left", "the cursor: the only truth about slots"},
			{"nextDue", anInstant, "put_job collapse", "due_of emitted redue", "the cursor moves", "when the cursor is due, where the jitter puts that off"},
			{"emitted", anInstant, "emitted", "collapse emitted settled", "the cursor moves", "the slot that was put into the queue"},
			{"lastSlot", anInstant, "put_job claim collapse set_cursor", "move_cursor set_cursor", "the cursor goes back over it", "the newest slot that was passed"},
			{"ranSlot", anInstant, "put_job claim", "set_cursor", "", "the newest slot that ran"},
			{"after", anInstant, "claim", "give_back", "the cursor moves", "the slot after the last run, for a pause that gives that back"},
			{"afterDue", anInstant, "claim", "give_back", "the cursor moves", "when that is due"},
			{"claims", aNumber, "claim begin cancel_paused", "claim counted ended retire", "", "the runs of the schedule so far"},
			{"range", aText, "put_job claim collapse", "claim delete_job record_slots", "a slot runs", "the run record that the next passed slot may extend"},
			{"lastRunId", aText, "claim begin commit fail cancel cancel_paused", "relist", "", ""},
			{"lastRunAt", anInstant, "claim begin commit fail cancel cancel_paused", "relist repair", "", "when it began"},
			{"lastOutcome", aWord, "claim begin commit fail cancel cancel_paused collapse", "", "", "of the newest slot that says something of the job"},
			{"lastOutcomeSlot", anInstant, "claim collapse", "", "", "the slot of that, where no run was"},
			{"lastReplyId", aText, "commit relist", "note_delivery relist", "", "the newest run that has a reply"},
			{"lastDelivery", aWord, "commit redeliver begin_delivery send_begin send_end relist repair", "relist repair", "", "how the delivery of that stands"},
			{"failures", aNumber, "begin fail", "fails", "a run succeeds", "failed runs of the schedule in a row"},
			{"cutAt", anInstant, "commit", "", "", "when something of its history or session went because of a bound in bytes"},
			{"alertedAt", anInstant, "begin fail", "count_failure", "", "when it last told of failures"},
			{"missedAt", anInstant, "claim collapse", "", "", "when it last told of missed slots"},
			{"supersededAt", anInstant, "collapse", "", "", "the same of slots that newer ones ran instead of"},
			{"undeliveredAt", anInstant, "begin_delivery send_begin send_end", "tell_undelivered", "", "when it last told of a reply that did not arrive"},
			{"told", inJSON, "begin fail", "", "it works again", "who was told that it fails"},
			{"toldFailures", aNumber, "begin fail", "", "it works again", "how many failures were told"},
		}...)},
		"run": {key: "run:<id>", about: "one run, or a range of slots that did not run", goes: "its history has newer ones, or the retention is over", fields: []layoutField{
			{"v", aNumber, "put_job claim run_now collapse delete_job", "delete_job newer repair scheduling", "", "the format of the record"},
			{"job", aText, "put_job claim run_now collapse delete_job", "begin_run commit count_failure delete_job end_delivery end_run fail look put_aside redeliver repair scheduling tell_recovery tell_undelivered", "", ""},
			{"uid", aText, "put_job claim run_now collapse delete_job", "begin_run claim delete_job end_delivery end_run fail look put_aside redeliver relist repair scheduling tell_undelivered", "", "which job of that id"},
			{"name", aText, "put_job claim run_now collapse delete_job", "tell_undelivered", "", "the name of the job when it came"},
			{"agent", aText, "put_job claim run_now begin collapse delete_job", "begin_run end_run fail hand_over look own owned record_slots redeliver renew repair scheduling trim", "", "whose run it is"},
			{"home", aText, "put_job claim run_now begin collapse delete_job", "begin_run end_run hand_over own owned record_slots scheduling trim", "", "the session of that agent that owns it"},
			{"trigger", aWord, "put_job claim run_now collapse delete_job", "active_runs began begin_run end_run may_retry", "", ""},
			{"slot", anInstant, "put_job claim run_now collapse delete_job", "began count_failure tell_recovery tell_undelivered", "", "0 of a manual run"},
			{"lastSlot", anInstant, "put_job claim run_now collapse delete_job", "", "", "the newest slot of a range"},
			{"count", aNumber, "put_job claim run_now collapse delete_job", "", "", "the slots that it stands for"},
			{"createdAt", anInstant, "put_job claim run_now collapse delete_job", "begin_run look", "", ""},
			{"state", aWord, "put_job claim run_now begin commit fail cancel cancel_paused collapse look delete_job heartbeat repair revoke_token", "active_runs begin_run cancel cancel_paused cancel_run claim commit end_run fail hand_places look owned put_aside redeliver release renew repair scheduling state_of trim", "", "see package job"},
			{"outcome", aWord, "put_job claim begin commit fail cancel cancel_paused collapse delete_job", "claim record_slots", "", "only when it is done"},
			{"reason", aWord, "put_job claim begin cancel cancel_paused collapse delete_job", "record_slots", "", "why it was cancelled, skipped or missed"},
			{"error", aText, "begin fail", "", "", "of the last attempt"},
			{"notBefore", anInstant, "run_now begin commit fail cancel cancel_paused look delete_job heartbeat repair revoke_token", "begin_run look repair", "the attempt begins", "when it may begin"},
			{"startedAt", anInstant, "claim begin", "end_run", "", "the first attempt"},
			{"finishedAt", anInstant, "put_job claim begin commit fail cancel cancel_paused collapse delete_job", "trim", "", ""},
			{"session", aText, "claim begin", "began begin_run commit end_run fail hand_places look owned put_aside", "", "the session that it holds or waits for"},
			{"isolated", aFlag, "claim begin", "commit", "an attempt has the session", "its session holds the last run only"},
			{"catchup", aFlag, "claim", "active_runs claim", "", "it makes up for a slot that is late"},
			{"n", aNumber, "claim run_now begin commit fail cancel cancel_paused look delete_job heartbeat repair revoke_token", "look", "", "of its task: each new one has a new number"},
			{"attempt", aNumber, "claim run_now begin", "begin_run booked count_failure delete_job may_retry", "", "the attempts so far"},
			{"retries", aNumber, "claim run_now begin fail", "began begin_run fail may_retry", "", "those that count as a retry"},
			{"epoch", aNumber, "claim run_now begin cancel cancel_paused delete_job", "begin_run commit fail look renew", "", "grows with each attempt and each cancel: what bears an older one is fenced"},
			{"token", aText, "claim begin", "begin_run", "the run ends", "the call that began the attempt, for its resend"},
			{"leaseUntil", anInstant, "claim begin renew", "look", "the run ends", "until when the attempt is its worker's"},
			{"seenEpoch", aNumber, "look", "look renew", "a renewal", "the epoch whose lease a look saw expired"},
			{"seenAt", anInstant, "look", "look", "a renewal", "when it did"},
			{"deadEpoch", aNumber, "look", "begin_run look renew", "a renewal", "the epoch whose lease is dead"},
			{"failedEpoch", aNumber, "fail", "fail", "", "the attempt that last failed, for a resend"},
			{"a<n>", inJSON, "claim begin commit fail cancel cancel_paused delete_job", "", "", "attempt n: when, who, how it ended"},
			{"reply", aText, "commit", "begin_delivery lean_runs redeliver relist", "", "its text; its beginning once `replyDropped`"},
			{"head", aText, "commit", "drop_replies", "the reply is dropped", "the beginning of a long reply, for lists"},
			{"empty", aFlag, "commit", "redeliver", "", "the turn was finished without a text"},
			{"replyDropped", aFlag, "commit", "redeliver", "", "newer replies of the job took the room"},
			{"commit", aText, "commit", "commit", "", "the call that committed it, for its resend"},
			{"cancel", aText, "cancel cancel_paused", "cancel cancel_paused", "", "the same of a cancel"},
			{"redelivery", aText, "redeliver", "redeliver", "", "the same of the last redelivery"},
			{"delivery", aWord, "put_job claim begin commit fail cancel cancel_paused collapse redeliver begin_delivery send_begin send_end delete_job repair", "drop_replies end_run relist repair trim", "", "how the newest delivery of the reply stands, or why there is none"},
			{"alert", aWord, "begin fail begin_delivery end_alert take_alert", "repair trim", "", "how the delivery of its alert stands"},
			{"deliveries", aNumber, "begin commit fail redeliver", "redeliver repair trim", "", "how many there are"},
			{"ended", inJSON, "commit fail", "", "the job is deleted by somebody", "in the newest record of a job that has had its runs: how it ended"},
		}},
		"delivery": {key: "delivery:<run>:<n>", about: "one delivery of the reply of a run, or of its alert", goes: "its run goes", fields: []layoutField{
			{"v", aNumber, "begin commit fail redeliver", "newer repair", "", "the format of the record"},
			{"kind", aWord, "begin commit fail redeliver", "end_delivery", "", "none is `reply`"},
			{"target", inJSON, "begin commit fail redeliver", "redeliver tell_undelivered", "", "where it goes"},
			{"createdAt", anInstant, "begin commit fail redeliver", "begin_delivery look send_end", "", ""},
			{"finishedAt", anInstant, "fail begin_delivery send_begin send_end end_alert take_alert", "", "", ""},
			{"state", aWord, "begin commit fail redeliver begin_delivery send_begin send_end end_alert take_alert", "begin_delivery end_facts look redeliver renew_delivery repair send_begin send_end", "", "waiting, running or done"},
			{"outcome", aWord, "fail begin_delivery send_begin send_end end_alert take_alert", "", "", "only when it is done"},
			{"error", aText, "fail begin_delivery send_begin send_end end_alert take_alert", "tell_undelivered", "it arrives", "of the last attempt"},
			{"n", aNumber, "begin commit fail look redeliver send_end", "look", "", "of its task: each new one has a new number"},
			{"attempt", aNumber, "begin commit fail redeliver begin_delivery end_alert take_alert", "begin_delivery", "", ""},
			{"retries", aNumber, "begin commit fail redeliver begin_delivery send_end", "begin_delivery send_end", "", "the attempts that count"},
			{"epoch", aNumber, "begin commit fail redeliver begin_delivery", "begin_delivery look renew_delivery send_begin send_end", "", "grows with each attempt: what bears an older one is fenced"},
			{"token", aText, "begin_delivery", "begin_delivery", "it ends", "the call that began the attempt, for its resend"},
			{"leaseUntil", anInstant, "begin_delivery send_begin renew_delivery", "look", "it ends", "until when it is its sender's"},
			{"notBefore", anInstant, "begin commit fail redeliver send_end", "begin_delivery look repair", "the attempt begins", "when it may begin"},
			{"seenEpoch", aNumber, "look", "look renew_delivery send_begin", "a renewal", "the epoch whose lease a look saw expired"},
			{"seenAt", anInstant, "look", "look", "a renewal", "when it did"},
			{"deadEpoch", aNumber, "look", "begin_delivery look renew_delivery send_begin", "a renewal", "the epoch whose lease is dead"},
			{"endedEpoch", aNumber, "send_end", "send_end", "", "the attempt that last ended, for a resend"},
			{"parts", aNumber, "send_begin end_alert take_alert", "", "", "how many messages it is"},
			{"p<n>", aText, "send_begin send_end end_alert", "", "a send of it surely failed", "part n: `b:<epoch>:<call>` begun, `s:<id>` confirmed"},
		}},
		"alert": {key: "alert:<target>", about: "one target of alerts, and what is being sent to it", goes: "a week has passed since the last fact", fields: []layoutField{
			{"target", inJSON, "begin commit fail collapse send_end notify take_alert", "take_alert", "", "where it is"},
			{"token", aText, "take_alert", "end_alert take_alert", "the send ends", "the call that took what waits"},
			{"n", aNumber, "take_alert", "end_facts take_alert", "the send ends", "how many facts are being sent"},
			{"told", aNumber, "take_alert", "end_facts take_alert", "the send ends", "how many more the message speaks of"},
			{"more", aNumber, "fail end_alert take_alert", "end_facts take_alert", "", "facts that were too many"},
			{"retries", aNumber, "end_alert", "end_facts take_alert", "the send ends", ""},
			{"since", anInstant, "end_alert", "end_alert", "the send ends", "the first try"},
			{"free", anInstant, "end_alert take_alert", "add_fact", "", "when it may be sent to again"},
		}},
		"token": {key: "token:<id>", about: "a token", goes: "the retention is over since it was revoked", fields: []layoutField{
			{"v", aNumber, "put_token", "repair", "", "the format of the record"},
			{"hash", aText, "put_token", "revoke_token", "", "of the secret"},
			{"name", aText, "put_token", "revoke_token", "", ""},
			{"owner", aText, "put_token", "", "", "the agent whose jobs it is for"},
			{"agentId", aText, "put_token", "bound_agent repair revoke_token", "", "the agent that it is bound to"},
			{"sessionKey", aText, "put_token", "revoke_token", "", "the session that it is bound to"},
			{"createdAt", anInstant, "put_token", "put_token", "", ""},
			{"createdBy", aText, "put_token", "", "", ""},
			{"lastUsedAt", anInstant, "use_token", "", "", ""},
			{"revokedAt", anInstant, "revoke_token", "bound_agent repair revoke_token", "", ""},
			{"maxJobs", aNumber, "put_token", "put_job", "", ""},
			{"maxRunsPerDay", aNumber, "put_token", "runs_left", "", ""},
			{"minInterval", aNumber, "put_token", "", "", "seconds"},
			{"maxConcurrent", aNumber, "put_token", "bound_agent put_token repair revoke_token", "", ""},
		}},
		"idem": {key: "idem:<hash>", about: "what a request with an idempotency key did", goes: "a day has passed", fields: []layoutField{
			{"print", aText, "put_job run_now redeliver", "put_job recall redeliver run_now", "", "of what was asked for"},
			{"id", aText, "put_job run_now redeliver", "put_job run_now", "", "what it made"},
			{"uid", aText, "put_job run_now redeliver", "put_job run_now", "", "and which of that id"},
		}},
		"paused": {key: "paused", about: "the pause of everything", fields: []layoutField{
			{"since", anInstant, "pause", "held pause paused resume", "the resume", ""},
			{"reason", aText, "pause", "pause resume", "the resume", ""},
			{"abandoned", aNumber, "cancel_paused", "", "the resume", "turns that the cancels have left behind"},
			{"until", anInstant, "resume", "held", "", "when the last pause ended"},
			{"token", aText, "pause", "pause", "", "the call that paused, for its resend"},
		}},
		"looks": {key: "looks", about: "how the looks go on", fields: []layoutField{
			{"last", anInstant, "look", "look", "", "the newest"},
			{"since", anInstant, "look", "look", "", "since when there was no gap"},
		}},
		"clock": {key: "clock", about: "how the clock of Redis was set last", fields: []layoutField{
			{"since", anInstant, "clock_step", "clock_step now", "", ""},
			{"by", aNumber, "clock_step", "clock_step now", "", "milliseconds; 0 once it is right"},
			{"until", anInstant, "clock_step", "clock_step now", "", "when it is believed"},
		}},
		"check": {key: "check", about: "the check of all cursors", fields: []layoutField{
			{"why", aText, "Go clock_step", "", "", ""},
			{"since", anInstant, "Go clock_step", "", "", ""},
			{"page", aText, "Go clock_step", "", "", "how far it is"},
			{"checked", aNumber, "Go clock_step", "", "", ""},
			{"moved", aNumber, "Go clock_step", "", "", "cursors that were wrong"},
			{"ended", anInstant, "Go", "", "the next check", ""},
			{"rules", aText, "Go", "", "", "the rules of the zones that all cursors follow"},
			{"rulesAt", anInstant, "Go", "", "", "since when they do"},
		}},
		"identity": {key: "identity", about: "which store this is", fields: []layoutField{
			{"id", aText, "heartbeat", "heartbeat", "", ""},
			{"since", anInstant, "heartbeat", "", "", ""},
			{"emptied", anInstant, "heartbeat", "heartbeat", "", "when somebody emptied it"},
			{"jobs", aNumber, "heartbeat", "", "", "how many jobs it had before"},
		}},
	}
}
