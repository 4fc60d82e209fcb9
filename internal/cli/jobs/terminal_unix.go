//go:build unix

package jobs

import (
	"os"

	"golang.org/x/sys/unix"
)

// TerminalSize is how many columns and rows the terminal behind a file has; 0 if there is
// none.
func TerminalSize(f *os.File) (columns, rows int) {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0
	}
	if size.Col == 0 {
		return 80, int(size.Row) // one that does not know its size
	}
	return int(size.Col), int(size.Row)
}
