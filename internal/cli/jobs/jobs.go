// Package jobs owns the commands that call the REST API: what their flags become in a
// request, what an answer looks like to people, and which exit code it means.
//
// It knows the API through package client alone. It must not import the api, the store
// or package app: a command line on another machine has none of them.
package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

// Options are what the commands take from the process that they run in.
type Options struct {
	// Settings answers the base URL of the API and the token to show it. tokenFile is
	// where to read the token; "" leaves that to the environment.
	Settings func(tokenFile string) (url, token string, err error)

	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Terminal is what there is of one.
	Terminal Terminal
	// Measure is how large the terminal is now; nil if it stays as it is.
	Measure func() (columns, rows int)
	// Getenv reads the environment.
	Getenv func(string) string
	Now    func() time.Time
	// Transport carries the calls; nil is the usual one.
	Transport http.RoundTripper
}

// Terminal says what of the process is connected to one.
type Terminal struct {
	Width       int  // columns of the one that stdout is; 0 if it is none
	Height      int  // its rows; 0 if they are not known
	Interactive bool // somebody reads stderr and can answer on stdin
}

// Commands returns the commands, for the root of a command line.
func Commands(o Options) []*cobra.Command {
	t := &tool{Options: o}
	return []*cobra.Command{t.jobCommands(), t.runCommands(), t.tokenCommands(),
		t.plural("jobs", t.list()), alias(t.plural("runs", t.runList()), "", "ps"), t.plural("tokens", t.tokenList()),
		alias(t.status(), "", "health info"), alias(t.pauseAll(), "", "stop halt"), alias(t.resumeAll(), "", "continue unpause")}
}

// tool is what the commands share: one of them runs in the life of a tool.
type tool struct {
	Options

	url, tokenFile string
	json           bool // programs read stdout
	redraws        bool // the page is drawn again and again

	api *client.Client // once it was needed
}

const exitCodes = `
Exit codes: 0 done; 1 failed; 2 wrong usage; 3 no such job or run; 4 refused;
5 the run that was waited for did not succeed; 6 the API cannot be reached.
`

func (t *tool) jobCommands() *cobra.Command {
	cmd := t.group("job", "make, see, change and run jobs", "A job is a schedule and a task in plain words for an agent.",
		`  gateway-cron job add "0 9 * * 1-5" "Summarise my inbox" --tz Europe/Berlin --channel telegram --chat 123
  gateway-cron job list
  gateway-cron job run job_01m83mjkge4cp4pd476svfty9y --wait`)
	cmd.AddCommand(alias(t.add(), "create new", "make schedule"), alias(t.list(), "ls", ""), alias(t.show(), "get describe", "view info inspect"),
		alias(t.edit(), "update", "change set modify patch"), alias(t.remove(), "delete remove", "del"), alias(t.runNow(), "trigger", "start exec now"),
		alias(t.pause(), "disable", "stop suspend"), alias(t.resume(), "enable", "start unpause continue"),
		alias(t.jobRuns(), "logs history", "log output"), alias(t.next(), "upcoming", "preview"),
		alias(t.export(), "", "dump backup"), alias(t.importJobs(), "", "restore load apply"))
	return cmd
}

func (t *tool) runCommands() *cobra.Command {
	cmd := t.group("run", "see, follow, cancel and redeliver runs", `A run is one turn of the agent for a job; "gateway-cron job run" starts one.`,
		`  gateway-cron run list --outcome failed
  gateway-cron run follow job_01m83mjkge4cp4pd476svfty9y:1795418580`)
	cmd.AddCommand(alias(t.runList(), "ls", ""), alias(t.runShow(), "get describe", "view info inspect"), alias(t.runCancel(), "stop", "kill abort delete rm"),
		alias(t.runRedeliver(), "resend", "deliver retry"), alias(t.runFollow(), "watch", "logs tail wait"))
	return cmd
}

// group is a command that only holds others.
func (t *tool) group(name, short, long, example string) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Long: long, Example: example,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(cmd, "%s", Unknown(cmd, args[0]))
			}
			return cmd.Help()
		}}
	t.common(cmd)
	return cmd
}

// command is one that calls the API.
func (t *tool) command(use, short, example string, args cobra.PositionalArgs, run func(cmd *cobra.Command, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Example: example, RunE: run,
		Args: func(cmd *cobra.Command, given []string) error {
			if err := args(cmd, given); err != nil {
				return usage(cmd, "%w", err)
			}
			return nil
		}}
}

// common adds the flags of every call to a command and those below it.
func (t *tool) common(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&t.url, "url", "", "address of the API (default $GATEWAY_CRON_URL, else where GATEWAY_CRON_ADDR listens)")
	f.StringVar(&t.tokenFile, "token-file", "", "file with the API's token (default $GATEWAY_CRON_TOKEN_FILE or $GATEWAY_CRON_TOKEN)")
	f.BoolVar(&t.json, "json", false, "print what the API answers, and nothing else")
	cmd.SetUsageTemplate(cmd.UsageTemplate() + exitCodes)
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, "%w", err) })
}

// one wants the id of a job or a run.
func one(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return fmt.Errorf("the id of a %s is missing", what)
		case len(args) > 1:
			return fmt.Errorf("one %s at a time, not %q too", what, args[1])
		case args[0] == "":
			return fmt.Errorf("the id of a %s is empty", what)
		}
		return nil
	}
}

// none wants no arguments.
func none(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no argument, not %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// printJSON is what programs get: the answer as it came, on lines of its own.
func (t *tool) printJSON(raw json.RawMessage) {
	fmt.Fprintf(t.Stdout, "%s\n", trimSpace(raw))
}

// answer decodes what the API said.
func answer[T any](a client.Answer) (v T, err error) {
	if err := json.Unmarshal(a.Raw, &v); err != nil {
		return v, fmt.Errorf("the API's answer is not what it should be: %w", err)
	}
	return v, nil
}

// wait passes the time, or less if ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
