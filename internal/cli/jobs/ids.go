package jobs

import (
	"regexp"
	"slices"
	"strings"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

// In lists on a terminal an id is cut to a beginning by which it can be named. Those that
// the API makes begin with the millisecond in which they were made, so that only another
// of that millisecond can begin as one that keeps it.
const (
	millisecond  = 10 // characters of a ULID
	shortJob     = len("job_") + millisecond
	shortToken   = 8  // of 16 random ones
	shortChosen  = 24 // of an id that somebody chose to be read
	manualPrefix = "manual:"
)

var madeID = regexp.MustCompile(`^job_[0-9a-hjkmnp-tv-z]{26}$`)

// shortJobs are the beginnings that tell jobs from each other.
func shortJobs(ids []string) map[string]string {
	return shorten(ids, func(id string) int {
		if madeID.MatchString(id) {
			return shortJob
		}
		return shortChosen
	})
}

func shortTokens(ids []string) map[string]string {
	return shorten(ids, func(string) int { return shortToken })
}

// shortRuns are short ids of runs: the beginning of the job's, and the slot or, of a
// manual run, the beginning of what is its own.
func shortRuns(runs []client.Run) map[string]string {
	var jobs []string
	own := map[string][]string{} // by job
	for _, r := range runs {
		id, rest, _ := strings.Cut(r.ID, ":")
		jobs = append(jobs, id)
		own[id] = append(own[id], strings.TrimPrefix(rest, manualPrefix))
	}
	short := map[string]string{}
	begun := shortJobs(jobs)
	parts := map[string]map[string]string{}
	for id, rests := range own {
		parts[id] = shorten(rests, func(string) int { return millisecond }) // a slot has as many digits
	}
	for _, r := range runs {
		id, rest, _ := strings.Cut(r.ID, ":")
		short[r.ID] = begun[id] + ":" + parts[id][strings.TrimPrefix(rest, manualPrefix)]
	}
	return short
}

// shorten cuts each id to its least length or, if another one begins so, to where they
// differ.
func shorten(ids []string, least func(id string) int) map[string]string {
	sorted := slices.Compact(slices.Sorted(slices.Values(ids)))
	short := make(map[string]string, len(sorted))
	for i, id := range sorted {
		n := least(id)
		if i > 0 {
			n = max(n, common(id, sorted[i-1])+1)
		}
		if i < len(sorted)-1 {
			n = max(n, common(id, sorted[i+1])+1)
		}
		short[id] = id[:min(n, len(id))]
	}
	return short
}

// common is how many bytes two ids begin with alike.
func common(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}
