package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/clipperhouse/displaywidth"
	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

const (
	openScreen  = "\x1b[?1049h\x1b[?25l" // one of our own, without a cursor
	closeScreen = "\x1b[?25h\x1b[?1049l"
	clearScreen = "\x1b[H\x1b[2J"
)

// watched lets a command be drawn anew each so often.
func (t *tool) watched(cmd *cobra.Command) *cobra.Command {
	every := cmd.Flags().String("watch", "", "draw it anew each so often, like 5s, until Ctrl-C")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	once := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !cmd.Flags().Changed("watch") {
			return once(cmd, args)
		}
		seconds, err := parseDuration(*every)
		switch {
		case err != nil:
			return usage(cmd, "--watch %w", err)
		case seconds < 1:
			return usage(cmd, "--watch must be at least 1s, not %s", *every)
		case t.json || t.Terminal.Width == 0:
			return usage(cmd, "--watch draws on a terminal; a program asks again with --json, or follows one run with run follow --json")
		}
		return t.redraw(cmd, time.Duration(seconds)*time.Second, func() error { return once(cmd, args) })
	}
	return cmd
}

// redraw draws what a command prints, again and again until ctx ends, which is no failure.
// While the API is away or asks for patience the last page stays.
func (t *tool) redraw(cmd *cobra.Command, every time.Duration, once func() error) error {
	ctx, stdout, stderr := cmd.Context(), t.Stdout, t.Stderr
	opened := false
	defer func() {
		t.Stdout, t.Stderr = stdout, stderr
		if opened {
			fmt.Fprint(stdout, closeScreen)
		}
	}()
	t.redraws = true
	var page []byte
	for {
		if t.Measure != nil {
			t.Terminal.Width, t.Terminal.Height = t.Measure()
		}
		var drawn bytes.Buffer
		t.Stdout, t.Stderr = &drawn, &drawn
		err := once()
		if ctx.Err() != nil {
			return nil
		}
		pause, trouble := every, ""
		if err != nil {
			trouble = err.Error()
		}
		if drawn.Len() > 0 || err == nil { // a status that is bad is one
			page = drawn.Bytes()
		} else {
			var again bool
			if pause, again = afterFailure(err, every); !again || !opened {
				return err
			}
		}
		if !opened {
			opened = true
			fmt.Fprint(stdout, openScreen)
		}
		head := fmt.Sprintf("%s  every %s, %s UTC; Ctrl-C ends", cmd.CommandPath(), every, t.Now().UTC().Format("15:04:05"))
		fmt.Fprint(stdout, clearScreen+t.screen(head, trouble, page))
		wait(ctx, pause)
		if ctx.Err() != nil {
			return nil
		}
	}
}

// afterFailure is how long to wait after a call that failed, and whether another is worth it.
func afterFailure(err error, every time.Duration) (time.Duration, bool) {
	refused, ok := errors.AsType[*client.Error](err)
	if !ok {
		f, ok := errors.AsType[*Failure](err)
		return every, ok && f.Code == exitUnreachable
	}
	return max(every, min(refused.RetryAfter, time.Minute)), refused.Status == http.StatusTooManyRequests || refused.Status/100 == 5
}

// screen is what fits the terminal: a line that wraps would push the others out.
func (t *tool) screen(head, trouble string, page []byte) string {
	lines := []string{head}
	if trouble != "" {
		lines = append(lines, t.paint(oneLine(trouble), bad))
	}
	lines = append(lines, "")
	lines = append(lines, strings.Split(strings.TrimRight(string(page), "\n"), "\n")...)
	if rows := t.Terminal.Height; rows > 0 && len(lines) > rows {
		hidden := len(lines) - rows + 1
		lines = append(lines[:rows-1], fmt.Sprintf("… %d more lines", hidden))
	}
	coloured := displaywidth.Options{ControlSequences: true}
	for i, line := range lines {
		lines[i] = coloured.TruncateString(line, t.Terminal.Width, "…")
	}
	return strings.Join(lines, "\n")
}

// tellPaused says that everything is paused, if it is: a list of jobs that are enabled
// does not, nor a new one's next time.
func (t *tool) tellPaused(ctx context.Context) {
	if t.json {
		return
	}
	a, err := t.get(ctx, client.Path("status"), nil)
	if err != nil {
		return // what was asked for is there
	}
	if s, err := answer[client.Status](a); err == nil && s.Paused {
		fmt.Fprintln(t.Stderr, strings.TrimSpace("everything is paused since "+t.clockAndDistance(s.PausedSince, time.UTC)+
			": nothing begins until 'gateway-cron resume-all'. "+oneLine(s.Reason)))
	}
}
