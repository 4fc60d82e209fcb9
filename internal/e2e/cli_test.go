package e2e

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/local"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// cli runs the binary as somebody at a shell does, and answers its exit code.
func cli(t *testing.T, url, editor string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, said strings.Builder
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), "GATEWAY_CRON_URL="+url, "VISUAL=", "EDITOR="+editor)
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), out.String(), said.String()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, out.String(), said.String()
}

// TestCommandLine is the life of a job at the command line.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	p := alone(t).start("demo")
	editor := filepath.Join(t.TempDir(), "editor")
	if err := os.WriteFile(editor, []byte("#!/bin/sh\nsed s/inbox/outbox/ \"$1\" > \"$1.new\" && mv \"$1.new\" \"$1\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	ok := func(want string, args ...string) string {
		t.Helper()
		code, stdout, stderr := cli(t, p.URL, editor, args...)
		if code != 0 || !strings.Contains(stdout, want) {
			t.Fatalf("%q: exit code %d, %q is not in\n%s%s", args, code, want, stdout, stderr)
		}
		return stdout
	}
	fails := func(code int, want string, args ...string) {
		t.Helper()
		if got, stdout, stderr := cli(t, p.URL, editor, args...); got != code || !strings.Contains(stderr, want) || stdout != "" {
			t.Errorf("%q: exit code %d, want %d; %q is not in\n%s%s", args, got, code, want, stdout, stderr)
		}
	}

	var made struct{ ID string }
	if err := json.Unmarshal([]byte(ok("", "job", "add", "0 9 * * 1-5", "Summarise my inbox", "--tz", "Europe/Berlin",
		"--channel", "telegram", "--chat", "-123", "--name", "Morning summary", "--timeout", "10m", "--json")), &made); err != nil {
		t.Fatal(err)
	}
	ok("Morning summary", "job", "list")
	ok("timeout        10m", "job", "show", made.ID)
	ok("every 2h", "job", "edit", made.ID, "--every", "2h", "--name", "Now and then")
	ok("every 2h", "job", "show", made.ID)
	run := ok("Echo: Summarise my inbox", "job", "run", made.ID, "--wait")
	ok("succeeded", "job", "runs", made.ID)
	runID, _, _ := strings.Cut(run, "\n")
	ok("every 2h", "job", "show", "Now and then")
	ok("every 2h", "job", "describe", made.ID[:14])
	ok("delivered", "run", "show", made.ID[:14]+strings.TrimPrefix(runID, made.ID))
	ok("succeeded", "run", "show", "Now and then")
	ok("succeeded", "job", "logs", "Now and then")
	ok("delivered", "run", "show", runID)
	ok("succeeded", "run", "follow", runID)
	ok("paused: on holiday", "job", "pause", made.ID, "--reason", "on holiday")
	ok("enabled", "job", "resume", made.ID)
	ok("CET", "job", "next", "--schedule", "0 9 1 1 *", "--tz", "Europe/Berlin")
	ok(made.ID, "job", "next")
	ok(runID, "run", "list", "--job", made.ID, "--outcome", "succeeded")
	ok(made.ID, "job", "list", "--channel", "telegram", "--outcome", "succeeded", "--enabled")
	ok("created team-report", "job", "add", "@daily", "x", "--id", "team-report", "--label", "team:ops")
	ok("team-report", "job", "list", "--label", "team:ops")
	ok("created twin", "job", "add", "@daily", "x", "--id", "twin", "--name", "Now and then")
	fails(4, "\n  twin  Now and then", "job", "delete", "Now and then")
	ok("deleted twin", "job", "delete", "twin")
	file := filepath.Join(t.TempDir(), "jobs.ndjson")
	ok("", "job", "export", "--output", file)
	ok("3 unchanged, 0 failed", "job", "import", file)
	ok("deleted team-report", "job", "rm", "team-report", "--cancel-runs")
	ok("would be: 1 created", "job", "import", file, "--dry-run")
	fails(3, "", "job", "show", "team-report")
	ok("changed", "job", "edit", made.ID, "--editor")
	ok("Summarise my outbox", "job", "show", made.ID)
	ok("everything is paused", "pause-all", "--reason", "a test")
	fails(4, "paused", "job", "run", made.ID)
	ok("going on", "resume-all")
	ok("going on", "status")

	fails(4, `Did you mean "0 9 * * 1-5"?`, "job", "add", "every weekday at 9", "x")
	fails(4, "ended already", "run", "cancel", runID)
	fails(2, "needs a unit", "job", "add", "--every", "5", "x")
	ok("deleted", "job", "rm", made.ID)
	fails(3, "", "job", "show", made.ID)
	p.Stop()
	fails(6, "Is it running", "status")
}

// TestTheStopComesInByTheSocket: the command line on the gateway's machine reaches it where
// nobody is let in by the network.
func TestTheStopComesInByTheSocket(t *testing.T) {
	t.Parallel()
	turn := make(chan struct{})
	w := newWorld(t, func(standin.ChatCall) standin.Answer {
		<-turn
		return standin.Answer{}
	})
	t.Cleanup(func() { close(turn) })
	serve := w.start("serve")
	serve.create(map[string]any{"id": "slow", "schedule": "0 0 1 1 *", "task": "x"})
	var run struct{ RunID string }
	serve.call("POST", "/api/cron/jobs/slow/run", "", &run)
	w.until("it runs", time.Minute, func() bool { return w.ai.Count() == 1 })

	// A socket for a port at which nobody is, and behind it the gateway.
	nobody, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := nobody.Addr().String()
	nobody.Close()
	dir := t.TempDir()
	path, err := local.Path(dir, addr)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := local.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(serve.URL)
	if err != nil {
		t.Fatal(err)
	}
	front := &httptest.Server{Listener: socket, Config: &http.Server{Handler: httputil.NewSingleHostReverseProxy(target)}}
	front.Start()
	t.Cleanup(front.Close)

	for _, args := range [][]string{{"status"}, {"run", "cancel", run.RunID}, {"pause-all"}, {"resume-all"}, {"job", "pause", "slow"}} {
		cmd := exec.Command(binary, args...)
		cmd.Env = append(os.Environ(), "GATEWAY_CRON_CONFIG=none", "GATEWAY_CRON_URL=", "GATEWAY_CRON_ADDR="+addr, "GATEWAY_CRON_STATE_DIR="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	var got struct{ Outcome string }
	if serve.call("GET", "/api/cron/runs/"+run.RunID, "", &got); got.Outcome != "cancelled" {
		t.Errorf("the run is %q", got.Outcome)
	}
}
