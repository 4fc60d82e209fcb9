package chaos

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/chaos/judge"
)

// asPlanned is what the judge is told of a job: what was asked for, and where nothing
// was, the defaults of docs/api.md.
func asPlanned(fields map[string]any, v jobView) *judge.Job {
	text := func(field, standard string) string {
		if s, ok := fields[field].(string); ok {
			return s
		}
		return standard
	}
	number := func(field string, standard int) int {
		if n, ok := fields[field].(int); ok {
			return n
		}
		return standard
	}
	instant := func(field string) int64 { ms, _ := fields[field].(int64); return ms }
	j := &judge.Job{ID: v.ID, Name: v.Name,
		Misfire: text("misfire", "run_once"), GraceMillis: int64(number("misfireGraceSeconds", 3600)) * 1000,
		Overlap: text("overlap", "skip"), OnAmbiguous: text("onAmbiguous", "retry"), Deliver: text("deliver", "always"),
		MaxRetries: number("maxRetries", 3), MaxRuns: number("maxRuns", 0), JitterMillis: int64(number("jitterSeconds", 0)) * 1000,
		Isolated: text("context", "session") == "isolated", Channel: text("channel", ""), ChatID: text("chatId", ""),
		Definitions: []judge.Definition{{Sent: v.CreatedAt, Acked: v.CreatedAt, Schedule: text("schedule", ""),
			Every: int64(number("every", 0)) * 1000, At: instant("at"), StartAt: instant("startAt"), EndAt: instant("endAt"),
			Zone: text("timezone", ""), Enabled: true, Task: text("task", "")}}}
	if v.NextDueAt != 0 {
		j.ShareMillis = v.NextDueAt - v.NextRunAt
	}
	return j
}

func TestJudgeIsToldWhatWasAskedFor(t *testing.T) {
	view := jobView{ID: "a", Name: "job a", CreatedAt: 1000, NextRunAt: 60_000, NextDueAt: 62_000}
	tests := []struct {
		name   string
		fields map[string]any
		want   judge.Job
	}{
		{"the defaults", map[string]any{"schedule": "* * * * *", "task": "do"}, judge.Job{Misfire: "run_once", GraceMillis: 3_600_000,
			Overlap: "skip", OnAmbiguous: "retry", Deliver: "always", MaxRetries: 3,
			Definitions: []judge.Definition{{Sent: 1000, Acked: 1000, Schedule: "* * * * *", Enabled: true, Task: "do"}}}},
		{"everything else", map[string]any{"every": 30, "startAt": int64(7000), "endAt": int64(9000), "timezone": "UTC", "task": "do",
			"misfire": "run_all", "misfireGraceSeconds": 120, "overlap": "allow", "onAmbiguous": "fail", "deliver": "on_failure",
			"maxRetries": 0, "maxRuns": 2, "jitterSeconds": 5, "channel": "chat-1", "chatId": "room", "context": "isolated"},
			judge.Job{Misfire: "run_all", GraceMillis: 120_000, Overlap: "allow", OnAmbiguous: "fail", Deliver: "on_failure",
				Isolated: true, MaxRuns: 2, JitterMillis: 5000, Channel: "chat-1", ChatID: "room",
				Definitions: []judge.Definition{{Sent: 1000, Acked: 1000, Every: 30_000, StartAt: 7000, EndAt: 9000, Zone: "UTC",
					Enabled: true, Task: "do"}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.ID, tt.want.Name, tt.want.ShareMillis = "a", "job a", 2000
			if diff := cmp.Diff(&tt.want, asPlanned(tt.fields, view)); diff != "" {
				t.Errorf("asPlanned (-want +got):\n%s", diff)
			}
		})
	}
}
