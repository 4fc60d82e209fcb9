// Package doctor examines a deployment and says what it found: whether the parts are
// well (examine.go), and why a job ran or did not run at a time (explain.go). It only
// asks and reads.
//
// It must not import the store, the clients or the queue: what it asks is handed in.
// Times are told in UTC, or, of a job, in the job's zone.
package doctor

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/gatewaycron/gatewaycron/internal/health"
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
	Code  string `json:"code,omitempty"` // of a reason of the health; see health.Code
	What  string `json:"what"`
	Found string `json:"found"`
	// Remedy is what to do about it; "" if there is nothing to do. Where that is a call of
	// the API, Command is the same for the command line.
	Remedy  string `json:"remedy,omitempty"`
	Command string `json:"command,omitempty"`
}

// remedy is what to do, for who reads this at a command line.
func (f Finding) remedy() string { return cmp.Or(f.Command, f.Remedy) }

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
		if remedy := f.remedy(); remedy != "" {
			line += "  -> " + oneLine(remedy)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return fmt.Errorf("write the findings: %w", err)
		}
	}
	return nil
}

// WriteJSON writes {"ok": …, "state": …, "findings": […]}; ok is false if any is a failure.
func WriteJSON(w io.Writer, state health.State, findings []Finding) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	err := e.Encode(struct {
		OK       bool         `json:"ok"`
		State    health.State `json:"state"`
		Findings []Finding    `json:"findings"`
	}{Failed(findings) == 0, state, findings})
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

func span(d time.Duration) string { return health.Span(d) }
