package schedule_test

import (
	"bufio"
	"os"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // so that zones do not depend on the machine

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

// row is one line of a table: its columns, and where it stands.
type row struct {
	line    int
	columns []string
}

// readTable reads the rows of a file in testdata: columns split by |, with empty
// lines and lines that begin with # left out.
func readTable(t testing.TB, path string, columns int) []row {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rows []row
	scanner := bufio.NewScanner(f)
	for line := 1; scanner.Scan(); line++ {
		text := strings.TrimSpace(scanner.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		parts := strings.Split(text, "|")
		if len(parts) != columns {
			t.Fatalf("%s:%d: %d columns, want %d", path, line, len(parts), columns)
		}
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		rows = append(rows, row{line, parts})
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

const tableTime = "2006-01-02T15:04Z07:00"

func parseTime(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(tableTime, text)
	if err != nil {
		at, err = time.Parse(time.RFC3339, text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return at.UTC()
}

func mustParse(t testing.TB, expr, zone string) *schedule.Schedule {
	t.Helper()
	s, err := schedule.Parse(expr, zone)
	if err != nil {
		t.Fatalf("Parse(%q, %q): %v", expr, zone, err)
	}
	return s
}

// TestNextTable compares each row with what the package says and with what the
// walk over every minute says.
func TestNextTable(t *testing.T) {
	t.Parallel()
	rows := readTable(t, "testdata/next.txt", 4)
	if len(rows) <= 400 { // as the README says
		t.Fatalf("only %d rows", len(rows))
	}
	for _, r := range rows {
		expr, zone, after := r.columns[0], r.columns[1], parseTime(t, r.columns[2])
		want := strings.Fields(r.columns[3])
		s := mustParse(t, expr, zone)
		slots := timetable(t, schedule.Timing{Cron: expr, Zone: zone}).Upcoming(after, len(want))
		if diff := cmp.Diff(want, inZone(s, slots)); diff != "" {
			t.Errorf("next.txt:%d: %q in %q after %s (-want +got):\n%s", r.line, expr, zone, r.columns[2], diff)
		}
		walked := newWalker(t, expr, s.Location()).upcoming(after, parseTime(t, want[len(want)-1]))
		if diff := cmp.Diff(want, inZone(s, walked)); diff != "" {
			t.Errorf("next.txt:%d: %q in %q after %s (-want +walked):\n%s", r.line, expr, zone, r.columns[2], diff)
		}
	}
}

// inZone writes instants as the table does.
func inZone(s *schedule.Schedule, times []time.Time) []string {
	var out []string
	for _, at := range times {
		out = append(out, at.In(s.Location()).Format(tableTime))
	}
	return out
}
