package jobs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

const (
	// waitSeconds is how long one answer may be waited for; then it is asked for again.
	waitSeconds = 30
	// lookEvery is the least time between two looks at a run.
	lookEvery = time.Second
	// maxLost is how many calls in a row may get no answer: the API may be restarting.
	maxLost = 20
	// deliveryGrace is how long --wait stays for the delivery of a run that has ended.
	deliveryGrace = 10 * time.Second
	// maxEventBytes bounds one event: a run with the longest reply is smaller.
	maxEventBytes = 32 << 20
)

func (t *tool) runNow() *cobra.Command {
	var await bool
	cmd := t.command("run JOB", "run a job now", `  gateway-cron job run JOB
  gateway-cron job run JOB --wait && echo it succeeded`, one("job"),
		func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			var a client.Answer
			err := t.onJob(ctx, args[0], func(id string) (err error) {
				a, err = t.create(ctx, client.Path("jobs", id, "run"), nil)
				return err
			})
			if err != nil {
				return err
			}
			j, err := answer[client.Job](a)
			if err != nil {
				return err
			}
			switch {
			case await:
				return t.awaitRun(ctx, j.RunID)
			case t.json:
				t.printJSON(a.Raw)
			default:
				fmt.Fprintf(t.Stdout, "started %s\n", j.RunID)
				fmt.Fprintf(t.Stdout, "  %s\n", t.paint("see how it goes: gateway-cron run follow "+j.RunID, faint))
			}
			return nil
		})
	cmd.Long = `Run a job now, also a paused one. With --wait the command ends when the run has ended,
with exit code 5 unless it succeeded; Ctrl-C ends the waiting and leaves the run going.`
	cmd.Flags().BoolVarP(&await, "wait", "w", false, "wait until the run has ended")
	cmd.ValidArgsFunction = t.completeJobs
	return cmd
}

// awaitRun waits for a run and prints it. It was started by a call of its own, so that
// its id is known whatever happens to the waiting.
func (t *tool) awaitRun(ctx context.Context, id string) error {
	fmt.Fprintf(t.Stderr, "waiting for %s; Ctrl-C leaves it going\n", id)
	var last client.Answer
	var ended time.Time
	w := watch{tool: t, id: id}
	err := w.look(ctx, func(r client.Run, a client.Answer) bool {
		last = a
		if r.State == "done" && ended.IsZero() {
			ended = t.Now()
		}
		return r.Ended() || r.State == "done" && t.Now().Sub(ended) >= deliveryGrace
	})
	if err != nil {
		return stillGoing(ctx, err, id)
	}
	if err := t.tellRun(ctx, "", last); err != nil {
		return err
	}
	return runResult(last)
}

// stillGoing adds to the end of a waiting that the run has not ended with it.
func stillGoing(ctx context.Context, err error, id string) error {
	f, ok := errors.AsType[*Failure](err)
	switch {
	case ctx.Err() != nil:
		return &Failure{Code: exitFailed, Err: errors.New("stopped waiting; the run goes on"), Hint: "See how it ended: gateway-cron run show " + id}
	case ok && f.Code == exitUnreachable:
		f.Hint = strings.TrimSpace(f.Hint + "\nThe run goes on; see how it ended: gateway-cron run show " + id)
	}
	return err
}

// runResult is the exit code of a run that was waited for.
func runResult(a client.Answer) error {
	r, err := answer[client.Run](a)
	if err != nil || r.Outcome == "succeeded" {
		return err
	}
	return &Failure{Code: exitRunFailed, Err: fmt.Errorf("the run %s", strings.ReplaceAll(strings.TrimSpace(outcome(r).text), "_", " "))}
}

// watch reads a run again and again.
type watch struct {
	*tool
	id   string
	lost int // calls in a row without an answer
}

// get reads the run; whoever waits for it decides what comes after a refusal.
func (w *watch) get(ctx context.Context, query url.Values) (client.Answer, error) {
	return w.callNow(ctx, client.Request{Method: http.MethodGet, Path: client.Path("runs", w.id), Query: query})
}

// look asks until seen says that it is enough. The API holds its answer back until the
// run has ended, if it can; one that cannot is asked once a second.
func (w *watch) look(ctx context.Context, seen func(client.Run, client.Answer) bool) error {
	query := url.Values{"wait": {strconv.Itoa(waitSeconds)}}
	for {
		asked := time.Now()
		a, err := w.get(ctx, query)
		if err != nil {
			again, err := w.again(ctx, err)
			if !again {
				return err
			}
			query = nil // whoever has no room for those that wait has some for others
			continue
		}
		w.lost = 0
		r, err := answer[client.Run](a)
		if err != nil {
			return err
		}
		if seen(r, a) {
			return nil
		}
		wait(ctx, lookEvery-time.Since(asked))
	}
}

