package schedule_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

// FuzzParse checks what holds for any input: an answer, a ParseError or a
// schedule; slots that are whole minutes, later than what was asked for and
// equal to what the wall shows; and that the walk over every minute, where it is
// short, finds no slot before.
func FuzzParse(f *testing.F) {
	for _, r := range readTable(f, "testdata/next.txt", 4) {
		f.Add(r.columns[0], r.columns[1], parseTime(f, r.columns[2]).Unix())
	}
	for _, r := range readTable(f, "testdata/invalid.txt", 4) {
		f.Add(r.columns[0], r.columns[1], int64(0))
	}
	f.Add("@daily", "Pacific/Apia", int64(1<<62))
	f.Add(strings.Repeat("0,", 123)+"0 0 * * *", "Asia/Kolkata", int64(-1<<62))
	f.Fuzz(func(t *testing.T, expr, zone string, after int64) {
		s, err := schedule.Parse(expr, zone)
		if err != nil {
			var pe *schedule.ParseError
			if !errors.As(err, &pe) || len(pe.Problems) == 0 || len(pe.Problems) > 6 {
				t.Fatalf("Parse(%q, %q): %v", expr, zone, err)
			}
			for _, p := range pe.Problems {
				checkProblem(t, p)
			}
			return
		}
		if len(s.Expr()) > 256 || s.Describe() == "" {
			t.Fatalf("Parse(%q, %q): %q, %q", expr, zone, s.Expr(), s.Describe())
		}
		from := time.Unix(after, 0)
		at := from
		for range 3 {
			next, ok := s.Next(at)
			if !ok {
				break
			}
			if !next.After(at) || next.Unix()%60 != 0 || next.Nanosecond() != 0 || next.Location() != time.UTC {
				t.Fatalf("%q in %q: Next(%v) = %v", expr, zone, at, next)
			}
			at = next
		}
		if from.Year() > 1900 && from.Year() < 3000 {
			compare(t, s, from.UTC(), from.UTC().Add(12*time.Hour))
		}
	})
}
