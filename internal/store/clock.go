package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/clock"
	"github.com/gatewaycron/gatewaycron/internal/job"
)

// The clock of Redis decides, and can be set: by hand, by a time server that is found late,
// or by a failover to a machine whose clock is another. So each process holds it against a
// clock of its own that nobody sets, at each reading, and says with each script what the
// time should be there. A script that finds another refuses to claim, to emit and to judge
// leases, before anybody has noticed, and all others go by what they were told. If the clock
// still says so after two minutes, that is the time.

// Now is the time by the clock of Redis, in UTC; while that was set and is not believed yet,
// what it should say.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	asked := s.clock.Boot()
	reply, err := s.scripts.now.Run(ctx, s.client(ctx), []string{s.keys.prefix}, s.told()).Slice()
	returned := s.clock.Boot()
	if err != nil {
		return time.Time{}, fmt.Errorf("read the time of redis: %w", err)
	}
	var step clock.Step
	switch len(reply) {
	case 2:
	case 5:
		step = stepOf(fields{"since": text(reply[2]), "by": text(reply[3]), "until": text(reply[4])})
	default:
		return time.Time{}, fmt.Errorf("read the time of redis: script answered %d values", len(reply))
	}
	return s.clock.Learn(asked, returned, time.Unix(number(reply[0]), 1000*number(reply[1])).UTC(), step), nil
}

// timed adds to the arguments of a script what the time should be at Redis.
func (s *Store) timed(ctx context.Context, args []any) []any {
	if _, known := s.clock.Now(); !known {
		_, _ = s.Now(ctx) // what is wrong with Redis the script itself will say
	}
	return append(slices.Clip(args), s.told())
}

// told is what the time should be at Redis, "" as long as nobody here knows.
func (s *Store) told() string {
	now, known := s.clock.Now()
	if !known {
		return ""
	}
	return strconv.FormatInt(now.UnixMilli(), 10)
}

// HeldStep is the step of the clock that this process has seen and does not believe yet;
// the zero value is none.
func (s *Store) HeldStep() job.ClockStep {
	step, _ := s.clock.Step()
	return clockStep(step)
}

// NoteStep records a step of the clock for everybody, or, with the zero value, that it is
// over. It reports whether that was news.
func (s *Store) NoteStep(ctx context.Context, step job.ClockStep) (bool, error) {
	noted, err := s.run(ctx, s.scripts.clockStep, int64(step.Since), step.By.Milliseconds(), int64(step.Until)).Int()
	if err != nil {
		return false, fmt.Errorf("note a step of the clock: %w", err)
	}
	return noted == 1, nil
}

// Clock reads how the clock of Redis stands, and how far the check of the cursors is.
func (s *Store) Clock(ctx context.Context) (job.Clock, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return job.Clock{}, fmt.Errorf("read the clock: %w", err)
	}
	var step, check *redis.MapStringStringCmd
	_, err = s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		step, check = p.HGetAll(ctx, s.keys.clock()), p.HGetAll(ctx, s.keys.check())
		return nil
	})
	if err != nil {
		return job.Clock{}, fmt.Errorf("read the clock: %w", err)
	}
	return job.Clock{Now: job.ToMillis(now), Held: s.HeldStep(), Last: clockStep(stepOf(step.Val())), Check: checkOf(check.Val())}, nil
}

func stepOf(f fields) clock.Step {
	return clock.Step{Since: f.millis("since").Time(), By: time.Duration(f.int("by")) * time.Millisecond, Until: f.millis("until").Time()}
}

func clockStep(s clock.Step) job.ClockStep {
	return job.ClockStep{Since: job.ToMillis(s.Since), By: s.By.Truncate(time.Millisecond), Until: job.ToMillis(s.Until)}
}

func checkOf(f fields) job.CursorCheck {
	return job.CursorCheck{Why: f["why"], Since: f.millis("since"), Page: f["page"], Checked: int(f.int("checked")),
		Moved: int(f.int("moved")), Ended: f.millis("ended"), Rules: f["rules"], RulesAt: f.millis("rulesAt")}
}
