package jobs

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// watching draws until so many requests have come.
func watching(t *testing.T, b *bench, requests int, answer http.HandlerFunc, args ...string) (code int, asked []time.Duration) {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	begin := time.Now()
	b.api.replies = map[string][]reply{"GET /api/cron/jobs": {{serve: func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, time.Since(begin))
		if len(asked) == requests {
			interrupt()
		}
		answer(w, r)
	}}}}
	return b.run(ctx, args...), asked
}

// TestWatch: a list is drawn anew each so often, at the pace that the API asks for, and
// Ctrl-C is how it ends.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, nil)
		b.options.Terminal = Terminal{Width: 40, Height: 6}
		drawn := 0
		code, asked := watching(t, b, 5, func(w http.ResponseWriter, _ *http.Request) {
			switch drawn++; drawn {
			case 2:
				w.Header().Set("Retry-After", "30")
				w.WriteHeader(http.StatusTooManyRequests)
				io.WriteString(w, `{"detail":"too many"}`)
			case 3:
				w.WriteHeader(http.StatusBadGateway)
			default:
				fmt.Fprintf(w, `{"jobs":[{"id":"first","name":"draw %d %s"},{"id":"b"},{"id":"c"},{"id":"d"},{"id":"e"}]}`, drawn, strings.Repeat("long ", 20))
			}
		}, "job", "list", "--watch=5s")
		out := b.stdout.String()
		if want := "[0s 5s 35s 40s 45s]"; code != 0 || fmt.Sprint(asked) != want {
			t.Errorf("exit code %d, asked at %v, want %s", code, asked, want)
		}
		if !strings.HasPrefix(out, openScreen+clearScreen+"gateway-cron job list") || !strings.HasSuffix(out, closeScreen) || b.stderr.String() != "" {
			t.Errorf("%q, %q", out, b.stderr.String())
		}
		screens := strings.Split(strings.TrimSuffix(out, closeScreen), clearScreen)[1:]
		if len(screens) != 4 || !strings.Contains(screens[1], "too many") || !strings.Contains(screens[1], "draw 1") || !strings.Contains(screens[3], "draw 4") || strings.Contains(screens[3], "too many") {
			t.Errorf("%q", screens)
		}
		for _, s := range screens {
			lines := strings.Split(s, "\n")
			if len(lines) > 6 || !strings.HasPrefix(lines[len(lines)-1], "… ") {
				t.Errorf("%q is not for 6 rows", s)
			}
			for _, line := range lines {
				if columns(uncoloured(line)) > 40 {
					t.Errorf("%q is not for 40 columns", line)
				}
			}
		}
	})
}

func uncoloured(line string) string {
	for _, s := range []style{good, bad, faint} {
		line = strings.ReplaceAll(line, "\x1b["+string(s)+"m", "")
	}
	return strings.ReplaceAll(line, "\x1b[0m", "")
}

// TestWatchOfABadStatus goes on: that is what somebody watches it for.
func TestWatchOfABadStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		asked := 0
		b := setup(t, map[string][]reply{"GET /api/cron/status": {{serve: func(w http.ResponseWriter, _ *http.Request) {
			if asked++; asked == 4 {
				interrupt()
			}
			io.WriteString(w, `{"health":{"state":"failing","reasons":[{"code":"no_scheduler","state":"failing","text":"no scheduler runs"}]}}`)
		}}}})
		b.options.Terminal.Width = 80
		if code := b.run(ctx, "status", "--watch"); code != 0 || asked != 4 || strings.Count(b.stdout.String(), "no scheduler runs") != 3 {
			t.Errorf("exit code %d after %d requests: %q", code, asked, b.stdout.String())
		}
	})
}

