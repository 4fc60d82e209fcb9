package alert

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

func TestFailure(t *testing.T) {
	const slot, next = 1795420800_000, 1795507200_000 // 2026-11-23 and -24, 08:00 UTC
	for _, tc := range []struct {
		name  string
		alert job.Alert
		want  string
	}{
		{"in a row", job.Alert{Job: "Morning summary", Timezone: "Europe/Berlin", Slot: slot, Outcome: job.Failed, Attempts: 4,
			Error: "ai-server answered 500: overloaded", Failures: 2, Next: next},
			"⚠️ Morning summary failed 2 times in a row (last: 2026-11-23 09:00 Europe/Berlin).\n" +
				"After 4 attempts: ai-server answered 500: overloaded.\n" +
				"Next run: 2026-11-24 09:00 Europe/Berlin."},
		{"once, with no run to come", job.Alert{Job: "a", Slot: slot, Outcome: job.Failed, Attempts: 1, Error: "no.", Failures: 1},
			"⚠️ a failed (2026-11-23 08:00 UTC).\nno."},
		{"timed out", job.Alert{Job: "a", Slot: slot + 30_000, Outcome: job.TimedOut, Attempts: 1, Error: "too long...", Failures: 1},
			"⚠️ a timed out (2026-11-23 08:00:30 UTC).\ntoo long..."},
		{"timed out in a row", job.Alert{Job: "a", Slot: slot, Outcome: job.TimedOut, Attempts: 1, Error: "too long", Failures: 3},
			"⚠️ a failed 3 times in a row (last: 2026-11-23 08:00 UTC).\ntoo long."},
		{"disabled", job.Alert{Job: "a", Slot: slot, Outcome: job.Failed, Attempts: 1, Error: "no", Failures: 10, Disabled: true},
			"⚠️ a failed 10 times in a row (last: 2026-11-23 08:00 UTC).\nno.\nThe job is disabled now, until somebody resumes it."},
		{"a zone that is no more", job.Alert{Job: "a", Timezone: "Mars/Olympus", Slot: slot, Outcome: job.Failed, Failures: 1, Next: next},
			"⚠️ a failed (2026-11-23 08:00 UTC).\nNext run: 2026-11-24 08:00 UTC."},
		{"damaged", job.Alert{}, ""},
	} {
		if diff := cmp.Diff(tc.want, Failure(tc.alert)); diff != "" {
			t.Errorf("%s: %s", tc.name, diff)
		}
	}
}

const slotOf2026 = 1795420800_000 // 2026-11-23 08:00 UTC

// fails is a fact of a job that fails.
func fails(id, name, why string) job.Notice {
	return job.Notice{Kind: job.NoticeFailure, JobID: id, Run: id + ":1", Alert: job.Alert{Job: name, Slot: slotOf2026, Outcome: job.Failed, Attempts: 1, Failures: 2, Error: why}}
}

func of(kind job.NoticeKind, n job.Notice) job.Notice {
	n.Kind = kind
	return n
}

