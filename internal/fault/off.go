//go:build !faults

package fault

import "time"

// Point marks a place where a crash is worth testing.
func Point(string) {}

// Skew is how early the bell of this process's scheduler is to ring; negative is late.
// Whatever else is decided by the time of day goes by the clock of Redis.
func Skew() time.Duration { return 0 }
