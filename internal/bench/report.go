//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// target is what a figure is meant to be, at the default numbers.
type target struct {
	workload, figure string
	most             float64
	least            float64 // where more is better
}

func targets() []target {
	t := []target{
		{workload: "due", figure: "lag max", most: 2500},
		{workload: "due", figure: "lag p50", most: 1000},
		{workload: "due", figure: "product/plain lag max", most: 1},
		{workload: "due-tenth", figure: "lag p99", most: 400},
		{workload: "slow-turns", figure: "throughput of ideal", least: 90},
		{workload: "round-trips", figure: "round trips per run", most: 8},
		{workload: "round-trips", figure: "delivered: round trips per run", most: 12},
		{workload: "idle", figure: "redis per idle job", most: 1.5},
		{workload: "idle", figure: "commands scheduler", most: 20},
		{workload: "idle", figure: "cpu of one core scheduler", most: 1},
		{workload: "start", figure: "scheduler start to first carrier", most: 2000},
		{workload: "start", figure: "worker start to first call", most: 2000},
		{workload: "start", figure: "api start to ready", most: 2000},
	}
	for _, request := range []string{"create", "get", "list"} {
		t = append(t, target{workload: "api", figure: request + " p99", most: 50})
	}
	for _, role := range []string{"api", "scheduler", "worker"} {
		t = append(t, target{workload: "api", figure: "peak memory " + role, most: 150})
	}
	for _, workload := range []string{"due", "due-tenth", "due-isolated", "two-schedulers", "slow-turns", "sparse", "api"} {
		t = append(t, target{workload: workload, figure: "duplicates"}, target{workload: workload, figure: "misses"})
	}
	return t
}

func (t target) holds(v float64) bool {
	if t.least > 0 {
		return v >= t.least
	}
	return v <= t.most
}

func (t target) String() string {
	if t.least > 0 {
		return "≥ " + short(t.least)
	}
	return "≤ " + short(t.most)
}

// report collects the samples.
type report struct {
	Started      time.Time `json:"started"`
	CPUs         int       `json:"cpus"`
	Go           string    `json:"go"`
	N            int       `json:"n"`
	Registered   int       `json:"registered"`
	Repeat       int       `json:"repeat"`
	Concurrency  int       `json:"concurrency"`
	Workloads    []*result `json:"workloads"`
	targetsByKey map[[2]string]target
}

// result is the samples of a workload.
type result struct {
	Name    string     `json:"name"`
	Figures []*summary `json:"figures"`
	Samples []*sample  `json:"samples"`
}

// summary is a figure over all samples.
type summary struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit,omitempty"`
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Values []float64 `json:"values"`
	Target string    `json:"target,omitempty"`
	Holds  *bool     `json:"holds,omitempty"` // the median, the target
}

func newReport(o options) *report {
	r := &report{Started: time.Now().UTC().Truncate(time.Second), CPUs: runtime.NumCPU(), Go: runtime.Version(),
		N: o.n, Registered: o.registered, Repeat: o.repeat, Concurrency: o.concurrency, targetsByKey: map[[2]string]target{}}
	if o.quick {
		return r // what is meant for large numbers says nothing about small ones
	}
	for _, t := range targets() {
		r.targetsByKey[[2]string{t.workload, t.figure}] = t
	}
	return r
}

func (r *report) add(workload string, s *sample) {
	i := slices.IndexFunc(r.Workloads, func(w *result) bool { return w.Name == workload })
	if i < 0 {
		i = len(r.Workloads)
		r.Workloads = append(r.Workloads, &result{Name: workload})
	}
	w := r.Workloads[i]
	w.Samples = append(w.Samples, s)
	for _, f := range s.figures {
		w.summary(f.name, f.unit).add(f.value, r.targetsByKey[[2]string{workload, f.name}])
	}
}

func (w *result) summary(name, unit string) *summary {
	for _, s := range w.Figures {
		if s.Name == name {
			return s
		}
	}
	s := &summary{Name: name, Unit: unit}
	w.Figures = append(w.Figures, s)
	return s
}

func (s *summary) add(v float64, t target) {
	s.Values = append(s.Values, v)
	sorted := slices.Sorted(slices.Values(s.Values))
	s.Min, s.Max = sorted[0], sorted[len(sorted)-1]
	s.Median = (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
	if t.figure != "" {
		holds := t.holds(s.Median)
		s.Target, s.Holds = t.String(), &holds
	}
}

// write writes the figures as JSON; no path, no file.
func (r *report) write(path string) error {
	if path == "" {
		return nil
	}
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.WriteFile(path, append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return nil
}

// print writes the figures as a table.
func (r *report) print(out io.Writer) error {
	fmt.Fprintf(out, "%d cores, %s; n = %d, %d jobs registered, concurrency %d; medians of %d (lowest to highest)\n",
		r.CPUs, r.Go, r.N, r.Registered, r.Concurrency, r.Repeat)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, w := range r.Workloads {
		fmt.Fprintf(table, "\n%s\t\t\t\n", w.Name)
		for _, s := range w.Figures {
			verdict := ""
			if s.Holds != nil {
				verdict = "target " + s.Target + ": missed"
				if *s.Holds {
					verdict = "target " + s.Target + ": met"
				}
			}
			fmt.Fprintf(table, "  %s\t%s %s\t(%s to %s)\t%s\n", s.Name, short(s.Median), s.Unit, short(s.Min), short(s.Max), verdict)
		}
	}
	return table.Flush()
}

// short is a number with as many digits as anybody reads.
func short(v float64) string {
	switch {
	case v == float64(int64(v)), v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}
