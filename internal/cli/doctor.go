package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/app"
	"github.com/gatewaycron/gatewaycron/internal/cli/jobs"
	"github.com/gatewaycron/gatewaycron/internal/client"
	"github.com/gatewaycron/gatewaycron/internal/config"
)

func newDoctor(stdout io.Writer) *cobra.Command {
	o := app.DoctorOptions{Stdout: stdout}
	var at string
	cmd := &cobra.Command{Use: "doctor", Short: "say what is wrong, or why a job did not run; changes nothing",
		Long: `Looks at Redis, the ai-server, the channels, the schedulers and the workers, and at
what stands still, and says of each how it is and what to do. With --job it says why
that job ran, or did not. It only reads.

It asks the running gateway, at GATEWAY_CRON_URL or where GATEWAY_CRON_ADDR listens;
if none answers there, it looks at Redis itself, with the settings that it has.
Exit code 1 if the deployment is failing, or if slots are late or all places taken.`,
		Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if at != "" {
				if o.At, err = time.Parse(time.RFC3339, at); err != nil {
					return usageError{fmt.Errorf("--at %q: must be a time such as %s", at, "2026-11-23T09:00:00+01:00")}
				}
				if o.Job == "" {
					return usageError{errors.New("--at needs --job: the id of the job to explain")}
				}
			}
			c, err := load()
			if err != nil {
				return err
			}
			c.Warnings = append(c.Warnings, ignored()...)
			asked, err := askGateway(cmd.Context(), c.Config, o)
			if err != nil {
				return err
			}
			return app.Doctor(cmd.Context(), c, asked, o)
		}}
	cmd.Flags().StringVar(&o.Job, "job", "", "explain this job: its id, its name, or the beginning of its id")
	cmd.Flags().StringVar(&at, "at", "", "explain the job at this time (RFC 3339) instead of its last slots")
	cmd.Flags().BoolVar(&o.JSON, "json", false, "print JSON")
	return cmd
}

// askWithin bounds the question to the gateway.
const askWithin = 15 * time.Second

// ask makes one call: about a job, or about everything.
func ask(ctx context.Context, gateway *client.Client, job string, at time.Time) (client.Answer, error) {
	r := client.Request{Method: http.MethodGet, Path: client.Path("doctor")}
	if job != "" {
		r.Path = client.Path("jobs", job, "explain")
		if !at.IsZero() {
			r.Query = url.Values{"at": {at.UTC().Format(time.RFC3339)}}
		}
	}
	return gateway.Do(ctx, r)
}

// askGateway asks the running gateway what it finds. It returns nil if none answers there
// that could say.
func askGateway(ctx context.Context, c config.Config, o app.DoctorOptions) (*app.Diagnosis, error) {
	gateway, err := client.New(c.APIURL(), c.Token, transport())
	if err != nil {
		return nil, usageError{err}
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	answer, err := ask(ctx, gateway, o.Job, o.At)
	refused, isRefused := errors.AsType[*client.Error](err)
	if isRefused && refused.Status == http.StatusNotFound && o.Job != "" {
		id, meantErr := jobs.MeantJob(ctx, gateway, o.Job)
		if failure, ok := errors.AsType[*jobs.Failure](meantErr); ok && failure.Ambiguous() {
			return nil, failure
		}
		if meantErr == nil {
			answer, err = ask(ctx, gateway, id, o.At)
			refused, isRefused = errors.AsType[*client.Error](err)
		}
	}
	switch {
	case err == nil:
	case isRefused && (refused.Status == http.StatusUnauthorized || refused.Status == http.StatusForbidden || refused.Status == http.StatusTooManyRequests):
		return nil, fmt.Errorf("ask the gateway at %s: %w", c.APIURL(), err)
	default:
		return nil, nil // none that answers, or one that does not know the question
	}
	var d app.Diagnosis
	if err := json.Unmarshal(answer.Raw, &d); err != nil || d.State == "" {
		return nil, nil // whoever answers there is no gateway of ours
	}
	d.Gateway = c.APIURL()
	return &d, nil
}
