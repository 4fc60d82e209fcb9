//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// runHeader names the run that a call is for.
const runHeader = "X-Gateway-Cron-Run"

// call is a turn that was asked for.
type call struct {
	Run string `json:"run"`
	At  int64  `json:"at"` // unix microseconds
}

// tally is how much arrived so far.
type tally struct {
	Calls    int `json:"calls"`
	Runs     int `json:"runs"` // of slots, each counted once
	Messages int `json:"messages"`
}

// isManual reports whether a run is of no slot.
func isManual(run string) bool { return strings.Contains(run, ":manual:") }

// aiServer stands in for the ai-server and the channel manager, and does as little
// as possible: the stand-ins of the tests keep transcripts, which would cost more
// than what is measured.
type aiServer struct {
	delay time.Duration

	mu       sync.Mutex
	calls    []call
	runs     map[string]bool
	messages int
}

// serveAI is the child process. Argument: how long a turn takes.
func serveAI(ctx context.Context, args []string, stdout, _ io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("%d arguments instead of a duration", len(args))
	}
	delay, err := time.ParseDuration(args[0])
	if err != nil {
		return fmt.Errorf("how long a turn takes: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	handler := newAIServer(delay)
	fmt.Fprintf(stdout, "%s on http://%s\n", readyWord, l.Addr())
	context.AfterFunc(ctx, func() { _ = l.Close() })
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("serve: %w", err)
		}
		go converse(conn, handler)
	}
}

// converse answers the requests of a connection, one after the other. The server of
// net/http would take more of the two cores than what is measured can spare: it watches
// every connection from a second goroutine.
func converse(conn net.Conn, handler http.Handler) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	w := &written{header: http.Header{}}
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return // the client has gone
		}
		w.status = http.StatusOK
		w.body.Reset()
		handler.ServeHTTP(w, r)
		_, _ = io.Copy(io.Discard, r.Body) // the next request comes behind it
		head := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Length: %d\r\nContent-Type: application/json\r\n\r\n",
			w.status, http.StatusText(w.status), w.body.Len())
		if _, err := conn.Write(append(head, w.body.Bytes()...)); err != nil {
			return
		}
	}
}

// written is an answer that is kept until it is whole.
type written struct {
	header http.Header // every answer's is the same
	status int
	body   bytes.Buffer
}

func (w *written) Header() http.Header         { return w.header }
func (w *written) WriteHeader(status int)      { w.status = status }
func (w *written) Write(p []byte) (int, error) { return w.body.Write(p) }

func newAIServer(delay time.Duration) http.Handler {
	s := &aiServer{delay: delay, runs: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/gateway/chat", s.chat)
	mux.HandleFunc("GET /api/gateway/sessions/{id}", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"error":"Session not found"}`, http.StatusNotFound)
	})
	mux.HandleFunc("POST /api/channels/{channel}/messages", s.message)
	mux.HandleFunc("GET /bench/tally", s.tally)
	mux.HandleFunc("GET /bench/calls", s.list)
	mux.HandleFunc("POST /bench/forget", s.forget)
	return mux
}

func (s *aiServer) chat(w http.ResponseWriter, r *http.Request) {
	c := call{Run: r.Header.Get(runHeader), At: time.Now().UnixMicro()}
	s.mu.Lock()
	s.calls = append(s.calls, c)
	if !isManual(c.Run) {
		s.runs[c.Run] = true
	}
	s.mu.Unlock()
	_, _ = io.Copy(io.Discard, r.Body) // so that the connection can be used again
	if s.delay > 0 {
		timer := time.NewTimer(s.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	_, _ = io.WriteString(w, `{"text":"Done.","sessionId":"bench"}`)
}

func (s *aiServer) message(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	s.mu.Lock()
	s.messages++
	n := s.messages
	s.mu.Unlock()
	_, _ = io.WriteString(w, `{"messageId":"m-`+strconv.Itoa(n)+`"}`)
}

func (s *aiServer) tally(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	t := tally{Calls: len(s.calls), Runs: len(s.runs), Messages: s.messages}
	s.mu.Unlock()
	answer(w, t)
}

func (s *aiServer) list(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer(w, s.calls)
}

func (s *aiServer) forget(http.ResponseWriter, *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls, s.runs, s.messages = nil, map[string]bool{}, 0
}

func answer(w http.ResponseWriter, v any) {
	_ = json.NewEncoder(w).Encode(v) // the harness has gone; nobody is left to tell
}
