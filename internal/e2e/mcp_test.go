package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// What an agent does with the tools, by a client that is not ours, over both
// transports: it looks, previews, makes a job, runs it, reads the reply that reached the
// chat, and deletes it. Without the token it is not let in.
func TestAgentTools(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.env = append(w.env, "GATEWAY_CRON_TOKEN=hunter2", "GATEWAY_CRON_RATE_LIMIT_PER_MINUTE=0") // this agent is quicker than one that thinks
	serve := w.start("serve")
	// What is said over HTTP stands for itself, so that any replica can answer it.
	second := w.start("api")
	turns := &takeTurns{hosts: []string{strings.TrimPrefix(serve.URL, "http://"), strings.TrimPrefix(second.URL, "http://")}, token: "hunter2"}

	overHTTP := &mcp.StreamableClientTransport{Endpoint: serve.URL + "/mcp", HTTPClient: &http.Client{Transport: turns}}
	stdio := func(token string) *mcp.CommandTransport {
		cmd := exec.Command(binary, "mcp")
		cmd.Env = append(os.Environ(), "GATEWAY_CRON_URL="+serve.URL, "GATEWAY_CRON_TOKEN="+token)
		cmd.Stderr = os.Stderr
		return &mcp.CommandTransport{Command: cmd}
	}
	for name, transport := range map[string]mcp.Transport{"http": overHTTP, "stdio": stdio("hunter2")} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t, transport)
			a.tools()
			a.call("preview_schedule", map[string]any{"schedule": "0 9 * * 1-5", "timezone": "Europe/Berlin"},
				"At 09:00 on weekdays (Europe/Berlin). The next times:")
			a.refused("create_cron_job", map[string]any{"schedule": "0 9 * * 1-5 *", "task": "x"}, "schedule")
			id := a.call("create_cron_job", map[string]any{"schedule": "0 9 * * 1-5", "timezone": "Europe/Berlin",
				"task": "say hi over " + name, "name": "Greeting", "labels": []string{name}, "channel": "telegram", "chatId": "123"},
				"at 09:00 on weekdays (Europe/Berlin). Runs next ", "The reply goes to telegram chat 123.")["id"]
			a.call("list_cron_jobs", map[string]any{"label": name, "enabled": true}, "1 job:", id.(string), "say hi over "+name)
			a.refused("list_cron_jobs", map[string]any{"owner": "me"}, "owner is not a parameter here")
			a.call("update_cron_job", map[string]any{"jobId": id, "schedule": "30 8 * * 1-5", "maxRuns": 3}, "at 08:30", "deleted after 3 more runs")
			a.call("update_cron_job", map[string]any{"jobId": id, "clear": []string{"maxRuns"}}, "at 08:30")
			a.call("pause_cron_job", map[string]any{"jobId": id, "reason": "a test"}, "is paused (a test)")
			a.call("resume_cron_job", map[string]any{"jobId": id}, "Runs next")
			a.call("get_cron_job", map[string]any{"jobId": id}, "30 8 * * 1-5", "Task:\nsay hi over "+name)

			run := a.call("run_cron_job", map[string]any{"jobId": id, "waitSeconds": 50},
				"succeeded", "The reply was delivered.", "Reply:\nEcho: say hi over "+name)["id"]
			a.call("get_cron_run", map[string]any{"runId": run}, "Reply:\nEcho: say hi over "+name)
			a.call("list_cron_runs", map[string]any{"jobId": id}, run.(string), "succeeded")
			arrived := 0
			for _, m := range w.channel.Messages() {
				if m.Text == "Echo: say hi over "+name {
					arrived++
				}
			}
			if arrived != 1 {
				t.Errorf("%d messages arrived", arrived)
			}

			a.call("delete_cron_job", map[string]any{"jobId": id}, "does not run again")
			a.refused("get_cron_job", map[string]any{"jobId": id}, "list_cron_jobs")
		})
	}
	if turns.n < 10 {
		t.Errorf("only %d requests", turns.n)
	}

	t.Run("without the token", func(t *testing.T) {
		_, err := mcp.NewClient(&mcp.Implementation{Name: "e2e", Version: "1"}, nil).
			Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: serve.URL + "/mcp"}, nil)
		if err == nil {
			t.Error("a client without the token was let in over HTTP")
		}
		a := newAgent(t, stdio("wrong"))
		a.refused("list_cron_jobs", nil, "GATEWAY_CRON_TOKEN")
		a.refused("create_cron_job", map[string]any{"schedule": "0 9 * * *", "task": "x"}, "GATEWAY_CRON_TOKEN")
	})
	if strings.Contains(serve.Log.String(), "hunter2") || strings.Contains(second.Log.String(), "hunter2") {
		t.Error("the token is in a log")
	}
}

// takeTurns sends each request to the next host, with the token.
type takeTurns struct {
	hosts []string
	token string
	n     int
}

func (t *takeTurns) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Host = t.hosts[t.n%len(t.hosts)]
	r.Host = r.URL.Host
	t.n++
	r.Header.Set("Authorization", "Bearer "+t.token)
	return http.DefaultTransport.RoundTrip(r)
}

// agent is a client of the tools.
type agent struct {
	t       *testing.T
	session *mcp.ClientSession
}

func newAgent(t *testing.T, transport mcp.Transport) *agent {
	t.Helper()
	session, err := mcp.NewClient(&mcp.Implementation{Name: "e2e", Version: "1"}, nil).Connect(t.Context(), transport, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := session.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &agent{t: t, session: session}
}

// tools holds what a client is told of the tools.
func (a *agent) tools() {
	a.t.Helper()
	listed, err := a.session.ListTools(a.t.Context(), nil)
	if err != nil {
		a.t.Fatal(err)
	}
	var names []string
	for _, tool := range listed.Tools {
		names = append(names, tool.Name)
	}
	const want = "create_cron_job delete_cron_job get_cron_job get_cron_run get_cron_status list_cron_jobs list_cron_runs pause_cron_job preview_schedule resume_cron_job run_cron_job update_cron_job"
	if got := strings.Join(names, " "); got != want {
		a.t.Errorf("the tools are %s", got)
	}
	if !strings.Contains(a.session.InitializeResult().Instructions, "preview_schedule") {
		a.t.Error("there are no instructions")
	}
}

// call calls a tool that must succeed and say all of want, and answers its fields.
func (a *agent) call(tool string, arguments map[string]any, want ...string) map[string]any {
	a.t.Helper()
	text, fields, isError := a.do(tool, arguments)
	for _, part := range want {
		if isError || !strings.Contains(text, part) {
			a.t.Fatalf("%s %v: %q, want %q", tool, arguments, text, part)
		}
	}
	return fields
}

// refused calls a tool that must fail and say why.
func (a *agent) refused(tool string, arguments map[string]any, want string) {
	a.t.Helper()
	if text, _, isError := a.do(tool, arguments); !isError || !strings.Contains(text, want) {
		a.t.Errorf("%s %v: %t %q, want %q", tool, arguments, isError, text, want)
	}
}

func (a *agent) do(tool string, arguments map[string]any) (text string, fields map[string]any, isError bool) {
	a.t.Helper()
	result, err := a.session.CallTool(a.t.Context(), &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		a.t.Fatalf("%s %v: %v", tool, arguments, err)
	}
	for _, c := range result.Content {
		if t, ok := c.(*mcp.TextContent); ok {
			text += t.Text
		}
	}
	fields, _ = result.StructuredContent.(map[string]any)
	return text, fields, result.IsError
}
