package chaos

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/chaos/judge"
)

// surely is how often, on average, something left to chance has to happen for a run in
// which it did not happen at all to be wrong.
const surely = 10

// tooEasy says why a run proves nothing, whatever the judge found: what was to be done to
// the product was not, too little went well to be compared, or too much was excused.
func tooEasy(r *judge.Report, s size, killed int) (why []string) {
	miss := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	if r.Slots < s.Slots {
		miss("only %d slots were expected, want %d", r.Slots, s.Slots)
	}
	if killed < s.Kills {
		miss("only %d processes were killed, want %d", killed, s.Kills)
	}
	troubled := func(kind string) bool {
		for t, n := range r.Troubles {
			if n > 0 && regexp.MustCompile("^"+kind+"$").MatchString(t) {
				return true
			}
		}
		return false
	}
	if s.FullDisks > 0 && !troubled("full disk redis") {
		miss("no disk was full")
	}
	for _, kind := range []string{"frozen (api|scheduler|worker)", "cut .*", "killed redis", "frozen redis", "clock redis 8784h0m0s", "clock redis -?2h0m0s", "rules .*"} {
		if !troubled(kind) {
			miss("nothing of the kind %q was done", kind)
		}
	}
	points := []string{".*"}
	if s.CrashesPerPoint >= surely {
		points = crashes
	}
	for _, point := range points {
		if !troubled("crashed .* " + point) {
			miss("no process ended at the crash point %q", point)
		}
	}
	if r.Attempts["ambiguous(lease_expired)"] == 0 {
		miss("no attempt died in the middle of a call")
	}

	share := func(what string, part, whole, of int) {
		if part*of < whole {
			miss("only %d of %d %s", part, whole, what)
		}
	}
	share("slots succeeded", r.Outcomes["succeeded"], r.Slots, 3)
	share("deliveries were delivered", r.Deliveries["delivered"], total(r.Deliveries), 3)
	excused := func(what string, part, of int) {
		if calls := total(r.Calls); part*of > calls {
			miss("%d of %d calls %s, and were excused", part, calls, what)
		}
	}
	excused("came after the end", r.LateCalls, 50)
	excused("overlapped", r.Overlaps, 10)
	return why
}

func total(counts map[string]int) (n int) {
	for _, v := range counts {
		n += v
	}
	return n
}

