package app

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// TestTroubleIsTold by a process with all roles: a job with a chat tells its own, one
// without the deployment, by chat and by hook, and the outside watch hears that it lives.
// What the ai-server quoted by mistake is nowhere.
func TestTroubleIsTold(t *testing.T) {
	const key = "sk-live-SECRETkey123"
	ai, err := standin.NewEchoAI(standin.EchoOptions{Reply: func(standin.ChatCall) standin.Answer {
		return standin.Answer{Status: http.StatusBadRequest, Text: "Incorrect API key provided: " + key}
	}})
	if err != nil {
		t.Fatal(err)
	}
	aiServer, err := ai.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	chat, err := standin.NewRecordingChannel(standin.ChannelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	chatServer, err := chat.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var beats atomic.Int64
	var posted atomic.Pointer[string]
	outside := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/watch" {
			beats.Add(1)
			return
		}
		body, _ := io.ReadAll(r.Body) // an empty one is noticed below
		text := r.Header.Get("Webhook-Signature") + " " + string(body)
		posted.Store(&text)
	}))
	t.Cleanup(func() {
		outside.Close()
		aiServer.Close()
		chatServer.Close()
	})
	p := boot(t, AllRoles(), func(c *config.Config) {
		c.RedisURL = redistest.Fresh(t).URL()
		c.AIServerURL, c.ChannelManagerURL = aiServer.URL(), chatServer.URL()
		c.AlertChannel, c.AlertChat = "slack", "ops"
		c.AlertURL, c.AlertSecret = outside.URL+"/hook", "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="
		c.HeartbeatURL = outside.URL + "/watch"
	})
	eventually(t, "ready", p.ready)
	eventually(t, "the watch hears", func() bool { return beats.Load() > 0 })
	for _, body := range []string{`{"every":10,"task":"x","name":"Alone"}`, `{"every":10,"task":"x","name":"With a chat","channel":"telegram","chatId":"7"}`} {
		if status, _, answer := p.call("POST", "/api/cron/jobs", body); status != http.StatusCreated {
			t.Fatalf("create: %d %s", status, answer)
		}
	}
	told := func(id, text string) func() bool {
		return func() bool {
			for _, m := range chat.Messages() {
				if m.ChatID == id && strings.HasPrefix(m.Text, text) {
					return true
				}
			}
			return false
		}
	}
	eventually(t, "the deployment's chat is told", told("ops", "⚠️ Alone failed ("))
	eventually(t, "the job's chat is told", told("7", "⚠️ With a chat failed ("))
	eventually(t, "the hook is told", func() bool { return posted.Load() != nil })
	if text := *posted.Load(); !strings.HasPrefix(text, "v1,") || !strings.Contains(text, "Alone failed") || strings.Contains(text, key) {
		t.Errorf("posted %s", text)
	}
	_, _, runs := p.call("GET", "/api/cron/runs?outcome=failed", "")
	var listed struct{ Runs []struct{ Error string } }
	if err := json.Unmarshal([]byte(runs), &listed); err != nil || len(listed.Runs) == 0 || !strings.Contains(listed.Runs[0].Error, "provided: [redacted]") {
		t.Errorf("runs %s: %v", runs, err)
	}
	if all := runs + fmt.Sprint(chat.Messages()) + p.log.String(); strings.Contains(all, key) || strings.Contains(all, outside.URL) {
		t.Error("a secret is told")
	}
}

// TestAlertsToNowhere stop the start: otherwise that is noticed when something else fails.
func TestAlertsToNowhere(t *testing.T) {
	for name, change := range map[string]func(*config.Config){
		"GATEWAY_CRON_ALERT_CHANNEL": func(c *config.Config) { c.AlertChannel, c.AlertChat = "telegram", "7" },
		"GATEWAY_CRON_ALERT_SECRET":  func(c *config.Config) { c.AlertURL, c.AlertSecret = "http://127.0.0.1:1/s3cret", "short" },
	} {
		p := boot(t, Roles{API: true}, func(c *config.Config) {
			c.RedisURL = redistest.Fresh(t).URL()
			change(c)
		})
		if err := p.end(); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
