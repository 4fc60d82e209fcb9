package handlers

import (
	"fmt"
	"strings"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// alertText tells a person, perhaps on a phone, that a job fails: what, since when, why,
// and what follows. It depends on a alone and on no clock: every attempt at the delivery
// must cut the same text into the same parts.
func alertText(a job.Alert) string {
	if a.Outcome == "" {
		return "" // a damaged record tells nothing
	}
	zone, err := time.LoadLocation(a.Timezone)
	if err != nil {
		zone = time.UTC
	}
	what, when := "failed", wallClock(a.Slot, zone)
	switch {
	case a.Failures > 1:
		what, when = fmt.Sprintf("failed %d times in a row", a.Failures), "last: "+when
	case a.Outcome == job.TimedOut:
		what = "timed out"
	}
	lines := []string{fmt.Sprintf("⚠️ %s %s (%s).", a.Job, what, when)}
	if a.Error != "" {
		why := strings.TrimSuffix(a.Error, ".") + "."
		if a.Attempts > 1 {
			why = fmt.Sprintf("After %d attempts: %s", a.Attempts, why)
		}
		lines = append(lines, why)
	}
	switch {
	case a.Disabled:
		lines = append(lines, "The job is disabled now, until somebody resumes it.")
	case a.Next != 0:
		lines = append(lines, "Next run: "+wallClock(a.Next, zone)+".")
	}
	return strings.Join(lines, "\n")
}

// wallClock is an instant as the clocks of a zone show it, with the zone.
func wallClock(m job.Millis, zone *time.Location) string {
	layout, t := "2006-01-02 15:04", m.Time().In(zone)
	if t.Second() != 0 { // of a job that runs every so many seconds
		layout += ":05"
	}
	return t.Format(layout) + " " + zone.String()
}