func TestText(t *testing.T) {
	missed := job.Notice{Kind: job.NoticeMissed, JobID: "a", Count: 3, Reason: job.ReasonStale, Alert: job.Alert{Job: "A", Slot: slotOf2026}}
	undelivered := job.Notice{Kind: job.NoticeUndelivered, JobID: "a", Run: "a:1", Chat: "telegram 7", Alert: job.Alert{Job: "A", Outcome: "failed", Error: "message thread not found"}}
	disabled := fails("a", "A", "no")
	disabled.Kind, disabled.Disabled = job.NoticeDisabled, true
	recovered := job.Notice{Kind: job.NoticeRecovered, JobID: "a", Alert: job.Alert{Job: "A", Failures: 3}}
	var twelve, many []job.Notice
	for n := range 12 {
		twelve = append(twelve, fails(fmt.Sprint("j", n), fmt.Sprint("Job ", n+1), fmt.Sprintf("ai-server answered 500: boom %d.", n)))
	}
	for n := range 1000 {
		many = append(many, fails(fmt.Sprint("j", n), strings.Repeat("ü", 100), strings.Repeat("x", 300)))
	}
	for _, tc := range []struct {
		name    string
		notices []job.Notice
		more    int
		want    string
	}{
		{"nothing", nil, 0, ""},
		{"damaged", []job.Notice{{}, {JobID: "a"}}, 0, ""},
		{"one", []job.Notice{fails("a", "A", "no")}, 0, "⚠️ A failed 2 times in a row (last: 2026-11-23 08:00 UTC).\nno."},
		{"one without a name", []job.Notice{fails("a", "", "no")}, 0, "⚠️ a failed 2 times in a row (last: 2026-11-23 08:00 UTC).\nno."},
		{"one, twice", []job.Notice{fails("a", "A", "no"), fails("a", "A", "no")}, 0, "⚠️ A failed 2 times in a row (last: 2026-11-23 08:00 UTC).\nno."},
		{"a name with lines", []job.Notice{fails("a", "A\nB\x00", "no")}, 0, "⚠️ A B failed 2 times in a row (last: 2026-11-23 08:00 UTC).\nno."},
		{"two", []job.Notice{fails("a", "A", "no"), fails("b", "B", "")}, 0,
			"⚠️ 2 jobs fail: A, B.\nA: no.\nAll: gateway-cron job list --outcome failed"},
		{"twelve", twelve, 0, "⚠️ 12 jobs fail: Job 1, Job 2, Job 3, Job 4, Job 5 and 7 more.\n" +
			"Job 1: ai-server answered 500: boom 0.\nJob 2: ai-server answered 500: boom 1.\nJob 3: ai-server answered 500: boom 2.\n" +
			"All: gateway-cron job list --outcome failed"},
		{"disabled", []job.Notice{disabled}, 0, "⚠️ A failed 2 times in a row (last: 2026-11-23 08:00 UTC).\nno.\n" +
			"The job is disabled now, until somebody resumes it (gateway-cron job resume a)."},
		{"missed", []job.Notice{missed}, 0, "⚠️ A did not run at 3 of its slots, the last of them 2026-11-23 08:00 UTC: " +
			"nothing could run it in time, and then it was older than misfireGraceSeconds allows."},
		{"missed of two", []job.Notice{missed, {Kind: job.NoticeNotRun, JobID: "b", Count: 1, Alert: job.Alert{Job: "B"}}}, 0,
			"⚠️ 4 slots of 2 jobs did not run: A, B.\nAll: gateway-cron run list --outcome missed"},
		{"not run", []job.Notice{of(job.NoticeNotRun, missed)}, 0, "⚠️ A did not run (2026-11-23 08:00 UTC): nothing could run it in time, " +
			"and then it was older than misfireGraceSeconds allows.\nRun it now: gateway-cron job run a"},
		{"undelivered", []job.Notice{undelivered}, 0, "⚠️ the reply of A did not arrive in telegram 7: message thread not found.\nSend it once more: gateway-cron run redeliver a:1"},
		{"recovered", []job.Notice{recovered}, 0, "✅ A works again after 3 failures."},
		{"health", []job.Notice{{Kind: job.NoticeHealth, Text: "4 slots are late", Remedy: "Start more workers.", Command: "gateway-cron doctor"}}, 0,
			"⚠️ 4 slots are late.\nStart more workers.\ngateway-cron doctor"},
		{"well again", []job.Notice{{Kind: job.NoticeRecovered, Key: "health", Text: "All is well again"}}, 0, "✅ All is well again."},
		{"all kinds", []job.Notice{recovered, fails("b", "B", "no"), {Kind: job.NoticeHealth, Text: "bad"}}, 0,
			"⚠️ bad.\n\n⚠️ B failed 2 times in a row (last: 2026-11-23 08:00 UTC).\nno.\n\n✅ A works again after 3 failures."},
		{"more", []job.Notice{fails("a", "A", "")}, 5, "⚠️ A failed 2 times in a row (last: 2026-11-23 08:00 UTC).\n\n" +
			"⚠️ 5 more were too many to tell. All: gateway-cron run list"},
		{"a key", []job.Notice{fails("a", "A", "bad key sk-live-SECRETkey")}, 0, "⚠️ A failed 2 times in a row (last: 2026-11-23 08:00 UTC).\nbad key [redacted]."},
	} {
		if diff := cmp.Diff(tc.want, Text(tc.notices, tc.more)); diff != "" {
			t.Errorf("%s: %s", tc.name, diff)
		}
	}
	long := Text(append(many, job.Notice{Kind: job.NoticeHealth, Text: strings.Repeat("😀", 5000)}), 1)
	if n := len(utf16.Encode([]rune(long))); n > 4096 || !strings.Contains(long, "1000 jobs fail") {
		t.Errorf("%d units: %s", n, long)
	}
}
