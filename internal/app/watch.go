package app

import (
	"context"
	"fmt"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/health"
	"github.com/gatewaycron/gatewaycron/internal/job"
)

// watchEvery is how often the health is looked at for those who are told of it; what is
// wrong in two looks one after the other is told.
const watchEvery = 10 * time.Second

// watch tells of a deployment that is failing, and when it is no more. The leading
// scheduler does it, and the API where no scheduler works. A notice has a key, so that
// whoever finds the same says nothing new.
type watch struct {
	app     *App
	signals *signals
	leads   func() bool // nil: there is no scheduler here

	seen map[health.Code]int  // in how many looks in a row
	told map[health.Code]bool // nil: what others have told is not known
}

// run looks until ctx ends.
func (w *watch) run(ctx context.Context) error {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := w.look(ctx); err != nil && ctx.Err() == nil {
				w.app.logger.Warn("health not told", "err", err)
			}
		}
	}
}

// look tells what is new. What cannot be told is tried again at the next look.
func (w *watch) look(ctx context.Context) error {
	report := w.signals.Health(ctx)
	failing := map[health.Code]health.Reason{}
	for _, r := range report.Reasons {
		if r.State == health.Failing {
			failing[r.Code] = r
		}
	}
	_, alone := failing[health.NoScheduler]
	if w.leads != nil && !w.leads() || w.leads == nil && !alone {
		w.seen, w.told = nil, nil
		return nil
	}
	if w.told == nil {
		w.seen, w.told = map[health.Code]int{}, map[health.Code]bool{}
		for _, code := range health.Codes() {
			w.told[code] = true // perhaps, by whoever did this before
		}
	}
	for _, code := range health.Codes() {
		r, is := failing[code]
		if !is {
			w.seen[code] = 0
			if w.told[code] {
				if err := w.notify(ctx, job.NoticeRecovered, r, code); err != nil {
					return err
				}
				delete(w.told, code)
			}
			continue
		}
		if w.seen[code]++; w.seen[code] == 2 {
			if err := w.notify(ctx, job.NoticeHealth, r, code); err != nil {
				w.seen[code]--
				return err
			}
			w.told[code] = true
		}
	}
	return nil
}

func (w *watch) notify(ctx context.Context, kind job.NoticeKind, r health.Reason, code health.Code) error {
	n := job.Notice{Kind: kind, Key: "health:" + string(code), Text: r.Text, Remedy: r.Fix.Call, Command: r.Fix.Command}
	if kind == job.NoticeRecovered {
		n.Text = "it is over that " + code.Words()
	}
	return w.app.store.Notify(ctx, n)
}

// absent tells of slots that have no record.
func (a *App) absent(ctx context.Context, slots []job.Slot) {
	for _, slot := range slots {
		n := job.Notice{Kind: job.NoticeAbsent, Key: fmt.Sprintf("absent:%s:%d", slot.JobID, slot.At), JobID: slot.JobID,
			Text:   fmt.Sprintf("job %s should have run at %s UTC, and nothing is on record of it", slot.JobID, slot.At.Time().Format("2006-01-02 15:04:05")),
			Remedy: "GET /api/cron/jobs/" + slot.JobID + "/explain", Command: "gateway-cron doctor --job " + slot.JobID}
		if err := a.store.Notify(ctx, n); err != nil {
			a.logger.Warn("absent slot not told", "job_id", slot.JobID, "err", err)
		}
	}
}
