package schedule_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

// A fixed time that the zone skips runs once, right after the gap.
func ExampleSchedule_Next() {
	s, err := schedule.Parse("30 2 * * *", "Europe/Berlin")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.Describe())
	slot := time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC)
	for range 3 {
		slot, _ = s.Next(slot)
		fmt.Println(slot.Format(time.RFC3339), "is", slot.In(s.Location()).Format("15:04 MST"))
	}
	// Output:
	// At 02:30 every day
	// 2026-03-28T01:30:00Z is 02:30 CET
	// 2026-03-29T01:00:00Z is 03:00 CEST
	// 2026-03-30T00:30:00Z is 02:30 CEST
}

// All problems of an expression and its zone come at once.
func ExampleParse_errors() {
	_, err := schedule.Parse("0 25 * * MONDAY", "europe/berlin")
	if pe, ok := errors.AsType[*schedule.ParseError](err); ok {
		for _, p := range pe.Problems {
			fmt.Printf("%s: %s, as in %s\n", p.Field, p.Detail, p.Example)
		}
	}
	// Output:
	// schedule: hour 25 is outside 0-23, as in "0 9 * * 1-5"
	// schedule: day-of-week "MONDAY" is neither a number from 0 to 7 nor one of SUN to SAT, as in "0 9 * * 1-5"
	// timezone: "europe/berlin" is spelt Europe/Berlin, as in "Europe/Berlin"
}
