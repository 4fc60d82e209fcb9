//go:build unix

package redistest

import (
	"testing"
	"time"
)

// TestSetClock sets what the server says, and what it does by it, and nothing else.
func TestSetClock(t *testing.T) {
	t.Parallel()
	NeedClock(t)
	s := Start(t, WithClock())
	c := s.Client()
	for _, ahead := range []time.Duration{0, 366 * 24 * time.Hour, -2 * time.Hour, 0} {
		s.SetClock(ahead)
		now, err := c.Time(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		if off := time.Until(now) - ahead; off.Abs() > time.Minute {
			t.Errorf("%s ahead it says %s", ahead, now)
		}
	}
	if err := c.Set(t.Context(), "k", 1, time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	s.SetClock(2 * time.Hour)
	if n, err := c.Exists(t.Context(), "k").Result(); err != nil || n != 0 {
		t.Errorf("a key outlives its time: %d %v", n, err)
	}
}
