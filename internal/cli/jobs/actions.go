package jobs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

// goesOn is what the help of everything that cancels says.
const goesOn = `
To cancel a run drops its request, and what that brings is not used. The ai-server goes
on to the end of the turn, and may act: only ending the ai-server stops it. The answer
says with how many turns it may go on.`

func (t *tool) remove() *cobra.Command {
	var yes, cancelRuns bool
	cmd := t.command("rm JOB", "delete a job; its history stays", `  gateway-cron job rm JOB
  gateway-cron job rm JOB --cancel-runs --yes`, one("job"),
		func(cmd *cobra.Command, args []string) error {
			r := client.Request{Method: http.MethodDelete}
			if cancelRuns {
				r.Query = url.Values{"cancelRuns": {"true"}}
			}
			if t.Terminal.Interactive && !yes {
				id, tag, err := t.confirmRemoval(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				r.Header = tag
				return t.removeJob(cmd.Context(), r, id)
			}
			return t.onMeantJob(cmd.Context(), args[0], true, func(id string) error { return t.removeJob(cmd.Context(), r, id) })
		})
	cmd.Long = "Delete a job. On a terminal you are asked first. A run under way finishes, unless\n--cancel-runs cancels it too; one that waits is cancelled.\n" + goesOn
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&cancelRuns, "cancel-runs", false, "cancel its runs under way, too")
	cmd.ValidArgsFunction = t.completeJobs
	return cmd
}

func (t *tool) removeJob(ctx context.Context, r client.Request, id string) error {
	r.Path = client.Path("jobs", id)
	a, err := t.call(ctx, r)
	if err != nil {
		return err
	}
	if t.json {
		t.printJSON(a.Raw)
		return nil
	}
	deleted, err := answer[struct {
		CancelledRuns int
		Note          string
	}](a)
	if err != nil {
		return err
	}
	fmt.Fprintln(t.Stdout, "deleted "+id)
	if deleted.CancelledRuns > 0 {
		fmt.Fprintf(t.Stdout, "cancelled %d of its runs\n", deleted.CancelledRuns)
	}
	if deleted.Note != "" {
		fmt.Fprintln(t.Stdout, t.paint(oneLine(deleted.Note), bad))
	}
	return nil
}

// confirmRemoval shows what would go and asks. What was shown is what may be deleted: the
// headers say so. An API that is too busy to show it deletes all the same.
func (t *tool) confirmRemoval(ctx context.Context, text string) (id string, matching http.Header, err error) {
	a, err := t.callNow(ctx, client.Request{Method: http.MethodGet, Path: client.Path("jobs", text)})
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.Status == http.StatusTooManyRequests {
		fmt.Fprintf(t.Stderr, "%s cannot be shown now: the API is asked too often\n", printable(text))
		return text, nil, t.confirm(ctx, text)
	}
	if err != nil {
		if a, err = t.getJob(ctx, text); err != nil {
			return "", nil, err
		}
	}
	j, err := answer[client.Job](a)
	if err != nil {
		return "", nil, err
	}
	fmt.Fprintf(t.Stderr, "%s  %s\n  %s\n", printable(j.ID), oneLine(j.Name), printable(t.when(j)))
	fmt.Fprintf(t.Stderr, "%s\n", indent(fit(oneLine(j.Task), 200), "  "))
	if tag := a.Header.Get("ETag"); tag != "" {
		matching = http.Header{"If-Match": {tag}}
	}
	return j.ID, matching, t.confirm(ctx, text)
}

// confirm asks whether a job is to be deleted; no is an error.
func (t *tool) confirm(ctx context.Context, text string) error {
	fmt.Fprint(t.Stderr, "Delete this job? [y/N] ")
	said := make(chan string, 1)
	go func() { // the answer may never come, and Ctrl-C ends the wait
		line, _ := bufio.NewReader(t.Stdin).ReadString('\n') // nothing means no
		said <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case line := <-said:
		if line == "y" || line == "yes" {
			return nil
		}
	case <-ctx.Done():
	}
	return &Failure{Code: exitFailed, Err: fmt.Errorf("%s was not deleted", text)}
}

func (t *tool) pause() *cobra.Command {
	var reason string
	cmd := t.command("pause JOB", "pause a job until it is resumed", `  gateway-cron job pause JOB --reason "on holiday"`, one("job"),
		func(cmd *cobra.Command, args []string) error {
			var body any
			if reason != "" {
				body = map[string]any{"reason": reason}
			}
			return t.changeJob(cmd.Context(), args[0], "pause", "paused", body)
		})
	cmd.Long = "Pause a job. A run under way finishes, what waits is cancelled, and what comes due\nmeanwhile is not made up for."
	cmd.Flags().StringVar(&reason, "reason", "", "why, for whoever looks at the job")
	cmd.ValidArgsFunction = t.completeJobs
	return cmd
}

func (t *tool) resume() *cobra.Command {
	cmd := t.command("resume JOB", "let a paused job go on", "  gateway-cron job resume JOB", one("job"),
		func(cmd *cobra.Command, args []string) error {
			return t.changeJob(cmd.Context(), args[0], "resume", "resumed", nil)
		})
	cmd.ValidArgsFunction = t.completeJobs
	return cmd
}

func (t *tool) changeJob(ctx context.Context, text, do, done string, body any) error {
	return t.onJob(ctx, text, func(id string) error {
		a, err := t.call(ctx, client.Request{Method: http.MethodPost, Path: client.Path("jobs", id, do), Body: body, Repeatable: true})
		if err != nil {
			return err
		}
		return t.tellJob(done, nil, a)
	})
}
