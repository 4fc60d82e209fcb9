package channel

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/outcome"
	"github.com/gatewaycron/gatewaycron/internal/wire"
)

// received is the body of a message to the channel manager.
type received struct {
	ChatID         string `json:"chatId"`
	PeerID         string `json:"peerId"`
	ThreadID       string `json:"threadId"`
	IsGroup        *bool  `json:"isGroup"`
	Text           string `json:"text"`
	IdempotencyKey string `json:"idempotencyKey"`
}

func receivedJSON(r *http.Request) (text, thread string, err error) {
	var body received
	err = json.NewDecoder(r.Body).Decode(&body)
	return body.Text, body.ThreadID, err
}

func TestHTTPOnTheWire(t *testing.T) {
	tests := []struct {
		name   string
		token  string
		target job.Target
		want   string
	}{
		{"full", "tok", job.Target{Channel: "slack", ChatID: "C1", PeerID: "U1", ThreadID: "7", IsGroup: new(false)},
			`{"chatId":"C1","peerId":"U1","threadId":"7","isGroup":false,"text":"h\u00e9","idempotencyKey":"k"}`},
		{"lean", "", job.Target{Channel: "slack", ChatID: "C1"}, `{"chatId":"C1","text":"h\u00e9","idempotencyKey":"k"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if diff := cmp.Diff(tt.want, string(body)); diff != "" {
					t.Error(diff)
				}
				if r.Method != http.MethodPost || r.URL.Path != "/prefix/api/channels/slack/messages" {
					t.Errorf("%s %s", r.Method, r.URL.Path)
				}
				authorization := ""
				if tt.token != "" {
					authorization = "Bearer " + tt.token
				}
				for name, want := range map[string]string{"Authorization": authorization, "Idempotency-Key": "k", "Content-Type": "application/json"} {
					if got := r.Header.Get(name); got != want {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
				io.WriteString(w, `{"messageId":42}`)
			}))
			t.Cleanup(s.Close)
			c, err := NewHTTP(HTTPOptions{BaseURL: s.URL + "/prefix/", Token: tt.token})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.CloseIdle)
			id, err := c.Send(t.Context(), Message{Target: tt.target, Part: Part{Text: "hé"}, IdempotencyKey: "k"})
			if id != "42" || err != nil {
				t.Errorf("id %q, %v", id, err)
			}
		})
	}
}

func TestMessageID(t *testing.T) {
	for body, want := range map[string]string{
		`{"messageId":"abc"}`: "abc", `{"messageId":7}`: "7", `{"messageId":12345678901234567890}`: "12345678901234567890",
		`{"messageId":"171.25"}`: "171.25", `{"messageId":""}`: "", `{"messageId":null}`: "", `{"messageId":{}}`: "",
		`{"messageId":true}`: "", `{}`: "", `[]`: "", `{"messageId":"` + strings.Repeat("x", 500) + `"}`: strings.Repeat("x", 197) + "...",
	} {
		if got := messageID([]byte(body)); got != want {
			t.Errorf("messageID(%s) = %q, want %q", body, got, want)
		}
	}
}

func TestTelegramOnTheWire(t *testing.T) {
	impl := implementations["telegram"]
	c, _ := impl.watch(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/bot123456:"+secret+"/sendMessage" {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		if err := r.ParseMultipartForm(1 << 20); err != nil {
			t.Error(err)
		}
		want := map[string][]string{"chat_id": {"@some_group"}, "text": {"hi"}}
		if diff := cmp.Diff(want, r.MultipartForm.Value); diff != "" {
			t.Error(diff)
		}
		io.WriteString(w, impl.confirmation(5))
	})
	id, err := c.Send(t.Context(), Message{Target: job.Target{Channel: "telegram", ChatID: "@some_group"}, Part: Part{Text: "hi"}, IdempotencyKey: "k"})
	if id != "5" || err != nil {
		t.Errorf("id %q, %v", id, err)
	}
}

func TestTelegramSupergroup(t *testing.T) {
	c, _ := implementations["telegram"].watch(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(400)
		io.WriteString(w, `{"ok":false,"error_code":400,"description":"group chat was upgraded","parameters":{"migrate_to_chat_id":-100987}}`)
	})
	_, err := c.Send(t.Context(), implementations["telegram"].message())
	if e := errorOf(t, err); e.Kind != outcome.Permanent || !strings.Contains(e.Message, "-100987") {
		t.Errorf("%s: %v; want permanent, naming the new chat", e.Kind, e)
	}
}

func TestConstructorsRefuse(t *testing.T) {
	for name, err := range map[string]error{
		"no URL":            second(NewHTTP(HTTPOptions{})),
		"token with spaces": second(NewHTTP(HTTPOptions{BaseURL: "http://h", Token: secret + " x"})),
		"password in URL":   second(NewHTTP(HTTPOptions{BaseURL: "http://u:" + secret + "@h"})),
		"negative timeout":  second(NewHTTP(HTTPOptions{BaseURL: "http://h", Timeout: -1})),
		"no token":          second(NewTelegram(TelegramOptions{})),
		"token with a path": second(NewTelegram(TelegramOptions{Token: "1:" + secret + "/../x"})),
		"server":            second(NewTelegram(TelegramOptions{Token: "1:" + secret, ServerURL: "h"})),
		"telegram timeout":  second(NewTelegram(TelegramOptions{Token: "1:" + secret, Timeout: -1})),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the token is in %q", name, err)
		}
	}
}

// Wherever a long error text is cut, no part of a secret is left at its end.
func TestRedactionComesBeforeTheCut(t *testing.T) {
	long := strings.Repeat("S3cr3t", 20)
	r := redactor{name: "chat", secrets: []string{long}}
	for pad := range 600 {
		body := strings.Repeat("x", pad) + long
		e := r.refused(wire.Answer{Status: 400, Body: []byte(body)}, noon)
		if strings.Contains(e.Message, "S3cr3t") {
			t.Fatalf("after %d bytes: %q", pad, e.Message)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// named is a channel that only says its name.
type named string

func (n named) Check(job.Target) []job.Problem {
	return []job.Problem{{Field: "by", Detail: string(n)}}
}
func (n named) Parts(reply string) []Part                     { return []Part{{Text: reply}} }
func (n named) Send(context.Context, Message) (string, error) { return string(n), nil }

func TestManager(t *testing.T) {
	direct := map[string]Channel{"telegram": named("direct"), "irc": named("irc")}
	tests := []struct {
		name     string
		manager  *Manager
		channel  string
		found    bool
		problems []job.Problem
	}{
		{"direct", NewManager(direct, named("fallback")), "telegram", true, []job.Problem{{Field: "by", Detail: "direct"}}},
		{"fallback", NewManager(direct, named("fallback")), "slack", true, []job.Problem{{Field: "by", Detail: "fallback"}}},
		{"no channel asked for", NewManager(direct, named("fallback")), "", false, nil},
		{"unknown", NewManager(direct, nil), "slack", false, []job.Problem{{Field: "channel", Example: `"irc"`,
			Detail: `"slack" is not connected; connected are: irc, telegram. GATEWAY_CRON_CHANNEL_MANAGER_URL connects others`}}},
		{"none connected", NewManager(nil, nil), "slack", false, []job.Problem{{Field: "channel",
			Detail: `"slack" is not connected, nor is any other channel: set GATEWAY_CRON_CHANNEL_MANAGER_URL or ` +
				`GATEWAY_CRON_TELEGRAM_TOKEN to connect one, or leave channel out to keep replies in the history`}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, found := tt.manager.Lookup(tt.channel); found != tt.found {
				t.Errorf("found %t", found)
			}
			if diff := cmp.Diff(tt.problems, tt.manager.Check(job.Target{Channel: tt.channel, ChatID: "1"})); diff != "" {
				t.Error(diff)
			}
		})
	}
}
