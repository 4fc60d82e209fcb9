package jobs

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

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
			deleted, err := answer[struct{ CancelledRuns int }](a)
			if err != nil {
				return err
			}
			fmt.Fprintln(t.Stdout, "deleted "+args[0])
			if deleted.CancelledRuns > 0 {
				fmt.Fprintf(t.Stdout, "cancelled %d of its runs\n", deleted.CancelledRuns)
			}
			return nil
		})
	cmd.Long = "Delete a job. On a terminal you are asked first. A run under way finishes, unless\n--cancel-runs ends it too; one that waits is cancelled."
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&cancelRuns, "cancel-runs", false, "end its runs under way, too")
	cmd.ValidArgsFunction = t.completeJobs
	return cmd
}

// confirmRemoval shows what would go and asks. What was shown is what may be deleted: the
// headers say so.
func (t *tool) confirmRemoval(ctx context.Context, id string) (http.Header, error) {
	a, err := t.get(ctx, client.Path("jobs", id), nil)
	if err != nil {
		return nil, err
	}
	j, err := answer[client.Job](a)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(t.Stderr, "%s  %s\n  %s\n", id, oneLine(j.Name), t.when(j))
	fmt.Fprintf(t.Stderr, "%s\nDelete this job? [y/N] ", indent(fit(oneLine(j.Task), 200), "  "))
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
	if tag := a.Header.Get("ETag"); tag != "" {
		return http.Header{"If-Match": {tag}}, nil
	}
	return nil, nil
}

func (t *tool) pause() *cobra.Command {
	var reason string
	cmd := t.command("pause JOB", "pause a job until it is resumed", `  gateway-cron job pause JOB --reason "on holiday"`, one("job"),
		func(cmd *cobra.Command, args []string) error {
			r := client.Request{Method: http.MethodPost, Path: client.Path("jobs", args[0], "pause")}
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
			return t.changeJob(cmd.Context(), "resumed", client.Request{Method: http.MethodPost, Path: client.Path("jobs", args[0], "resume")})
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
