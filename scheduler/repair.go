package scheduler

import (
	"context"
	"errors"
	"log/slog"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

type repairStore interface {
	quarantineStore
	Repair(ctx context.Context, index job.Index, cursor string, size int) (job.RepairPage, error)
	CheckJobs(ctx context.Context, cursor string, size int) (job.RepairPage, error)
	RelistOwners(ctx context.Context, cursor string, size int) (string, error)
	Release(ctx context.Context) (released []job.Quarantined, left int, err error)
}

type quarantineStore interface {
	Quarantine(ctx context.Context, bad []job.Unreadable) ([]job.Unreadable, error)
}

// Comparing the indexes is one call of a millisecond a page and reads hardly a record,
// so that 100,000 jobs are gone over in 20 minutes. To read a job is a command each, so
// 3,000 are read in a minute, fifty a second; what is due is read in any case.
const (
	repairPage  = 500
	repairPages = 10 // of each index in one scan
	checkPage   = 150
	checkPages  = 20
	// logged is how many repairs of a kind a scan logs one by one.
	logged = 20
)

// repairer looks for damage: what the indexes and the records disagree about, which no
// step leaves behind. It puts right what it can and registers what it cannot. It goes on
// in each scan where the one before stopped.
type repairer struct {
	store   repairStore
	emitter func() bool
	logger  *slog.Logger

	scanned func() // is called once a scan

	cursors map[job.Index]string
	checked string
	owners  string
}

// run is one scan, of a bounded number of pages. One index that cannot be read keeps
// nobody from the others.
func (r *repairer) run(ctx context.Context) error {
	if !r.emitter() {
		return nil
	}
	var repaired []job.Repaired
	var failed []error
	for _, index := range []job.Index{job.IndexDue, job.IndexJobs, job.IndexEnded, job.IndexFailing,
		job.IndexUndelivered, job.IndexAgents, job.IndexTokens, job.IndexWake, job.IndexOpen} {
		for range repairPages {
			page, err := r.store.Repair(ctx, index, r.cursors[index], repairPage)
			if err != nil {
				failed = append(failed, err)
				page.Next = "" // a cursor may be what is wrong
			}
			repaired = append(repaired, page.Repaired...)
			r.cursors[index] = page.Next
			if page.Next == "" {
				break
			}
		}
	}
	for range repairPages {
		var err error
		r.owners, err = r.store.RelistOwners(ctx, r.owners, repairPage)
		failed = append(failed, err)
		if err != nil || r.owners == "" {
			break
		}
	}
	for range checkPages {
		page, err := r.store.CheckJobs(ctx, r.checked, checkPage)
		r.checked = page.Next
		repaired = append(repaired, page.Repaired...)
		failed = append(failed, err, quarantine(ctx, r.store, r.logger, page.Unreadable))
		if page.Next == "" {
			break
		}
	}
	report(r.logger, repaired)
	r.scanned()
	return errors.Join(append(failed, r.release(ctx))...)
}

// report logs what was put right; a kind of which there is much, as a number.
func report(logger *slog.Logger, repaired []job.Repaired) {
	counts := map[job.Damage]int{}
	for _, one := range repaired {
		if counts[one.Damage]++; counts[one.Damage] <= logged {
			logger.Warn("damage repaired", "kind", string(one.Damage), "id", one.ID)
		}
	}
	for kind, n := range counts {
		if n > logged {
			logger.Warn("more damage repaired", "kind", string(kind), "count", n-logged)
		}
	}
}

func (r *repairer) release(ctx context.Context) error {
	released, left, err := r.store.Release(ctx)
	if err != nil {
		return err
	}
	for _, q := range released {
		r.logger.Info("record left the quarantine", "entry", q.Entry, "since", q.Since.Time())
	}
	if left > 0 {
		r.logger.Debug("records are in quarantine", "count", left)
	}
	return nil
}

// quarantine registers what cannot be read and reports it, once.
func quarantine(ctx context.Context, store quarantineStore, logger *slog.Logger, bad []job.Unreadable) error {
	entered, err := store.Quarantine(ctx, bad)
	if err != nil {
		return err
	}
	for _, b := range entered {
		logger.Error("record cannot be read", "entry", b.Entry, "err", b.Reason)
	}
	return nil
}
