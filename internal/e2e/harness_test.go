package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/producttest"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/standin"
	"github.com/gatewaycron/gatewaycron/internal/store"
)

// binary is the product, built once, as the tests are.
var binary string

func TestMain(m *testing.M) { os.Exit(producttest.Main(m, &binary, 16)) }

// world is one deployment: Redis, the stand-ins, and processes.
type world struct {
	t       *testing.T
	redis   *redistest.Server
	rdb     *redis.Client
	store   *store.Store
	ai      *standin.EchoAI
	aiURL   string
	channel *standin.RecordingChannel
	chURL   string
	env     []string

	stateDir string // of the embedded Redis, where that is the one
}

// newWorld starts Redis and the stand-ins. turn is what the ai-server does for a
// call; nil answers at once.
func newWorld(t *testing.T, turn func(standin.ChatCall) standin.Answer, opts ...redistest.Option) *world {
	t.Helper()
	w := &world{t: t, redis: redistest.Start(t, append(opts, redistest.WithAOF())...)}
	w.rdb = w.redis.Client()
	w.store = store.New(w.rdb, store.Options{})
	w.env = []string{"GATEWAY_CRON_REDIS_URL=" + w.redis.URL(), "GATEWAY_CRON_ADDR=127.0.0.1:0", "GATEWAY_CRON_CONFIG=none"}
	w.standIns(turn)
	return w
}

// alone is a deployment whose Redis is the embedded one.
func alone(t *testing.T) *world {
	dir := t.TempDir()
	return &world{t: t, stateDir: dir, env: []string{"GATEWAY_CRON_STATE_DIR=" + dir, "GATEWAY_CRON_ADDR=127.0.0.1:0", "GATEWAY_CRON_CONFIG=none", "GATEWAY_CRON_REDIS_URL="}}
}

func (w *world) standIns(turn func(standin.ChatCall) standin.Answer) {
	w.t.Helper()
	var err error
	if w.ai, err = standin.NewEchoAI(standin.EchoOptions{Reply: turn}); err != nil {
		w.t.Fatal(err)
	}
	if w.channel, err = standin.NewRecordingChannel(standin.ChannelOptions{Token: "channel-secret"}); err != nil {
		w.t.Fatal(err)
	}
	ai, err := w.ai.Start("127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	ch, err := w.channel.Start("127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _, _ = ai.Close(), ch.Close() })
	w.aiURL, w.chURL = ai.URL(), ch.URL()
	w.env = append(w.env, "GATEWAY_CRON_AI_SERVER_URL="+w.aiURL, "GATEWAY_CRON_CHANNEL_MANAGER_URL="+w.chURL,
		"GATEWAY_CRON_CHANNEL_MANAGER_TOKEN=channel-secret")
}

// process is one process of the product.
type process struct {
	*producttest.Process
	t *testing.T
}

// start runs a role until it says that it is ready.
func (w *world) start(role string, env ...string) *process {
	w.t.Helper()
	cmd := exec.Command(binary, role)
	cmd.Env = env
	return w.launch(cmd)
}

// launch runs a command until it says that it is ready; cmd.Env holds what comes
// on top of the environment.
func (w *world) launch(cmd *exec.Cmd) *process {
	w.t.Helper()
	p, ready := w.begin(cmd)
	ready()
	return p
}

// begin is launch without the waiting, which ready does.
func (w *world) begin(cmd *exec.Cmd) (p *process, ready func()) {
	w.t.Helper()
	unlimited := append(os.Environ(), "GATEWAY_CRON_RATE_LIMIT_PER_MINUTE=0") // tests ask without a pause
	cmd.Env = append(append(unlimited, w.env...), cmd.Env...)
	begun, ready := producttest.Begin(w.t, cmd)
	return &process{begun, w.t}, ready
}

// call talks to the API and decodes the answer into out.
func (p *process) call(method, path, body string, out any) int {
	p.t.Helper()
	req, err := http.NewRequest(method, p.URL+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if out != nil {
		if err := json.Unmarshal(content, out); err != nil {
			p.t.Fatalf("%s %s: %s: %v\n%s", method, path, res.Status, err, content)
		}
	}
	return res.StatusCode
}

// create makes a job over the API, in the spelling of the first client.
func (p *process) create(fields map[string]any) string {
	p.t.Helper()
	body, err := json.Marshal(fields)
	if err != nil {
		p.t.Fatal(err)
	}
	var created struct {
		ID     string `json:"id"`
		Detail string `json:"detail"`
	}
	if status := p.call("POST", "/api/cron/jobs", string(body), &created); status/100 != 2 {
		p.t.Fatalf("create: %d %s", status, created.Detail)
	}
	return created.ID
}

// spec is the n-th job of a crowd: every minute, into a chat of its own.
func spec(n int) job.Spec {
	return job.Spec{Schedule: "* * * * *", Enabled: true, Task: fmt.Sprintf("task %d", n),
		Channel: "telegram", ChatID: fmt.Sprint(n)}
}

// crowd makes n such jobs in the store and returns their ids.
func (w *world) crowd(n int, change ...func(*job.Spec)) []string {
	w.t.Helper()
	ids := make([]string, n)
	for i := range ids {
		s := spec(i)
		for _, c := range change {
			c(&s)
		}
		j, err := w.store.CreateJob(w.t.Context(), fmt.Sprintf("job-%03d", i), s)
		if err != nil {
			w.t.Fatal(err)
		}
		ids[i] = j.ID
	}
	return ids
}

// until waits for a condition.
func (w *world) until(what string, limit time.Duration, ok func() bool) {
	w.t.Helper()
	producttest.Until(w.t, what, limit, ok)
}

// at waits for an instant.
func (w *world) at(instant time.Time) {
	w.t.Helper()
	producttest.At(w.t, instant)
}

// quiet waits until nothing is unfinished.
func (w *world) quiet(limit time.Duration) {
	w.t.Helper()
	w.until("nothing is unfinished", limit, func() bool {
		n, err := w.rdb.ZCard(w.t.Context(), "{gateway-cron}:wake").Result()
		return err == nil && n == 0
	})
}

// nextMinute is the first minute that is at least the given time away.
func nextMinute(away time.Duration) time.Time {
	return time.Now().Add(away + time.Minute - 1).Truncate(time.Minute)
}

// discard is for processes within the test, whose log would drown its own.
func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
