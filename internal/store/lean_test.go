package store

import (
	"strings"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// TestListsReadTheHeadOfAReply: a page of long replies costs what it shows of them; also of
// those that a release has left which kept no heads.
func TestListsReadTheHeadOfAReply(t *testing.T) {
	f := setup(t, Options{})
	long := strings.Repeat("äöü€😀", 70_000)
	f.commit(f.begun("long", everyMinute()), long)
	f.commit(f.begun("old", everyMinute()), long)
	f.commit(f.begun("short", everyMinute()), "done")
	f.commit(f.begun("odd", everyMinute()), "gone")
	id := func(name string) string { return f.job(name).LastRunID }
	f.must(f.rdb.HDel(f.ctx, f.keys.run(id("old")), "head").Err())
	odd := id("odd")
	f.must(f.rdb.Del(f.ctx, f.keys.run(odd)).Err())
	f.must(f.rdb.Set(f.ctx, f.keys.run(odd), "x", 0).Err())

	runs, _, err := f.FindRuns(f.ctx, job.RunFilter{}, "", 50)
	f.must(err)
	listed := map[string]string{}
	for _, r := range runs {
		listed[r.JobID] = r.Reply
	}
	for name, want := range map[string]string{"long": long[:2004], "old": long[:2004], "short": "done"} {
		if listed[name] != want {
			t.Errorf("%s: %d bytes, want %d", name, len(listed[name]), len(want))
		}
	}
	if len(listed) != 3 {
		t.Errorf("%d runs are listed", len(listed))
	}
	if r, err := f.Run(f.ctx, id("long")); err != nil || r.Reply != long {
		t.Errorf("the record has %d bytes of the reply (%v)", len(r.Reply), err)
	}
}
