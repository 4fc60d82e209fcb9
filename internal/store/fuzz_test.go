package store

import (
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// cursors are ours, and what comes close to them.
var cursors = []string{"", "0", "1", "-1", "+1", "01", "1e3", "1.0", "0x1", "1_0", " 1", "1767225600000001", "9999999999999999", "12345678901234567",
	"0-0", "0-1", "1-0", "00-1", "1-01", "1767225600000-0", "9999999999999999999-9999999999999999999", "99999999999999999999-0",
	"-", "+", "(1-1", "1-1-1", "$", "\x00", "\xff", "١"}

// FuzzCursor reads whatever comes from outside as the cursor of a list. It is refused as
// such, or it is the one spelling of a place in the list.
func FuzzCursor(f *testing.F) {
	for _, seed := range cursors {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, cursor string) {
		n, err := position(cursor)
		switch {
		case err != nil:
			mustRefuse(t, "a list", cursor, err)
		case n < 0 || (n == 0) != (cursor == "") || n > 0 && strconv.FormatInt(n, 10) != cursor:
			t.Errorf("%q is read as %d", cursor, n)
		}

		from, auditErr := auditPosition(cursor)
		switch {
		case auditErr != nil:
			mustRefuse(t, "the audit", cursor, auditErr)
		case cursor == "":
			if from != "+" {
				t.Errorf("the first page of the audit begins at %q", from)
			}
		default:
			var ms, seq uint64
			if _, err := fmt.Sscanf(from, "(%d-%d", &ms, &seq); err != nil || fmt.Sprintf("(%d-%d", ms, seq) != from || ms+seq == 0 || from[1:] != cursor {
				t.Errorf("%q is read as %q: %v", cursor, from, err)
			}
		}
		if cursor != "" && err == nil && auditErr == nil {
			t.Errorf("%q is a cursor of two kinds of lists", cursor)
		}
	})
}

func mustRefuse(t *testing.T, list, cursor string, err error) {
	t.Helper()
	invalid, ok := errors.AsType[*job.InvalidError](err)
	if !ok || len(invalid.Problems) != 1 || invalid.Problems[0].Field != "cursor" || cursor == "" {
		t.Errorf("%s: cursor %q: %v", list, cursor, err)
	}
}

// TestCursorsAreReadOrRefused: what passes for a cursor, Redis takes as well.
func TestCursorsAreReadOrRefused(t *testing.T) {
	f := setup(t, Options{})
	for n := range 3 {
		f.begun(id(n), everyMinute())
	}
	for name, list := range map[string]func(cursor string) (string, error){
		"jobs": func(cursor string) (string, error) {
			_, next, err := f.FindJobs(f.ctx, job.JobFilter{}, cursor, 1)
			return next, err
		},
		"runs": func(cursor string) (string, error) {
			_, next, err := f.FindRuns(f.ctx, job.RunFilter{}, cursor, 1)
			return next, err
		},
		"audit": func(cursor string) (string, error) {
			_, next, err := f.Audit(f.ctx, "", cursor, 1)
			return next, err
		},
	} {
		first, err := list("")
		if second, err2 := list(first); err != nil || err2 != nil || first == "" || second == "" || second == first {
			t.Errorf("%s: pages after %q and %q, %v, %v", name, first, second, err, err2)
		}
		accepted := 0
		for _, cursor := range cursors {
			next, err := list(cursor)
			switch {
			case err != nil:
				mustRefuse(t, name, cursor, err)
			case next != "" && next == cursor:
				t.Errorf("%s: the page after %q leads to itself", name, cursor)
			default:
				accepted++
			}
		}
		if accepted < 4 {
			t.Errorf("%s: %d cursors accepted", name, accepted)
		}
	}
}
