package schedule_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

func TestCacheKeepsTheRecent(t *testing.T) {
	t.Parallel()
	c := schedule.NewCache(2)
	parse := func(expr string) *schedule.Schedule {
		t.Helper()
		s, err := c.Parse(expr, "UTC")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	one, two := parse("1 * * * *"), parse("2 * * * *")
	if parse("1 * * * *") != one {
		t.Error("the first schedule was parsed again")
	}
	parse("3 * * * *") // pushes out the second, which was used least recently
	if parse("1 * * * *") != one {
		t.Error("the schedule that was used last is gone")
	}
	if parse("2 * * * *") == two {
		t.Error("the cache keeps more than its size")
	}
}

func TestCacheTellsZonesApart(t *testing.T) {
	t.Parallel()
	c := schedule.NewCache(10)
	berlin, err := c.Parse("0 9 * * *", "Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	utc, err := c.Parse("0 9 * * *", "")
	if err != nil {
		t.Fatal(err)
	}
	if berlin.Location().String() != "Europe/Berlin" || utc.Location() != time.UTC {
		t.Errorf("zones %s and %s", berlin.Location(), utc.Location())
	}
}

func TestCacheRefuses(t *testing.T) {
	t.Parallel()
	c := schedule.NewCache(0)
	for range 2 {
		if s, err := c.Parse("61 * * * *", ""); err == nil || s != nil {
			t.Errorf("%v, %v", s, err)
		}
	}
	if _, err := c.Parse("1 * * * *", ""); err != nil {
		t.Error(err)
	}
}

func TestCacheConcurrently(t *testing.T) {
	t.Parallel()
	c := schedule.NewCache(8)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				expr := fmt.Sprintf("%d * * * *", (g+i)%16)
				if s, err := c.Parse(expr, ""); err != nil || s.Expr() != expr {
					t.Errorf("Parse(%q) = %v, %v", expr, s, err)
				}
			}
		})
	}
	wg.Wait()
}
