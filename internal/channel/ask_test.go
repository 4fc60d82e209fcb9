package channel

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAskTelegram(t *testing.T) {
	const token = "123456:hunter2-hunter2"
	for name, tc := range map[string]struct {
		status      int
		body        string
		bot, refuse string
	}{
		"a bot":      {200, `{"ok":true,"result":{"id":7,"is_bot":true,"username":"cron_bot"}}`, "@cron_bot", ""},
		"no bot":     {401, `{"ok":false,"error_code":401,"description":"Unauthorized"}`, "", "is GATEWAY_CRON_TELEGRAM_TOKEN the token of a bot"},
		"away":       {502, `hunter2`, "", "answered 502"},
		"other":      {200, `{"ok":true,"result":{}}`, "", "answered without a bot"},
		"unreadable": {200, `<html>`, "", "telegram: "},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/getMe") {
				t.Errorf("%s: asked for %s", name, r.URL.Path)
			}
			w.WriteHeader(tc.status)
			w.Write([]byte(tc.body))
		}))
		c, err := NewTelegram(TelegramOptions{Token: token, ServerURL: s.URL})
		if err != nil {
			t.Fatal(err)
		}
		bot, err := c.Ask(t.Context())
		if bot != tc.bot || (err == nil) != (tc.refuse == "") || err != nil && !strings.Contains(err.Error(), tc.refuse) {
			t.Errorf("%s: %q, %v", name, bot, err)
		}
		if err != nil && strings.Contains(err.Error(), token) {
			t.Errorf("%s: the token is told: %v", name, err)
		}
		c.CloseIdle()
		s.Close()
	}
}

func TestAskChannelManager(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		refuse string
	}{"well": {200, ""}, "no such page": {404, ErrNoHealth.Error()}, "refused": {401, "answered 401"}, "unwell": {503, "answered 503"}} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.URL.Path != "/p/health" || r.Header.Get("Authorization") != "Bearer hunter2" {
				t.Errorf("%s: %s %s", name, r.Method, r.URL.Path)
			}
			w.WriteHeader(tc.status)
		}))
		c, err := NewHTTP(HTTPOptions{BaseURL: s.URL + "/p", Token: "hunter2"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Ask(t.Context())
		if (err == nil) != (tc.refuse == "") || err != nil && !strings.Contains(err.Error(), tc.refuse) || errors.Is(err, ErrNoHealth) != (tc.status == 404) {
			t.Errorf("%s: %v", name, err)
		}
		c.CloseIdle()
		s.Close()
		if _, err := c.Ask(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
			t.Errorf("%s, gone: %v", name, err)
		}
	}
}
