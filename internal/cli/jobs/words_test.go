package jobs

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"pgregory.net/rapid"

	"github.com/gatewaycron/gatewaycron/internal/jobfield"
)

func TestSuggest(t *testing.T) {
	for schedule, want := range map[string]string{
		"every weekday at 9":           `Did you mean "0 9 * * 1-5"?`,
		"weekdays at 9:30":             `Did you mean "30 9 * * 1-5"?`,
		"9am daily":                    `Did you mean "0 9 * * *"?`,
		"daily":                        `Did you mean "0 9 * * *"?`,
		"every day at 6 pm":            `Did you mean "0 18 * * *"?`,
		"every day at 12 am":           `Did you mean "0 0 * * *"?`,
		"at noon":                      `Did you mean "0 12 * * *"?`,
		"midnight":                     `Did you mean "0 0 * * *"?`,
		"Mondays and Fridays at 17:45": `Did you mean "45 17 * * 1,5"?`,
		"on the weekend":               `Did you mean "0 9 * * 0,6"?`,
		"monthly at 8":                 `Did you mean "0 8 1 * *"?`,
		"every 5 minutes":              "For a run each so often: --every 5m",
		"every hour":                   "For a run each so often: --every 1h",
		"every 3 months":               `Write five cron fields, like "0 9 * * 1-5" for weekdays at 9, or --every 5m, or --at 2027-01-01T09:00:00+01:00.`,
		"@every 90s":                   "For a run each so often: --every 90s",
		"5m":                           "For a run each so often: --every 5m",
		"0 0 9 * * MON-FRI":            `A schedule has five fields, without seconds: "0 9 * * MON-FRI"`,
		"0 9 * *":                      `A schedule has five fields, minute hour day month weekday: "0 9 * * 1-5" is weekdays at 9.`,
		"0 25 * * *":                   `A schedule has five fields, minute hour day month weekday: "0 9 * * 1-5" is weekdays at 9.`,
		"2027-01-01 09:00:00+01:00":    "For one run at a time: --at 2027-01-01T09:00:00+01:00",
		"when the moon is full":        `Write five cron fields, like "0 9 * * 1-5" for weekdays at 9, or --every 5m, or --at 2027-01-01T09:00:00+01:00.`,
		"":                             `Write five cron fields, like "0 9 * * 1-5" for weekdays at 9, or --every 5m, or --at 2027-01-01T09:00:00+01:00.`,
	} {
		if got := suggest(schedule); got != want {
			t.Errorf("%q: %s, want %s", schedule, got, want)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]int{"90s": 90, "5m": 300, "2h": 7200, "1d": 86400, "1w": 604800, "1h30m": 5400, "1H 30M": 5400, "0s": 0} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%q: %d %v", text, got, err)
		}
	}
	for _, text := range []string{"", "5", "m", "-5m", "1.5h", "5 minutes", "5ms", "999999999w", "1000000000s1s", "٥m"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		seconds := rapid.IntRange(0, maxSeconds).Draw(t, "seconds")
		if got, err := parseDuration(formatDuration(seconds)); err != nil || got != seconds {
			t.Fatalf("%s is %d: %v", formatDuration(seconds), got, err)
		}
	})
}

func TestInstants(t *testing.T) {
	const berlin = "Europe/Berlin"
	for _, tt := range []struct{ text, zone, want, problem string }{
		{"2027-01-01T09:00:00+01:00", "", "2027-01-01T09:00:00+01:00", ""},
		{"2027-01-01T09:00Z", "", "2027-01-01T09:00:00Z", ""},
		{"2027-07-01 09:00", berlin, "2027-07-01T09:00:00+02:00", ""},
		{"2027-01-01T09:00:30", berlin, "2027-01-01T09:00:30+01:00", ""},
		{"2027-01-01", berlin, "2027-01-01T00:00:00+01:00", ""},
		{"2027-03-28 04:00", berlin, "2027-03-28T04:00:00+02:00", ""},
		{"2027-01-01 09:00", "", "", "needs an offset"},
		{"2027-01-01 09:00", "Mars/Base", "", "there is no zone"},
		{"2027-03-28 02:30", berlin, "", "never comes on the clocks of Europe/Berlin"},
		{"2027-10-31 02:30", berlin, "", "comes twice on the clocks of Europe/Berlin: 2027-10-31T02:30:00+02:00 or 2027-10-31T02:30:00+01:00"},
		{"9 o'clock", berlin, "", "must be a time like"},
		{"2027-02-30", berlin, "", "must be a time like"},
	} {
		got, err := parseInstant(tt.text, tt.zone)
		if got != tt.want || (err == nil) != (tt.problem == "") || err != nil && !strings.Contains(err.Error(), tt.problem) {
			t.Errorf("%s %s: %s %v", tt.text, tt.zone, got, err)
		}
	}
}

// TestNothingEscapes: what strangers wrote cannot move the cursor, and a cut text has the
// width that it was cut to.
func TestNothingEscapes(t *testing.T) {
	if got := printable("a\x1b]0;title\x07b\u202ec\r\nd\te\u009bf\x00"); got != "a]0;titlebc\nd ef" {
		t.Errorf("%q", got)
	}
	if got := fit("日本語のテキスト", 7); got != "日本語…" {
		t.Errorf("%q", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		text := oneLine(rapid.String().Draw(t, "text"))
		width := rapid.IntRange(1, 40).Draw(t, "width")
		if strings.ContainsAny(text, "\x1b\n\r\x07") || columns(fit(text, width)) > width {
			t.Fatalf("%q cut to %d is %q", text, width, fit(text, width))
		}
	})
}

