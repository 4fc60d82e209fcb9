package edge

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long anything may take that will happen.
const patience = 60 * time.Second

// big is more than all buffers between a server and its client hold.
var big = bytes.Repeat([]byte("0123456789abcdef"), 1<<20)

// server is an HTTP server behind the bounds.
type server struct {
	t        *testing.T
	listener *Listener
	log      *logText
	failed   chan error // what a handler's write returned
	begun    chan struct{}
	goOn     chan struct{} // lets /hold end
}

type logText struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *logText) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.String(), s)
}

func serve(t *testing.T, o Options) *server {
	t.Helper()
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, log: &logText{}, failed: make(chan error, 100), begun: make(chan struct{}, 100), goOn: make(chan struct{})}
	o.Logger = slog.New(slog.NewTextHandler(s.log, nil))
	s.listener = Bound(inner, o)
	mux := http.NewServeMux()
	mux.HandleFunc("/small", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "small") })
	mux.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) {
		_, err := w.Write(big)
		s.failed <- err
	})
	mux.HandleFunc("/hold", func(http.ResponseWriter, *http.Request) {
		s.begun <- struct{}{}
		<-s.goOn
	})
	h := &http.Server{Handler: mux, ConnState: ConnState, ReadHeaderTimeout: patience}
	done := make(chan error, 1)
	go func() { done <- h.Serve(s.listener) }()
	t.Cleanup(func() {
		close(s.goOn)
		h.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

// dial connects from an address of this machine, with a receive buffer of so many bytes, 0
// for the usual one.
func (s *server) dial(from string, buffer int) *net.TCPConn {
	s.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(s.t.Context(), "tcp4", s.listener.Addr().String())
	if err != nil {
		s.t.Skipf("this machine has no address %s: %v", from, err)
	}
	tcp := c.(*net.TCPConn)
	s.t.Cleanup(func() { tcp.Close() })
	if err := tcp.SetDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	if buffer > 0 {
		if err := tcp.SetReadBuffer(buffer); err != nil {
			s.t.Fatal(err)
		}
	}
	return tcp
}

// ask sends a request and returns the response once its header is there.
func ask(c net.Conn, path string) (*http.Response, error) {
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path); err != nil {
		return nil, err
	}
	return http.ReadResponse(bufio.NewReader(c), nil)
}

// served reports whether a request is served whole; the connection is idle then.
func served(c net.Conn) bool {
	res, err := ask(c, "/small")
	if err != nil {
		return false
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return err == nil && string(body) == "small"
}

// awaitIdle waits until the server knows that so many connections are idle.
func (s *server) awaitIdle(n int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for s.idle() != n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("%d connections are idle, want %d", s.idle(), n)
		}
	}
}

func (s *server) idle() (n int) {
	s.listener.mu.Lock()
	defer s.listener.mu.Unlock()
	for c := range s.listener.conns {
		if !c.idleSince.IsZero() {
			n++
		}
	}
	return n
}

// hold has the server be at work on a request of a new connection.
func (s *server) hold(from string) net.Conn {
	s.t.Helper()
	c := s.dial(from, 0)
	if _, err := io.WriteString(c, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-s.begun:
	case <-time.After(patience):
		s.t.Fatal("a request was not served")
	}
	return c
}

func TestAPeerThatTakesNothingIsCut(t *testing.T) {
	s := serve(t, Options{WriteTimeout: 100 * time.Millisecond})
	for name, requests := range map[string]int{"one request": 1, "many in one go": 40} {
		t.Run(name, func(t *testing.T) {
			c := s.dial("127.0.0.1", 4<<10)
			if _, err := io.WriteString(c, strings.Repeat("GET /big HTTP/1.1\r\nHost: a\r\n\r\n", requests)); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-s.failed:
				if err == nil {
					t.Error("the write to a peer that takes nothing went through")
				}
			case <-time.After(patience):
				t.Fatal("a peer that takes nothing is not cut")
			}
			if n, err := io.Copy(io.Discard, c); err == nil {
				t.Errorf("after %d bytes the answer ended like a whole one", n)
			}
			if len(s.failed) > 0 {
				t.Error("more was written to a connection that was cut")
			}
		})
	}
}

