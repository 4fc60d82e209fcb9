package mcp

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"strings"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

// missingError is a 404 of the API in the words of the tools.
type missingError string

func (e missingError) Error() string { return string(e) }

// unsureError is a change of which nobody knows whether it was made.
type unsureError struct{ error }

func (e unsureError) Unwrap() error { return e.error }

// summarised is how many problems the API's one sentence of detail spells out.
const summarised = 3

// explain is what a model is told of a failed call: what is wrong, and what to send
// instead.
func explain(err error) string {
	if refusal, ok := errors.AsType[*client.Error](err); ok {
		return explainRefusal(refusal)
	}
	var (
		usage   usageError
		missing missingError
		unsure  unsureError
		network *net.OpError
	)
	switch {
	case errors.As(err, &usage), errors.As(err, &missing):
		return err.Error()
	case errors.As(err, &network) && network.Op == "dial":
		return fmt.Sprintf("Gateway Cron does not answer, so nothing was done (%v). Is it running? Tell the user to start it with `gateway-cron serve`, or to set GATEWAY_CRON_URL to where it runs.", err)
	case errors.As(err, &unsure):
		return fmt.Sprintf("Nobody knows whether this was done: the answer did not arrive (%s). Look with list_cron_jobs or list_cron_runs before you send it again.", reason(err))
	}
	return fmt.Sprintf("There was no answer (%s). Try again in a moment.", reason(err))
}

func explainRefusal(e *client.Error) string {
	text := e.Error()
	for _, p := range e.Problems[min(len(e.Problems), summarised):] {
		text += "\n- " + p.Field + " " + strings.TrimRight(p.Detail, ". ")
		if p.Example != "" {
			text += ", for example " + p.Example
		}
	}
	switch {
	case e.Status == http.StatusUnauthorized:
		text = "Gateway Cron does not accept the token. Tell the user to set the one of its GATEWAY_CRON_TOKEN for these tools: in that variable over stdio, in the header Authorization: Bearer <token> over HTTP."
	case e.RetryAfter > 0:
		text += fmt.Sprintf(" Try again in %d s.", int(math.Ceil(e.RetryAfter.Seconds())))
	}
	return text
}

// reason is the innermost part that says something.
func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "it took too long"
	}
	return err.Error()
}

// missing tells a 404 in words that name the tool to look with.
func missing(err error, format string, a ...any) error {
	if refusal, ok := errors.AsType[*client.Error](err); ok && refusal.Status == http.StatusNotFound {
		return missingError(fmt.Sprintf(format, a...))
	}
	return err
}

func missingJob(err error, id string) error {
	if refusal, ok := errors.AsType[*client.Error](err); ok && refusal.Ended != nil {
		e := refusal.Ended
		return missingError(fmt.Sprintf("%s ran %d of %d times and is gone, as it was meant to be: its last run %s, at %s UTC.%s list_cron_runs with its jobId shows its history; create_cron_job makes another one.",
			ref(job{Job: client.Job{ID: e.ID, Name: e.Name}}), e.Runs, e.MaxRuns, did(e.LastOutcome), moment(e.EndedAt, "UTC"), delivered(client.Run{Delivery: e.LastDelivery})))
	}
	return missing(err, "There is no job %q (any more). list_cron_jobs lists the jobs with their ids.", cut(id, 80))
}

func missingRun(err error, id string) error {
	return missing(err, "There is no run %q (any more). list_cron_runs lists the runs of a job with their ids.", cut(id, 120))
}
