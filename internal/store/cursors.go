package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

// A cursor can be wrong for three reasons: the clock of Redis was set, the rules of a zone
// are others than those that it was computed by, or it is damaged. After the first two all
// of them are checked, as fast as that stands in nobody's way; otherwise the repair comes
// by, which also puts right what a process that still reads the old rules writes later.

// pageOfEnded begins the pages of a check that are of the list of ended jobs.
const pageOfEnded = "ended:"

// claimedEarly is more than a slot may be passed before its time.
const claimedEarly = 2 * time.Second

// StartCheck has all cursors checked from the beginning, for a reason.
func (s *Store) StartCheck(ctx context.Context, why string) error {
	now, err := s.Now(ctx)
	if err != nil {
		return fmt.Errorf("start the check of the cursors: %w", err)
	}
	if err := s.rdb.HSet(ctx, s.keys.check(), "why", why, "since", now.UnixMilli(), "page", "0",
		"checked", 0, "moved", 0, "ended", "").Err(); err != nil {
		return fmt.Errorf("start the check of the cursors: %w", err)
	}
	return nil
}

// CheckCursors checks the cursors of the next page of jobs, about size of them, and puts
// those right that are wrong. It goes over the list of jobs and then over those that have
// ended, some by a wrong clock perhaps. With the last page the check is over, and rules are
// those that the cursors follow.
func (s *Store) CheckCursors(ctx context.Context, check job.CursorCheck, size int, rules string) (job.CursorCheck, []job.Repaired, error) {
	failed := func(err error) (job.CursorCheck, []job.Repaired, error) {
		return check, nil, fmt.Errorf("check cursors: %w", err)
	}
	list, page := s.keys.jobs(), check.Page
	ended, atEnded := strings.CutPrefix(page, pageOfEnded)
	if atEnded {
		list, page = s.keys.ended(), ended
	}
	at, err := strconv.ParseUint(page, 10, 64)
	if err != nil {
		at = 0 // damaged: from the beginning
	}
	flat, at, err := s.rdb.ZScan(ctx, list, at, "", int64(size)).Result()
	if err != nil {
		return failed(err)
	}
	heads, err := s.jobHeads(ctx, scanned(flat))
	if err != nil {
		return failed(err)
	}
	now, err := s.Now(ctx)
	if err != nil {
		return failed(err)
	}
	var moved []job.Repaired
	for i, id := range scanned(flat) {
		one, err := s.putCursorRight(ctx, id, heads[i], now)
		if err != nil {
			return failed(err)
		}
		moved = append(moved, one...)
	}
	check.Page, check.Checked, check.Moved = strconv.FormatUint(at, 10), check.Checked+len(heads), check.Moved+len(moved)
	if at == 0 || atEnded {
		check.Page = pageOfEnded + check.Page
	}
	values := []any{"page", check.Page, "checked", check.Checked, "moved", check.Moved}
	if at == 0 && atEnded {
		if check.Rules != rules {
			check.RulesAt = check.Since
		}
		check.Ended, check.Rules = job.ToMillis(now), rules
		values = append(values, "ended", int64(check.Ended), "rules", rules, "rulesAt", int64(check.RulesAt))
	}
	if err := s.rdb.HSet(ctx, s.keys.check(), values...).Err(); err != nil {
		return failed(err)
	}
	if err := s.CountRepairs(ctx, moved); err != nil {
		return failed(err)
	}
	return check, moved, nil
}

// CheckCursor is CheckCursors for one job, and reports whether its cursor was wrong.
func (s *Store) CheckCursor(ctx context.Context, id string) (bool, error) {
	heads, err := s.jobHeads(ctx, []string{id})
	if err != nil {
		return false, fmt.Errorf("check the cursor of %s: %w", id, err)
	}
	now, err := s.Now(ctx)
	if err != nil {
		return false, fmt.Errorf("check the cursor of %s: %w", id, err)
	}
	moved, err := s.putCursorRight(ctx, id, heads[0], now)
	if err == nil {
		err = s.CountRepairs(ctx, moved)
	}
	return len(moved) > 0, err
}

// putCursorRight puts the cursor of a job where it belongs, if that is elsewhere. A job that
// cannot be read is left to the repair.
func (s *Store) putCursorRight(ctx context.Context, id string, head jobHead, now time.Time) ([]job.Repaired, error) {
	if head.gone() || head.newer() || s.damageOfJob(head) != "" {
		return nil, nil
	}
	f := head.fields
	tt, err := s.schedules.Timetable(timing(id, f))
	if err != nil {
		return nil, fmt.Errorf("read the timing of %s: %w", id, err)
	}
	next, wrong := trueCursor(f, tt, now)
	if !wrong {
		return nil, nil
	}
	due := ""
	if next != 0 {
		due = optional(job.ToMillis(tt.Due(next.Time())))
	}
	n, err := s.run(ctx, s.scripts.setCursor, id, f["uid"], f["rev"], f["nextSlot"], optional(next), due).Int()
	if err != nil {
		return nil, fmt.Errorf("put the cursor of %s right: %w", id, err)
	}
	if n == 0 {
		return nil, nil // it has moved meanwhile
	}
	return []job.Repaired{{Damage: job.CursorWrong, ID: id}}, nil
}

// trueCursor says where a cursor belongs at now, if it is wrong: beyond the first slot after
// now and after the last slot that ran. With follow it is wrong, too, where the timetable
// has no slot.
func trueCursor(f fields, tt *schedule.Timetable, now time.Time) (next job.Millis, wrong bool) {
	cursor, ran := f.millis("nextSlot"), f.millis("ranSlot")
	if f["ranSlot"] == "" {
		ran = f.millis("lastSlot") // of a release that did not tell them apart
	}
	used := f.int("maxRuns") > 0 && f.int("claims") >= f.int("maxRuns")
	if f["enabled"] != "1" || cursor == 0 && used {
		return 0, false
	}
	last, some := tt.Next(later(now.Add(claimedEarly), ran.Time()))
	if some && (cursor == 0 || cursor.Time().After(last)) {
		first, _ := tt.Next(later(now, ran.Time()))
		return job.ToMillis(first), true
	}
	if cursor == 0 || tt.Has(cursor.Time()) {
		return 0, false
	}
	// Other rules, by which the slot that it stands for may have come already: the misfire
	// policy decides about that. None was the job's before it was made or edited.
	since := min(max(f.millis("lastSlot"), f.millis("updatedAt")), job.ToMillis(now))
	first, _ := tt.Next(since.Time()) // the zero time if there is none any more
	return job.ToMillis(first), true
}

// scanned are the members that a scan of a sorted set has found.
func scanned(flat []string) []string {
	ids := make([]string, 0, len(flat)/2)
	for i := 0; i < len(flat); i += 2 {
		ids = append(ids, flat[i])
	}
	return ids
}
