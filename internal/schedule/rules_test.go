package schedule

import (
	"testing"
	"time"
)

func TestRulesOf(t *testing.T) {
	t.Parallel()
	load := func(name string) *time.Location {
		t.Helper()
		loc, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		return loc
	}
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"UTC", "Etc/UTC", true},
		{"Europe/Berlin", "Europe/Paris", true},
		{"Europe/Berlin", "Europe/London", false},
		{"Europe/Berlin", "Africa/Lagos", false}, // the same in winter
		{"Australia/Sydney", "Australia/Brisbane", false},
		{"Asia/Kolkata", "Asia/Colombo", true},
	} {
		if same := rulesOf(load(c.a)) == rulesOf(load(c.b)); same != c.same {
			t.Errorf("%s and %s: same %t", c.a, c.b, same)
		}
	}
}

func TestSameSlots(t *testing.T) {
	t.Parallel()
	c := NewCache(64)
	day := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		name string
		a, b Timing
		same bool
	}{
		{"the zone's two names", Timing{Cron: "0 9 * * *"}, Timing{Cron: "0 9 * * *", Zone: "UTC"}, true},
		{"an alias of the zone", Timing{Cron: "0 9 * * *", Zone: "Etc/UTC"}, Timing{Cron: "0 9 * * *", Zone: "UTC"}, true},
		{"another zone", Timing{Cron: "0 9 * * *", Zone: "Europe/Berlin"}, Timing{Cron: "0 9 * * *"}, false},
		{"another spelling", Timing{Cron: "0 9 * * 1"}, Timing{Cron: "0  9 * * MON"}, true},
		{"a macro", Timing{Cron: "@hourly"}, Timing{Cron: "0 * * * *"}, true},
		{"wild and fixed", Timing{Cron: "*/5 * * * *"}, Timing{Cron: "0-59/5 * * * *"}, false},
		{"another minute", Timing{Cron: "0 9 * * *"}, Timing{Cron: "1 9 * * *"}, false},
		{"bounds and jitter", Timing{Cron: "0 9 * * *"}, Timing{Cron: "0 9 * * *", Until: day, Jitter: time.Second}, true},
		{"every, in another zone", Timing{Every: time.Hour, Anchor: day}, Timing{Every: time.Hour, Anchor: day, Zone: "Europe/Berlin"}, true},
		{"every, another phase", Timing{Every: time.Hour, Anchor: day}, Timing{Every: time.Hour, Anchor: day.Add(1)}, false},
		{"another period", Timing{Every: time.Hour, Anchor: day}, Timing{Every: time.Minute, Anchor: day}, false},
		{"every and cron", Timing{Every: time.Hour, Anchor: day}, Timing{Cron: "0 * * * *"}, false},
		{"one instant", Timing{At: day}, Timing{At: day, Zone: "Europe/Berlin"}, true},
		{"another instant", Timing{At: day}, Timing{At: day.Add(time.Hour)}, false},
		{"an instant and cron", Timing{At: day}, Timing{Cron: "0 0 * * *"}, false},
	} {
		a, errA := c.Timetable(row.a)
		b, errB := c.Timetable(row.b)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if a.SameSlots(b) != row.same || b.SameSlots(a) != row.same {
			t.Errorf("%s: same slots %t", row.name, !row.same)
		}
	}
}

func BenchmarkZoneRules(b *testing.B) {
	for b.Loop() {
		for _, zone := range []string{"Europe/Berlin", "America/New_York", "Asia/Tokyo"} {
			loc, _ := time.LoadLocation(zone)
			rulesOf(loc)
		}
	}
}
