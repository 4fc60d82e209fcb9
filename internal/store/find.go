package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

const (
	// maxExamined bounds how many entries of an index one request looks at for those
	// that its filter picks.
	maxExamined = 1000
	// examineBatch is how many of them are read in one round trip.
	examineBatch = 250
)

// FindJobs reads one page of the jobs that the filter picks, oldest first; of those that have
// ended, the one that did so first. The cursor of
// the first page is ""; an empty next cursor ends the list. At most maxExamined jobs are
// looked at, so that a page before the last may be short or empty. A record that cannot
// be read is left out.
func (s *Store) FindJobs(ctx context.Context, filter job.JobFilter, cursor string, limit int) ([]job.Job, string, error) {
	after, err := position(cursor)
	if err != nil {
		return nil, "", err
	}
	z := index{ZRangeArgs: redis.ZRangeArgs{Key: s.keys.jobs(), ByScore: true, Stop: "+inf"}}.behind(after)
	if filter.Ended {
		z.Key = s.keys.ended()
	}
	if t := job.TokenOf(ctx); t != nil {
		if err := s.listOwners(ctx, false); err != nil {
			return nil, "", fmt.Errorf("list jobs: %w", err)
		}
		z = s.ownJobs(t, filter.Ended, after)
	}
	found, next, err := s.find(ctx, z, s.keys.job, s.wholeJobs, jobTests(filter), jobScope(ctx), limit)
	if err != nil {
		return nil, "", fmt.Errorf("list jobs: %w", err)
	}
	jobs := make([]job.Job, 0, len(found))
	for _, r := range found {
		// An older release leaves a job listed as ended that it lets go on.
		if j, err := decodeJob(r.id, r.fields); err == nil && (!filter.Ended || j.Ended()) {
			jobs = append(jobs, j)
		}
	}
	return jobs, next, nil
}

// FindRuns reads one page of the runs that the filter picks, newest first, without the
// deliveries and of a long reply its first 500 characters or a few more; cursors and pages
// are as those of FindJobs. A job's history outlives it; of all jobs together the newest
// 20,000 records are listed.
// Errors: job.ErrNotFound if the filter names a job of which there is neither a record
// nor a history.
func (s *Store) FindRuns(ctx context.Context, filter job.RunFilter, cursor string, limit int) ([]job.Run, string, error) {
	runs, next, err := s.findRuns(ctx, filter, cursor, limit)
	if err != nil {
		return nil, "", fmt.Errorf("list the runs of %s: %w", cmp.Or(filter.JobID, "all jobs"), err)
	}
	return runs, next, nil
}

func (s *Store) findRuns(ctx context.Context, filter job.RunFilter, cursor string, limit int) ([]job.Run, string, error) {
	before, err := position(cursor)
	if err != nil {
		return nil, "", err
	}
	if b := micros(filter.Before); b > 0 && (before == 0 || b < before) {
		before = b
	}
	t := job.TokenOf(ctx)
	key := s.keys.allRuns()
	switch {
	case filter.JobID != "":
		key = s.keys.runs(filter.JobID)
	case t != nil:
		if err := s.listOwners(ctx, true); err != nil {
			return nil, "", err
		}
		key = s.keys.ownRuns(t.Agent(), t.Session())
	}
	// With Rev, the higher bound comes first.
	z := index{ZRangeArgs: redis.ZRangeArgs{Key: key, ByScore: true, Rev: true, Start: "+inf", Stop: strconv.FormatInt(micros(filter.After), 10)}}
	if before > 0 {
		z = z.behind(before)
	}
	found, next, err := s.find(ctx, z, s.keys.run, s.leanRuns, runTests(filter), runScope(ctx), limit)
	if err != nil {
		return nil, "", err
	}
	if len(found) == 0 && filter.JobID != "" && t != nil {
		if err := s.knowsJob(ctx, filter.JobID); err != nil {
			return nil, "", err
		}
	}
	if len(found) == 0 && cursor == "" && filter.JobID != "" {
		n, err := s.client(ctx).Exists(ctx, s.keys.job(filter.JobID), s.keys.runs(filter.JobID)).Result()
		if err != nil {
			return nil, "", err
		}
		if n == 0 {
			return nil, "", job.ErrNotFound
		}
	}
	runs := make([]job.Run, 0, len(found))
	for _, r := range found {
		if run, err := decodeRun(r.id, r.fields); err == nil {
			runs = append(runs, run)
		}
	}
	return runs, next, nil
}

