package judge

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDisabled: a job that fails ten times in a row has no slots after that, until it is
// resumed.
func TestDisabled(t *testing.T) {
	edit := func(minute int, enabled bool) Definition {
		return Definition{Sent: at(minute, 10_000), Acked: at(minute, 11_000), Schedule: "* * * * *", Enabled: enabled, Task: "do"}
	}
	for _, tc := range []struct {
		name        string
		runs        string // of the slots from 1 on: f failed, s succeeded, . nothing
		definitions []Definition
		want        map[string]int
	}{
		{"ten in a row, and nothing after", "ffffffffff....", nil, map[string]int{}},
		{"nine in a row, and nothing after", "fffffffff.....", nil, map[string]int{"slot without an outcome": 5}},
		{"a success between", "fffffsffffff..", nil, map[string]int{"slot without an outcome": 2}},
		{"it runs on", "fffffffffff...", nil, map[string]int{"old definition": 1, "phantom run": 1}},
		{"renamed, which does not resume it", "ffffffffff....", []Definition{edit(11, true)}, map[string]int{}},
		{"paused by somebody, and resumed", "ffffffffff..f.", []Definition{edit(11, false), edit(12, true)},
			map[string]int{"slot without an outcome": 1}},
		{"resumed before, which ends the row", "ffffff.ffff...", []Definition{edit(6, false), edit(7, true)},
			map[string]int{"slot without an outcome": 3}},
	} {
		l := Log{Until: at(len(tc.runs), 0), Jobs: []Job{{ID: "a", Name: "a", Listed: true, GraceMillis: 3600_000, Deliver: "never",
			Definitions: append([]Definition{{Sent: at(0, 10_000), Acked: at(0, 11_000), Schedule: "* * * * *", Enabled: true, Task: "do"}}, tc.definitions...)}}}
		var heard []string
		for i, outcome := range tc.runs {
			begin := at(i+1, 100)
			r := Run{ID: fmt.Sprint("a:", at(i+1, 0)/1000), JobID: "a", Trigger: "schedule", State: "done", Outcome: "failed", Slot: at(i+1, 0),
				CreatedAt: begin, StartedAt: begin, FinishedAt: begin + 500, Attempts: []Attempt{{N: 1, StartedAt: begin, EndedAt: begin + 500}}}
			c := Call{N: i, At: begin, EndedAt: begin + 400, Process: "worker-1.1", Run: r.ID, Session: "s", Task: "do", Nonce: fmt.Sprint("n", i), Heard: heard, How: HowRefused}
			switch outcome {
			case '.':
				continue
			case 's':
				heard = []string{c.Nonce}
				r.Outcome, r.Reply, r.SessionKey, c.How = "succeeded", c.Nonce, "s", HowOK
				l.Sessions = []Session{{Key: "s", Messages: []struct {
					Role  string `json:"role"`
					Text  string `json:"text"`
					RunID string `json:"runId"`
				}{{"assistant", r.Reply, r.ID}}}}
			}
			l.Runs, l.Calls = append(l.Runs, r), append(l.Calls, c)
		}
		got := map[string]int{}
		for _, v := range Check(l).Violations {
			got[v.Kind]++
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s: %s\n%v", tc.name, d, Check(l).Violations)
		}
	}
}
