package handlers

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/channel"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// chunked is a channel that takes few characters at once.
type chunked struct {
	channel.Channel
	most int
}

func (c chunked) Parts(reply string) []channel.Part {
	var parts []channel.Part
	for part := range slices.Chunk([]rune(reply), c.most) {
		parts = append(parts, channel.Part{Text: string(part)})
	}
	return parts
}

func inChunks(most int) func(channel.Channel) channel.Channel {
	return func(c channel.Channel) channel.Channel { return chunked{c, most} }
}

func replying(text string) func(standin.ChatCall) standin.Answer {
	return func(standin.ChatCall) standin.Answer { return standin.Answer{Text: text} }
}

// wantWaiting checks that a delivery was put back, after since, for a time between
// low and high, and how many retries are used up.
func (f *fixture) wantWaiting(run string, since job.Millis, low, high time.Duration, counted int) {
	f.t.Helper()
	d, k := f.delivery(run), key("delivery", run, "1")
	if state := f.rdb.HGet(f.ctx, k, "state").Val(); d.State != job.DeliveryPending || state != "waiting" {
		f.t.Errorf("delivery %s, %s", d.State, state)
		return
	}
	until := job.Millis(f.number(k, "notBefore"))
	if until < since+job.Millis(low.Milliseconds()) || until > f.now()+job.Millis(high.Milliseconds()) {
		f.t.Errorf("put back for %s, want %s to %s", until.Time().Sub(since.Time()), low, high)
	}
	if n := f.number(k, "retries"); n != counted {
		f.t.Errorf("%d retries used up, want %d", n, counted)
	}
}

// A line of NO_REPLY at the end is not for the chat; what is sent again because somebody
// wants it is what there is.
func TestNoReplyIsNotSent(t *testing.T) {
	long := strings.Repeat("long ", 61) + "text"
	for reply, want := range map[string][2]string{ // by itself, redelivered; "" is nothing
		long + "\n\n**NO_REPLY**\n":  {long, long},
		"Say NO_REPLY if you agree.": {"Say NO_REPLY if you agree.", "Say NO_REPLY if you agree."},
		"Nothing new.\n\nNO_REPLY":   {"", "Nothing new."},
		"`NO_REPLY`":                 {"", "`NO_REPLY`"},
	} {
		t.Run(reply[:8], func(t *testing.T) {
			f := setup(t, setupOptions{reply: replying(reply)})
			f.create("a", toChat())
			c, run := f.manual("a")
			must(t, f.turn(c))
			n := 0
			if want[0] != "" {
				must(t, f.deliver(run))
				n++
			}
			if got := f.texts(); len(got) != n || n == 1 && got[0] != want[0] {
				t.Errorf("sent %q, want %q", got, want[0])
			}
			if r := f.record(run); r.Reply != reply {
				t.Errorf("on record is %q", r.Reply)
			}
			_, err := f.store.Redeliver(f.ctx, run)
			must(t, err)
			must(t, f.worker.deliveries.handle(f.ctx, f.queues.Delivery(run, n+1, 0).Task))
			if got := f.texts(); len(got) != n+1 || got[n] != want[1] {
				t.Errorf("redelivered as %q, want %q", got, want[1])
			}
		})
	}
}

// Parts that were confirmed are never sent again.
func TestRetryGoesOnAtTheFirstUnsentPart(t *testing.T) {
	f := setup(t, setupOptions{reply: replying("aabbcc"), wrap: inChunks(2), send: func(m standin.Message) standin.Answer {
		if m.N == 2 {
			return standin.Answer{Status: 503, Text: "restarting"}
		}
		return standin.Answer{}
	}})
	run := f.committed("a", toChat())
	since := f.now()
	must(t, f.deliver(run))
	f.wantWaiting(run, since, 5*time.Second, 5*time.Second, 1)
	if d := f.delivery(run); d.Parts != 3 || !cmp.Equal(d.MessageIDs, []string{"m-1"}) || !strings.Contains(d.Error, "restarting") {
		t.Errorf("delivery %+v", d)
	}
	must(t, f.deliverAgain(run))
	if d := f.delivery(run); d.State != job.DeliveryDelivered || !cmp.Equal(d.MessageIDs, []string{"m-1", "m-3", "m-4"}) || d.Error != "" {
		t.Errorf("delivery %+v", d)
	}
	if got := f.texts(); !cmp.Equal(got, []string{"aa", "bb", "bb", "cc"}) {
		t.Errorf("sent %q", got)
	}
	var keys []string
	for _, m := range f.chat.Messages() {
		keys = append(keys, strings.TrimPrefix(m.HeaderKey, run))
	}
	if !cmp.Equal(keys, []string{":1:0", ":1:1", ":1:1", ":1:2"}) {
		t.Errorf("idempotency keys %q: a part must keep its own", keys)
	}
}

