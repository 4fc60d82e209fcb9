package judge

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// cron is a schedule by brute force: the judge tries every minute, so that it
// shares no idea of how to find the next one with what it judges. It reads
// numbers, *, ranges, lists and steps, which is what the suite's jobs use.
type cron struct {
	fields [5][60]bool
	// A day matches by both day fields, or by either if neither begins with *.
	eitherDay bool
	zone      *time.Location
}

func parseCron(expr, zone string) (cron, error) {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return cron{}, fmt.Errorf("zone %q: %w", zone, err)
	}
	c := cron{zone: loc}
	texts := strings.Fields(expr)
	if len(texts) != len(c.fields) {
		return cron{}, fmt.Errorf("schedule %q does not have five fields", expr)
	}
	c.eitherDay = texts[2][0] != '*' && texts[4][0] != '*'
	low, high := [5]int{0, 0, 1, 1, 0}, [5]int{59, 23, 31, 12, 7}
	for i, text := range texts {
		for item := range strings.SplitSeq(text, ",") {
			from, to, step, err := parseItem(item, low[i], high[i])
			if err != nil {
				return cron{}, fmt.Errorf("schedule %q: %w", expr, err)
			}
			for n := from; n <= to; n += step {
				if i == 4 && n == 7 {
					c.fields[i][0] = true // Sunday, too
					continue
				}
				c.fields[i][n] = true
			}
		}
	}
	return c, nil
}

func parseItem(item string, low, high int) (from, to, step int, err error) {
	span, stepText, stepped := strings.Cut(item, "/")
	step = 1
	if stepped {
		if step, err = strconv.Atoi(stepText); err != nil || step < 1 {
			return 0, 0, 0, fmt.Errorf("step in %q", item)
		}
	}
	from, to = low, high
	if span != "*" {
		first, last, ranged := strings.Cut(span, "-")
		if from, err = strconv.Atoi(first); err != nil {
			return 0, 0, 0, fmt.Errorf("number in %q", item)
		}
		to = from
		if ranged {
			if to, err = strconv.Atoi(last); err != nil {
				return 0, 0, 0, fmt.Errorf("number in %q", item)
			}
		}
	}
	if from < low || to > high || from > to {
		return 0, 0, 0, fmt.Errorf("range in %q", item)
	}
	return from, to, step, nil
}

// rings reports whether an instant, in unix milliseconds on a whole minute, is a
// slot.
func (c cron) rings(at int64) bool {
	t := time.UnixMilli(at).In(c.zone)
	if !c.fields[0][t.Minute()] || !c.fields[1][t.Hour()] || !c.fields[3][int(t.Month())] {
		return false
	}
	day, weekday := c.fields[2][t.Day()], c.fields[4][int(t.Weekday())]
	if c.eitherDay {
		return day || weekday
	}
	return day && weekday
}
