package judge

import (
	"slices"
	"testing"
)

// sendsAgain adds the first message of a run once more, a second later and with another
// key for the run.
func (l *Log) sendsAgain(job string, slot int, key string) *Message {
	m := *l.message(job, slot)
	m.N, m.MessageID, m.Key, m.At, m.EndedAt = 999, "m999", l.run(job, slot).ID+key, m.At+1000, m.EndedAt+1000
	l.Messages = append(l.Messages, m)
	return &l.Messages[len(l.Messages)-1]
}

func TestDeliveries(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Log)
		want   []string // the kinds of violations, without repetitions
	}{
		{"a message twice", func(l *Log) {
			m := *l.message("a", 2)
			m.N, m.MessageID, m.At = 999, "m999", m.At+1000
			l.Messages = append(l.Messages, m)
		}, []string{"message twice"}},
		{"a part without a key twice", func(l *Log) {
			m := *l.message("b", 2)
			m.N, m.MessageID, m.At = 999, "m999", m.At+1000
			l.Messages = append(l.Messages, m)
		}, []string{"message twice"}},
		{"a message twice, because the channel lied", func(l *Log) {
			m := *l.message("a", 2)
			l.message("a", 2).How = HowRefused
			m.N, m.MessageID, m.At = 999, "m999", m.At+1000
			l.Messages = append(l.Messages, m)
			l.run("a", 2).Deliveries[0].MessageIDs = []string{"m999"}
		}, nil},
		{"a message twice after a reset", func(l *Log) {
			m := *l.message("a", 2)
			l.message("a", 2).How = HowReset
			m.N, m.MessageID, m.At = 999, "m999", m.At+1000
			l.Messages = append(l.Messages, m)
			l.run("a", 2).Deliveries[0].MessageIDs = []string{"m999"}
		}, []string{"message twice"}},
		{"the same lines again, as if they were another part", func(l *Log) { l.sendsAgain("a", 2, ":1:1") }, []string{"message twice"}},
		{"the same lines again, as if they were another delivery", func(l *Log) { l.sendsAgain("a", 2, ":2:0") }, []string{"message twice", "phantom message"}},
		{"a second delivery that is on record", func(l *Log) {
			m, r := l.sendsAgain("a", 2, ":2:0"), l.run("a", 2)
			d := r.Deliveries[0]
			d.N, d.MessageIDs = 2, []string{m.MessageID}
			r.Deliveries = append(r.Deliveries, d)
		}, []string{"delivered twice", "message twice"}},
		{"a second delivery into a chat without keys", func(l *Log) {
			r := l.run("b", 2)
			d := r.Deliveries[0]
			d.N, d.State, d.MessageIDs = 2, "unknown", nil
			r.Deliveries = append(r.Deliveries, d)
		}, []string{"delivered twice"}},
		{"a part that begins within another one", func(l *Log) {
			l.message("b", 2).Last = 2
		}, []string{"message twice"}},
		{"two parts under one key", func(l *Log) {
			m, next := l.message("a", 2), l.sendsAgain("a", 2, ":1:0")
			m.Lines, next.Lines, next.First, next.Last = 2, 2, 2, 2
			d := &l.run("a", 2).Deliveries[0]
			d.Parts, d.MessageIDs = 2, append(d.MessageIDs, next.MessageID)
		}, []string{"message twice"}},
		{"delivered, but the chat has nothing", func(l *Log) {
			m := l.message("a", 2)
			l.Messages = slices.DeleteFunc(l.Messages, func(x Message) bool { return x.N == m.N })
		}, []string{"false delivered"}},
		{"delivered, but half is missing", func(l *Log) {
			m := *l.message("b", 2)
			l.Messages = slices.DeleteFunc(l.Messages, func(x Message) bool { return x.N == m.N+1 })
			d := &l.run("b", 2).Deliveries[0]
			d.Parts, d.MessageIDs = 1, d.MessageIDs[:1]
		}, []string{"false delivered"}},
		{"delivered, but the channel said no", func(l *Log) { l.message("a", 2).How = HowRefused }, []string{"false delivered"}},
		{"delivered under an id that was never given", func(l *Log) { l.run("a", 2).Deliveries[0].MessageIDs[0] = "m12345" }, []string{"false delivered"}},
		{"failed, but the channel said yes", func(l *Log) { l.run("a", 2).Deliveries[0].State = "failed" }, []string{"false failed"}},
		{"unknown, and the chat has it", func(l *Log) { l.run("a", 2).Deliveries[0].State = "unknown" }, nil},
		{"a delivery without an end", func(l *Log) { l.run("a", 2).Deliveries[0].State = "pending" }, []string{"delivery without an outcome"}},
		{"a delivery is lost", func(l *Log) { l.run("a", 2).Deliveries = nil }, []string{"delivery lost", "phantom message"}},
		{"nor is it known without a key", func(l *Log) { l.run("b", 2).Deliveries = nil }, []string{"delivery lost"}},
		{"a message of no call", func(l *Log) {
			m := *l.message("a", 2)
			m.N, m.MessageID, m.Nonce, m.Key = 999, "m999", "n-999", ""
			l.Messages = append(l.Messages, m)
		}, []string{"phantom message"}},
		{"a message in the envelope of another run", func(l *Log) { l.message("a", 2).Key = "b:1:1:0" }, []string{"phantom message"}},
		{"a message in another chat", func(l *Log) { l.message("a", 2).ChatID = "b" }, []string{"wrong chat"}},
		{"a message of a run that failed", func(l *Log) {
			m := *l.message("b", 3)
			l.fails("b", 3)
			l.Messages = append(l.Messages, m)
		}, []string{"phantom message"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := clean()
			tt.change(l)
			expect(t, l, tt.want)
		})
	}
}