func TestDeliveryRetriesRunOut(t *testing.T) {
	f := setup(t, setupOptions{send: func(standin.Message) standin.Answer { return standin.Answer{Status: 500, Text: "boom"} }})
	run := f.committed("a", toChat())
	since := f.now()
	must(t, f.deliver(run))
	delays := []time.Duration{5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, time.Hour, time.Hour}
	for i, delay := range delays {
		f.wantWaiting(run, since, delay, delay, i+1)
		since = f.now()
		must(t, f.deliverAgain(run))
	}
	if d := f.delivery(run); d.State != job.DeliveryFailed || !strings.Contains(d.Error, "boom") || f.chat.Count() != len(delays)+1 {
		t.Errorf("delivery %+v after %d messages", d, f.chat.Count())
	}
}

// What a failed send means: whether it is tried again, and what the record says.
func TestSendFailures(t *testing.T) {
	status := func(code int) standin.Answer { return standin.Answer{Status: code, Text: "because"} }
	tests := []struct {
		name   string
		answer standin.Answer
		want   job.DeliveryState
	}{
		{"forbidden", status(403), job.DeliveryFailed},
		{"no such chat", status(404), job.DeliveryFailed},
		{"bad request", status(400), job.DeliveryFailed},
		{"dropped", standin.Answer{Drop: true}, job.DeliveryUnknown},
		{"no message id", standin.Answer{Body: []byte(`{"ok":true}`)}, job.DeliveryUnknown},
		{"a proxy's page", standin.Answer{Body: []byte(`<html>`)}, job.DeliveryUnknown},
		{"bad gateway", status(502), job.DeliveryPending},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			f := setup(t, setupOptions{reply: replying("aabb"), wrap: inChunks(2), send: func(standin.Message) standin.Answer { return tc.answer }})
			run := f.committed("a", toChat())
			must(t, f.deliver(run))
			d := f.delivery(run)
			if d.State != tc.want || d.Error == "" || len(d.MessageIDs) != 0 {
				t.Errorf("delivery %+v, want %s", d, tc.want)
			}
			if err := f.deliver(run); (err != nil) != (tc.want == job.DeliveryPending) || f.chat.Count() != 1 {
				t.Errorf("the carrier again: %v, sent %q", err, f.texts())
			}
		})
	}
}

// TestRedeliveredReplyIsNotPaidForAgain: a reply that its chat refused for good is sent
// once more by hand, as a message of its own, and the model is not asked again.
func TestRedeliveredReplyIsNotPaidForAgain(t *testing.T) {
	f := setup(t, setupOptions{send: func(m standin.Message) standin.Answer {
		if m.N == 1 {
			return standin.Answer{Status: http.StatusForbidden, Text: "the bot was removed"}
		}
		return standin.Answer{}
	}})
	run := f.committed("a", toChat())
	must(t, f.deliver(run))
	if d := f.delivery(run); d.State != job.DeliveryFailed || len(d.MessageIDs) != 0 {
		t.Fatalf("first delivery %+v", d)
	}

	carriers, err := f.store.Redeliver(f.ctx, run)
	must(t, err)
	for _, c := range carriers {
		carrier, err := f.queues.Carry(string(c.Kind), c.ID, c.N)
		must(t, err)
		f.enqueue(carrier)
	}
	stop, ended := f.serve()
	f.await("the second delivery", func() bool { return f.record(run).DeliveryState == job.DeliveryDelivered })
	stop()
	receive(f, "the end of the worker", ended) // what it was given is done

	r := f.record(run)
	if r.Outcome != job.Succeeded || len(r.Attempts) != 1 || len(r.Deliveries) != 2 || r.Deliveries[0].State != job.DeliveryFailed {
		t.Errorf("run %+v", r)
	}
	if d := r.Deliveries[len(r.Deliveries)-1]; d.State != job.DeliveryDelivered || !cmp.Equal(d.MessageIDs, []string{"m-2"}) {
		t.Errorf("second delivery %+v, want it delivered with the id of the channel", d)
	}
	var sent []string
	for _, m := range f.chat.Messages() {
		sent = append(sent, m.HeaderKey+" "+m.Text)
	}
	if diff := cmp.Diff([]string{run + ":1:0 Echo: say hello", run + ":2:0 Echo: say hello"}, sent); diff != "" {
		t.Errorf("what the chat received: %s", diff)
	}
	if f.ai.Count() != 1 {
		t.Errorf("the model was asked %d times for one reply", f.ai.Count())
	}
}