// TestWatchEnds at once where another look would tell no more.
func TestWatchEnds(t *testing.T) {
	for _, tt := range []struct {
		name, args, said string
		width, status    int
		code             int
	}{
		{"not a terminal", "job list --watch", "--watch draws on a terminal", 0, 200, exitUsage},
		{"for programs", "job list --watch --json", "--watch draws on a terminal", 80, 200, exitUsage},
		{"not a duration", "job list --watch=often", "--watch must be a duration", 80, 200, exitUsage},
		{"no time at all", "job list --watch=0s", "--watch must be at least 1s", 80, 200, exitUsage},
		{"no token", "job list --watch", "GATEWAY_CRON_TOKEN", 80, 401, exitRefused},
		{"nobody there", "job list --watch", "", 80, 502, exitUnreachable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t, nil)
			b.options.Terminal.Width = tt.width
			code, _ := watching(t, b, -1, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(tt.status) }, strings.Fields(tt.args)...)
			if code != tt.code || !strings.Contains(b.stderr.String(), tt.said) || b.stdout.String() != "" {
				t.Errorf("exit code %d: %q %s", code, b.stdout.String(), b.stderr.String())
			}
		})
	}
	for _, command := range []string{"jobs", "run list", "runs", "job runs a", "job next", "status"} {
		b := setup(t, nil)
		if code := b.run(t.Context(), append(strings.Fields(command), "--watch")...); code != exitUsage || !strings.Contains(b.stderr.String(), "--watch draws on a terminal") {
			t.Errorf("%s: exit code %d: %s", command, code, b.stderr.String())
		}
	}
}

// TestPausedIsSaid where a list of enabled jobs, or the next time of a new one, would
// make somebody believe that it runs.
func TestPausedIsSaid(t *testing.T) {
	const said = "everything is paused since Mon 23 Nov 13:59 UTC (60 s ago): nothing begins until 'gateway-cron resume-all'. wrong chat\n"
	for _, args := range [][]string{{"job", "list"}, {"jobs"}, {"job", "add", "@daily", "x"}} {
		for _, paused := range []bool{true, false} {
			b := setup(t, map[string][]reply{"GET /api/cron/jobs": one200(someJobs), "POST /api/cron/jobs": one200(aJob),
				"GET /api/cron/status": one200(fmt.Sprintf(`{"paused":%t,"pausedSince":1795442340000,"reason":"wrong \u001bchat"}`, paused))})
			if b.ok(args...); strings.HasSuffix(b.stderr.String(), said) != paused || strings.Contains(b.stderr.String(), "paused") != paused {
				t.Errorf("%q: %s", args, b.stderr.String())
			}
			if b.ok(append(args, "--json")...); b.stderr.String() != "" {
				t.Errorf("%q for programs: %s", args, b.stderr.String())
			}
		}
	}
}

// TestReplyGoes: who makes a job reads where its replies go.
func TestReplyGoes(t *testing.T) {
	const kept = "; it is kept with each run: gateway-cron job runs a"
	for fields, want := range map[string]string{
		``: "goes to no chat (there is no --channel and --chat)" + kept,
		`,"channel":"telegram","chatId":"123","deliver":"always"`:                "goes to telegram chat 123",
		`,"channel":"telegram","chatId":"123","threadId":"7","deliver":"always"`: "goes to telegram chat 123, thread 7",
		`,"channel":"telegram","chatId":"123","deliver":"never"`:                 "goes to no chat (deliver never)" + kept,
		`,"channel":"telegram","chatId":"123","deliver":"on_failure"`:            "goes to no chat, only an alert to telegram chat 123 when a run fails (deliver on_failure)" + kept,
	} {
		b := setup(t, map[string][]reply{"POST /api/cron/jobs": one200(`{"id":"a","enabled":true,"schedule":"0 9 * * *","timezone":"Europe/Berlin","next":["2026-11-24T08:00:00Z"]` + fields + `}`)})
		out := b.ok("job", "add", "@daily", "x")
		if !strings.Contains(out, "\n  reply  "+want+"\n") || !strings.Contains(out, "\n  next   Tue 24 Nov 09:00 CET (in 18 h)\n") {
			t.Errorf("%s: %s", fields, out)
		}
	}
}
