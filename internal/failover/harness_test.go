//go:build unix

package failover

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/gatewaycron/gatewaycron/internal/producttest"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// binary is the product, built once, as the tests are.
var binary string

func TestMain(m *testing.M) { os.Exit(producttest.Main(m, &binary, 8)) }

// world is one deployment of the product, on a Redis of the test's own.
type world struct {
	t   *testing.T
	ai  *standin.EchoAI
	env []string
}

// newWorld starts the ai-server; redis are the settings of Redis.
func newWorld(t *testing.T, redis ...string) *world {
	t.Helper()
	ai, err := standin.NewEchoAI(standin.EchoOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := ai.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return &world{t: t, ai: ai, env: append(redis, "GATEWAY_CRON_ADDR=127.0.0.1:0", "GATEWAY_CRON_CONFIG=none", "GATEWAY_CRON_RATE_LIMIT_PER_MINUTE=0", "GATEWAY_CRON_AI_SERVER_URL="+server.URL())}
}

// command is a command of the product.
func (w *world) command(args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), w.env...)
	return cmd
}

// process is one process of the product.
type process struct {
	*producttest.Process
	t *testing.T
}

// start runs a role until it says that it is ready, and kills it with the test.
func (w *world) start(role string) *process {
	w.t.Helper()
	return &process{producttest.Start(w.t, w.command(role)), w.t}
}

// call talks to the API; status 0 is no answer at all.
func (p *process) call(method, path string, body any) (status int, answer map[string]any) {
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			p.t.Error(err)
			return 0, nil
		}
	}
	req, err := http.NewRequest(method, p.URL+path, bytes.NewReader(content))
	if err != nil {
		p.t.Error(err)
		return 0, nil
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer res.Body.Close()
	if content, err = io.ReadAll(res.Body); err != nil {
		return 0, nil
	}
	_ = json.Unmarshal(content, &answer) // not everything is JSON
	return res.StatusCode, answer
}

// create asks for a job and answers its id; "" if it was not acknowledged.
func (p *process) create(schedule, task string) (id string, status int) {
	status, answer := p.call("POST", "/api/cron/jobs", map[string]any{"schedule": schedule, "task": task, "agent_id": "main"})
	if status/100 != 2 {
		return "", status
	}
	id, _ = answer["id"].(string)
	if id == "" {
		p.t.Errorf("acknowledged without an id: %v", answer)
	}
	return id, status
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	producttest.Until(t, what, 2*time.Minute, ok)
}
