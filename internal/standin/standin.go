// Package standin holds stand-ins for the two servers that Gateway Cron talks
// to, for the demo and for tests: EchoAI for the ai-server, RecordingChannel for
// the channel manager. They speak the real wire contracts over real HTTP, and
// they are the outside judge of what was asked of them: every request is counted
// and written down before it is answered.
//
// They use no model and reach no chat. Nothing but the demo and tests may import
// this package, and it imports no other package of this module.
package standin

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// maxKept bounds what a stand-in remembers: the newest requests and sessions.
// The counts and the journal go on beyond it.
const maxKept = 10_000

// maxBodyBytes bounds a request's body.
const maxBodyBytes = 40 << 20

// Answer is how a stand-in answers one request. The zero value means: as usual.
type Answer struct {
	Status int    // HTTP status; 0 means 200
	Text   string // of the reply, or of the error if Status is not 2xx
	// Body, if not nil, is sent as it is, in place of what Text would make.
	Body   []byte
	Header http.Header // added to the answer
	// Drop closes the connection without an answer, as a crash would.
	Drop bool
}

func (a Answer) usual() bool {
	return a.Status == 0 && a.Text == "" && a.Body == nil && a.Header == nil && !a.Drop
}

// write sends a; body is used where a has none.
func (a Answer) write(w http.ResponseWriter, body any) {
	if a.Drop {
		panic(http.ErrAbortHandler)
	}
	status := a.Status
	if status == 0 {
		status = http.StatusOK
	}
	maps.Copy(w.Header(), a.Header)
	if a.Body == nil {
		writeJSON(w, status, body)
		return
	}
	w.WriteHeader(status)
	_, _ = w.Write(a.Body) // the client is gone; nobody is left to tell
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone; nobody is left to tell
}

func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, map[string]string{"error": message})
}

// Server is a stand-in that listens.
type Server struct {
	listener net.Listener
	http     *http.Server
	served   chan error
	closing  sync.Once
	closeErr error
}

// start listens on addr, which must be a loopback address; port 0 picks one.
func start(addr string, h http.Handler) (*Server, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("stand-in address %q: %w", addr, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("stand-in address %q: must be a loopback address", addr)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("stand-in listen: %w", err)
	}
	s := &Server{listener: listener, served: make(chan error, 1), http: &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Second, // as the real ai-server
	}}
	go func() { s.served <- s.http.Serve(listener) }()
	return s, nil
}

// Addr is the address it listens on, host:port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// URL is the base URL for clients.
func (s *Server) URL() string { return "http://" + s.Addr() }

// Close stops listening and cuts every connection, as a kill would. What the
// stand-in wrote down stays; it can be started again.
func (s *Server) Close() error {
	s.closing.Do(func() {
		err := s.http.Close()
		if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		if err != nil {
			s.closeErr = fmt.Errorf("stand-in close: %w", err)
		}
	})
	return s.closeErr
}

// journal appends one JSON line for each request. Without a path it does nothing.
type journal struct {
	mu   sync.Mutex
	file *os.File
}

func openJournal(path string) (*journal, error) {
	if path == "" {
		return &journal{}, nil
	}
	// Appending lets a journal outlive the stand-in that wrote its beginning.
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("stand-in journal: %w", err)
	}
	return &journal{file: file}, nil
}

// add writes a line in one piece, unbuffered: a kill of this process right after
// does not lose it.
func (j *journal) add(entry any) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	line, err := json.Marshal(entry)
	if err != nil {
		return fmt.Errorf("stand-in journal: %w", err)
	}
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("stand-in journal: %w", err)
	}
	return nil
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}
