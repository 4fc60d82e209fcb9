package schedule

import (
	"fmt"
	"math/bits"
	"strings"
	"time"
)

// maxListed is how many values a description lists before it gives up: a longer
// list tells a person less than the expression does.
const maxListed = 7

const (
	allMinutes = 1<<60 - 1
	allHours   = 1<<24 - 1
	allDays    = 1<<32 - 2
	allMonths  = 1<<13 - 2
	allWeek    = 1<<7 - 1
	weekdays   = 0b0111110
	weekend    = 0b1000001
)

// Describe tells the schedule in English, as in "At 09:00 on weekdays", without
// its zone. An expression that no plain sentence fits is its own description.
func (s *Schedule) Describe() string {
	times, single, ok := s.describeTimes()
	if !ok {
		return s.expr
	}
	days, ok := s.describeDays()
	if !ok {
		return s.expr
	}
	if days == "" && single {
		days = " every day"
	}
	return times + days
}

// describeTimes tells the minute and hour fields. single says that the times are
// listed one by one, which reads oddly without a word about the days.
func (s *Schedule) describeTimes() (text string, single, ok bool) {
	minutes, hours := s.minute.set, s.hour.set
	perHour, perDay := bits.OnesCount64(minutes), bits.OnesCount64(hours)
	first, last := bits.TrailingZeros64(minutes), bits.Len64(minutes)-1

	if step := stepOf(hours, 24); perHour == 1 && s.hour.star && step > 1 {
		if first == 0 {
			return fmt.Sprintf("Every %d hours", step), false, true
		}
		return fmt.Sprintf("Every %d hours at minute %d", step, first), false, true
	}
	if perHour*perDay <= maxListed {
		var at []string
		for _, h := range values(hours) {
			for _, m := range values(minutes) {
				at = append(at, clockTime(h, m))
			}
		}
		return "At " + enumerate(at), true, true
	}

	each, ok := describeMinutes(minutes)
	if !ok {
		return "", false, false
	}
	if hours == allHours {
		return each, false, true
	}
	from, to, contiguous := run(hours)
	return fmt.Sprintf("%s from %s to %s", each, clockTime(from, first), clockTime(to, last)), false, contiguous
}

// describeMinutes tells the minutes of each matching hour.
func describeMinutes(set uint64) (string, bool) {
	step := stepOf(set, 60)
	switch {
	case set == allMinutes:
		return "Every minute", true
	case set == 1:
		return "Every hour", true
	case step > 1:
		return fmt.Sprintf("Every %d minutes", step), true
	case bits.OnesCount64(set) == 1:
		return fmt.Sprintf("Every hour at minute %d", bits.TrailingZeros64(set)), true
	case bits.OnesCount64(set) <= maxListed:
		return "Every hour at minutes " + enumerate(numbers(set)), true
	}
	return "", false
}

// describeDays tells the three day fields, with a space in front; nothing for
// every day.
func (s *Schedule) describeDays() (string, bool) {
	anyDate, anyWeekday := s.dom.set == allDays, s.dow.set == allWeek
	both := s.dom.star || s.dow.star
	switch {
	case anyDate && anyWeekday, (anyDate || anyWeekday) && !both:
		if s.month.set == allMonths {
			return "", true
		}
		months, ok := describeMonths(s.month.set)
		return " every day in " + months, ok
	case anyDate:
		return s.inMonths(" on " + describeWeekdays(s.dow.set))
	case anyWeekday:
		dates, ok := describeDates(s.dom.set)
		if !ok {
			return "", false
		}
		if s.month.set == allMonths {
			return " on " + dates + " of every month", true
		}
		months, ok := describeMonths(s.month.set)
		return " on " + dates + " of " + months, ok
	case both:
		return "", false // a date that must also be a certain weekday
	}
	dates, ok := describeDates(s.dom.set)
	if !ok {
		return "", false
	}
	text := " on " + dates + " of the month or on " + describeWeekdays(s.dow.set)
	if s.month.set != allMonths {
		text += "," // the months belong to both
	}
	return s.inMonths(text)
}

// inMonths adds the months to a text about days, unless every month matches.
func (s *Schedule) inMonths(text string) (string, bool) {
	if s.month.set == allMonths {
		return text, true
	}
	months, ok := describeMonths(s.month.set)
	return text + " in " + months, ok
}

func describeMonths(set uint64) (string, bool) {
	if from, to, ok := run(set); ok && to-from > 1 {
		return fmt.Sprintf("%s to %s", time.Month(from), time.Month(to)), true
	}
	var names []string
	for _, m := range values(set) {
		names = append(names, time.Month(m).String())
	}
	return enumerate(names), len(names) <= maxListed
}

func describeDates(set uint64) (string, bool) {
	from, to, contiguous := run(set)
	switch {
	case from == to:
		return fmt.Sprintf("day %d", from), true
	case contiguous && to-from > 1:
		return fmt.Sprintf("days %d to %d", from, to), true
	}
	return "days " + enumerate(numbers(set)), bits.OnesCount64(set) <= maxListed
}

func describeWeekdays(set uint64) string {
	switch set {
	case weekdays:
		return "weekdays"
	case weekend:
		return "weekends"
	}
	var names []string
	for i := range 7 {
		if day := (i + 1) % 7; set>>day&1 == 1 { // the week begins on Monday
			names = append(names, time.Weekday(day).String()+"s")
		}
	}
	return enumerate(names)
}

// values lists the members of a set in order.
func values(set uint64) []int {
	var out []int
	for ; set != 0; set &= set - 1 {
		out = append(out, bits.TrailingZeros64(set))
	}
	return out
}

func numbers(set uint64) []string {
	var out []string
	for _, n := range values(set) {
		out = append(out, fmt.Sprint(n))
	}
	return out
}

// run reports whether the members of a set follow each other, and its ends.
func run(set uint64) (from, to int, contiguous bool) {
	from, to = bits.TrailingZeros64(set), bits.Len64(set)-1
	return from, to, bits.OnesCount64(set) == to-from+1
}

// stepOf returns n if the set is every nth of 0..size-1, begins at 0 and comes
// out even, so that "every n" stays true over the end; else 0.
func stepOf(set uint64, size int) int {
	all := values(set)
	if len(all) < 2 || size%len(all) != 0 {
		return 0
	}
	step := size / len(all)
	for i, n := range all {
		if n != i*step {
			return 0
		}
	}
	return step
}

func clockTime(hour, minute int) string { return fmt.Sprintf("%02d:%02d", hour, minute) }

// enumerate joins words as English does: "a, b and c".
func enumerate(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