// micros is an instant as the indexes have it.
func micros(m job.Millis) int64 { return 1000 * int64(m) }

// reader reads whole records, or what lists show of them; a missing one is empty.
type reader func(ctx context.Context, ids []string) ([]fields, error)

// wholeJobs reads jobs.
func (s *Store) wholeJobs(ctx context.Context, ids []string) ([]fields, error) {
	return s.hashes(ctx, ids, s.keys.job)
}

// leanRuns reads runs, by one script, with the head of a long reply in its place.
func (s *Store) leanRuns(ctx context.Context, ids []string) ([]fields, error) {
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id
	}
	rows, err := s.run(ctx, s.scripts.leanRuns, args...).Slice()
	if err != nil {
		return nil, err
	}
	if len(rows) != len(ids) {
		return nil, fmt.Errorf("script returned %d records of %d", len(rows), len(ids))
	}
	out := make([]fields, len(rows))
	for i, row := range rows {
		if out[i], err = flatFields(row); err != nil {
			return nil, err
		}
	}
	return out, nil
}

const (
	// maxPageBytes bounds the records of one page of a list.
	maxPageBytes = 4 << 20
	// readBatch is how many of them are read at once; see inTurn.
	readBatch = 4
)

// readPage reads the first of these records, as many as a page may have bytes, but one at
// least.
func (s *Store) readPage(ctx context.Context, ids []string, read reader) ([]fields, error) {
	out, size := make([]fields, 0, len(ids)), 0
	for some := range slices.Chunk(ids, readBatch) {
		rows, err := s.inTurn(ctx, read, some)
		if err != nil {
			return nil, err
		}
		for _, f := range rows {
			for name, value := range f {
				size += len(name) + len(value)
			}
			if size > maxPageBytes && len(out) > 0 {
				return out, nil
			}
			out = append(out, f)
		}
	}
	return out, nil
}

// inTurn reads when nobody else here does, so that a claim waits for one batch of each process
// at most.
func (s *Store) inTurn(ctx context.Context, read reader, ids []string) ([]fields, error) {
	select {
	case s.reading <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-s.reading }()
	return read(ctx, ids)
}

// itsID is where a record that is tested has its id: no field of a hash.
const itsID = ""

// test is one condition on a field of a record.
type test struct {
	field string
	holds func(value string) bool
	// names holds instead where the id counts as well.
	names func(id, value string) bool
}

// jobTests are what a filter asks of a job's record.
func jobTests(f job.JobFilter) []test {
	var tests []test
	if f.Enabled != nil {
		tests = append(tests, test{field: "enabled", holds: func(v string) bool { return (v == "1") == *f.Enabled }})
	}
	if f.AgentID != "" {
		tests = append(tests, test{field: "agentId", holds: func(v string) bool { return cmp.Or(v, job.DefaultAgent) == f.AgentID }})
	}
	if f.Label != "" {
		tests = append(tests, test{field: "labels", holds: func(v string) bool { return slices.Contains(strings.Fields(v), f.Label) }})
	}
	tests = append(tests, same("session", f.SessionKey)...)
	tests = append(tests, same("channel", f.Channel)...)
	tests = append(tests, same("lastOutcome", f.LastOutcome)...)
	tests = append(tests, same("lastDelivery", f.LastDelivery)...)
	if f.Match != "" {
		tests = append(tests, test{field: "name", names: func(id, name string) bool { return job.MatchesJob(id, name, f.Match) }})
	}
	if f.NextAfter != 0 || f.NextBefore != 0 {
		tests = append(tests, test{field: "nextSlot", holds: func(v string) bool {
			next := job.Millis(number(v))
			return next != 0 && next >= f.NextAfter && (f.NextBefore == 0 || next < f.NextBefore)
		}})
	}
	return tests
}

