//go:build linux

package main

import (
	"context"
	"slices"
	"time"
)

// figure is one number of one measurement.
type figure struct {
	name, unit string
	value      float64
}

// sample is one measurement of a workload.
type sample struct {
	figures []figure
	// CommandStats is what Redis executed, commands within scripts among it.
	CommandStats map[string]commandStat `json:"commandStats,omitempty"`
	// Traffic is what each process asked of Redis, where that was counted.
	Traffic map[string]traffic `json:"traffic,omitempty"`
}

func (s *sample) set(name, unit string, value float64) {
	s.figures = append(s.figures, figure{name, unit, value})
}

func (s *sample) value(name string) float64 {
	i := slices.IndexFunc(s.figures, func(f figure) bool { return f.name == name })
	if i < 0 {
		return 0
	}
	return s.figures[i].value
}

const (
	milliseconds = "ms"
	seconds      = "s"
	megabytes    = "MB"
	perSecond    = "/s"
	percent      = "%"
	count        = ""
)

// arrived sets the figures of what arrived of n slots.
func (s *sample) arrived(prefix string, a arrivals, n int) {
	s.set(prefix+"lag p50", milliseconds, ms(percentile(a.lags, 50)))
	s.set(prefix+"lag p99", milliseconds, ms(percentile(a.lags, 99)))
	s.set(prefix+"lag max", milliseconds, ms(percentile(a.lags, 100)))
	s.set(prefix+"all ended", milliseconds, ms(a.ended))
	s.set(prefix+"duplicates", count, float64(a.duplicates))
	s.set(prefix+"misses", count, float64(n-len(a.lags)))
}

// compare sets how the product stands to plain asynq.
func (s *sample) compare(names ...string) {
	for _, name := range names {
		if plain := s.value("plain " + name); plain > 0 {
			s.set("product/plain "+name, count, s.value(name)/plain)
		}
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// percentile is the smallest value that p percent of all do not exceed; 0 of none.
func percentile(values []time.Duration, p int) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

// costs is what the processes of a world have used so far.
type costs struct {
	at       time.Time
	cpu      map[string]float64
	executed map[string]commandStat
	traffic  map[string]traffic
}

func (w *world) costs(ctx context.Context) (costs, error) {
	c := costs{at: time.Now(), cpu: map[string]float64{}, traffic: map[string]traffic{}}
	for _, p := range w.procs {
		used, err := p.cpu()
		if err != nil {
			return c, err
		}
		c.cpu[p.name] = used
		if p.proxy != nil {
			c.traffic[p.name] = p.proxy.traffic()
		}
	}
	var err error
	c.executed, err = commandStats(ctx, w.rdb)
	return c, err
}

// since is what was used after an earlier look.
func (c costs) since(before costs) costs {
	d := costs{at: c.at, cpu: map[string]float64{}, executed: map[string]commandStat{}, traffic: map[string]traffic{}}
	for name, used := range c.cpu {
		d.cpu[name] = used - before.cpu[name]
	}
	for name, e := range c.executed {
		if n := e.Calls - before.executed[name].Calls; n > 0 {
			d.executed[name] = commandStat{Calls: n, Usec: e.Usec - before.executed[name].Usec}
		}
	}
	for name, t := range c.traffic {
		d.traffic[name] = traffic{Commands: minus(t.Commands, before.traffic[name].Commands), Trips: t.Trips - before.traffic[name].Trips}
	}
	return d
}

func minus(a, b map[string]int64) map[string]int64 {
	d := map[string]int64{}
	for name, n := range a {
		if n != b[name] {
			d[name] = n - b[name]
		}
	}
	return d
}

// commands is how many commands were sent, without those that open a connection.
func (t traffic) commands() (n int64) {
	for name, sent := range t.Commands {
		if !isHandshake(name) {
			n += sent
		}
	}
	return n
}

// spent sets the processor time and the memory of each process, and keeps what
// Redis executed; n is the number of runs that it was for, 0 for none.
func (w *world) spent(ctx context.Context, s *sample, before costs, n int) error {
	after, err := w.costs(ctx)
	if err != nil {
		return err
	}
	d := after.since(before)
	for _, p := range w.procs {
		s.set("cpu "+p.name, seconds, d.cpu[p.name])
		peak, err := p.peak()
		if err != nil {
			return err
		}
		s.set("peak memory "+p.name, megabytes, peak/1e6)
	}
	s.CommandStats, s.Traffic = d.executed, d.traffic
	if n > 0 {
		total := int64(0)
		for _, e := range d.executed {
			total += e.Calls
		}
		s.set("commands executed in redis per run", count, float64(total)/float64(n))
	}
	return nil
}

// rate is what a process asks of Redis by itself, by the second.
type rate struct{ commands, trips float64 }

// rates are the rates of the processes over a time in which nothing is due.
func (w *world) rates(ctx context.Context, over time.Duration) (map[string]rate, error) {
	before, err := w.costs(ctx)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, before.at.Add(over)); err != nil {
		return nil, err
	}
	after, err := w.costs(ctx)
	if err != nil {
		return nil, err
	}
	took := after.at.Sub(before.at).Seconds()
	rates := map[string]rate{}
	for name, t := range after.since(before).traffic {
		rates[name] = rate{commands: float64(t.commands()) / took, trips: float64(t.Trips) / took}
	}
	return rates, nil
}

// trips sets the round trips and commands of one run: all that was sent since an
// earlier look, less what the processes send anyway, divided by the runs.
func (w *world) trips(ctx context.Context, s *sample, prefix string, before costs, idle map[string]rate, n int) error {
	after, err := w.costs(ctx)
	if err != nil {
		return err
	}
	took := after.at.Sub(before.at).Seconds()
	var trips, commands float64
	d := after.since(before)
	for name, t := range d.traffic {
		trips += float64(t.Trips) - idle[name].trips*took
		commands += float64(t.commands()) - idle[name].commands*took
	}
	s.set(prefix+"round trips per run", count, trips/float64(n))
	s.set(prefix+"commands sent per run", count, commands/float64(n))
	if s.Traffic == nil {
		s.Traffic = map[string]traffic{}
	}
	for name, t := range d.traffic {
		s.Traffic[prefix+name] = t
	}
	return nil
}

// bytesPerJob makes n jobs that are idle and answers what Redis needs for one.
func (w *world) bytesPerJob(ctx context.Context, n int) (float64, error) {
	// One beforehand, so that what exists once is not counted.
	if err := w.crowd(ctx, 1, farAway(), nil); err != nil {
		return 0, err
	}
	before, err := w.held(ctx)
	if err != nil {
		return 0, err
	}
	if err := w.crowd(ctx, n, farAway(), nil); err != nil {
		return 0, err
	}
	after, err := w.held(ctx)
	if err != nil {
		return 0, err
	}
	return (after - before) / float64(n), nil
}

// held is the memory that Redis's records take, in bytes: all of it but the buffers
// of connections and of the append-only file, which come and go.
func (w *world) held(ctx context.Context) (float64, error) {
	used, err := info(ctx, w.rdb, "memory", "used_memory")
	if err != nil {
		return 0, err
	}
	for _, buffer := range []string{"mem_clients_normal", "mem_aof_buffer"} {
		n, err := info(ctx, w.rdb, "memory", buffer)
		if err != nil {
			return 0, err
		}
		used -= n
	}
	return used, nil
}
