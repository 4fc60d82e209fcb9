package app

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// TestToolsAreGuarded: /mcp lets in whom the API lets in, already for a look at the
// tools, and the API decides about each call by the caller's own token.
func TestToolsAreGuarded(t *testing.T) {
	server := redistest.Start(t)
	start := func(token string) *process {
		p := boot(t, Roles{API: true}, func(c *config.Config) {
			on(server.URL())(c)
			c.Token = token
		})
		eventually(t, "the ready line", p.ready)
		return p
	}
	const (
		look = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
		add  = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"create_cron_job","arguments":{"schedule":"0 9 * * *","task":"x"}}}`
	)
	for _, tc := range []struct {
		name, token string
		rows        []row
	}{
		{"with a token", "secret", []row{
			{look, nil, 401, "Authorization: Bearer"},
			{look, map[string]string{"Authorization": "Bearer wrong"}, 401, "Authorization: Bearer"},
			{look, map[string]string{"Authorization": "Bearer secret"}, 200, "create_cron_job"},
			{add, map[string]string{"Authorization": "Bearer secret"}, 200, "Created job_"},
			{look, map[string]string{"Authorization": "Bearer secret", "Host": "cron.example.com"}, 200, "create_cron_job"},
		}},
		{"without one", "", []row{
			{add, nil, 200, "Created job_"},
			{look, map[string]string{"Host": "evil.example.com"}, 403, "localhost"},
			{look, map[string]string{"Origin": "http://evil.example.com"}, 403, "web pages"},
			{look, map[string]string{"Sec-Fetch-Site": "cross-site"}, 403, "web pages"},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(tc.token)
			for _, r := range tc.rows {
				status, body := p.message(r.message, r.header)
				if status != r.status || !strings.Contains(body, r.want) {
					t.Errorf("%s %v: %d %s", r.message, r.header, status, body)
				}
			}
			for _, path := range []string{"/mcp/", "/mcp/x"} {
				if status := p.status(path); status != 404 {
					t.Errorf("%s: %d", path, status)
				}
			}
		})
	}
}

type row struct {
	message string
	header  map[string]string
	status  int
	want    string
}

// message sends one message to the tools.
func (p *process) message(body string, header map[string]string) (status int, answer string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, "http://"+p.Addr()+"/mcp", strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Close = true
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	for name, value := range header {
		req.Header.Set(name, value)
	}
	req.Host = header["Host"]
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}
