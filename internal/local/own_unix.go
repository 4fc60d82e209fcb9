//go:build unix

package local

import (
	"errors"
	"os"
	"syscall"
)

// isOwn reports whether a path is a socket that this user, or root, has made: a token must
// not be shown to anybody else.
func isOwn(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && (s.Uid == 0 || int(s.Uid) == os.Geteuid())
}

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