// A send that was begun and not answered by a worker that is gone may have
// arrived; what it had confirmed is kept.
func TestDeadSender(t *testing.T) {
	send := newHold(t)
	f := setup(t, setupOptions{reply: replying("aabbcc"), wrap: inChunks(2), send: func(m standin.Message) standin.Answer {
		if m.Text == "bb" {
			send.wait()
		}
		return standin.Answer{}
	}})
	run := f.committed("a", toChat())
	done := side(func() error { return f.deliver(run) })
	receive(f, "the second part", send.arrived)
	k := key("delivery", run, "1")
	must(t, f.rdb.HSet(f.ctx, k, "deadEpoch", f.number(k, "epoch")).Err())
	must(t, f.deliver(run)) // another worker's
	if d := f.delivery(run); d.State != job.DeliveryUnknown || !cmp.Equal(d.MessageIDs, []string{"m-1"}) {
		t.Errorf("delivery %+v", d)
	}
	send.letGo() // the frozen sender wakes up
	must(t, receive(f, "the end of the sender", done))
	if d := f.delivery(run); d.State != job.DeliveryUnknown || !cmp.Equal(f.texts(), []string{"aa", "bb"}) {
		t.Errorf("delivery %s, sent %q", d.State, f.texts())
	}
}

// A part that another attempt began and never answered is not sent again.
func TestPartOfAnotherAttempt(t *testing.T) {
	f := setup(t, setupOptions{reply: replying("aabb"), wrap: inChunks(2)})
	run := f.committed("a", toChat())
	must(t, f.rdb.HSet(f.ctx, key("delivery", run, "1"), "p1", "b:0:token").Err())
	must(t, f.deliver(run))
	if d := f.delivery(run); d.State != job.DeliveryUnknown || !cmp.Equal(f.texts(), []string{"aa"}) {
		t.Errorf("delivery %s, sent %q", d.State, f.texts())
	}
}

// A chat that is asked to wait waits alone, but for a moment; where several are, their
// channel waits, and no other.
func TestRateLimitClosesTheChat(t *testing.T) {
	const limit = time.Hour
	asked := map[string]bool{"1": true}
	f := setup(t, setupOptions{send: func(m standin.Message) standin.Answer {
		if asked[m.ChatID] {
			return standin.Answer{Status: 429, Header: http.Header{"Retry-After": {"3600"}}}
		}
		return standin.Answer{}
	}})
	clock := time.Now()
	f.worker.deliveries.gates.now = func() time.Time { return clock }
	to := func(id, channel, chat string) string {
		spec := toChat()
		spec.Channel, spec.ChatID = channel, chat
		return f.committed(id, spec)
	}
	waits := func(run string, least, most time.Duration) {
		t.Helper()
		since := f.now()
		must(t, f.deliver(run))
		f.wantWaiting(run, since, least, most, 0)
	}
	arrives := func(run string) {
		t.Helper()
		must(t, f.deliver(run))
		if d := f.delivery(run); d.State != job.DeliveryDelivered {
			t.Errorf("%s: %+v", run, d)
		}
	}
	waits(to("first", "slack", "1"), limit, limit)
	waits(to("beside", "slack", "5"), briefWait, briefWait+16*time.Second) // not all at once
	arrives(to("elsewhere", "discord", "9"))
	clock = clock.Add(briefWait)
	waits(to("again", "slack", "1"), limit-briefWait, limit+16*time.Second) // without being sent
	arrives(to("other", "slack", "5"))

	asked["2"], asked["3"] = true, true
	waits(to("second", "slack", "2"), limit, limit)
	clock = clock.Add(briefWait)
	waits(to("third", "slack", "3"), limit, limit)
	clock = clock.Add(severalWait - time.Second)
	waits(to("all", "slack", "5"), time.Second, 17*time.Second)
	clock = clock.Add(time.Second)
	arrives(to("one", "slack", "5"))
	if f.chat.Count() != 6 {
		t.Errorf("%d messages were tried", f.chat.Count())
	}
}