// TestEveryFieldHasAFlag of its own, and a text for it.
func TestEveryFieldHasAFlag(t *testing.T) {
	flags := map[string]bool{}
	for _, f := range jobfield.All() {
		if f.Flag == "" || f.Usage == "" && f.Text == "" || flags[f.Flag] {
			t.Errorf("%s has the flag %q", f.Name, f.Flag)
		}
		flags[f.Flag] = true
	}
}

// TestHelp: each command tells what it does, by example, and what its exit codes mean.
func TestHelp(t *testing.T) {
	b := setup(t, nil)
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		path := strings.Fields(cmd.CommandPath())
		if cmd.Short == "" || !strings.Contains(cmd.Example, "gateway-cron "+cmd.CommandPath()) {
			t.Errorf("%q has no text or no example", path)
		}
		out := b.ok(append(path, "--help")...)
		if !strings.Contains(out, "4 refused;") || !strings.Contains(out, "--url") {
			t.Errorf("%q does not tell its exit codes or where to:\n%s", path, out)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%q: --%s has no text", path, f.Name)
			}
		})
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	for _, cmd := range Commands(b.options) {
		walk(cmd)
	}
}

func TestCompletion(t *testing.T) {
	const found = `{"jobs":[{"id":"zz","name":"Zoo"}]}`
	b := setup(t, map[string][]reply{
		"GET /api/cron/jobs": {{serve: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("match") { // one beyond the first page
				io.WriteString(w, found)
				return
			}
			io.WriteString(w, `{"jobs":[{"id":"job_a","name":"Morning","labels":["ops","daily"],"agentId":"main","channel":"telegram"},{"id":"job_b","task":"Look\nafter","labels":["ops"],"channel":"slack"},
				{"id":"x","name":"Mad\u001b[2J"}],"nextCursor":"more"}`)
		}}},
		"GET /api/cron/runs":   one200(`{"runs":[{"id":"job_a:1","jobName":"Morning","state":"done","outcome":"failed","createdAt":1795438740000},{"id":"job_b:manual:01M","state":"running","createdAt":1795442340000}]}`),
		"GET /api/cron/tokens": one200(`{"tokens":[{"id":"abc","name":"tools"},{"id":"abd","name":"old","revokedAt":1}]}`),
	})
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{[]string{"job", "show", "job_"}, []string{"job_a\tMorning", "job_b\tLook after", ":4"}},
		{[]string{"job", "run", ""}, []string{"job_a\tMorning", "job_b\tLook after", "x\tMad[2J", ":4"}},
		{[]string{"job", "pause", "M"}, []string{"Morning\tjob_a", ":4"}},
		{[]string{"job", "delete", "zz"}, []string{"zz\tZoo", ":4"}},
		{[]string{"job", "show", "job_a", ""}, []string{":4"}},
		{[]string{"job", "add", "--overlap", ""}, []string{"skip", "queue_one", "allow", "cancel_previous", ":4"}},
		{[]string{"job", "list", "--outcome", ""}, []string{"succeeded", "failed", "timed_out", "cancelled", "skipped", "missed", ":4"}},
		{[]string{"job", "list", "--label", ""}, []string{"daily", "ops", ":4"}},
		{[]string{"job", "add", "--agent", ""}, []string{"main", ":4"}},
		{[]string{"job", "edit", "a", "--channel", "t"}, []string{"telegram", ":4"}},
		{[]string{"token", "create", "--agent", "m"}, []string{"main", ":4"}},
		{[]string{"run", "list", "--state", "r"}, []string{"running", ":4"}},
		{[]string{"run", "list", "--job", "j"}, []string{"job_a\tMorning", "job_b\tLook after", ":4"}},
		{[]string{"run", "show", ""}, []string{"job_a:1\tfailed 61 min ago Morning", "job_b:manual:01M\trunning 60 s ago", ":4"}},
		{[]string{"run", "cancel", "job_b"}, []string{"job_b:manual:01M\trunning 60 s ago", ":4"}},
		{[]string{"token", "revoke", "a"}, []string{"abc\ttools", ":4"}},
		{[]string{"job", "add", "--tz", "europe/berl"}, []string{"Europe/Berlin", ":4"}},
		{[]string{"job", "next", "--tz", "Asia/Tok"}, []string{"Asia/Tokyo", ":4"}},
	} {
		out := b.ok(append([]string{"__complete"}, tt.args...)...)
		got := slices.DeleteFunc(strings.Split(strings.TrimSpace(out), "\n"), func(line string) bool {
			return tt.args[len(tt.args)-1] == "r" && line != "running" && line != ":4" // fixed words are left to the shell
		})
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q", tt.args, got)
		}
	}
	b.api.replies = nil
	for _, args := range [][]string{{"job", "show", ""}, {"run", "show", ""}, {"token", "revoke", ""}, {"job", "list", "--label", ""}} {
		if out := b.ok(append([]string{"__complete"}, args...)...); strings.TrimSpace(out) != ":4" {
			t.Errorf("%q without an API: %q", args, out)
		}
	}
}

// TestZones are ones that there are.
func TestZones(t *testing.T) {
	for _, name := range zones() {
		if _, err := time.LoadLocation(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
