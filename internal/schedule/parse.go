package schedule

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// maxExprBytes bounds an expression. The longest useful one, every value of
// every field listed, does not need more.
const maxExprBytes = 256

// The names of fields in a Problem.
const (
	fieldSchedule = "schedule"
	fieldTimezone = "timezone"
)

const (
	exampleSchedule = `"0 9 * * 1-5"`
	exampleTimezone = `"Europe/Berlin"`
)

// Problem is one thing wrong with the input of Parse. Detail goes on where a
// sentence that begins with the field's name would.
type Problem struct {
	Field   string // "schedule" or "timezone"
	Detail  string
	Example string // a JSON value that works
}

// ParseError lists every problem of an expression and its zone.
type ParseError struct{ Problems []Problem }

func (e *ParseError) Error() string {
	parts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		parts[i] = p.Field + " " + p.Detail
	}
	return strings.Join(parts, "; ")
}

// firesAfter is where the search of a schedule's first slot begins when Parse
// decides whether it fires at all. It is a constant so that the answer does not
// change with the day on which it is asked.
var firesAfter = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Parse reads a standard 5-field cron expression, or one of the macros @hourly,
// @daily, @midnight, @weekly, @monthly, @yearly and @annually, and the IANA name
// of a zone; "" is UTC. Beside what is malformed it refuses what never fires.
// Any error is a *ParseError.
func Parse(expr, zone string) (*Schedule, error) {
	s, problems := parseExpr(expr)
	loc, err := loadZone(zone)
	if err != nil {
		problems = append(problems, Problem{fieldTimezone, err.Error(), exampleTimezone})
		loc = time.UTC // a date that never comes is reported all the same
	}
	if s != nil {
		s.loc = loc
		if _, ok := s.Next(firesAfter); !ok {
			problems = append([]Problem{scheduleProblem("never fires: there is no such date or time in the next 100 years")}, problems...)
		}
	}
	if len(problems) > 0 {
		return nil, &ParseError{problems}
	}
	return s, nil
}

func scheduleProblem(format string, args ...any) Problem {
	return Problem{fieldSchedule, fmt.Sprintf(format, args...), exampleSchedule}
}

// macros are the accepted short forms.
var macros = map[string]string{
	"@hourly":   "0 * * * *",
	"@daily":    "0 0 * * *",
	"@midnight": "0 0 * * *",
	"@weekly":   "0 0 * * 0",
	"@monthly":  "0 0 1 * *",
	"@yearly":   "0 0 1 1 *",
	"@annually": "0 0 1 1 *",
}

// fieldKind is what one of the five fields may hold.
type fieldKind struct {
	name      string
	low, high int
	names     []string // of low, low+1, ...
}

var fieldKinds = [5]fieldKind{
	{name: "minute", low: 0, high: 59},
	{name: "hour", low: 0, high: 23},
	{name: "day-of-month", low: 1, high: 31},
	{name: "month", low: 1, high: 12, names: []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}},
	{name: "day-of-week", low: 0, high: 7, names: []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}},
}

// field is the meaning of a parsed field.
type field struct {
	set  uint64 // bit n: the value n matches; Sunday is 0 only
	star bool   // the text starts with *
}

func (f field) has(n int) bool { return f.set>>n&1 == 1 }
func (f field) last() int      { return bits.Len64(f.set) - 1 }

