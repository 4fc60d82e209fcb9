// Package client owns calls of the REST API: for the command line, over the network,
// and for the agent tools, over the network or within the process. It knows the shapes
// of answers as far as its callers show them; what it does not know stays in Raw.
//
// It must not import the api, the store, the scheduler or the handlers: whatever it is
// given came over the wire.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// RunHeader names the run in which a call is made, for the API to know who asks.
const RunHeader = "X-Gateway-Cron-Run"

// AsideHeader marks a call that is made by the way: it uses up nothing that the API keeps
// for those who ask the same in earnest.
const AsideHeader = "X-Gateway-Cron-Aside"

// maxAnswerBytes bounds an answer: a page of jobs with the longest tasks is smaller.
const maxAnswerBytes = 32 << 20

// Client calls the API of one deployment. It is safe for concurrent use.
type Client struct {
	base     *url.URL
	token    string
	http     *http.Client
	patience Patience
}

// Patience is how a client takes a refusal that says when to come back.
type Patience struct {
	Most time.Duration // to wait for one call, all in all
	// Told is called before each wait with its length; nil tells nobody.
	Told func(wait time.Duration, why *Error)
}

// New returns a client of the API at base, an http or https URL whose path is kept as a
// prefix. An empty token sends none. transport may be nil for the usual one.
func New(base, token string, transport http.RoundTripper) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("the address of the API must look like http://127.0.0.1:19790, not %q", base)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the address of the API must have no user, query or fragment")
	}
	return &Client{base: u, token: token, http: &http.Client{
		Transport: transport,
		// A redirect would turn a POST into a GET, and carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Patient is a client like c that waits as the API asks it to and sends a request again: one
// that came too soon (429), and, where that cannot do harm, one whose fate is unknown (503).
func (c *Client) Patient(p Patience) *Client {
	patient := *c
	patient.patience = p
	return &patient
}

// Request is one call. Path begins with a slash and has its parts escaped: see Path.
type Request struct {
	Method string
	Path   string
	Query  url.Values
	Header http.Header
	Body   any // encoded as JSON; nil for none, an io.Reader as it is
	// Repeatable says that to carry the request out twice is as good as once; a GET always
	// is, and so is one with an Idempotency-Key.
	Repeatable bool
}

// repeatable reports whether the request may be sent again after a refusal.
func (r Request) repeatable(e *Error) bool {
	if _, streamed := r.Body.(io.Reader); streamed || e.RetryAfter <= 0 {
		return false
	}
	switch e.Status {
	case http.StatusTooManyRequests:
		return true // nothing was done
	case http.StatusServiceUnavailable:
		return r.Repeatable || r.Method == http.MethodGet || r.Header.Get("Idempotency-Key") != ""
	}
	return false
}

// Answer is a successful answer.
type Answer struct {
	Status int
	Header http.Header
	Raw    json.RawMessage
}

// Error is a refusal by the API; its text is what the API says to do.
type Error struct {
	Status   int       `json:"status"`
	Detail   string    `json:"detail"`
	Problems []Problem `json:"problems,omitempty"`
	Ended    *Ended    `json:"ended,omitempty"` // of a job that has had its runs
	// RetryAfter is how long the API asks to wait; 0 if it does not say.
	RetryAfter time.Duration `json:"-"`
}

// Problem is one thing wrong with what was sent.
type Problem struct {
	Field   string `json:"field"`
	Detail  string `json:"detail"`
	Example string `json:"example,omitempty"`
}

func (e *Error) Error() string {
	if e.Detail != "" {
		return e.Detail
	}
	return fmt.Sprintf("the API answered %d %s", e.Status, http.StatusText(e.Status))
}

// Path joins escaped parts after /api/cron.
func Path(parts ...string) string {
	var b strings.Builder
	b.WriteString("/api/cron")
	for _, part := range parts {
		b.WriteString("/" + url.PathEscape(part))
	}
	return b.String()
}

// Do calls the API. A refusal is an *Error; what prevents an answer is wrapped
// without the URL's query.
func (c *Client) Do(ctx context.Context, r Request) (Answer, error) {
	resp, err := c.Open(ctx, r)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return Answer{}, fmt.Errorf("read the answer to %s %s: %w", r.Method, r.Path, plain(err))
	case len(body) > maxAnswerBytes:
		return Answer{}, fmt.Errorf("the answer to %s %s is over %d bytes", r.Method, r.Path, maxAnswerBytes)
	}
	return Answer{Status: resp.StatusCode, Header: resp.Header, Raw: body}, nil
}

// Open calls the API and answers with a body that is the caller's to read and close: for
// streams. A refusal is an *Error.
func (c *Client) Open(ctx context.Context, r Request) (*http.Response, error) {
	for left := c.patience.Most; ; {
		resp, err := c.once(ctx, r)
		refused, ok := errors.AsType[*Error](err)
		if !ok || refused.RetryAfter > left || !r.repeatable(refused) || !c.pause(ctx, refused) {
			return resp, err
		}
		left -= refused.RetryAfter
	}
}

// pause waits as a refusal asks, and reports whether to go on: not if ctx ends before.
func (c *Client) pause(ctx context.Context, why *Error) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= why.RetryAfter {
		return false
	}
	if c.patience.Told != nil {
		c.patience.Told(why.RetryAfter, why)
	}
	timer := time.NewTimer(why.RetryAfter)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// once sends a request.
func (c *Client) once(ctx context.Context, r Request) (*http.Response, error) {
	body, err := encode(r.Body)
	if err != nil {
		return nil, fmt.Errorf("encode the request %s %s: %w", r.Method, r.Path, err)
	}
	// Joined as text: JoinPath and ResolveReference clean the path, and an id may need
	// its escapes.
	target := strings.TrimSuffix(c.base.String(), "/") + r.Path
	if len(r.Query) > 0 {
		target += "?" + r.Query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, target, body)
	if err != nil {
		return nil, fmt.Errorf("make the request %s %s: %w", r.Method, r.Path, plain(err))
	}
	for name, values := range r.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if body != nil && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("call %s %s at %s: %w", r.Method, r.Path, c.base.Host, plain(err))
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, refusal(resp)
	}
	return resp, nil
}

