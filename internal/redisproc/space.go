package redisproc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Space is how a state directory stands on its file system, in bytes.
type Space struct {
	Free int64 // what this user may still write there
	Log  int64 // what the append-only file takes, and a rewrite of it may take once more
}

// SpaceOf measures a state directory. The error is errors.ErrUnsupported where the system
// does not tell.
func SpaceOf(dir string) (Space, error) {
	free, err := freeBytes(dir)
	if err != nil {
		return Space{}, fmt.Errorf("free space of %s: %w", dir, err)
	}
	s := Space{Free: free}
	// Several files in a directory since Redis 7, one file before.
	for _, name := range []string{"appendonlydir", "appendonly.aof"} {
		err := filepath.WalkDir(filepath.Join(dir, name), func(_ string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			info, err := entry.Info()
			if errors.Is(err, os.ErrNotExist) {
				return nil // a rewrite has replaced it
			}
			if err == nil {
				s.Log += info.Size()
			}
			return err
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return Space{}, fmt.Errorf("size of the append-only file: %w", err)
		}
	}
	return s, nil
}
