//go:build unix

package edge

import (
	"math"

	"golang.org/x/sys/unix"
)

// maxFiles returns how many files the process may open; the runtime has raised that as far
// as it may by now.
func maxFiles() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || uint64(limit.Cur) > math.MaxInt32 { //nolint:unconvert // signed on some systems
		return math.MaxInt32
	}
	return int(limit.Cur)
}
