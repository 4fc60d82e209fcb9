//go:build !faults

package fault

import "time"

// Point marks a place where a crash is worth testing.
func Point(string) {}

// Skew is how far the clock of this process's scheduler is to be ahead of the
// machine's; negative is behind.
func Skew() time.Duration { return 0 }
