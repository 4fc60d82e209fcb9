package jobs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

const (
	// retryAfter is how long a second attempt waits for the network to come back.
	retryAfter = 500 * time.Millisecond
	// patience is how long a call waits, all in all, for an API that asks for it, and
	// silently as long as nobody would notice.
	patience, silently = 3 * time.Minute, time.Second
)

// connect makes the client when the first call needs it: help works without settings.
func (t *tool) connect() (*client.Client, error) {
	if t.api != nil {
		return t.api, nil
	}
	base, token, err := t.Settings(t.tokenFile)
	if err != nil {
		return nil, &Failure{Code: exitUsage, Err: err}
	}
	if t.url != "" {
		base = t.url
	}
	t.api, err = client.New(base, token, t.Transport)
	if err != nil {
		return nil, &Failure{Code: exitUsage, Err: err, Hint: "--url or GATEWAY_CRON_URL names it."}
	}
	return t.api, nil
}

// call makes one call, and waits where the API asks for it. Its errors are *Failure.
func (t *tool) call(ctx context.Context, r client.Request) (client.Answer, error) {
	if t.redraws { // and waits by itself
		return t.callNow(ctx, r)
	}
	var waited time.Duration
	return t.callWith(ctx, r, client.Patience{Most: patience, Told: func(wait time.Duration, _ *client.Error) {
		if waited += wait; waited > silently {
			fmt.Fprintf(t.Stderr, "the API asks to wait: trying again in %s; Ctrl-C gives up\n", wait)
		}
	}})
}

// callNow makes one call that nothing has to wait for.
func (t *tool) callNow(ctx context.Context, r client.Request) (client.Answer, error) {
	return t.callWith(ctx, r, client.Patience{})
}

func (t *tool) callWith(ctx context.Context, r client.Request, p client.Patience) (client.Answer, error) {
	c, err := t.connect()
	if err != nil {
		return client.Answer{}, err
	}
	a, err := c.Patient(p).Do(ctx, r)
	if err != nil {
		return client.Answer{}, t.failed(ctx, err)
	}
	return a, nil
}

func (t *tool) get(ctx context.Context, path string, query url.Values) (client.Answer, error) {
	return t.call(ctx, client.Request{Method: http.MethodGet, Path: path, Query: query})
}

// create makes a call that must not happen twice, though its answer may be lost: by its
// key the API knows the second attempt for the first.
func (t *tool) create(ctx context.Context, path string, body any) (client.Answer, error) {
	r := client.Request{Method: http.MethodPost, Path: path, Body: body,
		Header: http.Header{"Idempotency-Key": {"cli-" + rand.Text()}}}
	a, err := t.call(ctx, r)
	if !unanswered(ctx, err) {
		return a, err
	}
	wait(ctx, retryAfter)
	a, err = t.call(ctx, r)
	if f, ok := errors.AsType[*Failure](err); ok && unanswered(ctx, err) && !undialled(err) {
		f.Hint = "Whether it was done is not known: look before you try again.\n" + f.Hint
	}
	return a, err
}

// unanswered reports whether a call ended without an answer.
func unanswered(ctx context.Context, err error) bool {
	f, ok := errors.AsType[*Failure](err)
	if !ok || f.Code != exitUnreachable || ctx.Err() != nil {
		return false
	}
	_, refused := errors.AsType[*client.Error](err)
	return !refused
}

// undialled reports whether nothing of a request can have arrived.
func undialled(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}
