// Package doctor examines a deployment and says what it found: whether the parts are
// well (examine.go), and why a job ran or did not run at a time (explain.go). It only
// asks and reads.
//
// It must not import the store, the clients or the queue: what it asks is handed in.
// Times are told in UTC, or, of a job, in the job's zone.
package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
)

// Level says how a finding is to be taken.
type Level string

// The levels.
const (
	OK   Level = "ok"
	Warn Level = "warn" // works, but somebody should know
	Fail Level = "fail" // does not work
)

// Finding is one thing that was looked at.
type Finding struct {
	Level Level  `json:"level"`
	What  string `json:"what"`
	Found string `json:"found"`
	// Remedy is what to do about it; "" if there is nothing to do.
	Remedy string `json:"remedy,omitempty"`
}

// Failed counts the findings that are failures.
func Failed(findings []Finding) int {
	n := 0
	for _, f := range findings {
		if f.Level == Fail {
			n++
		}
	}
	return n
}

// WriteText writes findings for people, one a line: level, what, what was found and,
// behind an arrow, what to do.
func WriteText(w io.Writer, findings []Finding) error {
	wide := 0
	for _, f := range findings {
		wide = max(wide, len(f.What))
	}
	for _, f := range findings {
		line := fmt.Sprintf("%-4s  %-*s  %s", f.Level, wide, oneLine(f.What), oneLine(f.Found))
		if f.Remedy != "" {
			line += "  -> " + oneLine(f.Remedy)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return fmt.Errorf("write the findings: %w", err)
		}
	}
	return nil
}

// WriteJSON writes {"ok": …, "findings": […]}; ok is false if any is a failure.
func WriteJSON(w io.Writer, findings []Finding) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	err := e.Encode(struct {
		OK       bool      `json:"ok"`
		Findings []Finding `json:"findings"`
	}{Failed(findings) == 0, findings})
	if err != nil {
		return fmt.Errorf("write the findings: %w", err)
	}
	return nil
}

// oneLine keeps what stands in a record from pretending to be a line of ours.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

// span is a duration as people say it: no more than two units.
func span(d time.Duration) string {
	d = d.Abs()
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return units(d, time.Minute, "min", time.Second, "s")
	case d < 48*time.Hour:
		return units(d, time.Hour, "h", time.Minute, "min")
	default:
		return units(d, 24*time.Hour, "days", time.Hour, "h")
	}
}

func units(d, big time.Duration, bigName string, small time.Duration, smallName string) string {
	text := fmt.Sprintf("%d %s", d/big, bigName)
	if rest := d % big / small; rest > 0 {
		text += fmt.Sprintf(" %d %s", rest, smallName)
	}
	return text
}
