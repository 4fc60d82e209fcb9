package local

import (
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
// there is none, or for another address, by the network.
func TestTheSocketComesFirst(t *testing.T) {
	t.Parallel()
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	says(t, tcp, "network")
	path, err := Path(t.TempDir(), tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	says(t, l, "socket")
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others can come to the socket: %v %v", info.Mode(), err)
	}
	get := func(url, addr string) string {
		t.Helper()
		transport := Transport(func() Gateway { return Gateway{path, addr} })
		c := http.Client{Transport: transport}
		defer c.CloseIdleConnections()
		answer, err := c.Get(url)
		if err != nil {
			return err.Error()
		}
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		return string(text)
	}
	here := tcp.Addr().String()
	for _, tt := range []struct{ url, addr, want string }{
		{"http://" + here, here, "socket"},
		{"https://" + here, here, "socket"}, // which has no certificate, and needs none
		{"http://example.org:1", "example.org:1", "socket"},
		{"http://" + here, "127.0.0.1:1", "network"},
		{"http://" + here, "", "network"},
	} {
		if got := get(tt.url, tt.addr); got != tt.want {
			t.Errorf("%s of a gateway at %q: asked by the %s, not the %s", tt.url, tt.addr, got, tt.want)
		}
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		if got := get("http://"+here, here); got != "network" {
			t.Errorf("the socket of somebody else: asked by the %s", got)
		}
	}
	l.Close()
	if got := get("http://"+here, here); got != "network" {
		t.Errorf("without the socket: asked by the %s", got)
	}
	if got := get("https://"+here, here); !strings.Contains(got, "HTTP response to HTTPS client") && !strings.Contains(got, "tls:") {
		t.Errorf("without the socket, with TLS: %s", got)
	}
}

// TestWhatAKilledProcessLeaves is removed, and what a living one has is not.
func TestWhatAKilledProcessLeaves(t *testing.T) {
	t.Parallel()
	path, err := Path(t.TempDir(), "127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	left, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	left.Close()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if other, err := Listen(path); err == nil {
		other.Close()
		t.Error("two listen at one socket")
	}
}

func TestPath(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"127.0.0.1:1": "s/api/127.0.0.1_1.sock", "[::1]:1": "s/api/::1_1.sock", ":1": "s/api/all_1.sock", "192.0.2.1:1": "s/api/192.0.2.1_1.sock", "nonsense": "",
	} {
		got, err := Path("s", addr)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", addr, got, err)
		}
	}
	if _, err := Path("", ":1"); err == nil {
		t.Error("there is a path without a directory")
	}
	if _, err := Listen(filepath.Join(t.TempDir(), strings.Repeat("x", 120), "a.sock")); err == nil {
		t.Error("a path that is too long is listened at")
	}
}
