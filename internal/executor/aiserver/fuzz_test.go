package aiserver

import (
	"net/http"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/wire"
)

// What a server answers never makes the client panic or return anything
// unbounded.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		`{"text":"hi","sessionId":"s"}`, `{"text":""}`, `{"text":null}`, `{"error":"Unknown model: x"}`, `<html>`, ``, `{`, `[{"text":1}]`,
		`{"messages":[{"role":"user","text":"x","timestamp":1e400,"images":[1]}]}`, "{\"text\":\"\xff\"}",
	} {
		f.Add(200, seed)
		f.Add(500, seed)
	}
	c := newClient(f, "http://127.0.0.1:1")
	f.Fuzz(func(t *testing.T, status int, body string) {
		answer := wire.Answer{Status: status, Header: http.Header{"Content-Type": {body}}, Body: []byte(body)}
		errorOf(t, c.refused(answer))
		if reply, err := c.decodeReply(answer); err != nil {
			errorOf(t, err)
		} else if len(reply.Text) > 100 {
			t.Errorf("a text of %d bytes passed", len(reply.Text))
		}
		if _, err := decodeSession(answer.Body); err != nil {
			errorOf(t, c.unreadable("a stored session", answer, err))
		}
	})
}