// again decides after a call that failed whether it is worth another, and waits for it.
func (w *watch) again(ctx context.Context, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, err
	}
	pause := 2 * lookEvery
	if refused, ok := errors.AsType[*client.Error](err); ok {
		if refused.Status != http.StatusServiceUnavailable && refused.Status != http.StatusTooManyRequests && refused.Status/100 != 5 {
			return false, err
		}
		pause = max(pause, min(refused.RetryAfter, time.Minute))
	}
	if w.lost++; w.lost > maxLost {
		return false, err
	}
	wait(ctx, pause)
	return true, nil
}

func (t *tool) runFollow() *cobra.Command {
	cmd := t.command("follow RUN", "tell what becomes of a run, until it has ended and is delivered", `  gateway-cron run follow RUN
  gateway-cron run follow RUN --json | jq .state`, one("run"),
		func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			var last client.Answer
			var id, told string
			tell := func(r client.Run, a client.Answer) {
				last = a
				if t.json {
					t.printJSON(a.Raw)
				} else if line := progress(r); line != told {
					told = line
					fmt.Fprintf(t.Stdout, "%s  %s\n", t.Now().UTC().Format("15:04:05"), t.paint(oneLine(line), outcomeStyle(r.Outcome)))
				}
			}
			err := t.onRun(ctx, args[0], underWay, func(meant string) error {
				id = meant
				return t.follow(ctx, id, tell)
			})
			if err != nil {
				return stillGoing(ctx, err, id)
			}
			if !t.json {
				fmt.Fprintln(t.Stdout)
				if err := t.tellRun(ctx, "", last); err != nil {
					return err
				}
			}
			return runResult(last)
		})
	cmd.ValidArgsFunction = t.completeRuns
	cmd.Long = "Tell each change of a run, with the time in UTC, until nothing more can come of it. With\n--json each change is a line. The exit code is 5 unless the run succeeded."
	return cmd
}

// progress says in a line how a run stands.
func progress(r client.Run) string {
	text := outcome(r).text
	if n := len(r.Attempts); n > 0 && r.State != "done" {
		text += fmt.Sprintf(", attempt %d", r.Attempts[n-1].N)
		if a := r.Attempts[n-1]; a.Result != "" {
			text += " " + a.Result
		}
	}
	if r.Error != "" {
		text += ": " + r.Error
	}
	if r.State == "done" && r.Delivery != "" {
		text += ", delivery " + r.Delivery
	}
	return text
}

// errNoStream says that the API tells no events.
var errNoStream = errors.New("there is no stream of events")

// follow tells each change of a run: from the stream of its events, or by looking again
// and again where there is none.
func (t *tool) follow(ctx context.Context, id string, tell func(client.Run, client.Answer)) error {
	w := &watch{tool: t, id: id}
	var before []byte
	changed := func(r client.Run, a client.Answer) bool {
		if !bytes.Equal(before, a.Raw) {
			before = a.Raw
			tell(r, a)
		}
		return r.Ended()
	}
	for {
		err := w.stream(ctx, changed)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errNoStream):
			return w.poll(ctx, changed)
		}
		if again, err := w.again(ctx, err); !again {
			return err
		}
	}
}

// poll looks once a second.
func (w *watch) poll(ctx context.Context, changed func(client.Run, client.Answer) bool) error {
	for {
		a, err := w.get(ctx, nil)
		if err != nil {
			if again, err := w.again(ctx, err); !again {
				return err
			}
			continue
		}
		w.lost = 0
		r, err := answer[client.Run](a)
		if err != nil || changed(r, a) {
			return err
		}
		wait(ctx, lookEvery)
	}
}

// stream reads the events of a run until the one that says the end.
func (w *watch) stream(ctx context.Context, changed func(client.Run, client.Answer) bool) error {
	c, err := w.connect()
	if err != nil {
		return err
	}
	resp, err := c.Open(ctx, client.Request{Method: http.MethodGet, Path: client.Path("runs", w.id, "events"),
		Header: http.Header{"Accept": {"text/event-stream"}}})
	if err != nil {
		if refused, ok := errors.AsType[*client.Error](err); ok &&
			(refused.Status == http.StatusNotFound || refused.Status == http.StatusMethodNotAllowed) {
			return errNoStream // or no such run: looking at it will tell
		}
		return w.failed(ctx, err)
	}
	defer resp.Body.Close()
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return errNoStream
	}
	err = events(resp.Body, func(name string, data []byte) (bool, error) {
		switch name {
		case "end":
			return true, nil
		case "run":
			w.lost = 0
			a := client.Answer{Raw: json.RawMessage(data)}
			r, err := answer[client.Run](a)
			if err == nil {
				changed(r, a)
			}
			return false, err
		}
		return false, nil
	})
	if err != nil {
		return w.failed(ctx, err)
	}
	return nil
}

// events reads server-sent events until take says that it was the last. A stream that
// ends before is an error.
func events(body io.Reader, take func(name string, data []byte) (last bool, err error)) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 64<<10), maxEventBytes)
	var name string
	var data []byte
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case lines.Text() == "":
			last, err := take(name, data)
			if last || err != nil {
				return err
			}
			name, data = "", nil
		case field == "event":
			name = value
		case field == "data":
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, value...)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the events: %w", err)
	}
	return fmt.Errorf("read the events: %w", io.ErrUnexpectedEOF)
}
