//go:build unix

package jobs

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTerminalSize(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if got, _ := TerminalSize(file); got != 0 {
		t.Errorf("a file is a terminal of %d columns", got)
	}
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("this machine has no terminals: ", err)
	}
	defer terminal.Close()
	for columns, want := range map[uint16]int{97: 97, 0: 80} {
		if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
			t.Fatal(err)
		}
		if got, rows := TerminalSize(terminal); got != want || rows != 24 {
			t.Errorf("%d columns are %d, 24 rows %d", columns, got, rows)
		}
	}
}
