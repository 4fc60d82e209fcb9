package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The commands of the README's first screen, as they stand there: make run, and
// the calls that follow. (make test is what runs this.)
func TestReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)<!-- tested: (\\w+) -->\n```sh\n(.*?)```").FindAllStringSubmatch(string(readme), -1) {
		commands[m[1]] = m[2]
	}
	if !strings.Contains(string(readme), "make run ") || len(commands) != 3 {
		t.Fatalf("the README's commands are not where they were: %v", commands)
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("the README calls the API with curl, which is not on this machine:", err)
	}
	w := alone(t)
	cmd := exec.Command("make", "run")
	cmd.Dir = "../.."
	p := w.launch(cmd)
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }) // what make started too
	if out := p.Out.String(); !strings.Contains(out, "demo") {
		t.Errorf("make run does not say that it runs the demo:\n%s", out)
	}

	sh := func(name, job string) []byte {
		t.Helper()
		script := "set -e\n" + strings.ReplaceAll(commands[name], "http://127.0.0.1:19790", p.URL)
		call := exec.Command("sh", "-c", script)
		call.Env = append(os.Environ(), "JOB="+job, "GATEWAY_CRON_URL="+p.URL,
			"PATH="+filepath.Dir(binary)+string(filepath.ListSeparator)+os.Getenv("PATH"))
		out, err := call.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, script)
		}
		return out
	}
	var created struct{ ID, Detail, Description string }
	if err := json.Unmarshal(sh("quickstart", ""), &created); err != nil || created.ID == "" {
		t.Fatalf("quickstart: %v %+v", err, created)
	}
	w.until("the history tells of a delivered run", 3*time.Minute, func() bool {
		var history struct{ Runs []runView }
		if err := json.Unmarshal(sh("history", created.ID), &history); err != nil {
			t.Fatal(err)
		}
		return len(history.Runs) > 0 && history.Runs[len(history.Runs)-1].Delivery == "delivered"
	})
	if out := string(sh("cli", created.ID)); !strings.Contains(out, "created job_") || !strings.Contains(out, "Read my inbox") ||
		!strings.Contains(out, "Echo: Read my inbox") || !strings.Contains(out, "going on") {
		t.Errorf("the command line:\n%s", out)
	}
	if out := p.Out.String(); !strings.Contains(out, "message to telegram chat 123: Echo: Read my inbox") {
		t.Errorf("the demo did not print the message:\n%s", out)
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
}
