// Package cli owns the command line: sub-commands, flags, exit codes and what is
// printed for people. It starts processes through package app and knows no
// internals of theirs; the commands that call the API are those of package jobs.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/app"
	"github.com/gatewaycron/gatewaycron/internal/cli/jobs"
	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/local"
	"github.com/gatewaycron/gatewaycron/internal/redact"
)

// Exit codes; the commands of package jobs have more.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// Main runs a command line until it ends or ctx does, and answers the exit code.
func Main(ctx context.Context, version string, args []string, stdout, stderr io.Writer) int {
	root := newRoot(version, stdout, stderr)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var usage usageError
	var failure *jobs.Failure
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &failure):
		fmt.Fprintf(stderr, "gateway-cron: %v\n", failure)
		return failure.Code
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "gateway-cron: %v\nRun 'gateway-cron --help' for usage.\n", err)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "gateway-cron: %v\n", err)
		return exitFailed
	}
}

// usageError is a mistake on the command line or in the configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func newRoot(version string, stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "gateway-cron",
		Short: "The scheduler for AI agents: cron jobs whose runs are agent turns",
		Long: `Gateway Cron runs agent tasks on a schedule and brings the replies to a chat.

  gateway-cron demo      try it: no model, no chat, nothing to set up
  gateway-cron serve     everything in one process, with a Redis of its own
                         unless GATEWAY_CRON_REDIS_URL names one
  gateway-cron job add   make a job in what runs

On several machines, run api, scheduler and worker apart on one Redis, each as
often as you like. Settings are environment variables, and what the desktop's
config.json5 has of them: gateway-cron config lists all. gateway-cron doctor says
what is wrong.`,
		SilenceUsage: true, SilenceErrors: true,
		Version: version, // the flag, beside the sub-command
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{errors.New(jobs.Unknown(cmd, args[0]))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddGroup(&cobra.Group{ID: "jobs", Title: "Jobs and runs, over the API:"}, &cobra.Group{ID: "processes", Title: "Processes:"})

	process := func(name, short string, roles app.Roles, embedded bool) *cobra.Command {
		return &cobra.Command{Use: name, Short: short, GroupID: "processes", Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := processOptions(name, version, roles, embedded, stdout, stderr)
			if err != nil {
				return err
			}
			return app.Run(cmd.Context(), o)
		}}
	}
	for _, cmd := range jobs.Commands(jobOptions(stdout, stderr)) {
		cmd.GroupID = "jobs"
		root.AddCommand(cmd)
	}
	root.AddCommand(
		process("serve", "run everything in one process", app.AllRoles(), true),
		process("api", "run the REST API and the dashboard", app.Roles{API: true}, false),
		process("scheduler", "run a scheduler", app.Roles{Scheduler: true}, false),
		process("worker", "run a worker", app.Roles{Worker: true}, false),
		newDemo(version, stdout, stderr),
		newStandIns(stdout),
		newHealthcheck(),
		newDoctor(stdout),
		newMCP(version, os.Stdin, stdout, stderr),
		&cobra.Command{Use: "config", Short: "print the effective configuration, secrets hidden", Args: noArgs,
			RunE: func(*cobra.Command, []string) error {
				c, err := load()
				if err != nil {
					return err
				}
				fmt.Fprint(stdout, c.Print())
				for _, w := range ignored() {
					fmt.Fprintf(stderr, "gateway-cron: warning: %s\n", w)
				}
				return nil
			}},
		&cobra.Command{Use: "version", Short: "print the version", Args: noArgs,
			Run: func(*cobra.Command, []string) { fmt.Fprintln(stdout, "gateway-cron "+version) }},
	)
	return root
}

func newDemo(version string, stdout, stderr io.Writer) *cobra.Command {
	return &cobra.Command{Use: "demo", GroupID: "processes", Short: "run everything with stand-ins: an ai-server that echoes, a channel that writes down",
		Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := processOptions("demo", version, app.AllRoles(), true, stdout, stderr)
			if err != nil {
				return err
			}
			return app.RunDemo(cmd.Context(), o)
		}}
}

func newStandIns(stdout io.Writer) *cobra.Command {
	s := app.StandIns{Stdout: stdout}
	cmd := &cobra.Command{Use: "stand-ins", Short: "run only the demo's stand-ins, for trying a deployment", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return app.RunStandIns(cmd.Context(), s) }}
	cmd.Flags().StringVar(&s.AIAddr, "ai-addr", "127.0.0.1:39200", "address of the echoing ai-server")
	cmd.Flags().StringVar(&s.ChannelAddr, "channel-addr", "127.0.0.1:39300", "address of the recording channel")
	cmd.Flags().StringVar(&s.ChannelToken, "channel-token", "", "bearer token that the channel asks for")
	cmd.Flags().StringVar(&s.JournalDir, "journal-dir", "", "directory for ai.jsonl and channel.jsonl, one request a line")
	return cmd
}

