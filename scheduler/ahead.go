package scheduler

import (
	"context"
	"fmt"
	"slices"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// When many slots are due at once, reading their cursors takes a good part of the time
// until the last of them is enqueued. So they are read a moment before. Nothing rests
// on that: what is due is what the index says when it is due, and a job that was changed
// in between is claimed as it is then, or not at all, whatever its carrier says.

// aheadFor is how soon slots must be due to be read ahead: longer than from one look to
// the next.
const aheadFor = tick + tick/2

// readAhead reads the cursors of the slots that are due at the next look, if they are many.
// head is the head of the index, as it was read in this look.
func (w *window) readAhead(ctx context.Context, head job.DueWindow) error {
	if len(head.Entries) < headSize {
		return nil
	}
	last := head.Entries[headSize-1].Look
	if last <= head.Now || last > job.ToMillis(head.Now.Time().Add(aheadFor)) {
		return nil // due now, or not so soon
	}
	next, err := w.store.DueWindow(ctx, 0, aheadFor, maxWindow)
	if err != nil {
		return err
	}
	entries := slices.DeleteFunc(next.Entries, func(d job.Due) bool { return d.Look <= head.Now })
	ahead := make(map[string]job.Cursor, len(entries))
	for chunk := range slices.Chunk(entries, batch) {
		cursors, err := w.store.Cursors(ctx, jobIDs(chunk))
		if err != nil {
			return fmt.Errorf("read ahead: %w", err)
		}
		for _, c := range cursors {
			if c.UID != "" && !c.Newer && !c.Emitted {
				ahead[c.JobID] = c
			}
		}
	}
	w.ahead = ahead
	return nil
}

// cursors returns the cursors of due entries: those that were read ahead, if the index has
// them where they were, and the others as they are now.
func (w *window) cursors(ctx context.Context, entries []job.Due) ([]job.Cursor, error) {
	cursors := make([]job.Cursor, 0, len(entries))
	var unread []job.Due
	for _, e := range entries {
		if c, ok := w.ahead[e.JobID]; ok && c.NextDue == e.Look {
			cursors = append(cursors, c)
		} else {
			unread = append(unread, e)
		}
	}
	if len(unread) == 0 {
		return cursors, nil
	}
	read, err := w.store.Cursors(ctx, jobIDs(unread))
	return append(cursors, read...), err
}
