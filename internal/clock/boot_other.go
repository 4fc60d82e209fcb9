//go:build !linux && !darwin

package clock

import "time"

// boot returns a clock that stands still while the machine is suspended: there is no other
// that nobody sets.
func boot() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
