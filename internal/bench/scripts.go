//go:build linux

package main

import (
	"cmp"
	"crypto/sha1" //nolint:gosec // the digest by which Redis knows a script
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// scriptNames names scripts by their digests. A digest is learnt from the EVAL by
// which a client teaches Redis the script.
type scriptNames struct {
	mu    sync.Mutex
	names map[string]string // by digest
}

func newScriptNames() *scriptNames { return &scriptNames{names: map[string]string{}} }

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

var (
	// own is the first line of the product's scripts.
	own    = regexp.MustCompile(`^-- gateway-cron (\w+)\n`)
	called = regexp.MustCompile(`redis\.call\("([A-Z]+)"`)
)

// learn finds out which script a text is.
func (s *scriptNames) learn(text string) {
	var name string
	if m := own.FindStringSubmatch(text); m != nil {
		name = m[1]
	} else {
		var held []string
		for _, m := range called.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(held, m[1]) {
				held = append(held, m[1])
			}
		}
		name = "asynq " + strings.Join(held, "+")
	}
	sum := sha1.Sum([]byte(text)) //nolint:gosec // see the import
	s.names[hex.EncodeToString(sum[:])] = name
}