func TestRateLimitWithoutATime(t *testing.T) {
	f := setup(t, setupOptions{send: func(standin.Message) standin.Answer { return standin.Answer{Status: 429} }})
	run := f.committed("a", toChat())
	since := f.now()
	must(t, f.deliver(run))
	f.wantWaiting(run, since, time.Second, time.Second, 0)
}

// Another worker may have the channel, so that its absence is tried again; what
// was sent before is kept.
func TestChannelNotConnected(t *testing.T) {
	f := setup(t, setupOptions{reply: replying("aabb"), wrap: inChunks(2), send: func(m standin.Message) standin.Answer {
		if m.N == 2 {
			return standin.Answer{Status: 503}
		}
		return standin.Answer{}
	}})
	connected := f.opts.Channels
	run := f.committed("a", toChat())
	must(t, f.deliver(run))

	f.opts.Channels = channels{only: []string{}}
	f.worker = New(f.opts)
	since := f.now()
	must(t, f.deliverAgain(run))
	f.wantWaiting(run, since, 15*time.Second, 15*time.Second, 2)
	if d := f.delivery(run); !cmp.Equal(d.MessageIDs, []string{"m-1"}) || !strings.Contains(d.Error, "slack is not connected") {
		t.Errorf("delivery %+v", d)
	}

	f.opts.Channels = connected
	f.worker = New(f.opts)
	must(t, f.deliverAgain(run))
	if d := f.delivery(run); d.State != job.DeliveryDelivered || !cmp.Equal(f.texts(), []string{"aa", "bb", "bb"}) {
		t.Errorf("delivery %+v, sent %q", d, f.texts())
	}

	f.opts.Channels = channels{only: []string{}}
	f.worker = New(f.opts)
	lost := f.committed("b", toChat())
	for range 9 {
		must(t, f.deliverAgain(lost))
	}
	if d := f.delivery(lost); d.State != job.DeliveryFailed || len(f.texts()) != 3 {
		t.Errorf("delivery %+v, sent %q", d, f.texts())
	}
}

// mute is a channel that finds nothing to send in any text.
type mute struct{ channel.Channel }

func (mute) Parts(string) []channel.Part { return nil }

func TestNothingToSend(t *testing.T) {
	f := setup(t, setupOptions{wrap: func(c channel.Channel) channel.Channel { return mute{c} }})
	run := f.committed("a", toChat())
	must(t, f.deliver(run))
	if d := f.delivery(run); d.State != job.DeliveryFailed || d.Error == "" || f.chat.Count() != 0 {
		t.Errorf("delivery %+v", d)
	}
}

// untyped is a channel with a defect: its errors say nothing of what was sent.
type untyped struct{ channel.Channel }

func (untyped) Send(context.Context, channel.Message) (string, error) {
	return "", fmt.Errorf("something happened")
}

func TestUntypedErrorIsUnknown(t *testing.T) {
	f := setup(t, setupOptions{wrap: func(c channel.Channel) channel.Channel { return untyped{c} }})
	run := f.committed("a", toChat())
	must(t, f.deliver(run))
	if d := f.delivery(run); d.State != job.DeliveryUnknown || d.Error != "something happened" {
		t.Errorf("delivery %+v", d)
	}
}

// hanging are deliveries on a channel whose sends are held, as many as it has
// places, and one more that waits for a place.
func (f *fixture) hanging(send *hold) (runs []string, ended <-chan error) {
	f.t.Helper()
	out := make(chan error, perChannel+1)
	for i := range perChannel + 1 {
		run := f.committed("hanging-"+strconv.Itoa(i), toChat())
		runs = append(runs, run)
		go func() { out <- f.deliver(run) }()
		if i < perChannel {
			receive(f, "a message", send.arrived)
		}
	}
	k := key("delivery", runs[perChannel], "1")
	f.await("one too many", func() bool { return f.rdb.HGet(f.ctx, k, "state").Val() == "running" })
	return runs, out
}

func TestSendWaitsForAPlace(t *testing.T) {
	send := newHold(t)
	f := setup(t, setupOptions{send: func(standin.Message) standin.Answer { send.wait(); return standin.Answer{} }})
	runs, ended := f.hanging(send)
	if n := f.chat.Count(); n != perChannel {
		t.Errorf("%d messages at once on one channel, want %d", n, perChannel)
	}
	send.letGo()
	for _, run := range runs {
		must(t, receive(f, "a delivery", ended))
		f.await("delivery of "+run, func() bool { return f.delivery(run).State == job.DeliveryDelivered })
	}
	if n := f.chat.Count(); n != len(runs) {
		t.Errorf("%d messages of %d replies", n, len(runs))
	}
}

