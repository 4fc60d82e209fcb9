package alert

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/wire"
)

// HeartbeatOptions configure a Heartbeat.
type HeartbeatOptions struct {
	URL string // of the outside watch; may hold a secret, and so is in no log and no error
	// Leads reports whether the scheduler of this process does the ordinary work, and an
	// error if nobody can tell: who led last then goes on.
	Leads func(context.Context) (bool, error)
	// Failing reports whether the deployment is in trouble.
	Failing func(context.Context) bool
	Logger  *slog.Logger
	// Every is how often the watch hears; 0 means each minute.
	Every time.Duration
}

// heartbeatTimeout bounds one call, well within a minute.
const heartbeatTimeout = 10 * time.Second

// lookEvery is how often a process looks whether it leads and how the deployment stands.
const lookEvery = 5 * time.Second

// Heartbeat tells an outside watch that the deployment lives, by one GET a minute from the
// leader, and by one of the URL with /fail behind its path while it is in trouble, as
// Healthchecks has it. So somebody hears when all of it is dead. What has changed is told at
// once, trouble if the next look finds it, too: to start is no alarm.
type Heartbeat struct {
	o          HeartbeatOptions
	well, fail string
	client     *wire.Client

	led     bool // when that was last known
	trouble bool // in the last look
	said    string
	saidAt  time.Time
	broken  bool // the last call failed
}

// NewHeartbeat checks o and returns a heartbeat; Run starts it.
func NewHeartbeat(o HeartbeatOptions) (*Heartbeat, error) {
	if err := checkURL(o.URL); err != nil {
		return nil, err
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, errNoURL
	}
	if o.Every == 0 {
		o.Every = time.Minute
	}
	return &Heartbeat{o: o, well: o.URL, fail: u.JoinPath("fail").String(), client: wire.NewClient()}, nil
}

// Run calls until ctx ends.
func (h *Heartbeat) Run(ctx context.Context) error {
	defer h.client.CloseIdle()
	ticker := time.NewTicker(min(h.o.Every, lookEvery))
	defer ticker.Stop()
	for {
		h.beat(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// beat calls if this process leads, as far as is known, and there is something to say.
func (h *Heartbeat) beat(ctx context.Context) {
	before := h.trouble
	h.trouble = h.look(ctx)
	switch {
	case !h.led || ctx.Err() != nil:
		h.said = ""
		return
	case h.trouble && !before:
		return
	}
	say := h.well
	if h.trouble {
		say = h.fail
	}
	// A look that comes a little early must not put the call off until the next one.
	if say == h.said && time.Since(h.saidAt) < h.o.Every-min(h.o.Every, lookEvery)/2 {
		return
	}
	h.said, h.saidAt = say, time.Now()
	h.call(ctx, say)
}

// look finds out whether this process leads and whether the deployment is in trouble,
// which it is too if nobody can tell in time.
func (h *Heartbeat) look(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	leads, err := h.o.Leads(ctx)
	if err != nil {
		return true
	}
	h.led = leads
	return leads && (h.o.Failing(ctx) || ctx.Err() != nil)
}

func (h *Heartbeat) call(ctx context.Context, to string) {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	answer, err := h.client.Do(ctx, wire.Request{Method: http.MethodGet, URL: to, MaxAnswerBytes: maxAnswerBytes})
	broken := err != nil || answer.Status < 200 || answer.Status > 299
	switch {
	case broken && !h.broken && err != nil: // which has no URL
		h.o.Logger.Warn("heartbeat not heard", "err", err)
	case broken && !h.broken:
		h.o.Logger.Warn("heartbeat not heard", "status", answer.Status)
	case !broken && h.broken:
		h.o.Logger.Info("heartbeat heard again")
	}
	h.broken = broken
}
