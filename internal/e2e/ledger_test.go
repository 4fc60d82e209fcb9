package e2e

import (
	"slices"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// ledger is the judge: the history of every job compared with the slots that
// passed and with what arrived outside.
type ledger struct {
	w      *world
	period job.Millis     // from one slot to the next: a minute
	calls  map[string]int // by run id, as the ai-server counted
	sent   map[string]int // by idempotency key, as the channel counted
}

func (w *world) ledger() ledger {
	l := ledger{w: w, period: 60_000, calls: map[string]int{}, sent: map[string]int{}}
	for _, c := range w.ai.Calls() {
		l.calls[c.IdempotencyKey]++
	}
	for _, m := range w.channel.Messages() {
		l.sent[m.IdempotencyKey]++
	}
	return l
}

// history is everything on record about a job, oldest slot first.
func (w *world) history(id string) []job.Run {
	w.t.Helper()
	runs, next, err := w.store.Runs(w.t.Context(), id, "", 1000)
	if err != nil || next != "" {
		w.t.Fatalf("history of %s: more than a page (%q), or %v", id, next, err)
	}
	slices.SortFunc(runs, func(a, b job.Run) int { return int(a.Slot - b.Slot) })
	return runs
}

// check holds a job's records against the slots from its first slot to the
// newest one on record: each ended exactly once; each run that succeeded was
// committed once, called at most most times, and delivered once; and nothing
// arrived outside that is not on record. It answers how many slots ran.
func (l ledger) check(id string, first job.Millis, most int) (ran int) {
	l.w.t.Helper()
	t := l.w.t
	expect := first
	for _, r := range l.w.history(id) {
		if r.Slot != expect {
			t.Errorf("%s: the records go on at %s where %s is due", id, r.Slot.Time(), expect.Time())
		}
		if slots := int((r.LastSlot-r.Slot)/l.period) + 1; slots != r.Count {
			t.Errorf("%s: a record of %d slots counts %d", r.ID, slots, r.Count)
		}
		expect = r.LastSlot + l.period
		if r.Outcome == "" {
			t.Errorf("%s: no outcome (%s)", r.ID, r.State)
		}
		calls, sent := l.calls[r.ID], l.sent[r.ID+":1:0"]
		switch r.Outcome {
		case job.Succeeded:
			ran++
			if calls < 1 || calls > most || calls > len(r.Attempts) {
				t.Errorf("%s: %d calls arrived for %d attempts", r.ID, calls, len(r.Attempts))
			}
			if sent != 1 || r.DeliveryState != job.DeliveryDelivered {
				t.Errorf("%s: %d messages arrived, recorded as %s", r.ID, sent, r.DeliveryState)
			}
		case job.Missed, job.Skipped:
			if calls != 0 || sent != 0 {
				t.Errorf("%s is %s, but %d calls and %d messages arrived", r.ID, r.Outcome, calls, sent)
			}
		default:
			t.Errorf("%s: %s(%s) %s", r.ID, r.Outcome, r.Reason, r.Error)
		}
		delete(l.calls, r.ID)
		delete(l.sent, r.ID+":1:0")
	}
	return ran
}

// nothingElse fails if something arrived outside that no record explains.
func (l ledger) nothingElse() {
	l.w.t.Helper()
	for id, n := range l.calls {
		l.w.t.Errorf("%d calls for %s, which is not on record", n, id)
	}
	for key, n := range l.sent {
		l.w.t.Errorf("%d messages for %s, which is not on record", n, key)
	}
}

// slowly makes every turn last; the caller's going away ends nothing, as with the
// real ai-server.
func slowly(d time.Duration) func(standin.ChatCall) standin.Answer {
	return func(standin.ChatCall) standin.Answer {
		<-time.After(d)
		return standin.Answer{}
	}
}