func TestTooEasy(t *testing.T) {
	long := long(10_000, 300, 18)
	// enough is a report of a run that is bad enough for either size.
	enough := func() *judge.Report {
		r := &judge.Report{Slots: 10_000, Outcomes: map[string]int{"succeeded": 8000, "failed": 2000},
			Calls: map[string]int{judge.HowOK: 9000, judge.HowHungUp: 1000}, LateCalls: 5, Overlaps: 300,
			Attempts:   map[string]int{"ambiguous(lease_expired)": 100},
			Deliveries: map[string]int{"delivered": 6000, "unknown": 300},
			Troubles: map[string]int{"killed worker": 200, "frozen scheduler": 1, "cut worker up": 1, "killed redis": 9, "full disk redis": 1,
				"frozen redis": 3, "clock redis 8784h0m0s": 1, "clock redis -2h0m0s": 1, "rules Asia/Kolkata Asia/Kathmandu": 1}}
		for _, point := range crashes {
			r.Troubles["crashed worker "+point] = 1
		}
		return r
	}
	tests := []struct {
		name   string
		size   size
		change func(*judge.Report)
		killed int
		want   []string
	}{
		{name: "long enough", size: long, killed: 300},
		{name: "short enough", size: short, killed: 32},
		{name: "too few slots", size: long, killed: 300, change: func(r *judge.Report) { r.Slots = 9999 },
			want: []string{"only 9999 slots were expected, want 10000"}},
		{name: "too few kills", size: long, killed: 299, want: []string{"only 299 processes were killed, want 300"}},
		{name: "no process was frozen", size: short, killed: 32, change: func(r *judge.Report) { delete(r.Troubles, "frozen scheduler") },
			want: []string{`nothing of the kind "frozen (api|scheduler|worker)" was done`}},
		{name: "nothing was cut off", size: short, killed: 32, change: func(r *judge.Report) { delete(r.Troubles, "cut worker up") },
			want: []string{`nothing of the kind "cut .*" was done`}},
		{name: "Redis was not killed", size: short, killed: 32, change: func(r *judge.Report) { delete(r.Troubles, "killed redis") },
			want: []string{`nothing of the kind "killed redis" was done`}},
		{name: "no disk was full", size: short, killed: 32, change: func(r *judge.Report) { delete(r.Troubles, "full disk redis") },
			want: []string{"no disk was full"}},
		{name: "Redis was not frozen", size: short, killed: 32, change: func(r *judge.Report) { delete(r.Troubles, "frozen redis") },
			want: []string{`nothing of the kind "frozen redis" was done`}},
		{name: "Redis's clock was not set", size: short, killed: 32, change: func(r *judge.Report) { delete(r.Troubles, "clock redis 8784h0m0s") },
			want: []string{`nothing of the kind "clock redis 8784h0m0s" was done`}},
		{name: "no zone was given other rules", size: short, killed: 32, change: func(r *judge.Report) { delete(r.Troubles, "rules Asia/Kolkata Asia/Kathmandu") },
			want: []string{`nothing of the kind "rules .*" was done`}},
		{name: "a crash point is dead", size: long, killed: 300, change: func(r *judge.Report) { delete(r.Troubles, "crashed worker before_send") },
			want: []string{`no process ended at the crash point "before_send"`}},
		{name: "a short run need not meet each", size: short, killed: 32, change: func(r *judge.Report) { delete(r.Troubles, "crashed worker before_send") }},
		{name: "but one", size: short, killed: 32, change: func(r *judge.Report) {
			maps.DeleteFunc(r.Troubles, func(t string, _ int) bool { return strings.HasPrefix(t, "crashed ") })
		}, want: []string{`no process ended at the crash point ".*"`}},
		{name: "no call died", size: short, killed: 32, change: func(r *judge.Report) { r.Attempts = nil },
			want: []string{"no attempt died in the middle of a call"}},
		{name: "little succeeded", size: long, killed: 300, change: func(r *judge.Report) { r.Outcomes["succeeded"] = 3333 },
			want: []string{"only 3333 of 10000 slots succeeded"}},
		{name: "little was delivered", size: long, killed: 300, change: func(r *judge.Report) { r.Deliveries = map[string]int{"delivered": 33, "unknown": 67} },
			want: []string{"only 33 of 100 deliveries were delivered"}},
		{name: "many calls were late", size: long, killed: 300, change: func(r *judge.Report) { r.LateCalls = 201 },
			want: []string{"201 of 10000 calls came after the end, and were excused"}},
		{name: "many calls overlapped", size: long, killed: 300, change: func(r *judge.Report) { r.Overlaps = 1001 },
			want: []string{"1001 of 10000 calls overlapped, and were excused"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := enough()
			if tt.change != nil {
				tt.change(r)
			}
			if diff := cmp.Diff(tt.want, tooEasy(r, tt.size, tt.killed)); diff != "" {
				t.Errorf("tooEasy (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCrashPointsAreInTheProduct: a point that was renamed there would kill nobody, and one
// that was added would never be tried.
func TestCrashPointsAreInTheProduct(t *testing.T) {
	point := regexp.MustCompile(`\bfault\.Point\("([^"]*)"\)`)
	var passed []string
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, found := range point.FindAllStringSubmatch(string(source), -1) {
			passed = append(passed, found[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(crashes)), slices.Sorted(slices.Values(passed))); diff != "" {
		t.Errorf("the points of the plan (-) and those of the product (+):\n%s", diff)
	}
}