// A place on a channel that asked for patience meanwhile is of no use.
func TestWaitingSendSeesTheRateLimit(t *testing.T) {
	send := newHold(t)
	f := setup(t, setupOptions{send: func(standin.Message) standin.Answer {
		send.wait()
		return standin.Answer{Status: 429, Header: http.Header{"Retry-After": {"60"}}}
	}})
	runs, ended := f.hanging(send)
	since := f.now()
	send.letGo()
	for range runs {
		must(t, receive(f, "a delivery", ended))
	}
	for _, run := range runs[:perChannel] {
		f.wantWaiting(run, since, 50*time.Second, 75*time.Second, 0)
	}
	// Later than the channel asked for: those who wait must not come all at once.
	f.wantWaiting(runs[perChannel], since, 64*time.Second, 80*time.Second, 0)
	if n := f.chat.Count(); n != perChannel {
		t.Errorf("%d messages, want %d", n, perChannel)
	}
	if n := len(f.worker.deliveries.gates.of("slack").places); n != 0 {
		t.Errorf("%d places are taken with nothing under way", n)
	}
}

// A channel that hangs takes its share of the senders and no more.
func TestHangingChannel(t *testing.T) {
	t.Parallel() // it waits for the patience with a channel without places, two seconds
	const queued = 4 * perChannel
	send := newHold(t)
	f := setup(t, setupOptions{send: func(m standin.Message) standin.Answer {
		if m.Channel == "slack" {
			send.wait()
		}
		return standin.Answer{}
	}})
	var hanging []string
	for i := range queued {
		hanging = append(hanging, f.committed("hanging-"+strconv.Itoa(i), toChat()))
	}
	spec := toChat()
	spec.Channel = "discord"
	elsewhere := f.committed("elsewhere", spec)
	since := f.now()
	f.serve()
	f.await("the other channel", func() bool { return f.record(elsewhere).DeliveryState == job.DeliveryDelivered })
	putBack := func(run string) bool {
		return f.rdb.HGet(f.ctx, key("delivery", run, "1"), "state").Val() == "waiting" && f.number(key("delivery", run, "1"), "attempt") > 0
	}
	f.await("all but its share are put back", func() bool {
		n := 0
		for _, run := range hanging {
			if putBack(run) {
				n++
			}
		}
		return n == queued-perChannel
	})
	if n := f.chat.Count(); n != perChannel+1 {
		t.Errorf("%d messages, want %d on the channel that hangs and one on the other", n, perChannel)
	}
	send.letGo()
	for _, run := range hanging {
		if putBack(run) {
			f.wantWaiting(run, since, 5*time.Second, 15*time.Second, 0)
			must(t, f.deliverAgain(run))
		}
		f.await("delivery of "+run, func() bool { return f.delivery(run).State == job.DeliveryDelivered })
	}
	if n := f.chat.Count(); n != queued+1 {
		t.Errorf("%d messages of %d replies", n, queued+1)
	}
}

// TestClosedChat: of two waits the longer one counts, and whoever comes does not queue for a
// place.
func TestClosedChat(t *testing.T) {
	now := time.Now()
	g, to := newGates(func() time.Time { return now }), job.Target{Channel: "slack", ChatID: "1"}
	g.shut(to, time.Hour)
	g.shut(to, time.Second)
	for range perChannel {
		g.of("slack").places <- struct{}{}
	}
	if wait, ok := g.enter(t.Context(), to); ok || wait != time.Hour {
		t.Errorf("entered %v, asked to wait for %v", ok, wait)
	}
}

// TestPartThatWasSentAlready, after one that was not: it is passed over.
func TestPartThatWasSentAlready(t *testing.T) {
	f := setup(t, setupOptions{reply: replying("aabbcc"), wrap: inChunks(2)})
	run := f.committed("a", toChat())
	must(t, f.rdb.HSet(f.ctx, key("delivery", run, "1"), "p1", "s:m-0").Err())
	must(t, f.deliver(run))
	if d := f.delivery(run); d.State != job.DeliveryDelivered || !cmp.Equal(f.texts(), []string{"aa", "cc"}) {
		t.Errorf("delivery %+v, sent %q", d, f.texts())
	}
}
