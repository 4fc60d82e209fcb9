// Package wiretest lets tests play a server that misbehaves below HTTP: one that
// hangs up in the middle of an answer, or on a connection it had kept open.
package wiretest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// Server counts what it is asked, before it answers.
type Server struct {
	URL      string
	requests atomic.Int64
	conns    atomic.Int64
}

// Requests is the number of requests whose header and body arrived whole.
func (s *Server) Requests() int { return int(s.requests.Load()) }

// Conns is the number of connections accepted.
func (s *Server) Conns() int { return int(s.conns.Load()) }

// Serve answers the n-th request, counted from 1 over all connections, with the
// bytes that answer returns, and keeps the connection open after them if asked
// to.
func Serve(t testing.TB, answer func(n int) (raw string, keep bool)) *Server {
	t.Helper()
	s := &Server{}
	s.listen(t, func(c net.Conn) {
		reader := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(reader)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			raw, keep := answer(int(s.requests.Add(1)))
			if _, err := io.WriteString(c, raw); err != nil || !keep {
				return
			}
		}
	})
	return s
}

// ServeConn hands each connection to serve and closes it afterwards.
func ServeConn(t testing.TB, serve func(net.Conn)) *Server {
	t.Helper()
	s := &Server{}
	s.listen(t, serve)
	return s
}

// Refusing is the URL of a port that refuses connections.
func Refusing(t testing.TB) string {
	t.Helper()
	l := listener(t)
	defer l.Close()
	return "http://" + l.Addr().String()
}

func listener(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (s *Server) listen(t testing.TB, serve func(net.Conn)) {
	l := listener(t)
	s.URL = "http://" + l.Addr().String()
	var (
		mu    sync.Mutex
		open  = map[net.Conn]bool{}
		ended bool
		group sync.WaitGroup
	)
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			mu.Lock()
			if ended {
				mu.Unlock()
				c.Close()
				return
			}
			open[c] = true
			group.Go(func() {
				defer c.Close()
				serve(c)
			})
			mu.Unlock()
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		ended = true
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		group.Wait()
	})
}
