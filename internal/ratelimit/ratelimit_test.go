package ratelimit

import (
	"testing"
	"time"
)

const (
	burst = 10
	every = 6 * time.Second
)

// setup is a limiter and what lets time pass for it.
func setup() (l *Limiter[int], pass func(time.Duration)) {
	now := time.Unix(1e9, 0)
	return New[int](every, burst, func() time.Time { return now }), func(d time.Duration) { now = now.Add(d) }
}

func TestEachClientHasAnAllowance(t *testing.T) {
	l, pass := setup()
	for range burst {
		if wait := l.Take(1); wait != 0 {
			t.Fatalf("wait %s within the burst", wait)
		}
	}
	if wait := l.Take(1); wait != every {
		t.Errorf("wait %s after the burst, want %s", wait, every)
	}
	if wait := l.Take(2); wait != 0 {
		t.Errorf("another client waits %s", wait)
	}
	pass(every)
	if wait := l.Take(1); wait != 0 {
		t.Errorf("wait %s after the wait", wait)
	}
	for range 2 { // to look takes nothing
		if wait := l.Wait(1); wait != every {
			t.Errorf("wait %s without taking, want %s", wait, every)
		}
		if wait := l.Wait(3); wait != 0 {
			t.Errorf("somebody new waits %s", wait)
		}
	}
	pass(time.Hour)
	for range burst {
		if wait := l.Take(1); wait != 0 {
			t.Fatalf("wait %s after an hour of rest", wait)
		}
	}
	if wait := l.Take(1); wait == 0 {
		t.Error("an hour of rest is worth more than a burst")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	l, pass := setup()
	for n := range maxClients + burst - 1 {
		if wait := l.Take(1 + n); wait != 0 {
			t.Fatalf("client %d waits %s", n, wait)
		}
	}
	if n := len(l.full); n > maxClients+1 {
		t.Errorf("%d clients are kept", n)
	}
	for range burst {
		l.Take(1 << 30)
	}
	if wait := l.Take(1 << 29); wait == 0 {
		t.Error("new clients do not share an allowance when there is no room")
	}
	if wait := l.Take(1); wait != 0 {
		t.Errorf("a known client waits %s", wait)
	}
	pass(time.Hour)
	if wait := l.Take(1 << 29); wait != 0 {
		t.Errorf("a new client waits %s when there is room again", wait)
	}
	if n := len(l.full); n > 2 {
		t.Errorf("%d rested clients are kept", n)
	}
}

func TestNetwork(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7:1234":           "192.0.2.7/32",
		"[::ffff:192.0.2.7]:1":     "192.0.2.7/32",
		"[2001:db8:1:2:3::4]:1":    "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::9]:1": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:1":         "fe80::/64",
		"@":                        "invalid Prefix",
		"":                         "invalid Prefix",
	} {
		if got := Network(in).String(); got != want {
			t.Errorf("%q counts as %s, want %s", in, got, want)
		}
	}
}
