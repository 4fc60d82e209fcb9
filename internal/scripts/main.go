// Command scripts prints what Redis runs for the steps of the protocol: all of it, or the
// scripts that are named.
package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"

	"github.com/gatewaycron/gatewaycron/internal/store"
)

func main() {
	if err := write(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "scripts:", err)
		os.Exit(1)
	}
}

// write prints the named scripts of a deployment with the default settings.
func write(names []string) error {
	all := store.Scripts(store.Options{})
	for _, name := range names {
		if !slices.ContainsFunc(all, func(s store.Script) bool { return s.Name == name }) {
			return fmt.Errorf("there is no script %s", name)
		}
	}
	out := bufio.NewWriter(os.Stdout)
	for _, s := range all {
		if len(names) == 0 || slices.Contains(names, s.Name) {
			fmt.Fprintf(out, "-- %s\n%s\n", s.Name, s.Text)
		}
	}
	return out.Flush()
}