// TestASlowPeerGetsAll: what it takes renews its time, though all of it takes longer.
func TestASlowPeerGetsAll(t *testing.T) {
	const timeout = 2 * time.Second
	s := serve(t, Options{WriteTimeout: timeout})
	c := s.dial("127.0.0.1", 256<<10)
	res, err := ask(c, "/big")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var got int64
	part := int64(len(big)) / 40
	tick := time.NewTicker(timeout / 20)
	defer tick.Stop()
	for err == nil {
		<-tick.C
		var n int64
		n, err = io.CopyN(io.Discard, res.Body, part)
		got += n
	}
	if !errors.Is(err, io.EOF) || got != int64(len(big)) {
		t.Errorf("a slow reader got %d bytes of %d: %v", got, len(big), err)
	}
	if err := <-s.failed; err != nil {
		t.Errorf("the write: %v", err)
	}
}

func TestOneAddressLeavesRoomForOthers(t *testing.T) {
	s := serve(t, Options{MaxConns: 8})
	for range 4 {
		s.hold("127.0.0.1")
	}
	for range 3 {
		if served(s.dial("127.0.0.1", 0)) {
			t.Error("an address has more than half of the connections")
		}
	}
	if n := s.log.count("connections refused"); n != 1 || s.log.count("127.0.0.1/32") != 1 {
		t.Errorf("the log says so %d times: %s", n, s.log)
	}
	var others []net.Conn
	for range 4 {
		c := s.dial("127.0.0.2", 0)
		if !served(c) {
			t.Error("another address is not served")
		}
		others = append(others, c)
	}
	s.awaitIdle(4)
	if !served(s.dial("127.0.0.3", 0)) {
		t.Error("an idle connection makes no room for another address")
	}
	if served(others[0]) {
		t.Error("it was not the one that had been idle for longest")
	}
}

func TestIdleConnectionsMakeRoomForTheirAddress(t *testing.T) {
	s := serve(t, Options{MaxConns: 4})
	first := s.dial("127.0.0.1", 0)
	if !served(first) {
		t.Fatal("not served")
	}
	s.awaitIdle(1)
	busy := s.hold("127.0.0.1")
	if !served(s.dial("127.0.0.1", 0)) {
		t.Error("a new connection is refused while an older one is idle")
	}
	if served(first) {
		t.Error("an address has more than half of the connections")
	}
	s.goOn <- struct{}{}
	if res, err := http.ReadResponse(bufio.NewReader(busy), nil); err != nil {
		t.Errorf("a request under way was cut: %v", err)
	} else {
		res.Body.Close()
	}
}

// TestPlacesComeBack: of connections that are closed, by whoever.
func TestPlacesComeBack(t *testing.T) {
	s := serve(t, Options{MaxConns: 4, WriteTimeout: 50 * time.Millisecond})
	for i := range 20 {
		c := s.dial("127.0.0.1", 4<<10)
		if i%2 == 0 { // the server closes
			if _, err := io.WriteString(c, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if err := <-s.failed; err == nil {
				t.Fatal("not cut")
			}
		} else if !served(c) {
			t.Fatalf("connection %d is not served", i)
		}
		c.Close()
	}
	late := time.After(patience)
	for {
		s.listener.mu.Lock()
		conns, networks := len(s.listener.conns), len(s.listener.networks)
		s.listener.mu.Unlock()
		if conns == 0 && networks == 0 {
			return
		}
		select {
		case <-late:
			t.Fatalf("%d connections of %d addresses count though they are closed", conns, networks)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestTheBoundFollowsTheFiles(t *testing.T) {
	if got, want := Bound(nil, Options{}).MaxConns, min(mostConns, maxFiles()/2); got != want || got < 2 {
		t.Errorf("%d connections, want %d", got, want)
	}
}
