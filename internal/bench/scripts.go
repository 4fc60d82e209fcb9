//go:build linux

package main

import (
	"cmp"
	"context"
	"crypto/sha1" //nolint:gosec // the digest by which Redis knows a script
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// scriptNames names scripts by their digests. A digest is learnt from the EVAL by
// which a client teaches Redis the script.
type scriptNames struct {
	bodies map[string]string // of the product's scripts, by name

	mu    sync.Mutex
	names map[string]string // by digest
}

// newScriptNames reads the names of the product's scripts from its source.
func newScriptNames(ctx context.Context) (*scriptNames, error) {
	dir, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "github.com/gatewaycron/gatewaycron/internal/store").Output()
	if err != nil {
		return nil, fmt.Errorf("find the scripts: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "lua", "*.lua"))
	if err != nil {
		return nil, fmt.Errorf("find the scripts: %w", err)
	}
	s := &scriptNames{bodies: map[string]string{}, names: map[string]string{}}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read a script: %w", err)
		}
		if name := strings.TrimSuffix(filepath.Base(file), ".lua"); name != "lib" {
			s.bodies[name] = bare(string(source))
		}
	}
	return s, nil
}

// bare is a script without comments and indentation, as it is sent.
func bare(source string) string {
	var b strings.Builder
	for line := range strings.Lines(source) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "--") {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// name is how a command is counted: the product's scripts by their names, asynq's
// by the commands that they hold.
func (s *scriptNames) name(args []string) string {
	if len(args) == 0 {
		return ""
	}
	name := strings.ToLower(args[0])
	if len(args) < 2 {
		return name
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch name {
	case "eval":
		s.learn(args[1])
	case "evalsha":
		// A script that Redis does not know either: its text comes next.
		name = cmp.Or(s.names[args[1]], "evalsha")
	}
	return name
}

var called = regexp.MustCompile(`redis\.call\("([A-Z]+)"`)

// learn finds out whose script a text is: all of the product's have the same
// beginning, and an end of their own.
func (s *scriptNames) learn(text string) {
	best := ""
	for name, body := range s.bodies {
		if strings.HasSuffix(text, body) && len(body) > len(s.bodies[best]) {
			best = name
		}
	}
	if best == "" {
		var held []string
		for _, m := range called.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(held, m[1]) {
				held = append(held, m[1])
			}
		}
		best = "asynq " + strings.Join(held, "+")
	}
	sum := sha1.Sum([]byte(text)) //nolint:gosec // see the import
	s.names[hex.EncodeToString(sum[:])] = best
}
