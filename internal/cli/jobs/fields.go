package jobs

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gatewaycron/gatewaycron/internal/jobfield"
)

// kind is how a field is written on the command line, and shown.
type kind string

const (
	kindText     kind = "text"
	kindNumber   kind = "number"
	kindTruth    kind = "true|false"
	kindSeconds  kind = "duration"
	kindDelays   kind = "durations" // several
	kindInstant  kind = "time"
	kindFromNow  kind = "in" // an instant, said as a duration
	kindTexts    kind = "texts"
	noTimingHint      = `"0 9 * * 1-5", --every 5m, --in 20m or --at 2027-01-01T09:00:00+01:00`
)

// field is a field of a job: its name in the API and its flag.
type field struct {
	api, flag string
	kind      kind
	usage     string
	choices   []string
}

// fields are all fields of a job that can be set, in the order in which they are shown.
func fields() []field {
	var all []field
	for _, f := range jobfield.All() {
		if f.Flag == "" {
			continue
		}
		all = append(all, field{f.Name, f.Flag, kindOf(f), cmp.Or(f.Usage, f.Plain()), f.Choices})
		if f.Name == "at" {
			all = append(all, field{f.Name, "in", kindFromNow, "run once so long from now, like 20m, instead of a schedule", nil})
		}
	}
	return all
}

// kindOf is how the values of a field are written.
func kindOf(f jobfield.Field) kind {
	switch f.Kind {
	case jobfield.Number:
		return kindNumber
	case jobfield.Seconds:
		return kindSeconds
	case jobfield.Truth, jobfield.MaybeTruth:
		return kindTruth
	case jobfield.Instant:
		return kindInstant
	case jobfield.Labels:
		return kindTexts
	case jobfield.Delays:
		return kindDelays
	default:
		return kindText
	}
}

func fieldOf(apiName string) (field, bool) {
	all := fields()
	i := slices.IndexFunc(all, func(f field) bool { return f.api == apiName })
	if i < 0 {
		return field{}, false
	}
	return all[i], true
}

// flagOf is what the command line calls a field of the API.
func flagOf(apiName string) string {
	if f, ok := fieldOf(apiName); ok {
		return "--" + f.flag
	}
	return apiName
}

// synonyms are other words for our flags: the API's and other tools'.
func synonyms() map[string]string {
	m := map[string]string{"zone": "tz", "prompt": "task", "message": "task", "cron": "schedule", "labels": "label",
		"agent-id": "agent", "chat-id": "chat", "peer-id": "peer", "thread-id": "thread", "session-key": "session",
		"reasoning-effort": "effort", "is-group": "group", "start-at": "start", "end-at": "end", "run-at": "at"}
	for _, f := range fields() {
		if f.flag != "in" {
			m[kebab(f.api)] = f.flag
		}
	}
	return m
}

