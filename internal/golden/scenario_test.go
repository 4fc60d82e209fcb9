package golden

import (
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// A deployment that has everything in it. What the ai-server and the chats do for a job
// stands in its task and in its chat.

// object is a JSON object.
type object map[string]any

// with is a copy with further fields.
func (o object) with(more object) object {
	sum := object{}
	for _, part := range []object{o, more} {
		maps.Copy(sum, part)
	}
	return sum
}

// yearly is a schedule that does not come due in between.
const yearly = "30 4 29 2 *"

// byHand are jobs that are only ever run by hand here. They differ in what a job can be.
func byHand() map[string]object {
	slack := object{"channel": "slack", "chatId": "C1"}
	return map[string]object{
		"direct":   slack.with(object{"task": "hello", "name": "Direct", "labels": []string{"golden", "team:ops"}}),
		"group":    {"task": "hello", "channel": "slack", "chatId": "G1", "isGroup": true, "threadId": "77", "schedule": "30 2 * * *", "timezone": "Europe/Berlin"},
		"thread":   {"task": "hello", "channel": "discord", "chatId": "D1", "threadId": "9001", "isGroup": false, "schedule": "30 2 * * 0", "timezone": "America/New_York"},
		"peer":     {"task": "hello", "channel": "slack", "chatId": "C2", "peerId": "U2", "schedule": "0 2 1 4 *", "timezone": "Australia/Lord_Howe"},
		"agent":    {"task": "hello", "agentId": "research", "channel": "slack", "chatId": "C3", "schedule": "15 9 * * 1-5", "timezone": "Asia/Kathmandu"},
		"own":      {"task": "hello", "sessionKey": "agent:main:own", "model": "golden/large", "reasoningEffort": "high", "schedule": "0 0 1 1 *", "timezone": "Pacific/Chatham"},
		"isolated": {"task": "hello", "context": "isolated", "schedule": "@weekly", "timezone": "Etc/GMT+5"},
		"alone":    {"task": "hello", "schedule": "@daily", "timezone": "America/Sao_Paulo"},
		"never":    {"task": "hello", "deliver": "never", "channel": "slack", "chatId": "C4", "schedule": "0 */6 * * *", "timezone": "Asia/Kolkata"},
		"quiet":    slack.with(object{"task": "quiet", "schedule": "0 1 * * 7", "timezone": "America/St_Johns"}),
		"jittered": {"task": "hello", "schedule": "0 5 * * 1", "timezone": "Europe/London", "jitterSeconds": 600},
		"far":      {"task": "hello", "schedule": nil, "at": "2189-12-31T23:00:00Z"},
		"bounded":  {"task": "hello", "startAt": "2188-01-01T00:00:00+01:00", "endAt": "2189-01-01T00:00:00+01:00", "timezone": "Europe/Paris"},
		"every":    {"task": "hello", "schedule": nil, "every": 86400, "startAt": "2188-06-01T12:00:00Z"},

		"policies": {"task": "hello", "misfire": "skip", "misfireGraceSeconds": 120, "overlap": "queue_one", "timeoutSeconds": 60,
			"onAmbiguous": "fail", "deliver": "on_failure", "maxRetries": 5, "retryDelaysSeconds": []int{5, 50}, "channel": "slack", "chatId": "C5", "maxRuns": 12},

		"refused":       {"task": "answer 400"},
		"timeout":       {"task": "hang", "timeoutSeconds": 1},
		"cut":           {"task": "drop", "onAmbiguous": "fail"},
		"retried":       {"task": "at first 500 429 drop", "retryDelaysSeconds": []int{1}},
		"chat-refuses":  {"task": "hello", "channel": "slack", "chatId": "answer-400"},
		"chat-unknown":  {"task": "hello", "channel": "slack", "chatId": "drop"},
		"chat-hangs":    {"task": "hello", "channel": "slack", "chatId": "hang"},
		"chat-busy":     {"task": "hello", "channel": "slack", "chatId": "answer-503"},
		"parts":         {"task": "long", "channel": "telegram", "chatId": "4711"},
		"parts-busy":    {"task": "long busy", "channel": "telegram", "chatId": "4712"},
		"requested":     {"task": "hang"},
		"deleted":       {"task": "hang"},
		"stopped":       {"task": "hang"},
		"died":          {"task": "hang", "channel": "slack", "chatId": "C6"},
		"died-fails":    {"task": "hang", "onAmbiguous": "fail"},
		"dies-fails":    {"task": "hang", "onAmbiguous": "fail"},
		"holder":        {"task": "hang", "sessionKey": "agent:main:shared"},
		"behind":        {"task": "hello", "sessionKey": "agent:main:shared"},
		"behind-too":    {"task": "hello", "sessionKey": "agent:main:shared"},
		"maker":         {"task": "hang", "allowScheduling": true},
		"waiting":       {"task": "answer 500", "retryDelaysSeconds": []int{20}},
		damagedRun:      {"task": "answer 500", "retryDelaysSeconds": []int{10}},
		damagedJob:      {"task": "hello"},
		damagedLock:     {"task": "hello"},
		"paused":        {"task": "hello", "enabled": false, "pauseReason": "on holiday"},
		"paused-silent": {"task": "hello", "enabled": false},
	}
}

// Jobs of which something is damaged: the cursor of one, a run of one, and the lock of the
// session of one.
const (
	damagedJob  = "damaged-job"
	damagedRun  = "damaged-run"
	damagedLock = "damaged-lock"
)

// line is a job in an import. All but the crowd can be found by their label.
func line(id string, fields object) object {
	return object{"id": id, "labels": []string{"golden"}, "schedule": yearly}.with(fields)
}

// behave is what the ai-server and the chats do while a release is recorded. What hangs
// goes on when release is closed.
func behave(release <-chan struct{}) behaviour {
	var seen sync.Map // how often each run has called
	return behaviour{
		turn: func(c standin.ChatCall) standin.Answer {
			task := c.LastUserText()
			kind, arg, _ := strings.Cut(task, " ")
			switch kind {
			case "hang":
				<-release
			case "answer":
				status, _ := strconv.Atoi(arg)
				return standin.Answer{Status: status, Text: "as asked for"}
			case "drop":
				return standin.Answer{Drop: true}
			case "quiet":
				return standin.Answer{Text: "NO_REPLY"}
			case "long":
				return standin.Answer{Text: strings.Repeat("first part. ", 342) + strings.Repeat(arg+" second part. ", 4)}
			case "at":
				n, _ := seen.LoadOrStore(c.RunID, new(int))
				count := n.(*int) // one call of a run at a time
				*count++
				switch *count {
				case 1:
					return standin.Answer{Status: http.StatusInternalServerError, Text: "as asked for"}
				case 2:
					return standin.Answer{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}}
				case 3:
					return standin.Answer{Drop: true}
				}
			}
			return standin.Answer{Text: "done"}
		},
		message: func(m standin.Message) standin.Answer {
			kind, arg, _ := strings.Cut(m.ChatID, "-")
			switch kind {
			case "hang":
				<-release
			case "drop":
				return standin.Answer{Drop: true}
			case "answer":
				status, _ := strconv.Atoi(arg)
				return standin.Answer{Status: status, Text: "as asked for"}
			}
			return standin.Answer{}
		},
		telegram: func(text string) int {
			if strings.Contains(text, "busy second") {
				return http.StatusServiceUnavailable
			}
			return 0
		},
	}
}
