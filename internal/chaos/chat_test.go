package chaos

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/chaos/judge"
)

// chat stands in for all channels: a channel manager, which has keys, and the Bot
// API of Telegram, which has none.
type chat struct{ outsider }

// chatFaults are the ways in which a send fails; each part meets at most two.
// Lies are refusals of what is in the chat already.
var chatFaults = []weighted{
	{15, "lie 500"}, {8, "lie 429"}, {15, "reset when it is in"}, {10, "reset before"}, {15, "500"}, {8, "429"},
}

const (
	alertMark     = "⚠️ " // begins what tells of trouble, and no reply
	relievedMark  = "✅ "  // begins what tells that it is over
	chatToken     = "chat-secret"
	telegramToken = "123456:chaos-suite"
)

func startChat(t testing.TB, p *plan, dir string) *chat {
	t.Helper()
	c := &chat{outsider{plan: p, journal: openJournal(t, dir, judge.MessagesFile)}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{process}/api/channels/{channel}/messages", c.managed)
	mux.HandleFunc("POST /{process}/bot"+telegramToken+"/sendMessage", c.telegram)
	c.serve(t, mux)
	return c
}

// sent is a message as it came in, and how its channel speaks.
type sent struct {
	channel, chat, key, text string
	confirm                  func(n int) (id string, body any)
	refuse                   func(status int) any
}

func (c *chat) managed(w http.ResponseWriter, r *http.Request) {
	var m struct {
		ChatID         string `json:"chatId"`
		Text           string `json:"text"`
		IdempotencyKey string `json:"idempotencyKey"`
	}
	if r.Header.Get("Authorization") != "Bearer "+chatToken {
		answer(w, http.StatusUnauthorized, map[string]string{"error": "no token"})
		return
	}
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	c.take(w, r, sent{r.PathValue("channel"), m.ChatID, m.IdempotencyKey, m.Text,
		func(n int) (string, any) {
			id := fmt.Sprintf("m-%d", n)
			return id, map[string]string{"messageId": id}
		},
		func(int) any { return map[string]string{"error": "the chat says no"} }})
}

func (c *chat) telegram(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseMultipartForm(1 << 20); err != nil {
		answer(w, http.StatusBadRequest, map[string]any{"ok": false, "error_code": 400, "description": err.Error()})
		return
	}
	c.take(w, r, sent{"telegram", r.FormValue("chat_id"), "", r.FormValue("text"),
		func(n int) (string, any) {
			return strconv.Itoa(n), map[string]any{"ok": true, "result": map[string]any{"message_id": n, "date": now() / 1000,
				"chat": map[string]any{"id": 1, "type": "private"}}}
		},
		func(status int) any {
			return map[string]any{"ok": false, "error_code": status, "description": "the chat says no",
				"parameters": map[string]any{"retry_after": 2}}
		}})
}

func (c *chat) take(w http.ResponseWriter, r *http.Request, s sent) {
	lines := replyLine.FindAllStringSubmatch(s.text, -1)
	alert := strings.HasPrefix(s.text, alertMark) || strings.HasPrefix(s.text, relievedMark)
	if alert { // it may quote a reply
		lines = [][]string{{s.text, s.text, "1", "1"}}
	}
	if len(lines) == 0 {
		c.journal.t.Errorf("a message without a line of a reply: %.80q", s.text)
		answer(w, http.StatusBadRequest, s.refuse(http.StatusBadRequest))
		return
	}
	first, last := lines[0], lines[len(lines)-1]
	n, nth, calm := c.number(first[1] + first[2])
	_, inChat, _ := c.number(s.chat)
	dice := c.plan.dice("send", s.chat, inChat)
	way := pick(dice.IntN(1000), chatFaults)
	if calm || nth > 2 {
		way = "ok"
	}
	id, confirmation := s.confirm(n)
	c.journal.add(judge.Message{N: n, At: now(), Process: r.PathValue("process"), Channel: s.channel, ChatID: s.chat,
		Key: s.key, MessageID: id, Nonce: first[1], First: number(first[2]), Last: number(last[2]), Lines: number(first[3]),
		Alert:     alert,
		Delivered: way != "500" && way != "429" && way != "reset before"})

	if !c.pause(r, time.Duration(5+dice.IntN(100))*time.Millisecond) {
		c.ended(n, judge.HowHungUp)
		return
	}
	switch way {
	case "500", "lie 500":
		c.ended(n, judge.HowRefused)
		answer(w, http.StatusInternalServerError, s.refuse(http.StatusInternalServerError))
	case "429", "lie 429":
		c.ended(n, judge.HowRefused)
		w.Header().Set("Retry-After", "2")
		answer(w, http.StatusTooManyRequests, s.refuse(http.StatusTooManyRequests))
	case "reset before", "reset when it is in":
		c.ended(n, judge.HowReset)
		cut(w)
	default:
		c.ended(n, judge.HowOK)
		answer(w, http.StatusOK, confirmation)
	}
}

// number reads digits that a pattern has found.
func number(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}
