package jobs

import (
	"fmt"
	"time"
)

// clock is an instant on the clocks of a zone. The year is there unless it is this one.
func (t *tool) clock(millis int64, loc *time.Location) string {
	return t.format(millis, "Mon 2 Jan", loc, " MST")
}

// slotClock is clock where room is scarce; without a zone in UTC, which then goes unsaid.
func (t *tool) slotClock(millis int64, loc *time.Location) string {
	if loc == nil {
		return t.format(millis, "2 Jan", time.UTC, "")
	}
	return t.format(millis, "2 Jan", loc, " MST")
}

func (t *tool) format(millis int64, day string, loc *time.Location, end string) string {
	if millis == 0 {
		return ""
	}
	at := time.UnixMilli(millis).In(loc)
	layout := day
	if at.Year() != t.Now().In(loc).Year() {
		layout += " 2006"
	}
	layout += " 15:04"
	if at.Second() != 0 {
		layout += ":05"
	}
	return at.Format(layout + end)
}

// clockAndDistance is clock, and how far away that is.
func (t *tool) clockAndDistance(millis int64, loc *time.Location) string {
	if millis == 0 {
		return ""
	}
	return fmt.Sprintf("%s (%s)", t.clock(millis, loc), t.distance(millis))
}

// distance says how far away an instant is: "in 14 h", "3 min ago".
func (t *tool) distance(millis int64) string {
	if millis == 0 {
		return ""
	}
	d := time.UnixMilli(millis).Sub(t.Now())
	about := roughly(d.Abs())
	switch {
	case d.Abs() < time.Second:
		return "now"
	case d > 0:
		return "in " + about
	}
	return about + " ago"
}

// roughly is a duration in the one unit that says enough.
func roughly(d time.Duration) string {
	for _, u := range []struct {
		name  string
		unit  time.Duration
		below time.Duration
	}{
		{"s", time.Second, 90 * time.Second},
		{"min", time.Minute, 90 * time.Minute},
		{"h", time.Hour, 36 * time.Hour},
	} {
		if d < u.below {
			return fmt.Sprintf("%d %s", d.Round(u.unit)/u.unit, u.name)
		}
	}
	return fmt.Sprintf("%d d", d.Round(24*time.Hour)/(24*time.Hour))
}

// took is how long something lasted, so far if it has not ended.
func (t *tool) took(start, end int64) string {
	if start == 0 {
		return ""
	}
	if end == 0 {
		return roughly(t.Now().Sub(time.UnixMilli(start))) + " so far"
	}
	d := time.Duration(end-start) * time.Millisecond
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	if d < 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return roughly(d)
}

// zone is the place whose clocks a job follows; UTC if we do not know it.
func zone(name string) *time.Location {
	loc, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return time.UTC
	}
	return loc
}
