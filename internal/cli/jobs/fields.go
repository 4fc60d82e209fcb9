package jobs

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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
// It is the one place to add one.
func fields() []field {
	return []field{
		{"schedule", "schedule", kindText, `five cron fields, like "0 9 * * 1-5", or @hourly, @daily, @weekly, @monthly`, nil},
		{"every", "every", kindSeconds, "run each so often, like 5m, 2h or 1d, instead of a schedule", nil},
		{"at", "at", kindInstant, "run once at this time, like 2027-01-01T09:00:00+01:00, instead of a schedule", nil},
		{"at", "in", kindFromNow, "run once so long from now, like 20m, instead of a schedule", nil},
		{"timezone", "tz", kindText, "IANA zone of the schedule, like Europe/Berlin (default UTC)", nil},
		{"startAt", "start", kindInstant, "no run before this time", nil},
		{"endAt", "end", kindInstant, "no run after this time", nil},
		{"jitterSeconds", "jitter", kindSeconds, "put runs off by up to so much, the same for each run of the job", nil},
		{"task", "task", kindText, "what the agent is to do", nil},
		{"name", "name", kindText, "one line, for people", nil},
		{"labels", "label", kindTexts, "label to find the job by, like team:ops; may be given several times", nil},
		{"enabled", "enabled", kindTruth, "false pauses the job", nil},
		{"channel", "channel", kindText, "where replies go, like telegram; with --chat", nil},
		{"chatId", "chat", kindText, "chat that replies go to", nil},
		{"peerId", "peer", kindText, "the person in the chat", nil},
		{"threadId", "thread", kindText, "thread of the chat", nil},
		{"isGroup", "group", kindTruth, "whether the chat is a group", nil},
		{"deliver", "deliver", kindText, "what goes to the chat (default always)", []string{"always", "on_failure", "never"}},
		{"alertChannel", "alert-channel", kindText, "where it is told that the job fails; with --alert-chat; none for nowhere (default the job's chat, else whoever the deployment tells)", nil},
		{"alertChatId", "alert-chat", kindText, "chat that is told", nil},
		{"alertThreadId", "alert-thread", kindText, "thread of that chat", nil},
		{"alertAfter", "alert-after", kindNumber, "tell after so many failures in a row (default 2; 1 if the next run is over an hour away)", nil},
		{"alertCooldownSeconds", "alert-cooldown", kindSeconds, "how long it then tells of no other (default 1h)", nil},
		{"agentId", "agent", kindText, "the agent (default main)", nil},
		{"sessionKey", "session", kindText, "conversation that the runs go into (default that of the chat)", nil},
		{"context", "context", kindText, "isolated starts each run with nothing (default session)", []string{"session", "isolated"}},
		{"model", "model", kindText, "model (default the ai-server's)", nil},
		{"reasoningEffort", "effort", kindText, "reasoning effort of the model", nil},
		{"allowScheduling", "allow-scheduling", kindTruth, "leave the agent the tools that make and run jobs", nil},
		{"maxRuns", "max-runs", kindNumber, "delete the job after so many runs", nil},
		{"overlap", "overlap", kindText, "when the last run has not ended (default skip)", []string{"skip", "queue_one", "allow", "cancel_previous"}},
		{"misfire", "misfire", kindText, "what to do about missed runs (default run_once)", []string{"run_once", "run_all", "skip"}},
		{"misfireGraceSeconds", "misfire-grace", kindSeconds, "how late a missed run may be made (default 1h)", nil},
		{"timeoutSeconds", "timeout", kindSeconds, "limit of one attempt (default 15m)", nil},
		{"maxRetries", "max-retries", kindNumber, "how often a failed run is tried again (default 3)", nil},
		{"retryDelaysSeconds", "retry-delays", kindDelays, "how long to wait before each retry (default 30s,1m,5m)", nil},
		{"onAmbiguous", "on-ambiguous", kindText, "after an attempt whose outcome nobody knows (default retry)", []string{"retry", "fail"}},
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
