package jobs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

// Exit codes. They are promised in every help text: scripts and agents branch on them.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitRefused     = 4
	exitRunFailed   = 5 // of a run that was waited for
	exitUnreachable = 6
)

// Failure is an error with the exit code that it means and what to do about it.
type Failure struct {
	Code int
	Err  error
	Hint string // lines for people; may be empty
}

func (f *Failure) Error() string {
	if f.Hint == "" {
		return f.Err.Error()
	}
	return f.Err.Error() + "\n" + f.Hint
}

// Ambiguous reports whether several may be meant by what was written.
func (f *Failure) Ambiguous() bool {
	_, ok := errors.AsType[*ambiguousError](f.Err)
	return ok
}

func (f *Failure) Unwrap() error { return f.Err }

// usage is a mistake on the command line.
func usage(cmd *cobra.Command, format string, args ...any) error {
	return &Failure{Code: exitUsage, Err: fmt.Errorf(format, args...), Hint: "Run '" + cmd.CommandPath() + " --help' for usage."}
}

// failed says why a call came to nothing.
func (t *tool) failed(ctx context.Context, err error) error {
	if refused, ok := errors.AsType[*client.Error](err); ok {
		return refusal(refused)
	}
	if ctx.Err() != nil {
		return &Failure{Code: exitFailed, Err: errors.New("interrupted before the API answered")}
	}
	return &Failure{Code: exitUnreachable, Err: err,
		Hint: "Is it running ('gateway-cron serve')? --url or GATEWAY_CRON_URL names another address."}
}

func refusal(e *client.Error) *Failure {
	e.Detail = printable(e.Detail) // it may repeat what somebody else wrote
	f := &Failure{Code: exitFailed, Err: e}
	switch {
	case e.Ended != nil:
		f.Code, f.Hint = exitNotFound, "See 'gateway-cron job runs "+printable(e.Ended.ID)+"'."
	case e.Status == http.StatusNotFound:
		f.Code = exitNotFound
	case e.Status == http.StatusBadGateway, e.Status == http.StatusServiceUnavailable, e.Status == http.StatusGatewayTimeout:
		f.Code = exitUnreachable
	case e.Status/100 == 4:
		f.Code = exitRefused
	}
	if e.Status == http.StatusUnauthorized {
		f.Hint = "Set GATEWAY_CRON_TOKEN or GATEWAY_CRON_TOKEN_FILE, or give --token-file."
	}
	if len(e.Problems) > 0 {
		f.Err = &refusedError{e}
	}
	return f
}

// refusedError tells every problem on a line of its own, in the spelling of the flags.
type refusedError struct{ cause *client.Error }

func (e *refusedError) Unwrap() error { return e.cause }

func (e *refusedError) Error() string {
	var b strings.Builder
	b.WriteString("not accepted:")
	for _, p := range e.cause.Problems {
		detail, example := strings.TrimRight(p.Detail, ". "), p.Example
		// The API counts in seconds what the flags take with a unit.
		if f, ok := fieldOf(p.Field); ok && f.kind == kindSeconds {
			detail += " (seconds)"
			if n, err := strconv.Atoi(example); err == nil {
				example = formatDuration(n)
			}
		}
		b.WriteString("\n  " + printable(flagOf(p.Field)) + " " + printable(detail))
		if example != "" && example != "null" { // a flag is left out instead
			b.WriteString(", for example " + printable(example))
		}
	}
	return b.String()
}
