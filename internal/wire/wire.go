// Package wire owns the one HTTP exchange that the clients of the ai-server and
// of the channels share: a request that reaches the other side at most once, an
// exact answer to "was any of it sent?", bounded bodies, and the few parsers
// that they and the readers of requests need. It speaks HTTP/1.1 only, follows no redirects and puts no URL into
// an error, since a URL may carry a secret.
//
// It knows neither jobs nor the meaning of a status; it must not import any
// other package of this module.
package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

const (
	dialTimeout = 5 * time.Second
	// idleTimeout stays below the 5 s after which the ai-server closes an idle
	// connection, so that a request rarely meets one that is just going away.
	idleTimeout = 3 * time.Second
	maxIdle     = 256
)

// Client sends requests. It is safe for concurrent use.
type Client struct{ transport *http.Transport }

// NewClient returns a client with connections of its own. There is no timeout
// for an answer: the context of a request is its deadline. A proxy named in the
// environment is used, though never for loopback addresses.
func NewClient() *Client {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &Client{transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		// A dial function of our own also keeps HTTP/2 off: there, requests
		// share a connection and what one of them wrote cannot be told.
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &conn{Conn: c}, nil
		},
		TLSHandshakeTimeout: dialTimeout,
		IdleConnTimeout:     idleTimeout,
		MaxIdleConns:        maxIdle,
		MaxIdleConnsPerHost: maxIdle,
		DisableCompression:  true,
	}}
}

// CloseIdle closes the connections that no request uses.
func (c *Client) CloseIdle() { c.transport.CloseIdleConnections() }

// Request is one request to send.
type Request struct {
	Method string
	URL    string
	Header http.Header
	Body   []byte
	// Before, if set, runs when a connection is ready and nothing of the request
	// was written. If it fails, nothing is sent and Do returns its error as it is.
	Before func(context.Context) error
	// MaxAnswerBytes bounds what is read of the answer's body.
	MaxAnswerBytes int64
}

// Answer is a complete HTTP answer.
type Answer struct {
	Status    int
	Header    http.Header
	Body      []byte
	Truncated bool  // Body was cut at MaxAnswerBytes
	Length    int64 // of the whole body, as its header says; -1 if that does not
}

// Failure says that a request got no complete answer.
type Failure struct {
	// Sent is false only if certainly not one byte of the request was written.
	Sent bool
	// Ended is context.DeadlineExceeded or context.Canceled if the request's
	// context ended it, else nil.
	Ended error
	// Err is what happened; it contains no URL.
	Err error
}

func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap makes the end of the context visible to errors.Is even where its cause
// is another error.
func (f *Failure) Unwrap() []error {
	if f.Ended != nil {
		return []error{f.Err, f.Ended}
	}
	return []error{f.Err}
}

// Do sends r at most once, unless it is a GET, and reads the whole answer. Its
// error is Before's own, or a *Failure.
func (c *Client) Do(ctx context.Context, r Request) (Answer, error) {
	x := exchange{ctx: ctx, before: r.Before, once: r.Method != http.MethodGet}
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: x.gotConn})

	var body io.Reader
	if len(r.Body) > 0 {
		body = bytes.NewReader(r.Body)
	}
	req, err := http.NewRequestWithContext(traced, r.Method, r.URL, body)
	if err != nil {
		return Answer{}, &Failure{Err: errors.New("the request has no valid method and URL")}
	}
	// With GetBody, net/http would repeat a POST that has an Idempotency-Key on
	// a new connection when a reused one breaks.
	req.GetBody = nil
	if r.Header != nil {
		req.Header = r.Header
	}

	// The transport is used without http.Client, which would follow redirects
	// and put the URL into every error.
	resp, err := c.transport.RoundTrip(req)
	if x.beforeErr != nil {
		if err == nil {
			resp.Body.Close()
		}
		return Answer{}, x.beforeErr
	}
	if err != nil {
		return Answer{}, x.failure(err)
	}
	defer resp.Body.Close()

	answer := Answer{Status: resp.StatusCode, Header: resp.Header, Length: resp.ContentLength}
	answer.Body, err = io.ReadAll(io.LimitReader(resp.Body, r.MaxAnswerBytes+1))
	if err != nil {
		return Answer{}, x.failure(fmt.Errorf("the answer broke off: %w", err))
	}
	if int64(len(answer.Body)) > r.MaxAnswerBytes {
		answer.Body, answer.Truncated = answer.Body[:r.MaxAnswerBytes], true
	}
	return answer, nil
}

// errRefused is what a connection's Write answers after the exchange forbade it.
var errRefused = errors.New("the request was withheld")

// exchange follows one request to its connection. The transport calls gotConn
// on the goroutine that called RoundTrip, so its fields need no lock.
type exchange struct {
	ctx    context.Context
	before func(context.Context) error
	once   bool

	beforeErr error
	conn      *conn // nil until there is one
	base      int64 // conn's writes before this request
}

func (x *exchange) gotConn(info httptrace.GotConnInfo) {
	c := unwrap(info.Conn)
	if x.conn != nil && x.once {
		// A second connection means that the transport repeats the request.
		c.refused.Store(true)
		return
	}
	x.conn, x.base = c, c.writes.Load()
	if x.before == nil {
		return
	}
	if err := x.before(x.ctx); err != nil {
		x.beforeErr = err
		c.refused.Store(true)
	}
}

// failure must be called after the transport gave the request up: by then it
// has closed the connection, and no write can begin any more.
func (x *exchange) failure(err error) *Failure {
	f := &Failure{Err: err, Ended: x.ctx.Err()}
	f.Sent = x.conn != nil && x.conn.writes.Load() > x.base
	return f
}

// unwrap finds our connection below any layers of TLS.
func unwrap(c net.Conn) *conn {
	for {
		if own, ok := c.(*conn); ok {
			return own
		}
		c = c.(*tls.Conn).NetConn() //nolint:forcetypeassert // we dialled it: ours, or TLS over ours
	}
}

// conn counts the writes that put at least one byte on the wire or may yet do
// so. It is counted before the write, so that a write under way counts.
type conn struct {
	net.Conn
	writes  atomic.Int64
	refused atomic.Bool
}

func (c *conn) Write(p []byte) (int, error) {
	if c.refused.Load() {
		return 0, errRefused
	}
	c.writes.Add(1)
	n, err := c.Conn.Write(p)
	if n == 0 && err != nil {
		c.writes.Add(-1)
	}
	return n, err
}