func newHealthcheck() *cobra.Command {
	var role string
	cmd := &cobra.Command{Use: "healthcheck", Short: "exit 0 if the process on this host is well, else 1", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch role {
			case "", "api", "scheduler", "worker":
			default:
				return usageError{fmt.Errorf("--role %q: must be api, scheduler or worker", role)}
			}
			c, err := load()
			if err != nil {
				return err
			}
			return app.Healthcheck(cmd.Context(), c.Config, role)
		}}
	cmd.Flags().StringVar(&role, "role", "api", "api (also serve), scheduler or worker")
	return cmd
}

// jobOptions connects the commands that call the API with this process.
func jobOptions(stdout, stderr io.Writer) jobs.Options {
	size := func(w io.Writer) (columns, rows int) {
		if f, ok := w.(*os.File); ok {
			return jobs.TerminalSize(f)
		}
		return 0, 0
	}
	isTerminal := func(w io.Writer) bool { columns, _ := size(w); return columns > 0 }
	columns, rows := size(stdout)
	return jobs.Options{
		Settings: apiSettings, Transport: transport(),
		Stdin: os.Stdin, Stdout: stdout, Stderr: stderr,
		Terminal: jobs.Terminal{Width: columns, Height: rows, Interactive: isTerminal(stderr) && isTerminal(os.Stdin)},
		Measure:  func() (columns, rows int) { return size(stdout) },
		Getenv:   os.Getenv, Now: time.Now,
	}
}

// apiSettings reads where the API is from the settings that its process has, so that on
// one machine nothing need be said twice.
func apiSettings(tokenFile string) (url, token string, err error) {
	c, err := config.Load(func(name string) (string, bool) {
		switch {
		case tokenFile != "" && name == config.EnvPrefix+"TOKEN":
			return "", false
		case tokenFile != "" && name == config.EnvPrefix+"TOKEN_FILE":
			return tokenFile, true
		}
		return os.LookupEnv(name)
	})
	if err != nil {
		return "", "", fmt.Errorf("configuration:\n%w", err)
	}
	return c.APIURL(), c.Token, nil
}

// transport carries the calls of the API, over the socket of the gateway on this machine if
// there is one. An address that GATEWAY_CRON_URL names may be that of another machine.
func transport() http.RoundTripper {
	return local.Transport(sync.OnceValue(func() local.Gateway {
		c, err := config.Load(os.LookupEnv)
		if err != nil || c.URL != "" {
			return local.Gateway{} // whoever wanted the address was told
		}
		path, err := local.Path(c.StateDir, c.Addr)
		if err != nil {
			return local.Gateway{}
		}
		return local.Gateway{Path: path, Addr: strings.TrimPrefix(c.APIURL(), c.Scheme()+"://")}
	}))
}

// noArgs refuses arguments as a usage error.
func noArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return usageError{err}
	}
	return nil
}

func load() (config.Loaded, error) {
	c, err := config.Read(os.LookupEnv)
	if err != nil {
		return c, usageError{fmt.Errorf("configuration:\n%w", err)}
	}
	return c, nil
}

// ignored warns of what is set for nothing, a line each.
func ignored() (warnings []string) {
	for _, name := range config.Unknown(os.Environ()) {
		warnings = append(warnings, name+" is no setting, and is ignored; gateway-cron config lists those that exist")
	}
	return warnings
}

func processOptions(name, version string, roles app.Roles, embedded bool, stdout, stderr io.Writer) (app.Options, error) {
	c, err := load()
	if err != nil {
		return app.Options{}, err
	}
	logger := newLogger(c.Config, stderr)
	for _, w := range append(c.Warnings, ignored()...) {
		logger.Warn("configuration", "warning", w)
	}
	return app.Options{Name: name, Config: c.Config, Roles: roles, Version: version, EmbeddedRedis: embedded,
		Stdout: stdout, Logger: logger, Command: os.Args[0]}, nil
}

// redacted takes what looks like a key out of what is logged: errors quote others.
func redacted(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case string:
		a.Value = slog.StringValue(redact.Text(v))
	case error:
		a.Value = slog.StringValue(redact.Text(v.Error()))
	}
	return a
}

func newLogger(c config.Config, w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: c.LogLevel, ReplaceAttr: redacted}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
