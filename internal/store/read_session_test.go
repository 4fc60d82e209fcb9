package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// say appends messages to a session: one run's task and reply each.
func (f *fixture) say(key string, from, to, size int) {
	f.t.Helper()
	for i := from; i < to; i++ {
		for _, role := range []string{"user", "assistant"} {
			m, err := json.Marshal(job.Message{Role: role, Text: strings.Repeat("x", size), Timestamp: 1, RunID: fmt.Sprintf("a:%d", i)})
			f.must(err)
			f.must(f.rdb.RPush(f.ctx, f.keys.session(key), m).Err())
		}
	}
}

// TestReadSessionInPages: whatever bounds the pages, and whatever is said meanwhile, each
// message that was there is read once.
func TestReadSessionInPages(t *testing.T) {
	for _, tt := range []struct {
		name            string
		limit, maxBytes int
		pages           int
	}{
		{"all at once", 200, 1 << 20, 1},
		{"exactly all", 20, 1 << 20, 1},
		{"by number", 7, 1 << 20, 3},
		{"by number, fewer than are read at once", 1, 1 << 20, 20},
		{"by bytes", 200, 3500, 7}, // a message has somewhat more than 1,000
		{"each larger than a page", 200, 10, 20},
	} {
		for _, meanwhile := range []int{0, 1, 3} {
			t.Run(fmt.Sprintf("%s, %d runs meanwhile", tt.name, meanwhile), func(t *testing.T) {
				f := setup(t, Options{})
				f.say("s", 0, 10, 1000)
				var got []string
				cursor, pages, newest := "", 0, 10
				for {
					s, next, err := f.ReadSession(f.ctx, "s", cursor, tt.limit, tt.maxBytes)
					f.must(err)
					pages++
					var page []string
					for _, m := range s.Messages {
						page = append(page, m.RunID+" "+m.Role)
					}
					got = append(page, got...)
					if cursor = next; cursor == "" {
						break
					}
					f.say("s", newest, newest+meanwhile, 5)
					newest += meanwhile
				}
				var want []string
				for i := range 10 {
					want = append(want, fmt.Sprintf("a:%d user", i), fmt.Sprintf("a:%d assistant", i))
				}
				if strings.Join(got, ",") != strings.Join(want, ",") || pages != tt.pages {
					t.Errorf("%d pages, want %d:\n%v", pages, tt.pages, got)
				}
			})
		}
	}
}

func TestReadSessionThatIsGone(t *testing.T) {
	f := setup(t, Options{})
	if _, _, err := f.ReadSession(f.ctx, "s", "", 10, 1000); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
	f.say("s", 0, 3, 5)
	_, cursor, err := f.ReadSession(f.ctx, "s", "", 2, 1000)
	f.must(err)
	f.must(f.rdb.Del(f.ctx, f.keys.session("s")).Err()) // as a run of an isolated job does
	f.say("s", 5, 9, 5)
	if s, next, err := f.ReadSession(f.ctx, "s", cursor, 2, 1000); err != nil || len(s.Messages) > 0 || next != "" {
		t.Errorf("what was replaced: %v %q %v", s, next, err)
	}
	for _, cursor := range []string{"x", "1", "1.user", "0.user.a:1", "-1.user.a:1", "+1.user.a:1", "01.user.a:1", "99999999999.user.a:1"} {
		if _, _, err := f.ReadSession(f.ctx, "s", cursor, 2, 1000); err == nil || errors.Is(err, job.ErrNotFound) {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}
