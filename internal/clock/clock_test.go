package clock

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// redis is a clock that is set at will, beside one that is not.
type redis struct {
	boot time.Duration
	off  time.Duration
}

var epoch = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func (r *redis) clock() *Clock { return New(Options{Boot: func() time.Duration { return r.boot }}) }

// read takes a reading whose answer takes a while; it is taken halfway.
func (r *redis) read(c *Clock, takes time.Duration, standing ...Step) time.Time {
	asked := r.boot
	reading := epoch.Add(asked + takes/2 + r.off)
	r.boot += takes
	return c.Learn(asked, r.boot, reading, append(standing, Step{})[0])
}

func (r *redis) right() time.Time { return epoch.Add(r.boot) }

func near(a, b time.Time) bool { return a.Sub(b).Abs() <= time.Second }

func TestStep(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{2 * time.Hour, 366 * 24 * time.Hour, 61 * time.Second, -61 * time.Second, -400 * 24 * time.Hour} {
		r := &redis{}
		c := r.clock()
		r.read(c, time.Millisecond)
		r.boot += time.Minute
		r.off = by
		began := r.right()
		if now := r.read(c, time.Millisecond); !near(now, r.right()) {
			t.Errorf("%s: the time is %s", by, now)
		}
		s, held := c.Step()
		if !held || !near(s.Since, began) || (s.By-by).Abs() > time.Second || !near(s.Until, began.Add(DefaultHold)) {
			t.Fatalf("%s: %+v", by, s)
		}
		for range 119 {
			r.boot += time.Second - time.Millisecond
			if now := r.read(c, time.Millisecond); !near(now, r.right()) {
				t.Fatalf("%s: the time is %s after %s", by, now, r.boot)
			}
		}
		if now, _ := c.Now(); !near(now, r.right()) {
			t.Errorf("%s: it should be %s", by, now)
		}
		r.boot += 2 * time.Second
		if now := r.read(c, time.Millisecond); !near(now, r.right().Add(by)) {
			t.Errorf("%s: after two minutes the time is %s", by, now)
		}
		if _, held := c.Step(); held {
			t.Errorf("%s: still held", by)
		}
	}
}

func TestStepThatIsUndone(t *testing.T) {
	t.Parallel()
	r := &redis{}
	c := r.clock()
	r.read(c, 0)
	r.off = 366 * 24 * time.Hour
	r.read(c, 0)
	r.boot += 20 * time.Second
	r.off = 0
	if now := r.read(c, 0); !near(now, r.right()) {
		t.Errorf("the time is %s", now)
	}
	if s, held := c.Step(); held {
		t.Errorf("held: %+v", s)
	}
}

// TestAnotherStep begins another two minutes.
func TestAnotherStep(t *testing.T) {
	t.Parallel()
	r := &redis{}
	c := r.clock()
	r.read(c, 0)
	r.off = time.Hour
	r.read(c, 0)
	r.boot += 110 * time.Second
	r.off = 3 * time.Hour
	r.read(c, 0)
	r.boot += 110 * time.Second
	if now := r.read(c, 0); !near(now, r.right()) {
		t.Errorf("the time is %s", now)
	}
	r.boot += 11 * time.Second
	if now := r.read(c, 0); !near(now, r.right().Add(3*time.Hour)) {
		t.Errorf("the time is %s", now)
	}
}

// TestWhoBeginsDuringAStep does what the others do.
func TestWhoBeginsDuringAStep(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{2 * time.Hour, -90 * time.Minute} {
		r := &redis{}
		c := r.clock()
		r.read(c, 0)
		r.off = by
		r.read(c, 0)
		s, _ := c.Step()
		r.boot += 50 * time.Second
		late := r.clock()
		if now := r.read(late, 0, s); !near(now, r.right()) {
			t.Errorf("%s: the time is %s", by, now)
		}
		if got, held := late.Step(); !held || got != s {
			t.Errorf("%s: %+v", by, got)
		}
		r.boot += 71 * time.Second
		if now := r.read(late, 0); !near(now, r.right().Add(by)) {
			t.Errorf("%s: after two minutes the time is %s", by, now)
		}
		// What is on record of it holds nobody who begins later, whatever the clock says.
		for _, off := range []time.Duration{0, by} {
			r.off = off
			if now := r.read(r.clock(), 0, s); !near(now, r.right().Add(off)) {
				t.Errorf("%s: whoever begins later takes %s for the time", by, now)
			}
		}
	}
}

// TestNoStep: a clock that drifts, is set by less than a minute at a time, or is read
// slowly, however much, holds nothing, and neither does a machine that was suspended.
func TestNoStep(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := &redis{}
		c := r.clock()
		for range rapid.IntRange(1, 100).Draw(t, "readings") {
			r.boot += time.Duration(rapid.Int64Range(0, int64(10*24*time.Hour)).Draw(t, "passes"))
			r.off += time.Duration(rapid.Int64Range(-int64(29*time.Second), int64(29*time.Second)).Draw(t, "set by"))
			takes := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "takes"))
			r.read(c, takes)
			if s, held := c.Step(); held {
				t.Fatalf("held: %+v", s)
			}
		}
	})
}

// TestBoot goes on by itself.
func TestBoot(t *testing.T) {
	t.Parallel()
	c := New(Options{})
	before := c.Boot()
	for c.Boot() == before { // some clocks are coarse
		if t.Context().Err() != nil {
			t.Fatal("it stands still")
		}
	}
	if _, known := c.Now(); known {
		t.Error("it knows the time of nobody")
	}
}
