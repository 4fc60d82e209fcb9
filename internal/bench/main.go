//go:build linux

// Command bench measures the product: its real processes on a Redis of their own,
// beside plain asynq doing the same work, on the same machine in the same run.
// `make bench` runs it; docs/testing.md says how to read it.
//
// It owns the workloads, the stand-in for the ai-server, the counting proxy and the
// report. The judge is the stand-in, which writes down when each call arrived; CPU
// and memory come from /proc, so it is for Linux. It must not import the store or
// any other part of the product but the command line, which it starts with a
// profiler around it. Its test asserts the figures that are counts, not times.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(command(ctx))        //nolint:forbidigo // the main of a program outside of cmd
}

// command is what this process is for: the harness, or one of its children.
func command(ctx context.Context) int {
	run := bench
	if name := os.Getenv(childEnv); name != "" {
		run = children()[name]
	}
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 2
	case err != nil:
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		return 1
	}
	return 0
}

// options are the settings of a run of the harness.
type options struct {
	n           int // slots due in one minute in the large workloads
	registered  int // jobs in the workloads about many jobs
	repeat      int
	concurrency int
	workloads   []string // by name; empty means all
	out         string
	profiles    string // directory for CPU profiles; "" for none
	quick       bool

	binary string    // of the product
	dir    string    // for logs and Redis's files
	log    io.Writer // progress, for people
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{log: stderr}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.n, "n", 10_000, "slots that are due in one minute")
	flags.IntVar(&o.registered, "registered", 100_000, "jobs in the workloads about many jobs")
	flags.IntVar(&o.repeat, "repeat", 3, "how often each workload runs; the median counts")
	flags.IntVar(&o.concurrency, "concurrency", 256, "calls at once in a worker")
	flags.BoolVar(&o.quick, "quick", false, "small numbers, once: to see that it works")
	flags.StringVar(&o.out, "out", "", "file for the figures as JSON")
	flags.StringVar(&o.profiles, "profile", "", "directory for CPU profiles of the product's processes")
	names := flags.String("workloads", "", "which, separated by commas; all if empty: "+strings.Join(workloadNames(), ","))
	if err := flags.Parse(args); err != nil {
		return o, flag.ErrHelp // the flag set has said what was wrong
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *names != "" {
		o.workloads = strings.Split(*names, ",")
	}
	for _, name := range o.workloads {
		if !slices.Contains(workloadNames(), name) {
			return o, fmt.Errorf("no workload %q; there are %s", name, strings.Join(workloadNames(), ", "))
		}
	}
	if o.n < 1 || o.registered < 1 || o.repeat < 1 || o.concurrency < 1 {
		return o, errors.New("numbers must be positive")
	}
	if o.quick {
		o.n, o.registered, o.repeat = min(o.n, 500), min(o.registered, 2_000), 1
	}
	return o, nil
}

// bench runs the workloads and reports.
func bench(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.dir, err = os.MkdirTemp("", "gateway-cron-bench-"); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer os.RemoveAll(o.dir)
	if o.profiles != "" {
		if o.profiles, err = filepath.Abs(o.profiles); err != nil {
			return fmt.Errorf("directory for profiles: %w", err)
		}
		if err := os.MkdirAll(o.profiles, 0o750); err != nil {
			return fmt.Errorf("directory for profiles: %w", err)
		}
	}
	if o.binary, err = build(ctx, o.dir); err != nil {
		return err
	}
	r := newReport(o)
	for _, w := range workloads() {
		if len(o.workloads) > 0 && !slices.Contains(o.workloads, w.name) {
			continue
		}
		for n := range o.repeat {
			fmt.Fprintf(o.log, "%s (%d of %d): %s\n", w.name, n+1, o.repeat, w.about)
			s, err := w.measure(ctx, o)
			if err != nil {
				return fmt.Errorf("workload %s: %w", w.name, err)
			}
			r.add(w.name, s)
		}
		// Written after each, so that a run that is cut short has not been for nothing.
		if err := r.write(o.out); err != nil {
			return err
		}
	}
	return r.print(stdout)
}

// build builds the product once, as it is shipped.
func build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "gateway-cron")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, product) //nolint:gosec // our own source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the product: %w\n%s", err, out)
	}
	return binary, nil
}

// product is the package of the product's binary.
const product = "github.com/gatewaycron/gatewaycron/cmd/gateway-cron"