// parseExpr parses everything but the zone.
func parseExpr(expr string) (*Schedule, []Problem) {
	if len(expr) > maxExprBytes {
		return nil, []Problem{scheduleProblem("is %d bytes long; at most %d are allowed", len(expr), maxExprBytes)}
	}
	for _, r := range expr {
		if r != '\t' && (r < ' ' || r > '~') {
			return nil, []Problem{scheduleProblem("contains %+q; only printable ASCII is allowed", r)}
		}
	}
	texts := strings.FieldsFunc(expr, isBlank)
	if len(texts) == 1 {
		if expanded, ok := macros[strings.ToLower(texts[0])]; ok {
			texts = strings.Fields(expanded)
		}
	}
	if detail := shapeProblem(texts); detail != "" {
		return nil, []Problem{scheduleProblem("%s", detail)}
	}

	var problems []Problem
	var fields [5]field
	var clock [5]string
	for i, kind := range fieldKinds {
		var err error
		if fields[i], clock[i], err = kind.parse(texts[i]); err != nil {
			problems = append(problems, scheduleProblem("%s %s", kind.name, err))
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	s := &Schedule{
		expr:   strings.Join(texts, " "),
		minute: fields[0], hour: fields[1], dom: fields[2], month: fields[3], dow: fields[4],
		clock: strings.Join(clock[:], " "),
	}
	s.lastOfDay = s.hour.last()*60 + s.minute.last()
	return s, nil
}

func isBlank(r rune) bool { return r == ' ' || r == '\t' }

// shapeProblem says what is wrong with the number of fields, with a hint where
// the text is of a known other dialect.
func shapeProblem(texts []string) string {
	if len(texts) == 0 {
		return "is empty; give 5 cron fields: minute hour day-of-month month day-of-week"
	}
	first := strings.ToUpper(texts[0])
	switch {
	case first == "@REBOOT":
		return "@reboot is not supported: a schedule here is made of times, not of restarts"
	case first == "@EVERY":
		return `@every is not supported; for every 15 minutes write "*/15 * * * *"`
	case strings.HasPrefix(first, "@"):
		return fmt.Sprintf("%s is not a known macro; use @hourly, @daily, @weekly, @monthly, @yearly or 5 cron fields", quote(texts[0]))
	case strings.HasPrefix(first, "TZ=") || strings.HasPrefix(first, "CRON_TZ="):
		return "must not contain the zone; give it in the timezone field"
	case len(texts) == 6 || len(texts) == 7:
		return fmt.Sprintf("has %d fields; 5 are expected: minute hour day-of-month month day-of-week, without seconds or years", len(texts))
	case len(texts) != 5:
		return fmt.Sprintf("has %d fields; 5 are expected: minute hour day-of-month month day-of-week", len(texts))
	}
	return ""
}

// parse reads one field. clock is the same field as gronx is given it: plain
// numbers, written by us, so that no spelling of the user's reaches its parser.
func (k fieldKind) parse(text string) (f field, clock string, err error) {
	f.star = strings.HasPrefix(text, "*")
	var items []string
	for text := range strings.SplitSeq(text, ",") {
		it, err := k.parseItem(text)
		if err != nil {
			return field{}, "", err
		}
		for n := it.low; n <= it.high; n += it.step {
			f.set |= 1 << n
		}
		items = append(items, it.clock())
	}
	if k.high == 7 {
		f.set = (f.set | f.set>>7) & 0x7f
	}
	return f, strings.Join(items, ","), nil
}

// item is one element of a field's list.
type item struct {
	low, high, step int
	star            bool
}

// clock writes the item for gronx.
func (it item) clock() string {
	var span string
	switch {
	case it.star:
		span = "*"
	case it.low == it.high:
		return strconv.Itoa(it.low)
	default:
		span = fmt.Sprintf("%d-%d", it.low, it.high)
	}
	if it.step > 1 {
		span += "/" + strconv.Itoa(it.step)
	}
	return span
}

// parseItem reads *, n, a-b, */step or a-b/step.
func (k fieldKind) parseItem(text string) (item, error) {
	if err := k.dialectError(text); err != nil {
		return item{}, err
	}
	span, stepText, stepped := strings.Cut(text, "/")
	lowText, highText, ranged := strings.Cut(span, "-")
	it := item{low: k.low, high: k.high, step: 1, star: span == "*"}
	if !it.star {
		var err error
		if it.low, err = k.value(lowText); err != nil {
			return item{}, err
		}
		it.high = it.low
		if ranged {
			if it.high, err = k.value(highText); err != nil {
				return item{}, err
			}
		}
	}
	switch {
	case it.low > it.high && k.high == 7 && it.high == 0:
		return item{}, fmt.Errorf("range %s runs backwards; Sunday at the end of a range is 7: %d-7", quote(span), it.low)
	case it.low > it.high:
		return item{}, fmt.Errorf("range %s runs backwards; split it: %d-%d,%d-%d", quote(span), it.low, k.highest(), k.low, it.high)
	case stepped && !ranged && !it.star:
		return item{}, fmt.Errorf("%s has a step on a single value; a step needs * or a range such as %d-%d", quote(text), it.low, k.highest())
	case stepped:
		var err error
		if it.step, err = number(stepText); err != nil || it.step < 1 {
			return item{}, fmt.Errorf("step in %s must be a number from 1 to 9999", quote(text))
		}
	}
	return it, nil
}

// dialectError names the items of other cron dialects, so that the answer says
// more than "not a number".
func (k fieldKind) dialectError(text string) error {
	switch {
	case text == "":
		return errors.New("has an empty item; separate values by single commas")
	case strings.Contains(text, "?"):
		return errors.New("must not contain ?; write *")
	case strings.Contains(text, "#"):
		return errors.New("must not contain #: the nth weekday of a month cannot be expressed")
	case strings.ContainsAny(text[:1], "+-"):
		return fmt.Errorf("%s has a sign; values are plain numbers", quote(text))
	case k.names == nil && isDialectLetter(text):
		return fmt.Errorf("%s is not supported: there is no last day and no nearest weekday in 5-field cron", quote(text))
	}
	return nil
}

// isDialectLetter reports whether text uses the L or W of Quartz.
func isDialectLetter(text string) bool {
	trimmed := strings.Trim(strings.ToUpper(text), "0123456789-")
	return trimmed == "L" || trimmed == "W" || trimmed == "LW"
}

// highest is the largest value worth writing: 6 for a weekday, where 7 is Sunday
// again.
func (k fieldKind) highest() int {
	if k.high == 7 {
		return 6
	}
	return k.high
}

// value reads a number or, where the field has them, a name.
func (k fieldKind) value(text string) (int, error) {
	for i, name := range k.names {
		if strings.EqualFold(text, name) {
			return k.low + i, nil
		}
	}
	n, err := number(text)
	switch {
	case err != nil && k.names != nil:
		return 0, fmt.Errorf("%s is neither a number from %d to %d nor one of %s to %s", quote(text), k.low, k.high, k.names[0], k.names[len(k.names)-1])
	case err != nil:
		return 0, fmt.Errorf("%s is not a number from %d to %d", quote(text), k.low, k.high)
	case n < k.low || n > k.high:
		return 0, fmt.Errorf("%d is outside %d-%d", n, k.low, k.high)
	}
	return n, nil
}

// number reads one to four decimal digits and nothing else.
func number(text string) (int, error) {
	if len(text) == 0 || len(text) > 4 || strings.Trim(text, "0123456789") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.Atoi(text)
}

// quote shows a piece of the input in an error.
func quote(text string) string { return strconv.Quote(clip(text)) }

// clip bounds a piece of the input that is shown in an error.
func clip(text string) string {
	const most = 32
	if len(text) > most {
		return text[:most] + "..."
	}
	return text
}
