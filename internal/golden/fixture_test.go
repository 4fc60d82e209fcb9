package golden

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// release is what a release has left, by the name of its directory.
type release struct {
	name     string
	about    about
	keys     []entry
	answers  []exchange
	previews []exchange
	export   []byte
	runs     map[string]run // as it told them, by id
	// Of the pause of everything: the keys that it changed, and what was told then.
	pausedKeys    []entry
	pausedAnswers []exchange
}

// about says which release it was, and when by the clock of its Redis.
type about struct {
	Release    string     `json:"release"` // a commit or a tag
	RecordedAt job.Millis `json:"recordedAt"`
}

// exchange is a request and what the release answered.
type exchange struct {
	Run    string          `json:"run,omitempty"` // in which it was asked for
	Method string          `json:"method"`
	Path   string          `json:"path"`
	Token  string          `json:"token,omitempty"` // who asked, nobody in particular without one
	Key    string          `json:"key,omitempty"`   // Idempotency-Key
	Body   json.RawMessage `json:"body,omitempty"`
	Status int             `json:"status"`
	Answer json.RawMessage `json:"answer"`
}

// everyRelease runs a test for each release that has left something, beside the others:
// they wait more than they work.
func everyRelease(t *testing.T, test func(*testing.T, release)) {
	t.Helper()
	t.Parallel()
	names := must(os.ReadDir("testdata"))(t)
	if len(names) == 0 {
		t.Fatal("testdata is empty")
	}
	for _, d := range names {
		t.Run(d.Name(), func(t *testing.T) {
			t.Parallel()
			test(t, readRelease(t, filepath.Join("testdata", d.Name())))
		})
	}
}

func readRelease(t *testing.T, dir string) release {
	t.Helper()
	r := release{
		name:          filepath.Base(dir),
		keys:          readLines[entry](t, filepath.Join(dir, "redis.jsonl")),
		answers:       readLines[exchange](t, filepath.Join(dir, "answers.jsonl")),
		previews:      readLines[exchange](t, filepath.Join(dir, "previews.jsonl")),
		export:        must(os.ReadFile(filepath.Join(dir, "export.jsonl")))(t),
		pausedKeys:    readLines[entry](t, filepath.Join(dir, "paused", "redis.jsonl")),
		pausedAnswers: readLines[exchange](t, filepath.Join(dir, "paused", "answers.jsonl")),
		runs:          map[string]run{},
	}
	for _, x := range r.answers {
		if id, ok := strings.CutPrefix(x.Path, "/api/cron/runs/"); ok {
			var told run
			if err := json.Unmarshal(x.Answer, &told); err != nil {
				t.Fatal(err)
			}
			r.runs[id] = told
		}
	}
	if err := json.Unmarshal(must(os.ReadFile(filepath.Join(dir, "about.json")))(t), &r.about); err != nil {
		t.Fatal(err)
	}
	return r
}

// paused are the keys of the deployment with everything paused.
func (r release) paused() []entry {
	instead := map[text]entry{}
	for _, e := range r.pausedKeys {
		instead[e.Key] = e
	}
	var keys []entry
	for _, e := range r.keys {
		if _, changed := instead[e.Key]; !changed {
			keys = append(keys, e)
		}
	}
	return append(keys, r.pausedKeys...)
}

// run is what these tests need of a run on the wire.
type run struct {
	ID, JobID, Trigger, State, Outcome, Reason, Reply, Delivery string
	Count                                                       int
	Attempts                                                    []job.Attempt
	Deliveries                                                  []delivery
}

type delivery struct {
	N, Parts                    int
	Kind, State, Error, Channel string
	MessageIDs                  []string
}

func isPending(d delivery) bool { return d.State == "pending" }

// client asks an API.
type client struct{ url string }

func (c client) do(t testing.TB, x exchange) exchange {
	t.Helper()
	req := must(http.NewRequestWithContext(t.Context(), cmp.Or(x.Method, http.MethodGet), c.url+x.Path, bytes.NewReader(x.Body)))(t)
	req.Header.Set("Content-Type", "application/json")
	if x.Token != "" {
		req.Header.Set("Authorization", "Bearer "+x.Token)
	}
	if x.Key != "" {
		req.Header.Set("Idempotency-Key", x.Key)
	}
	if x.Run != "" {
		req.Header.Set(job.RunHeader, x.Run)
	}
	res := must(http.DefaultClient.Do(req))(t)
	defer res.Body.Close()
	x.Method, x.Status = req.Method, res.StatusCode
	x.Answer = bytes.TrimSpace(must(io.ReadAll(res.Body))(t))
	return x
}

// want asks and decodes what must be a success.
func (c client) want(t testing.TB, method, path string, body, out any) {
	t.Helper()
	x := exchange{Method: method, Path: path}
	if body != nil {
		x.Body = must(encode(body))(t)
	}
	x = c.do(t, x)
	if x.Status/100 != 2 {
		t.Fatalf("%s %s: %d %s", method, path, x.Status, x.Answer)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal(x.Answer, out); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, x.Answer)
	}
}

// outside is who a deployment talks to. It writes down what arrives.
type outside struct {
	ai       *standin.EchoAI
	channel  *standin.RecordingChannel
	telegram *telegram
	env      map[string]string
}

// behaviour is how the outside answers; the zero value means: well.
type behaviour struct {
	turn     func(standin.ChatCall) standin.Answer
	message  func(standin.Message) standin.Answer
	telegram func(text string) (status int)
}

func newOutside(t *testing.T, b behaviour) *outside {
	t.Helper()
	o := &outside{
		ai:       must(standin.NewEchoAI(standin.EchoOptions{Reply: b.turn}))(t),
		channel:  must(standin.NewRecordingChannel(standin.ChannelOptions{Reply: b.message}))(t),
		telegram: &telegram{reply: b.telegram},
	}
	ai, channel := must(o.ai.Start("127.0.0.1:0"))(t), must(o.channel.Start("127.0.0.1:0"))(t)
	bot := httptest.NewServer(o.telegram)
	t.Cleanup(func() {
		_, _ = ai.Close(), channel.Close()
		bot.CloseClientConnections()
		bot.Close()
	})
	o.env = map[string]string{
		"GATEWAY_CRON_AI_SERVER_URL": ai.URL(), "GATEWAY_CRON_CHANNEL_MANAGER_URL": channel.URL(),
		"GATEWAY_CRON_TELEGRAM_URL": bot.URL, "GATEWAY_CRON_TELEGRAM_TOKEN": "123456:golden-golden-golden-golden-golden",
	}
	return o
}

// telegram stands in for the Bot API.
type telegram struct {
	reply func(text string) (status int)

	mu   sync.Mutex
	sent []string // texts that were taken
}

func (b *telegram) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if !strings.HasSuffix(r.URL.Path, "/sendMessage") {
		fmt.Fprint(w, `{"ok":true,"result":{"id":1,"is_bot":true,"first_name":"golden","username":"golden_bot"}}`)
		return
	}
	text := r.FormValue("text")
	if b.reply != nil {
		if status := b.reply(text); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	b.mu.Lock()
	b.sent = append(b.sent, text)
	n := len(b.sent)
	b.mu.Unlock()
	fmt.Fprintf(w, `{"ok":true,"result":{"message_id":%d,"date":1,"chat":{"id":1,"type":"private"}}}`, n)
}

func (b *telegram) texts() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.sent...)
}
