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
			r := client.Request{Method: http.MethodDelete, Path: client.Path("jobs", args[0])}
			if cancelRuns {
				r.Query = url.Values{"cancelRuns": {"true"}}
			}
			if t.Terminal.Interactive && !yes {
				tag, err := t.confirmRemoval(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				r.Header = tag
			}
			a, err := t.call(cmd.Context(), r)
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
			fmt.Fprintln(t.Stdout, "deleted "+args[0])
			if deleted.CancelledRuns > 0 {
				fmt.Fprintf(t.Stdout, "cancelled %d of its runs\n", deleted.CancelledRuns)
			}
			if deleted.Note != "" {
				fmt.Fprintln(t.Stdout, t.paint(oneLine(deleted.Note), bad))
			}
			return nil
		})
	cmd.Long = "Delete a job. On a terminal you are asked first. A run under way finishes, unless\n--cancel-runs cancels it too; one that waits is cancelled.\n" + goesOn
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&cancelRuns, "cancel-runs", false, "cancel its runs under way, too")
	cmd.ValidArgsFunction = t.completeJobs
	return cmd
}

// confirmRemoval shows what would go and asks. What was shown is what may be deleted: the
// headers say so. An API that is too busy to show it deletes all the same.
func (t *tool) confirmRemoval(ctx context.Context, id string) (http.Header, error) {
	a, err := t.callNow(ctx, client.Request{Method: http.MethodGet, Path: client.Path("jobs", id)})
	refused, _ := errors.AsType[*client.Error](err)
	switch {
	case err == nil:
		j, err := answer[client.Job](a)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(t.Stderr, "%s  %s\n  %s\n%s\n", id, oneLine(j.Name), t.when(j), indent(fit(oneLine(j.Task), 200), "  "))
	case refused != nil && refused.Status == http.StatusTooManyRequests:
		fmt.Fprintf(t.Stderr, "%s cannot be shown now: the API is asked too often\n", id)
	default:
		return nil, err
	}
	fmt.Fprint(t.Stderr, "Delete this job? [y/N] ")
	said := make(chan string, 1)
	go func() { // the answer may never come, and Ctrl-C ends the wait
		line, _ := bufio.NewReader(t.Stdin).ReadString('\n') // nothing means no
		said <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case line := <-said:
		if line != "y" && line != "yes" {
			return nil, &Failure{Code: exitFailed, Err: fmt.Errorf("%s was not deleted", id)}
		}
	case <-ctx.Done():
		return nil, &Failure{Code: exitFailed, Err: fmt.Errorf("%s was not deleted", id)}
	}
	if tag := a.Header.Get("ETag"); err == nil && tag != "" {
		return http.Header{"If-Match": {tag}}, nil
	}
	return nil, nil
}

func (t *tool) pause() *cobra.Command {
	var reason string
	cmd := t.command("pause JOB", "pause a job until it is resumed", `  gateway-cron job pause JOB --reason "on holiday"`, one("job"),
		func(cmd *cobra.Command, args []string) error {
			r := client.Request{Method: http.MethodPost, Path: client.Path("jobs", args[0], "pause"), Repeatable: true}
			if reason != "" {
				r.Body = map[string]any{"reason": reason}
			}
			return t.changeJob(cmd.Context(), "paused", r)
		})
	cmd.Long = "Pause a job. A run under way finishes, what waits is cancelled, and what comes due\nmeanwhile is not made up for."
	cmd.Flags().StringVar(&reason, "reason", "", "why, for whoever looks at the job")
	cmd.ValidArgsFunction = t.completeJobs
	return cmd
}

func (t *tool) resume() *cobra.Command {
	cmd := t.command("resume JOB", "let a paused job go on", "  gateway-cron job resume JOB", one("job"),
		func(cmd *cobra.Command, args []string) error {
			return t.changeJob(cmd.Context(), "resumed", client.Request{Method: http.MethodPost, Path: client.Path("jobs", args[0], "resume"), Repeatable: true})
		})
	cmd.ValidArgsFunction = t.completeJobs
	return cmd
}

func (t *tool) changeJob(ctx context.Context, done string, r client.Request) error {
	a, err := t.call(ctx, r)
	if err != nil {
		return err
	}
	return t.tellJob(done, nil, a)
}
