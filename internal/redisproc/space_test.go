//go:build linux || darwin || freebsd

package redisproc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSpaceOf(t *testing.T) {
	dir := shortDir(t)
	p := start(t, dir)
	before, err := SpaceOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	if before.Free <= 0 {
		t.Errorf("%d bytes are free", before.Free)
	}
	const size = 1 << 20
	if err := client(t, p.URL()).Set(context.Background(), "k", strings.Repeat("x", size), 0).Err(); err != nil {
		t.Fatal(err)
	}
	after, err := SpaceOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	if grown := after.Log - before.Log; grown < size || grown > size+1000 {
		t.Errorf("the log grew by %d bytes with a value of %d", grown, size)
	}
	if _, err := SpaceOf(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of no directory: %v", err)
	}
}
