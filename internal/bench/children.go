//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"

	"github.com/gatewaycron/gatewaycron/internal/cli"
)

// childEnv names what a process of this binary is, so that what it costs can be
// told apart from the harness. It is no argument, because a test binary, which
// plays the harness too, has arguments of its own.
const childEnv = "BENCH_CHILD"

// readyWord is in the line by which our own children say that they are ready.
const readyWord = "bench child ready"

type program func(ctx context.Context, args []string, stdout, stderr io.Writer) error

// The children by name.
const (
	childAI           = "ai-server"
	childProfiled     = "profiled"
	childPlainManager = "plain-manager"
	childPlainWorker  = "plain-worker"
	childCeiling      = "ceiling"
)

func children() map[string]program {
	return map[string]program{
		childAI:           serveAI,
		childProfiled:     profiled,
		childPlainManager: plainManager,
		childPlainWorker:  plainWorker,
		childCeiling:      ceiling,
	}
}

// self is the command that runs this binary as one of its children.
func self(name string, args ...string) (*exec.Cmd, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this binary: %w", err)
	}
	cmd := exec.Command(binary, args...) //nolint:gosec // ourselves
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	return cmd, nil
}

// profiled is the product's command line with a CPU profile of all of its life.
// Arguments: the directory for the profile, the role.
func profiled(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) != 2 {
		return fmt.Errorf("%d arguments instead of a directory and a role", len(args))
	}
	f, err := os.Create(filepath.Join(args[0], fmt.Sprintf("%s-%d.pprof", args[1], os.Getpid()))) //nolint:gosec // where the caller wants it
	if err != nil {
		return fmt.Errorf("profile of %s: %w", args[1], err)
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return fmt.Errorf("profile of %s: %w", args[1], err)
	}
	defer pprof.StopCPUProfile()
	if code := cli.Main(ctx, "bench", args[1:], stdout, stderr); code != 0 {
		return fmt.Errorf("%s ended with %d", args[1], code)
	}
	return nil
}