// kebab writes maxRuns and max_runs as max-runs.
func kebab(name string) string {
	var b strings.Builder
	for _, r := range name {
		switch {
		case r == '_':
			r = '-'
		case r >= 'A' && r <= 'Z':
			b.WriteByte('-')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// normalise lets flags be written as the API writes its fields.
func normalise(cmd *cobra.Command) {
	other := synonyms()
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		name = kebab(name)
		if ours, ok := other[name]; ok {
			name = ours
		}
		return pflag.NormalizedName(name)
	})
}

// draft is what the flags of a command say about a job.
type draft struct {
	now     func() time.Time
	values  map[string]any    // by the name in the API
	flags   map[string]string // the flag that said so
	pending map[string]string // instants as written: they may need the zone
}

// newDraft adds a flag for each field that want picks.
func newDraft(cmd *cobra.Command, now func() time.Time, want func(field) bool) *draft {
	d := &draft{now: now, values: map[string]any{}, flags: map[string]string{}, pending: map[string]string{}}
	normalise(cmd)
	for _, f := range fields() {
		if !want(f) {
			continue
		}
		text := f.usage
		if len(f.choices) > 0 {
			text += ": " + strings.Join(f.choices, ", ")
		}
		flag := cmd.Flags().VarPF(&value{field: f, draft: d}, f.flag, "", text)
		if f.kind == kindTruth {
			flag.NoOptDefVal = "true"
		}
		if len(f.choices) > 0 {
			_ = cmd.RegisterFlagCompletionFunc(f.flag, cobra.FixedCompletions(f.choices, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
		}
	}
	return d
}

// value is the flag of a field.
type value struct {
	field
	draft *draft
}

// String is the default, of which the API knows more than we.
func (v *value) String() string { return "" }

// Type is what stands behind the flag in the help.
func (v *value) Type() string {
	switch v.kind {
	case kindFromNow:
		return string(kindSeconds)
	case kindTexts:
		return string(kindText)
	case kindTruth:
		return ""
	default:
		return string(v.kind)
	}
}

// Set reads one flag.
func (v *value) Set(text string) error {
	d := v.draft
	var parsed any = text
	var err error
	switch v.kind {
	case kindNumber:
		if parsed, err = strconv.Atoi(text); err != nil {
			return fmt.Errorf("must be a whole number, not %q", text)
		}
	case kindTruth:
		if parsed, err = strconv.ParseBool(text); err != nil {
			return fmt.Errorf("must be true or false, not %q", text)
		}
	case kindSeconds:
		if parsed, err = parseDuration(text); err != nil {
			return err
		}
	case kindDelays:
		var delays []int
		for part := range strings.SplitSeq(text, ",") {
			seconds, err := parseDuration(part)
			if err != nil {
				return err
			}
			delays = append(delays, seconds)
		}
		parsed = delays
	case kindFromNow:
		seconds, err := parseDuration(text)
		if err != nil {
			return err
		}
		parsed = d.now().Add(time.Duration(seconds) * time.Second).UTC().Format(time.RFC3339)
	case kindInstant:
		d.pending[v.api] = text
	case kindTexts:
		said, _ := d.values[v.api].([]string)
		parsed = append(slices.Clone(said), text)
	case kindText:
	}
	if before := d.flags[v.api]; before != "" && before != v.flag {
		return fmt.Errorf("and --%s are the same thing: give one of them", before)
	}
	d.values[v.api], d.flags[v.api] = parsed, v.flag
	return nil
}

// body is what the flags say, for a request.
func (d *draft) body(cmd *cobra.Command) (map[string]any, error) {
	zone, _ := d.values["timezone"].(string)
	for _, name := range slices.Sorted(maps.Keys(d.pending)) {
		at, err := parseInstant(d.pending[name], zone)
		if err != nil {
			return nil, usage(cmd, "%s %w", flagOf(name), err)
		}
		d.values[name] = at
	}
	var timings []string
	for _, name := range []string{"schedule", "every", "at"} {
		if flag, ok := d.flags[name]; ok {
			timings = append(timings, "--"+flag)
		}
	}
	if len(timings) > 1 {
		return nil, usage(cmd, "%s exclude each other: give one of them", strings.Join(timings, " and "))
	}
	return maps.Clone(d.values), nil
}

// formatField is a value of a field as its flag would say it.
func (t *tool) formatField(f field, raw json.RawMessage, loc *time.Location) string {
	var (
		number  int
		millis  int64
		numbers []int
		words   []string
		text    string
	)
	switch f.kind {
	case kindSeconds:
		if json.Unmarshal(raw, &number) == nil {
			return formatDuration(number)
		}
	case kindDelays:
		if json.Unmarshal(raw, &numbers) == nil {
			parts := make([]string, len(numbers))
			for i, n := range numbers {
				parts[i] = formatDuration(n)
			}
			return strings.Join(parts, ",")
		}
	case kindInstant, kindFromNow:
		if json.Unmarshal(raw, &millis) == nil {
			return t.clock(millis, loc)
		}
	case kindTexts:
		if json.Unmarshal(raw, &words) == nil {
			return strings.Join(words, ", ")
		}
	case kindText:
		if json.Unmarshal(raw, &text) == nil {
			return text
		}
	case kindNumber, kindTruth:
	}
	return string(raw)
}
