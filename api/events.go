package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// heartbeatEvery keeps a silent stream from being taken for dead on its way, and shows when
// its client has gone.
const heartbeatEvery = 15 * time.Second

// runEvents tells a run as it changes, as server-sent events, until nothing more can
// come of it. A stream that ends without the event `end` was broken off; whoever asks
// again gets the state as it is then, so that no event needs an id.
func (s *server) runEvents(w http.ResponseWriter, r *http.Request) error {
	id, err := runID(r)
	if err != nil {
		return err
	}
	leave, err := s.last(r)
	if err != nil {
		return err
	}
	defer leave()
	run, err := s.look(r.Context(), id)
	if err != nil {
		return err
	}

	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // or nginx holds the events back
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	stream := eventStream{parts: newParts(w), heartbeat: time.NewTicker(heartbeatEvery)}
	defer stream.heartbeat.Stop()
	gone := false
	for n := 0; stream.tell(run) && !gone && !settled(run); n++ {
		if !s.rest(r.Context(), n) {
			return nil
		}
		if s.stillMay(r.Context()) != nil {
			return nil // whoever asks again is told why
		}
		newer, err := s.look(r.Context(), id)
		switch {
		case err == nil:
			run = newer
		case errors.Is(err, job.ErrNotFound):
			gone = true // only the record of an ended run goes
		}
	}
	stream.event("end", []byte("{}"))
	return stream.parts.refused
}

// settled reports whether nothing more can come of a run: it has ended, and so have the
// deliveries of its reply or alert.
func settled(run job.Run) bool {
	if run.State != job.StateDone || run.DeliveryState == job.DeliveryPending {
		return false
	}
	for _, d := range run.Deliveries {
		if d.State == job.DeliveryPending {
			return false
		}
	}
	return true
}

// eventStream writes server-sent events.
type eventStream struct {
	parts     parts
	heartbeat *time.Ticker
	told      [sha256.Size]byte // of what: streams last, and what they told can be large
	failed    bool              // the client takes no more
}

// tell sends a run that differs from the one told last, or a sign of life when it is
// time for one. It reports whether the client still takes them.
func (e *eventStream) tell(run job.Run) bool {
	data, err := encodeLine(wholeRun(run))
	if sum := sha256.Sum256(data); err == nil && sum != e.told {
		e.told = sum
		e.event("run", bytes.TrimSpace(data))
		return !e.failed
	}
	select {
	case <-e.heartbeat.C:
		e.write([]byte(": still here\n\n"))
	default:
	}
	return !e.failed
}

// event sends data of one line.
func (e *eventStream) event(name string, data []byte) {
	e.heartbeat.Reset(heartbeatEvery)
	e.write(fmt.Appendf(nil, "event: %s\ndata: %s\n\n", name, data))
}

func (e *eventStream) write(b []byte) {
	e.failed = e.failed || e.parts.send(b) != nil
}

// parts sends an answer part by part, each at once.
type parts struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
	refused error // why the first part was not sent: there is no answer yet
}

func newParts(w http.ResponseWriter) parts {
	return parts{w: w, control: http.NewResponseController(w)}
}

func (p *parts) send(b []byte) error {
	release, err := hold(p.w, len(b))
	if err != nil {
		if !p.begun {
			p.refused = err
		}
		return err
	}
	defer release()
	p.begun = true
	if _, err := p.w.Write(b); err != nil { //nolint:gosec // no HTML: its type is set, and sniffing forbidden
		return err
	}
	return p.control.Flush()
}

// encodeLine renders v as one line of JSON, as answers have it.
func encodeLine(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}
