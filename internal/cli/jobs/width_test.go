package jobs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// What the API makes ids of: two jobs of one millisecond, and one that somebody chose.
const (
	firstID  = "job_01m83mjkge4cp4pd476svfty9y"
	secondID = "job_01m83mjkge4cp4pd476svfty9z"
	thirdID  = "job_01m9zzzzzz4cp4pd476svfty9y"
	chosenID = "customer-0001-weekly-report-of-everything"
)

var wideJobs = `{"jobs":[
{"id":"` + firstID + `","name":"Morning summary of the inbox and the calendar","schedule":"0 9 * * 1-5","timezone":"Europe/Berlin","enabled":true,"nextRunAt":1795507200000,"lastOutcome":"succeeded","lastRunAt":1795420800000},
{"id":"job_01m83mjkgf4cp4pd476svfty9y","name":"✅ 🇩🇪 👨‍👩‍👧‍👦","schedule":"*/15 * * * *","timezone":"America/Argentina/Buenos_Aires","enabled":true,"nextRunAt":1795443300000},
{"id":"` + thirdID + `","name":"e\u0301te\u0301 日本語 ❤️ 1️⃣","every":5400,"timezone":"UTC","enabled":true,"nextRunAt":1795443300000,"lastOutcome":"failed","lastRunAt":1795420800000},
{"id":"` + chosenID + `","task":"a\u202eb\u001b[31mc\u2066d\u0007","at":1798775400000,"timezone":"Asia/Kolkata","enabled":false}]}`

var wideRuns = `{"runs":[
{"id":"` + firstID + `:1795420800","jobId":"` + firstID + `","jobName":"Morning summary of the inbox","state":"done","outcome":"succeeded","slot":1795420800000,"startedAt":1795420800100,"finishedAt":1795420804400,"delivery":"delivered","reply":"Two mails, none of which is urgent"},
{"id":"` + firstID + `:manual:01M8ABCDEF4CP4PD476SVFTY9Y","jobId":"` + firstID + `","jobName":"Morning summary of the inbox","state":"done","outcome":"failed","error":"the model said no","createdAt":1795420807000,"startedAt":1795420807100,"finishedAt":1795420897400,"delivery":"not_requested"},
{"id":"` + firstID + `:manual:01M8ABCDEG4CP4PD476SVFTY9Z","jobId":"` + firstID + `","jobName":"✅ 🇩🇪","state":"running","createdAt":1795442340000,"startedAt":1795442340000},
{"id":"` + thirdID + `:1795334400","jobId":"` + thirdID + `","jobName":"面包","state":"done","outcome":"skipped","reason":"overlap","count":3,"slot":1795334400000,"lastSlot":1795334600000}]}`

var wideUpcoming = `{"upcoming":[
{"jobId":"` + firstID + `","name":"Morning summary of the inbox","at":1795507200000,"timezone":"America/Argentina/Buenos_Aires","description":"At 09:00 on weekdays"},
{"jobId":"` + thirdID + `","name":"👨‍👩‍👧‍👦","at":1795507207000,"timezone":"Europe/Berlin","description":"Every minute"}]}`

var wideTokens = `{"tokens":[
{"id":"abcdefghijklmnop","name":"tools of main","agentId":"main","jobs":2,"maxJobs":20,"minIntervalSeconds":900,"maxRunsPerDay":50,"lastUsedAt":1795442340000},
{"id":"abcdefghijklmnoq","name":"✅ the chat of somebody","sessionKey":"agent:main:telegram:dm:123456789","jobs":0,"maxJobs":100,"revokedAt":1795442340000}]}`

