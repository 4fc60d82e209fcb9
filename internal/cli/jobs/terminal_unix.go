//go:build unix

package jobs

import (
	"os"

	"golang.org/x/sys/unix"
)

// TerminalWidth is how many columns the terminal behind a file has; 0 if there is none.
func TerminalWidth(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	if size.Col == 0 {
		return 80 // one that does not know its size
	}
	return int(size.Col)
}
