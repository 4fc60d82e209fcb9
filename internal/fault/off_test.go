//go:build !faults

package fault

import (
	"os"
	"path/filepath"
	"testing"
)

// The ordinary build must not obey, whatever the environment of an operator says.
func TestOrdinaryBuildHasNoFaults(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	t.Setenv("GATEWAY_CRON_FAULT", "here=1")
	t.Setenv("GATEWAY_CRON_FAULT_LOG", log)
	t.Setenv("GATEWAY_CRON_FAULT_SKEW", "30s")
	Point("here")
	if _, err := os.Stat(log); err == nil {
		t.Error("a point left a note")
	}
	if got := Skew(); got != 0 {
		t.Errorf("Skew() = %s", got)
	}
}
