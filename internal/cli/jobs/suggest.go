package jobs

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	cronField    = regexp.MustCompile(`^(?i:[\d*/,?#L-]|SUN|MON|TUE|WED|THU|FRI|SAT|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)+$`)
	isoDate      = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}`)
	rarePattern  = regexp.MustCompile(`\d ?(?:month|year)`)
	everyPattern = regexp.MustCompile(`\bevery (?:(\d+) ?(second|sec|minute|min|hour|hr|day|week|[smhdw])s?|(minute|hour))\b`)
	hourPattern  = regexp.MustCompile(`\b(\d{1,2})(?:[:.h](\d{2}))? ?(am|pm|a\.m\.|p\.m\.|o'clock|uhr)?(?:\W|$)`)
)

// days are the words of days, and what they are in the last field.
func days() []struct{ word, field string } {
	return []struct{ word, field string }{
		{"weekday", "1-5"}, {"workday", "1-5"}, {"working day", "1-5"}, {"business day", "1-5"}, {"weekend", "0,6"},
		{"sunday", "0"}, {"monday", "1"}, {"tuesday", "2"}, {"wednesday", "3"}, {"thursday", "4"}, {"friday", "5"}, {"saturday", "6"},
	}
}

// suggest says what to write instead of a schedule that the API refuses. It need not
// understand much: who gets a line to copy copies it.
func suggest(schedule string) string {
	text := strings.ToLower(strings.TrimSpace(schedule))
	parts := strings.Fields(text)
	cron := len(parts) > 0
	for _, p := range parts {
		cron = cron && cronField.MatchString(p)
	}
	switch {
	case isoDate.MatchString(text):
		return "For one run at a time: --at " + strings.ReplaceAll(strings.TrimSpace(schedule), " ", "T")
	case cron && len(parts) == 6:
		return fmt.Sprintf("A schedule has five fields, without seconds: %q", strings.Join(strings.Fields(schedule)[1:], " "))
	case cron && len(parts) > 1:
		return `A schedule has five fields, minute hour day month weekday: "0 9 * * 1-5" is weekdays at 9.`
	}
	if _, err := parseDuration(strings.TrimSpace(strings.TrimPrefix(text, "@every"))); err == nil {
		return "For a run each so often: --every " + strings.TrimSpace(strings.TrimPrefix(text, "@every"))
	}
	if m := everyPattern.FindStringSubmatch(text); m != nil {
		return "For a run each so often: --every " + cmp.Or(m[1], "1") + (m[2] + m[3])[:1]
	}
	if written, ok := inWords(text); ok && !rarePattern.MatchString(text) {
		return fmt.Sprintf("Did you mean %q?", written)
	}
	return `Write five cron fields, like "0 9 * * 1-5" for weekdays at 9, or --every 5m, or --at 2027-01-01T09:00:00+01:00.`
}

// inWords reads the day and the hour out of a sentence.
func inWords(text string) (string, bool) {
	var on []string
	for _, d := range days() {
		if strings.Contains(text, d.word) || len(d.field) == 1 && strings.Contains(text+" ", d.word[:3]+" ") {
			on = append(on, d.field)
		}
	}
	weekday := strings.Join(on, ",")
	known := weekday != ""
	if !known {
		weekday = "*"
	}
	day := "*"
	for _, word := range []string{"month", "first of"} {
		if strings.Contains(text, word) {
			day, known = "1", true
		}
	}
	for _, word := range []string{"day", "daily", "morning", "evening", "night", "noon"} {
		known = known || strings.Contains(text, word)
	}
	hour, minute := 9, 0
	switch m := hourPattern.FindStringSubmatch(text); {
	case m != nil:
		hour, _ = strconv.Atoi(m[1])   // digits
		minute, _ = strconv.Atoi(m[2]) // digits, or none
		known = known || m[2] != "" || m[3] != ""
		switch afternoon := strings.HasPrefix(m[3], "p"); {
		case afternoon && hour < 12:
			hour += 12
		case strings.HasPrefix(m[3], "a") && hour == 12:
			hour = 0
		}
	case strings.Contains(text, "midnight"):
		hour = 0
	case strings.Contains(text, "noon") && !strings.Contains(text, "afternoon"):
		hour = 12
	case strings.Contains(text, "evening"):
		hour = 18
	}
	if !known || hour > 23 || minute > 59 {
		return "", false
	}
	return fmt.Sprintf("%d %d %s * %s", minute, hour, day, weekday), true
}
