//go:build faults && unix

package fault

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Point marks a place where a crash is worth testing: perhaps the process ends
// here.
func Point(name string) {
	d := loaded()
	if d.falls(name) {
		d.die(name)
	}
}

// Skew is how early the bell of this process's scheduler is to ring; negative is late.
// Whatever else is decided by the time of day goes by the clock of Redis.
func Skew() time.Duration { return loaded().skew }

// loaded reads the environment once: the points are passed thousands of times.
var loaded = sync.OnceValue(func() *dice {
	d, err := load(os.Getenv)
	if err != nil {
		panic(err) // a test that asks for faults must not run without them
	}
	return d
})

// dice decide which passing of a point is the last one.
type dice struct {
	chances map[string]float64
	log     string
	skew    time.Duration

	mu  sync.Mutex
	rng *rand.Rand
}

func load(env func(string) string) (*dice, error) {
	d := &dice{chances: map[string]float64{}, log: env("GATEWAY_CRON_FAULT_LOG")}
	for item := range strings.SplitSeq(env("GATEWAY_CRON_FAULT"), ",") {
		if item == "" {
			continue
		}
		name, value, _ := strings.Cut(item, "=")
		chance, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("GATEWAY_CRON_FAULT: chance of %q: %w", name, err)
		}
		d.chances[name] = chance
	}
	var seed uint64
	if text := env("GATEWAY_CRON_FAULT_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			return nil, fmt.Errorf("GATEWAY_CRON_FAULT_SEED: %w", err)
		}
	}
	d.rng = rand.New(rand.NewPCG(seed, 0))
	if text := env("GATEWAY_CRON_FAULT_SKEW"); text != "" {
		var err error
		if d.skew, err = time.ParseDuration(text); err != nil {
			return nil, fmt.Errorf("GATEWAY_CRON_FAULT_SKEW: %w", err)
		}
	}
	return d, nil
}

func (d *dice) falls(name string) bool {
	chance := d.chances[name]
	if chance == 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.Float64() < chance
}

// die ends the process as a crash would: nothing is flushed, nobody is told.
func (d *dice) die(name string) {
	d.mu.Lock() // for good: one death is enough
	if d.log != "" {
		f, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = f.WriteString(name + "\n")
		}
		if err != nil {
			panic(fmt.Errorf("note the crash at %s: %w", name, err))
		}
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // cannot fail on oneself
	select {}                                      // until the signal is there
}
