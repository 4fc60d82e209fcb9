package local

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func says(t *testing.T, l net.Listener, what string) {
	t.Helper()
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, what)
	})}}
	s.Start()
	t.Cleanup(s.Close)
}

// TestTheSocketComesFirst: who has no place on the network is served by the socket, and where
// there is none, by the network.
func TestTheSocketComesFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	says(t, tcp, "network")
	l, err := Listen(dir, tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	says(t, l, "socket")
	path := l.Addr().String()
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others can come to the socket: %v %v", info.Mode(), err)
	}
	get := func() string {
		t.Helper()
		c := http.Client{Transport: Transport(func() string { return dir })}
		defer c.CloseIdleConnections()
		answer, err := c.Get("http://" + tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		return string(text)
	}
	if got := get(); got != "socket" {
		t.Errorf("asked by the %s", got)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		if got := get(); got != "network" {
			t.Errorf("the socket of somebody else: asked by the %s", got)
		}
	}
	l.Close()
	if got := get(); got != "network" {
		t.Errorf("without the socket: asked by the %s", got)
	}
}

// TestWhatAKilledProcessLeaves is removed, and what a living one has is not.
func TestWhatAKilledProcessLeaves(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, port := range []string{"1", "2"} {
		l, err := Listen(dir, "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		l.Close()
	}
	l, err := Listen(dir, ":2")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if other, err := Listen(dir, "localhost:2"); err == nil {
		other.Close()
		t.Error("two listen at one socket")
	}
	entries, err := os.ReadDir(filepath.Join(dir, "api"))
	if err != nil || len(entries) != 1 || entries[0].Name() != "2.sock" {
		t.Errorf("there are %v (%v)", entries, err)
	}
}

func TestSocket(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"127.0.0.1:1": "s/api/1.sock", "[::1]:1": "s/api/1.sock", "0.0.0.0:1": "s/api/1.sock", ":1": "s/api/1.sock",
		"localhost:1": "s/api/1.sock", "192.0.2.1:1": "", "example.org:1": "", "nonsense": "",
	} {
		got, err := socket("s", addr)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", addr, got, err)
		}
	}
	if l, err := Listen(t.TempDir(), "192.0.2.1:1"); l != nil || err != nil {
		t.Errorf("an address of others: %v %v", l, err)
	}
	if _, err := Listen(filepath.Join(t.TempDir(), strings.Repeat("x", 120)), ":1"); err == nil || errors.Is(err, errNotHere) {
		t.Errorf("a path that is too long: %v", err)
	}
}
