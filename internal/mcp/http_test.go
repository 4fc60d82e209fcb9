package mcp_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/gatewaycron/gatewaycron/internal/client"
	"github.com/gatewaycron/gatewaycron/internal/mcp"
)

const bodyLimit = 4096

func newHandler(t *testing.T, api http.Handler, log io.Writer) http.Handler {
	t.Helper()
	c, err := client.New("http://127.0.0.1", "", client.Handler(api))
	if err != nil {
		t.Fatal(err)
	}
	return mcp.New(mcp.Options{Client: c, Version: "v9", Now: time.Now, Logger: slog.New(slog.NewTextHandler(log, nil))}).Handler(bodyLimit)
}

// bearing sends a token with each request.
type bearing string

func (b bearing) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

// TestHandlerKeepsNothing: two replicas take turns, and what a caller may do is decided
// by the API, by the caller's own token.
func TestHandlerKeepsNothing(t *testing.T) {
	f := &fakeAPI{}
	f.answer("POST /jobs", "201 "+morning)
	replicas := []http.Handler{newHandler(t, f, io.Discard), newHandler(t, f, io.Discard)}
	turn := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		turn++
		replicas[turn%2].ServeHTTP(w, r)
	}))
	defer srv.Close()
	session, err := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(),
		&sdk.StreamableClientTransport{Endpoint: srv.URL, HTTPClient: &http.Client{Transport: bearing("mine")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if id := session.ID(); id != "" {
		t.Errorf("session %q", id)
	}
	for range 2 {
		if text, _, isError := call(t, session, "create_cron_job", `{}`); isError {
			t.Error(text)
		}
	}
	requests, tokens := f.sent()
	if turn < 3 || len(requests) != 2 {
		t.Errorf("%d requests led to %q", turn, requests)
	}
	for _, token := range tokens {
		if token != "Bearer mine" {
			t.Errorf("the API saw %q", token)
		}
	}
}

// TestHandlerPassesTheRunOn: the API is to know in which run an agent asks, and who it is.
func TestHandlerPassesTheRunOn(t *testing.T) {
	var got http.Header
	c, err := client.New("http://127.0.0.1", "", roundTripper(func(r *http.Request) (*http.Response, error) {
		got = r.Header
		return nil, io.ErrUnexpectedEOF
	}))
	if err != nil {
		t.Fatal(err)
	}
	h := mcp.New(mcp.Options{Client: c, Version: "v9", Now: time.Now, Logger: slog.New(slog.DiscardHandler)}).Handler(bodyLimit)
	for _, runs := range [][]string{{"digest:1"}, {"digest:1", "digest:2"}, {""}, nil} {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/mcp",
			strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"create_cron_job","arguments":{"task":"x","every":60}}}`))
		r.Header.Set("Accept", "application/json, text/event-stream")
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer mine")
		if runs != nil {
			r.Header["X-Gateway-Cron-Run"] = runs
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
		if !slices.Equal(got.Values("X-Gateway-Cron-Run"), runs) || got.Get("Authorization") != "Bearer mine" || got.Get("Accept") != "" {
			t.Errorf("sent %q: the API saw %v", runs, got)
		}
	}
}

// TestStops: what stops something is known by its name and by nothing that only looks like
// it, and its body is left as it was.
func TestStops(t *testing.T) {
	s := mcp.New(mcp.Options{Version: "v9", Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	call := func(name string) string { return `{"method":"tools/call","params":{"name":"` + name + `"}}` }
	for body, want := range map[string]bool{
		call("pause_cron_job"): true, call("resume_cron_job"): true, call("delete_cron_job"): true,
		call("update_cron_job"): true, call("get_cron_status"): true,
		call("list_cron_runs"): false, call("create_cron_job"): false, call("none"): false,
		`{"method":"tools/list","params":{"name":"pause_cron_job"}}`:                                    false,
		`{"method":"tools/call","params":{"name":"list_cron_runs"},"Params":{"name":"pause_cron_job"}}`: false,
		`{"method":"tools/call","params":{"name":"list_cron_runs","Name":"pause_cron_job"}}`:            false,
		call("pause_cron_job") + " ": true, "[" + call("pause_cron_job") + "]": false, "": false, "null": false,
		call("pause_cron_job") + strings.Repeat(" ", 5000): false,
	} {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/mcp", strings.NewReader(body))
		if got := s.Stops(r); got != want {
			t.Errorf("%.90s: %v", body, got)
		}
		if left, err := io.ReadAll(r.Body); string(left) != body || err != nil {
			t.Errorf("%.90s: left %.90q, %v", body, left, err)
		}
	}
	broken := httptest.NewRequestWithContext(t.Context(), "POST", "/mcp", io.MultiReader(strings.NewReader("{"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	broken.ContentLength = 20
	if s.Stops(broken) {
		t.Error("half a body")
	}
	if left, err := io.ReadAll(broken.Body); string(left) != "{" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("left %q, %v", left, err)
	}
}

func TestHandlerRefuses(t *testing.T) {
	h := newHandler(t, &fakeAPI{}, io.Discard)
	const list = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	for _, tc := range []struct {
		name, method, body, header string
		status                     int
		want                       string
	}{
		{"a message", "POST", list, "", 200, "create_cron_job"},
		{"a batch", "POST", "\n [" + list + "," + list + "]", "", 400, "batches are not supported"},
		{"a body that is too large", "POST", strings.Replace(list, `"id":1`, `"id":"`+strings.Repeat("x", bodyLimit)+`"`, 1), "", 413, ""},
		{"space without end", "POST", strings.Repeat(" ", 2*bodyLimit), "", 413, ""},
		{"nothing", "POST", "", "", 400, ""},
		{"a stream", "GET", "", "", 405, ""},
		{"the end of a session", "DELETE", "", "", 405, ""},
		{"a form", "POST", list, "text/plain", 415, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), tc.method, "/mcp", strings.NewReader(tc.body))
			r.Header.Set("Accept", "application/json, text/event-stream")
			r.Header.Set("Content-Type", orElse(tc.header, "application/json"))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.want) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

func orElse(v, other string) string {
	if v == "" {
		return other
	}
	return v
}

// TestSubscriptionEnds: in the newest protocol a subscription is a request that is held
// open. Here nothing changes that it could tell of.
func TestSubscriptionEnds(t *testing.T) {
	h := newHandler(t, &fakeAPI{}, io.Discard)
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/mcp", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},"_meta":{
		"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"x","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`))
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
	r.Header.Set("Mcp-Method", "subscriptions/listen")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r) // returns
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "acknowledged") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestPanic: a defect in one tool is one failed call.
func TestPanic(t *testing.T) {
	var log bytes.Buffer
	c, err := client.New("http://127.0.0.1", "", roundTripper(func(*http.Request) (*http.Response, error) { panic("a defect") }))
	if err != nil {
		t.Fatal(err)
	}
	h := mcp.New(mcp.Options{Client: c, Version: "v9", Now: time.Now, Logger: slog.New(slog.NewTextHandler(&log, nil))}).Handler(bodyLimit)
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/mcp",
		strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_cron_job","arguments":{"jobId":"a"}}}`))
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if !strings.Contains(w.Body.String(), "Something failed here") || !strings.Contains(log.String(), "a defect") {
		t.Errorf("%d %s\nlog: %s", w.Code, w.Body, log.String())
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
