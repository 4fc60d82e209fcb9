//go:build !unix

package jobs

import "os"

// TerminalWidth is 0: on this system nothing is taken for a terminal.
func TerminalWidth(*os.File) int { return 0 }
