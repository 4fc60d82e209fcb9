package chaos

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/chaos/judge"
)

// journal appends JSON lines to a file, each in one piece.
type journal struct {
	t    testing.TB
	mu   sync.Mutex
	file *os.File
}

func openJournal(t testing.TB, dir, name string) *journal {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return &journal{t: t, file: file}
}

func (j *journal) add(entry any) {
	line, err := json.Marshal(entry)
	if err != nil {
		j.t.Errorf("journal: %v", err)
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		j.t.Errorf("journal: %v", err)
	}
}

func now() int64 { return time.Now().UnixMilli() }

// outsider is what the ai-server and the channels have in common: they write
// down, then answer, well or badly.
type outsider struct {
	plan    *plan
	journal *journal
	url     string
	quit    chan struct{} // ends what hangs

	mu    sync.Mutex
	count int
	asked map[string]int // by what it was about
	calm  bool           // no faults any more
}

// serve listens; each process of the product has a path of its own, so that the
// journals tell who asked: /<process>.<incarnation>/...
func (o *outsider) serve(t testing.TB, mux *http.ServeMux) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.url, o.quit, o.asked = "http://"+l.Addr().String(), make(chan struct{}), map[string]int{}
	server := &http.Server{Handler: mux, IdleTimeout: 5 * time.Second, ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		close(o.quit)
		_ = server.Close()
		<-served
	})
}

// number counts a request, all of them and those about the same; is it calm?
func (o *outsider) number(about string) (n, nth int, calm bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count++
	o.asked[about]++
	return o.count, o.asked[about], o.calm
}

func (o *outsider) calmDown() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calm = true
}

// pause lets a request take its time; it reports false, at once, if whoever asked
// is gone.
func (o *outsider) pause(r *http.Request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return r.Context().Err() == nil
	case <-r.Context().Done():
		return false
	case <-o.quit:
		return false
	}
}

// ended writes down how a request was answered; before it is answered, so that
// whatever follows from the answer comes later in the journals.
func (o *outsider) ended(n int, how string) {
	o.journal.add(judge.End{End: n, At: now(), How: how})
}

// cut resets the connection of a request.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	reset(conn)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// weighted is one way to answer, so many of a thousand times.
type weighted struct {
	of1000 int
	how    string
}

// pick throws a die of a thousand sides; what is left over is "ok".
func pick(n int, ways []weighted) string {
	for _, w := range ways {
		if n -= w.of1000; n < 0 {
			return w.how
		}
	}
	return "ok"
}
