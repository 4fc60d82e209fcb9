//go:build unix

package redisproc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// maxSocketPath is the shortest limit among the systems we run on (macOS: 104
// bytes with the final zero).
const maxSocketPath = 103

// socket is the place of the unix socket.
type socket struct {
	path   string
	link   string // dir/redis.sock when path is elsewhere, else ""
	tmpDir string // the private directory of path when it is elsewhere
}

// makeSocket chooses the socket's path and clears what an earlier run left: in
// dir, or, where that path is too long for a socket, in a private temporary
// directory that dir/redis.sock links to, so that the next run finds it.
func makeSocket(dir string) (*socket, error) {
	usual := filepath.Join(dir, "redis.sock")
	if old, err := os.Readlink(usual); err == nil {
		// Both fail harmlessly if the temporary directory was cleaned up.
		os.Remove(old)
		os.Remove(filepath.Dir(old))
	}
	if err := os.Remove(usual); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the old socket: %w", err)
	}
	if len(usual) <= maxSocketPath {
		return &socket{path: usual}, nil
	}

	var tmp string
	var err error
	for _, base := range []string{os.TempDir(), "/tmp"} {
		if len(base)+len("/gateway-cron-0123456789/redis.sock") > maxSocketPath {
			err = fmt.Errorf("socket path in %s would exceed %d bytes", base, maxSocketPath)
			continue
		}
		if tmp, err = os.MkdirTemp(base, "gateway-cron-"); err == nil { // mode 0700
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make a directory for the socket, whose path in the state directory is too long: %w", err)
	}
	s := &socket{path: filepath.Join(tmp, "redis.sock"), link: usual, tmpDir: tmp}
	if err := os.Symlink(s.path, usual); err != nil {
		return nil, errors.Join(fmt.Errorf("link to the socket: %w", err), os.Remove(tmp))
	}
	return s, nil
}

func (s *socket) remove() error {
	var errs []error
	for _, path := range []string{s.path, s.link, s.tmpDir} {
		if path == "" {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