// runTests are what a filter asks of a run's record, beyond its place in the index.
func runTests(f job.RunFilter) []test {
	tests := slices.Concat(same("outcome", f.Outcome), same("delivery", f.Delivery), same("trigger", f.Trigger), same("state", f.State),
		same("agent", f.AgentID), same("home", f.SessionKey))
	if f.Match != "" {
		tests = append(tests, test{field: "name", names: func(id, name string) bool { return job.MatchesRun(id, name, f.Match) }})
	}
	return tests
}

// same asks for one value, "" for none in particular.
func same[S ~string](field string, want S) []test {
	if want == "" {
		return nil
	}
	return []test{{field: field, holds: func(v string) bool { return v == string(want) }}}
}

// record is a hash with the member of the index that it was found by.
type record struct {
	id     string
	fields fields
}

// find walks an index from where z begins and reads the records that pass all tests, at
// most limit, and of no more than maxPageBytes. Without tests it reads the first limit
// entries. The second value is the cursor of the next page, "" if the index ends.
//
// What is not of the scope is not there: it counts as nothing that was looked at, no cursor
// is made of it, and nothing but it behind a page is the end. In the index of an owner there
// is no such entry, but for damage; in a job's history, which is short, there are those of
// whoever had the job before.
func (s *Store) find(ctx context.Context, z index, key func(string) string, read reader, tests, scope []test, limit int) ([]record, string, error) {
	left, batch := maxExamined, examineBatch
	if len(tests) == 0 {
		batch = limit
		if len(scope) == 0 {
			left = limit
		}
	}
	asked := slices.Concat(tests, scope)
	var (
		picked []string
		places []int64 // of these in the index
	)
	next := ""
	full := func() bool { return len(picked) == limit }
	for more, beyond := true, false; more && !beyond && left > 0 && (len(scope) > 0 || !full()); {
		var (
			entries []redis.Z
			rows    []fields
			err     error
		)
		if entries, more, err = s.head(ctx, z, min(batch, left)); err != nil {
			return nil, "", err
		}
		ids := members(entries)
		if rows, err = s.tested(ctx, ids, key, asked); err != nil {
			return nil, "", err
		}
		for i, id := range ids {
			if !pass(scope, rows[i]) {
				continue
			}
			if full() {
				beyond = true
				break
			}
			next = cursorAt(int64(entries[i].Score))
			left--
			if len(tests) > 0 {
				rows[i][itsID] = id
			}
			if pass(tests, rows[i]) {
				picked, places = append(picked, id), append(places, int64(entries[i].Score))
			}
		}
		if len(entries) > 0 {
			z = z.behind(int64(entries[len(entries)-1].Score))
		}
		if !more && !beyond {
			next = ""
		}
	}
	hashes, err := s.readPage(ctx, picked, read)
	if err != nil {
		return nil, "", err
	}
	if n := len(hashes); n < len(picked) {
		picked, next = picked[:n], cursorAt(places[n-1])
	}
	found := make([]record, 0, len(picked))
	for i, id := range picked {
		if hashes[i] == nil {
			continue // it has become something else
		}
		hashes[i][itsID] = id
		// Again, because it may have changed since: an answer must not contradict what
		// was asked for.
		if pass(asked, hashes[i]) {
			found = append(found, record{id, hashes[i]})
		}
	}
	return found, next, nil
}

// tested reads of records only what the tests look at: without any, nothing.
func (s *Store) tested(ctx context.Context, ids []string, key func(string) string, tests []test) ([]fields, error) {
	if len(tests) == 0 {
		return make([]fields, len(ids)), nil
	}
	names := make([]string, len(tests))
	for i, t := range tests {
		names[i] = t.field
	}
	return s.parts(ctx, ids, key, names)
}

// pass reports whether a record passes all tests.
func pass(tests []test, f fields) bool {
	return !slices.ContainsFunc(tests, func(t test) bool {
		if t.names != nil {
			return !t.names(f[itsID], f[t.field])
		}
		return !t.holds(f[t.field])
	})
}
