//go:build faults && unix

package fault

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be the process that crashes.
func TestMain(m *testing.M) {
	if os.Getenv("FAULT_TEST_CHILD") != "" {
		Point("elsewhere")
		Point("here")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(t *testing.T, env ...string) error {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), "FAULT_TEST_CHILD=1"), env...)
	return cmd.Run()
}

func TestPointKills(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	err := child(t, "GATEWAY_CRON_FAULT=elsewhere=0,here=1", "GATEWAY_CRON_FAULT_LOG="+log, "GATEWAY_CRON_FAULT_SEED=7")
	var ended *exec.ExitError
	if !errors.As(err, &ended) {
		t.Fatalf("the child ended with %v, want SIGKILL", err)
	}
	if status, ok := ended.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Errorf("the child ended with %v, want SIGKILL", err)
	}
	if note, err := os.ReadFile(log); err != nil || string(note) != "here\n" {
		t.Errorf("its note: %q, %v", note, err)
	}
}

func TestPointWithoutChanceIsPassed(t *testing.T) {
	if err := child(t, "GATEWAY_CRON_FAULT=other=1"); err != nil {
		t.Error(err)
	}
}

func TestLoad(t *testing.T) {
	env := map[string]string{"GATEWAY_CRON_FAULT": "a=0.5", "GATEWAY_CRON_FAULT_SEED": "3", "GATEWAY_CRON_FAULT_SKEW": "-20s"}
	roll := func() (falls []bool) {
		d, err := load(func(name string) string { return env[name] })
		if err != nil {
			t.Fatal(err)
		}
		if d.skew != -20*time.Second {
			t.Errorf("skew %s", d.skew)
		}
		for range 100 {
			falls = append(falls, d.falls("a"))
		}
		return falls
	}
	once, again := roll(), roll()
	hits := 0
	for i := range once {
		if once[i] != again[i] {
			t.Fatal("one seed gave two sequences")
		}
		if once[i] {
			hits++
		}
	}
	if hits < 25 || hits > 75 {
		t.Errorf("a chance of one half fell %d times of 100", hits)
	}
	for name, bad := range map[string]string{"GATEWAY_CRON_FAULT": "a=often", "GATEWAY_CRON_FAULT_SEED": "x", "GATEWAY_CRON_FAULT_SKEW": "soon"} {
		if _, err := load(func(n string) string {
			if n == name {
				return bad
			}
			return ""
		}); err == nil {
			t.Errorf("%s=%s was accepted", name, bad)
		}
	}
}
