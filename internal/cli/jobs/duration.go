package jobs

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// units of durations, in seconds, the largest first.
func units() []struct {
	name    string
	seconds int
} {
	return []struct {
		name    string
		seconds int
	}{{"w", 7 * 86400}, {"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}}
}

// maxSeconds is more than any duration that the API takes.
const maxSeconds = 1_000_000_000

var (
	durationPattern = regexp.MustCompile(`^(?:\d{1,9}[wdhms])+$`)
	durationPart    = regexp.MustCompile(`(\d+)([wdhms])`)
)

// parseDuration reads 90s, 5m, 2h, 1d, 1w or several together, 1h30m, as seconds.
func parseDuration(text string) (int, error) {
	text = strings.ToLower(strings.ReplaceAll(text, " ", ""))
	if _, err := strconv.Atoi(text); err == nil {
		return 0, fmt.Errorf("needs a unit: %ss, %sm, %sh or %sd", text, text, text, text)
	}
	if !durationPattern.MatchString(text) {
		return 0, errors.New("must be a duration like 90s, 5m, 2h, 1d or 1h30m")
	}
	total := 0
	for _, part := range durationPart.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(part[1]) // digits, and few
		for _, u := range units() {
			if u.name == part[2] {
				total += n * u.seconds
			}
		}
		if total > maxSeconds {
			return 0, errors.New("is too long")
		}
	}
	return total, nil
}

// formatDuration is what parseDuration reads. Weeks are days: people say 14d.
func formatDuration(seconds int) string {
	if seconds == 0 {
		return "0s"
	}
	var b strings.Builder
	for _, u := range units()[1:] {
		if n := seconds / u.seconds; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			seconds %= u.seconds
		}
	}
	return b.String()
}

// localLayouts are times without an offset, as people write them.
func localLayouts() []string {
	return []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"}
}

// parseInstant reads a time with an offset or, if zone names one, the time on the clocks
// there, and answers it as RFC 3339.
func parseInstant(text, zone string) (string, error) {
	if _, err := time.Parse(time.RFC3339, text); err == nil {
		return text, nil
	}
	for _, layout := range append(localLayouts(), "2006-01-02T15:04Z07:00") {
		if _, err := time.Parse(layout, text); err != nil {
			continue
		}
		if strings.HasSuffix(layout, "Z07:00") {
			t, _ := time.Parse(layout, text)
			return t.Format(time.RFC3339), nil
		}
		return inZone(layout, text, zone)
	}
	return "", fmt.Errorf("must be a time like 2027-01-01T09:00:00+01:00, not %q", text)
}

func inZone(layout, text, zone string) (string, error) {
	if zone == "" {
		return "", errors.New("needs an offset, like 2027-01-01T09:00:00+01:00; or say with --tz whose clocks you mean")
	}
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return "", fmt.Errorf("needs an offset, like 2027-01-01T09:00:00+01:00: there is no zone %q", zone)
	}
	t, err := time.ParseInLocation(layout, text, loc)
	if err != nil {
		return "", fmt.Errorf("must be a time like 2027-01-01T09:00:00+01:00, not %q", text)
	}
	// Clocks that are set back show a time twice, and forward leave one out.
	_, before := t.Add(-24 * time.Hour).Zone()
	_, after := t.Add(24 * time.Hour).Zone()
	if before != after {
		var fits []string
		for _, offset := range []int{before, after} {
			u, _ := time.Parse(layout, text)
			if c := u.Add(-time.Duration(offset) * time.Second).In(loc); c.Format(layout) == text {
				fits = append(fits, c.Format(time.RFC3339))
			}
		}
		switch len(fits) {
		case 0:
			return "", fmt.Errorf("never comes on the clocks of %s: they are set forward then", zone)
		case 2:
			return "", fmt.Errorf("comes twice on the clocks of %s: %s or %s", zone, fits[0], fits[1])
		}
	}
	return t.Format(time.RFC3339), nil
}
