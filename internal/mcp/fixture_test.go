package mcp_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	_ "time/tzdata"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/gatewaycron/gatewaycron/internal/client"
	"github.com/gatewaycron/gatewaycron/internal/mcp"
)

// now is when the tests take place: a Sunday, 19:00 in Berlin.
var now = time.Date(2026, 11, 29, 18, 0, 0, 0, time.UTC)

// fakeAPI answers what a test says and writes down what it is sent.
type fakeAPI struct {
	mu     sync.Mutex
	queued map[string][]string // "GET /path" to "status body"; the last one repeats
	seen   []string            // method, path with query, body
	tokens []string
}

// answer says what is answered, one text after the other.
func (f *fakeAPI) answer(call string, answers ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.queued == nil {
		f.queued = map[string][]string{}
	}
	f.queued[call] = answers
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	key := r.Method + " " + strings.TrimPrefix(r.URL.EscapedPath(), "/api/cron")
	f.tokens = append(f.tokens, r.Header.Get("Authorization"))
	queue := f.queued[key]
	if key == "GET /status" && queue == nil {
		io.WriteString(w, `{"paused":false}`)
		return
	}
	f.seen = append(f.seen, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Method, strings.TrimPrefix(r.RequestURI, "/api/cron"), body)))
	if len(queue) == 0 {
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"status":404,"detail":"Nothing of that id exists."}`)
		return
	}
	if len(queue) > 1 {
		f.queued[key] = queue[1:]
	}
	status, text, _ := strings.Cut(queue[0], " ")
	if status == "panic" {
		panic(text)
	}
	var code int
	fmt.Sscan(status, &code)
	if retry, rest, ok := strings.Cut(text, "|"); ok {
		w.Header().Set("Retry-After", retry)
		text = rest
	}
	w.WriteHeader(code)
	io.WriteString(w, text)
}

// sent are the requests so far, and the tokens they bore.
func (f *fakeAPI) sent() (requests, tokens []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen), slices.Clone(f.tokens)
}

// tools connects a client to a server whose API is the handler.
func tools(t *testing.T, api http.Handler) *sdk.ClientSession {
	t.Helper()
	c, err := client.New("http://127.0.0.1", "", client.Handler(api))
	if err != nil {
		t.Fatal(err)
	}
	return connect(t, c, time.Now)
}

func connect(t *testing.T, c *client.Client, clock func() time.Time) *sdk.ClientSession {
	t.Helper()
	s := mcp.New(mcp.Options{Client: c, Version: "v9", Now: clock, Logger: slog.New(slog.DiscardHandler)})
	in, toServer := io.Pipe()
	fromServer, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- s.Run(t.Context(), in, out)
		_ = out.Close()
	}()
	session, err := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil).
		Connect(t.Context(), &sdk.IOTransport{Reader: fromServer, Writer: toServer}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = session.Close()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return session
}

// call calls a tool with arguments in JSON.
func call(t *testing.T, session *sdk.ClientSession, tool, arguments string) (text string, fields map[string]any, isError bool) {
	t.Helper()
	result, err := session.CallTool(t.Context(), &sdk.CallToolParams{Name: tool, Arguments: json.RawMessage(arguments)})
	if err != nil {
		t.Fatalf("%s %s: %v", tool, arguments, err)
	}
	if len(result.Content) != 1 {
		t.Fatalf("%s answers %d contents", tool, len(result.Content))
	}
	fields, _ = result.StructuredContent.(map[string]any)
	return result.Content[0].(*sdk.TextContent).Text, fields, result.IsError
}
