//go:build unix

package redisproc

import (
	"fmt"
	"os"
	"strings"
	"sync"
)

// maxLogBytes bounds redis.log and redis.log.1, its predecessor, each.
const maxLogBytes = 1 << 20

// logFile is an append-only file that starts anew when it is full. Its Write
// never fails: a full disk must not stop the child, whose log is a help and not
// a record.
type logFile struct {
	mu   sync.Mutex
	path string
	file *os.File // nil if it could not be reopened
	size int64
	last string // the last line written
}

// openLog opens the file for appending.
func openLog(path string) (*logFile, error) {
	l := &logFile{path: path}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("open the log of redis-server: %w", err)
	}
	return l, nil
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Write implements io.Writer.
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if line := lastLine(string(b)); line != "" {
		l.last = line
	}
	if l.file != nil && l.size+int64(len(b)) > maxLogBytes {
		l.rotate()
	}
	if l.file != nil {
		n, _ := l.file.Write(b)
		l.size += int64(n)
	}
	return len(b), nil
}

// rotate makes the full file the predecessor. If that fails, logging ends.
func (l *logFile) rotate() {
	l.file.Close()
	l.file = nil
	if os.Rename(l.path, l.path+".1") == nil {
		_ = l.open()
	}
}

func (l *logFile) lastLine() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Close implements io.Closer.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// lastLine of a text, without its line break.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