func encode(body any) (io.Reader, error) {
	switch b := body.(type) {
	case nil:
		return nil, nil
	case io.Reader:
		return b, nil
	}
	raw, err := json.Marshal(body)
	return bytes.NewReader(raw), err
}

// refusal reads an error answer, also one that is not the API's own.
func refusal(resp *http.Response) error {
	e := &Error{}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil || json.Unmarshal(raw, e) != nil {
		*e = Error{Detail: fmt.Sprintf("%s answered %d %s; is it the API?", resp.Request.URL.Host, resp.StatusCode, http.StatusText(resp.StatusCode))}
	}
	e.Status = resp.StatusCode
	if seconds, err := time.ParseDuration(resp.Header.Get("Retry-After") + "s"); err == nil {
		e.RetryAfter = seconds
	}
	return e
}

// plain takes the URL off an error of net/http.
func plain(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// Handler is the transport to an API in this process.
func Handler(h http.Handler) http.RoundTripper { return inProcess{h} }

type inProcess struct{ handler http.Handler }

// RoundTrip serves the request as if it came from this machine, with a pipe for the
// body, so that streams stream.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	in := r.Clone(alone{r.Context()})
	in.RequestURI, in.RemoteAddr, in.Host = r.URL.RequestURI(), "127.0.0.1:0", r.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	body, out := io.Pipe()
	w := &pipeWriter{header: http.Header{}, out: out, started: make(chan struct{})}
	go func() {
		defer func() {
			// A handler that panics is an answer that breaks off.
			if p := recover(); p != nil {
				w.start(http.StatusInternalServerError)
				_ = out.CloseWithError(errors.New("the API broke off its answer"))
				return
			}
			w.start(http.StatusOK)
			_ = out.Close()
		}()
		t.handler.ServeHTTP(w, in)
	}()
	select {
	case <-w.started:
		return &http.Response{StatusCode: w.status, Status: fmt.Sprint(w.status, " ", http.StatusText(w.status)), Header: w.sent,
			Body: body, Request: r, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1}, nil
	case <-r.Context().Done():
		_ = body.Close() // a handler that writes on finds nobody reading
		return nil, r.Context().Err()
	}
}

// alone is a context that ends as another does and holds nothing: what a router keeps
// there of the request that led to this call would have the next router take this call
// for that request.
type alone struct{ context.Context }

func (alone) Value(any) any { return nil }

// pipeWriter is the other end of an answer within the process.
type pipeWriter struct {
	header, sent http.Header
	status       int
	out          *io.PipeWriter
	started      chan struct{}
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) { w.start(status) }

func (w *pipeWriter) start(status int) {
	if w.status == 0 {
		w.status, w.sent = status, w.header.Clone()
		close(w.started)
	}
}

func (w *pipeWriter) Write(p []byte) (int, error) {
	w.start(http.StatusOK)
	return w.out.Write(p)
}

// Flush does nothing: the pipe holds nothing back.
func (w *pipeWriter) Flush() { w.start(http.StatusOK) }
