package schedule_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	unescape := strings.NewReplacer("<tab>", "\t", "<newline>", "\n", "<nul>", "\x00", "<e-acute>", "\u00e9",
		"<long>", strings.Repeat("0", 300))
	rows := readTable(t, "testdata/invalid.txt", 4)
	if len(rows) < 60 {
		t.Fatalf("only %d rows", len(rows))
	}
	for _, r := range rows {
		expr, zone := unescape.Replace(r.columns[0]), unescape.Replace(r.columns[1])
		s, err := schedule.Parse(expr, zone)
		var pe *schedule.ParseError
		if !errors.As(err, &pe) || s != nil {
			t.Errorf("invalid.txt:%d: Parse(%q, %q) = %v, %v; want a ParseError", r.line, expr, zone, s, err)
			continue
		}
		var fields []string
		for _, p := range pe.Problems {
			fields = append(fields, p.Field)
			checkProblem(t, p)
		}
		if diff := cmp.Diff(strings.Fields(r.columns[2]), fields); diff != "" {
			t.Errorf("invalid.txt:%d: fields (-want +got):\n%s%v", r.line, diff, err)
		}
		if detail := pe.Problems[0].Detail; !strings.Contains(detail, r.columns[3]) {
			t.Errorf("invalid.txt:%d: detail %q, want one with %q", r.line, detail, r.columns[3])
		}
		if !strings.Contains(err.Error(), pe.Problems[0].Field+" "+pe.Problems[0].Detail) {
			t.Errorf("invalid.txt:%d: error text %q lacks its problem", r.line, err)
		}
	}
}

// checkProblem checks what holds for any problem: a short detail, and an example
// that is a JSON string which Parse accepts.
func checkProblem(t testing.TB, p schedule.Problem) {
	t.Helper()
	if p.Detail == "" || len(p.Detail) > 200 {
		t.Errorf("detail of %d bytes: %q", len(p.Detail), p.Detail)
	}
	var example string
	if err := json.Unmarshal([]byte(p.Example), &example); err != nil {
		t.Errorf("example %s is not JSON: %v", p.Example, err)
	}
	expr, zone := example, ""
	if p.Field == "timezone" {
		expr, zone = "* * * * *", example
	}
	if _, err := schedule.Parse(expr, zone); err != nil {
		t.Errorf("example %s does not work: %v", p.Example, err)
	}
}

func TestParseNormalises(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat(" ", 256-len("* * * * *")) + "* * * * *"
	tests := []struct{ expr, zone, wantExpr, wantZone string }{
		{"0 9 * * 1-5", "", "0 9 * * 1-5", "UTC"},
		{"  0\t9  *\t\t* 1-5 ", "UTC", "0 9 * * 1-5", "UTC"},
		{"0 9 * jan-MAR Mon", "Europe/Berlin", "0 9 * jan-MAR Mon", "Europe/Berlin"},
		{"05 04 * * 7", "Etc/UTC", "05 04 * * 7", "Etc/UTC"},
		{longest, "", "* * * * *", "UTC"},
		{"@hourly", "", "0 * * * *", "UTC"},
		{"@daily", "", "0 0 * * *", "UTC"},
		{" @Midnight\t", "", "0 0 * * *", "UTC"},
		{"@weekly", "", "0 0 * * 0", "UTC"},
		{"@monthly", "", "0 0 1 * *", "UTC"},
		{"@yearly", "", "0 0 1 1 *", "UTC"},
		{"@ANNUALLY", "", "0 0 1 1 *", "UTC"},
		{"* * * * *", "EST5EDT", "* * * * *", "EST5EDT"},
		{"* * * * *", "Etc/GMT+5", "* * * * *", "Etc/GMT+5"},
		{"* * * * *", "America/Argentina/Buenos_Aires", "* * * * *", "America/Argentina/Buenos_Aires"},
		{"* * * * *", "America/Port-au-Prince", "* * * * *", "America/Port-au-Prince"},
	}
	for _, tt := range tests {
		s := mustParse(t, tt.expr, tt.zone)
		if s.Expr() != tt.wantExpr || s.Location().String() != tt.wantZone {
			t.Errorf("Parse(%q, %q): %q in %q", tt.expr, tt.zone, s.Expr(), s.Location())
		}
		again := mustParse(t, s.Expr(), s.Location().String())
		if again.Expr() != s.Expr() || again.Location().String() != s.Location().String() {
			t.Errorf("Parse(%q, %q) is not stable: %q in %q", tt.expr, tt.zone, again.Expr(), again.Location())
		}
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	rows := readTable(t, "testdata/describe.txt", 2)
	if len(rows) == 0 {
		t.Fatal("no rows")
	}
	for _, r := range rows {
		if got := mustParse(t, r.columns[0], "").Describe(); got != r.columns[1] {
			t.Errorf("describe.txt:%d: %q is %q, want %q", r.line, r.columns[0], got, r.columns[1])
		}
	}
}
