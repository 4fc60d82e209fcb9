package alert_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/alert"
	"github.com/gatewaycron/gatewaycron/internal/job"
)

const hookKey = "a key of thirty-two bytes or more"

// receiver is whom a hook posts to. It verifies as the specification of Standard Webhooks
// says, with nothing of ours.
type receiver struct {
	t      *testing.T
	answer func(n int, w http.ResponseWriter)

	mu    sync.Mutex
	posts []map[string]any
	ids   []string
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		r.t.Error(err)
	}
	id, at := req.Header.Get("Webhook-Id"), req.Header.Get("Webhook-Timestamp")
	mac := hmac.New(sha256.New, []byte(hookKey))
	fmt.Fprintf(mac, "%s.%s.%s", id, at, body)
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); req.Header.Get("Webhook-Signature") != want {
		r.t.Errorf("signature %q, want %q", req.Header.Get("Webhook-Signature"), want)
	}
	var sent int64
	if _, err := fmt.Sscan(at, &sent); err != nil || time.Since(time.Unix(sent, 0)) > 5*time.Minute {
		r.t.Errorf("timestamp %q", at)
	}
	var post map[string]any
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&post); err != nil || req.Method != http.MethodPost {
		r.t.Errorf("%s %s: %v", req.Method, body, err)
	}
	r.mu.Lock()
	r.posts, r.ids = append(r.posts, post), append(r.ids, id)
	n := len(r.posts)
	r.mu.Unlock()
	if r.answer != nil {
		r.answer(n, w)
	}
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.posts)
}

func TestHook(t *testing.T) {
	f := setup(t, nil)
	r := &receiver{t: t, answer: func(n int, w http.ResponseWriter) {
		if n == 1 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}}
	server := httptest.NewServer(r)
	defer server.Close()
	hook, err := alert.NewHook(alert.HookOptions{URL: server.URL + "/secret-path", Secret: "whsec_" + base64.StdEncoding.EncodeToString([]byte(hookKey))})
	must(t, err)
	defer hook.CloseIdle()
	if text := fmt.Sprintf("%v %+v %#v", hook, hook, hook); strings.Contains(text, "secret-path") {
		t.Errorf("printed: %s", text)
	}
	f.sender("a", func(o *alert.Options) { o.Hook = hook })
	must(t, f.store.Notify(t.Context(), job.Notice{Kind: job.NoticeHealth, Key: "k", Text: "4 slots are late", Command: "gateway-cron doctor"}))
	f.await("two posts", func() bool { return r.count() == 2 })

	post := r.posts[1]
	data, _ := post["data"].(map[string]any)
	notices, _ := data["notices"].([]any)
	if post["type"] != "gateway_cron.alert" || data["text"] != "⚠️ 4 slots are late.\ngateway-cron doctor" || data["total"] != 1.0 || len(notices) != 1 {
		t.Errorf("post %v", post)
	}
	if r.ids[0] == r.ids[1] {
		t.Error("two messages have one id")
	}
	if strings.Contains(f.log.String(), "secret-path") {
		t.Error("the URL is in the log")
	}
}

func TestBadHooks(t *testing.T) {
	good := "whsec_" + base64.StdEncoding.EncodeToString([]byte(hookKey))
	for _, tc := range []struct{ url, secret string }{
		{"hooks.example/secret", good}, {"ftp://h/secret", good}, {"http://%zz/secret", good},
		{"https://h/secret", ""}, {"https://h/secret", "whsec_c2hvcnQ="}, {"https://h/secret", "whsec_?"}, {"https://h/secret", strings.TrimPrefix(good, "whsec_")},
	} {
		if _, err := alert.NewHook(alert.HookOptions{URL: tc.url, Secret: tc.secret}); err == nil || strings.Contains(err.Error(), "/secret") {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}
