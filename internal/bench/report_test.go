//go:build linux

package main

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(100 - i) // in no good order
	}
	for _, tt := range []struct {
		values []time.Duration
		p      int
		want   time.Duration
	}{
		{nil, 50, 0},
		{[]time.Duration{7}, 0, 7},
		{[]time.Duration{7}, 99, 7},
		{[]time.Duration{3, 1, 2}, 50, 2},
		{hundred, 0, 1},
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 100, 100},
	} {
		if got := percentile(tt.values, tt.p); got != tt.want {
			t.Errorf("percentile %d of %d values = %d, want %d", tt.p, len(tt.values), got, tt.want)
		}
	}
}

func TestSummary(t *testing.T) {
	r := newReport(options{})
	for _, v := range []float64{1400, 600, 900} {
		s := &sample{}
		s.set("lag p50", milliseconds, v)
		s.set("of no target", count, v)
		r.add("due", s)
	}
	missed := &sample{}
	missed.set("throughput of ideal", percent, 89)
	r.add("slow-turns", missed)

	met, not := true, false
	want := [][]*summary{
		{
			{Name: "lag p50", Unit: milliseconds, Median: 900, Min: 600, Max: 1400, Values: []float64{1400, 600, 900}, Target: "≤ 1000", Holds: &met},
			{Name: "of no target", Median: 900, Min: 600, Max: 1400, Values: []float64{1400, 600, 900}},
		},
		{{Name: "throughput of ideal", Unit: percent, Median: 89, Min: 89, Max: 89, Values: []float64{89}, Target: "≥ 90", Holds: &not}},
	}
	var got [][]*summary
	for _, w := range r.Workloads {
		got = append(got, w.Figures)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("summaries (-want +got):\n%s", diff)
	}
}

// A target of a workload or a figure that does not exist would never be missed.
func TestTargetsAreOfWorkloads(t *testing.T) {
	known := strings.Join(workloadNames(), " ")
	for _, target := range targets() {
		if !strings.Contains(" "+known+" ", " "+target.workload+" ") {
			t.Errorf("the target of %q is of no workload", target.workload)
		}
	}
}

func TestReadCommand(t *testing.T) {
	const stream = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" +
		"*6\r\n$7\r\nEVALSHA\r\n$2\r\nab\r\n$1\r\n1\r\n$4\r\na\r\nb\r\n$0\r\n\r\n$4\r\n*1\r\n\r\n"
	in := bufio.NewReader(strings.NewReader(stream))
	var passed bytes.Buffer
	out := bufio.NewWriter(&passed)
	for _, want := range [][]string{{"GET", "k"}, {"EVALSHA", "ab", "1", "a\r\nb"}} {
		got, err := readCommand(in, out)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("command (-want +got):\n%s", diff)
		}
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	if passed.String() != stream {
		t.Errorf("passed on %q, want %q", passed.String(), stream)
	}
}