// TestListsFitTheTerminal: at 80 columns no line wraps and columns stand under their
// titles; with more room there is more to see, and a pipe has all of it.
func TestListsFitTheTerminal(t *testing.T) {
	lists := map[string]map[string][]reply{
		"job list":            {"GET /api/cron/jobs": one200(wideJobs)},
		"run list":            {"GET /api/cron/runs": one200(wideRuns)},
		"job runs " + firstID: {"GET /api/cron/jobs/" + firstID + "/runs": one200(wideRuns), "GET /api/cron/jobs/" + firstID: one200(aJob)},
		"job next":            {"GET /api/cron/upcoming": one200(wideUpcoming)},
		"token list":          {"GET /api/cron/tokens": one200(wideTokens)},
	}
	for command, replies := range lists {
		for _, width := range []int{80, 120, 200, 0} {
			name := fmt.Sprintf("%s at %d", strings.Join(strings.Fields(command)[:2], " "), width)
			t.Run(name, func(t *testing.T) {
				b := setup(t, replies)
				b.options.Terminal.Width, b.env["NO_COLOR"] = width, "1"
				out := b.ok(strings.Fields(command)...)
				if d := cmp.Diff(golden(t, name, out), out); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
			})
		}
		for width := 20; width < 300; width += 9 {
			b := setup(t, replies)
			b.options.Terminal.Width, b.env["NO_COLOR"] = width, "1"
			for line := range strings.Lines(b.ok(strings.Fields(command)...)) {
				if got := columns(strings.TrimSuffix(line, "\n")); got > width {
					t.Errorf("%s: a line of %d columns at %d: %q", command, got, width, line)
				}
			}
		}
	}
}

// TestIDsStayWhole: also where only the last character tells two jobs from each other,
// what a list shows of an id can be copied.
func TestIDsStayWhole(t *testing.T) {
	for command, replies := range map[string]map[string][]reply{
		"job list": {"GET /api/cron/jobs": one200(strings.ReplaceAll(wideJobs, thirdID, secondID))},
		"run list": {"GET /api/cron/runs": one200(strings.ReplaceAll(wideRuns, thirdID, secondID))},
	} {
		b := setup(t, replies)
		b.options.Terminal.Width = 80
		out := b.ok(strings.Fields(command)...)
		for line := range strings.Lines(out) {
			if strings.Contains(strings.Fields(line)[0], "…") || !strings.Contains(out, firstID) || !strings.Contains(out, secondID) {
				t.Errorf("%s: %s", command, out)
			}
		}
	}
}

// TestWidths are those that terminals show.
func TestWidths(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "a": 1, "✅": 2, "🇩🇪": 2, "👨‍👩‍👧‍👦": 2, "👍🏽": 2, "❤️": 2, "1️⃣": 2, "e\u0301": 1, "\u1112\u1161\u11ab": 2, "日本": 4, "ｱ": 1, "Ａ": 2, "…": 1, "☂": 1, "⌚": 2, "\u200d": 0, "a\u0301\u0302\u0303": 1,
	} {
		if got := columns(text); got != want {
			t.Errorf("%q is %d columns, want %d", text, got, want)
		}
	}
	for _, tt := range []struct {
		text  string
		width int
		want  string
	}{
		{"✅🇩🇪👨‍👩‍👧‍👦", 6, "✅🇩🇪👨‍👩‍👧‍👦"},
		{"✅🇩🇪👨‍👩‍👧‍👦", 5, "✅🇩🇪…"},
		{"✅🇩🇪👨‍👩‍👧‍👦", 4, "✅…"},
		{"e\u0301e\u0301e\u0301", 2, "e\u0301…"},
		{"ab", 1, "…"},
		{"ab", 0, ""},
	} {
		if got := fit(tt.text, tt.width); got != tt.want {
			t.Errorf("%q cut to %d is %q, want %q", tt.text, tt.width, got, tt.want)
		}
	}
}

// TestShortIDs: what is cut off an id leaves one that names no other.
func TestShortIDs(t *testing.T) {
	got := shortJobs([]string{firstID, thirdID, "morning", chosenID, firstID})
	want := map[string]string{firstID: "job_01m83mjkge", thirdID: "job_01m9zzzzzz", "morning": "morning", chosenID: "customer-0001-weekly-rep"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfDistinct(rapid.StringMatching(`[ab]{1,6}`), rapid.ID).Draw(t, "ids")
		for id, short := range shorten(ids, func(string) int { return 2 }) {
			for _, other := range ids {
				if other != id && short != id && strings.HasPrefix(other, short) || !strings.HasPrefix(id, short) {
					t.Fatalf("%s of %s is the beginning of %s", short, id, other)
				}
			}
		}
	})
}
