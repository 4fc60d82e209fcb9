//go:build linux

package main

import (
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
	s := &http.Server{Handler: newAIServer(delay), ReadHeaderTimeout: 10 * time.Second}
	fmt.Fprintf(stdout, "%s on http://%s\n", readyWord, l.Addr())
	context.AfterFunc(ctx, func() { _ = s.Close() })
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

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
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"text":"Done.","sessionId":"bench"}`)
}

func (s *aiServer) message(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	s.mu.Lock()
	s.messages++
	n := s.messages
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
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
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the harness has gone; nobody is left to tell
}
