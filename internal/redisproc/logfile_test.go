//go:build unix

package redisproc

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "redis.log")
	l, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	line := append(bytes.Repeat([]byte("x"), 1023), '\n')
	for range 3*maxLogBytes/len(line) + 1 {
		if n, err := l.Write(line); n != len(line) || err != nil {
			t.Fatalf("write = %d, %v", n, err)
		}
	}
	for name, want := range map[string]int64{path: int64(len(line)), path + ".1": maxLogBytes} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Size(); got != want {
			t.Errorf("%s holds %d bytes, want %d", filepath.Base(name), got, want)
		}
	}
}

func TestLogContinuesAcrossOpens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "redis.log")
	for _, text := range []string{"one\n", "two\nthree\n"} {
		l, err := openLog(path)
		if err != nil {
			t.Fatal(err)
		}
		l.Write([]byte(text))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l.Write([]byte("after the end\n")) // must not fail the child
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "one\ntwo\nthree\n"; string(got) != want {
		t.Errorf("log = %q, want %q", got, want)
	}
}

func TestLastLine(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "\n": "", "a": "a", "a\n": "a", "a\nb\n": "b", "a\r\nb\r\n": "b", "a\n\n": "a",
	} {
		if got := lastLine(in); got != want {
			t.Errorf("lastLine(%q) = %q, want %q", in, got, want)
		}
	}
}
