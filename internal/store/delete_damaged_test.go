package store

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// An operator can delete a job whatever has become of its record.
func TestDamagedJobCanBeDeleted(t *testing.T) {
	f := setup(t, Options{})
	garbled := []string{"x", "", "-1", "007", "1e3", "0x10", "9223372036854775807", "-9223372036854775808", "99999999999999999999"}
	for field, values := range map[string][]string{
		"rev": garbled, "nextSlot": garbled, "nextDue": garbled, "anchor": garbled, "every": garbled, "at": garbled, "startAt": garbled,
		"endAt": garbled, "jitter": garbled, "disabledAt": garbled, "claims": garbled, "v": {"x", "", "-1", "1e3"},
		"schedule": {"", "often"}, "timezone": {"Nowhere/Land"}, "range": {"", "no run"}, "session": {""}, "maker": {"nobody"},
	} {
		for _, value := range values {
			for kind, spec := range map[string]job.Spec{"schedule": {Schedule: "0 0 1 1 *", Enabled: true, Task: "x"},
				"every": {EverySeconds: 3600, Enabled: true, Task: "x"}} {
				f.create("a", spec)
				f.must(f.rdb.HSet(f.ctx, f.keys.job("a"), field, value).Err())
				if err := f.DeleteJob(f.ctx, "a"); err != nil {
					t.Errorf("%s of a job by %s is %q: %v", field, kind, value, err)
				}
				left, err := f.rdb.Exists(f.ctx, f.keys.job("a")).Result()
				f.must(err)
				if _, listed := f.score(f.keys.jobs(), "a"); listed || left != 0 {
					t.Fatalf("%s of a job by %s is %q: deleted, and still there", field, kind, value)
				}
			}
		}
	}
}

// Where no job can be read of a record, whoever administers the deployment can delete what
// there is, and nobody else.
func TestRecordThatIsNoJobCanBeDeleted(t *testing.T) {
	f := setup(t, Options{})
	for name, spoil := range map[string]func(key string) error{
		"another type": func(key string) error {
			f.must(f.rdb.Del(f.ctx, key).Err())
			return f.rdb.Set(f.ctx, key, "x", 0).Err()
		},
		"without uid":        func(key string) error { return f.rdb.HDel(f.ctx, key, "uid").Err() },
		"without everything": func(key string) error { return f.rdb.HSet(f.ctx, "other", "name", "x").Err() },
	} {
		f.create("a", everyMinute())
		f.must(spoil(f.keys.job("a")))
		if name == "without everything" {
			f.must(f.rdb.Rename(f.ctx, "other", f.keys.job("a")).Err())
		}
		if err := f.DeleteJob(job.WithToken(f.ctx, &job.Token{ID: "t", AgentID: "main"}), "a"); err == nil {
			t.Errorf("%s: whoever has a token deleted it", name)
		}
		f.must(f.DeleteJob(f.ctx, "a"))
		if _, listed := f.score(f.keys.jobs(), "a"); listed {
			t.Errorf("%s: still listed", name)
		}
		if err := f.DeleteJob(f.ctx, "a"); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("%s: deleted again: %v", name, err)
		}
	}
}

// Of a job that has stood still for longer than slots are counted, the slots are passed over
// all the same.
func TestDeletingWhatStoodStillForLong(t *testing.T) {
	f := setup(t, Options{})
	f.create("a", everyMinute())
	f.rewind("a", 60_000)
	f.must(f.DeleteJob(f.ctx, "a"))
	if runs := f.runs("a"); len(runs) != 1 || runs[0].Reason != "deleted" || runs[0].Count <= maxPassedSlots {
		t.Errorf("recorded %+v", runs)
	}
}

// A change of which no note can be taken is not made.
func TestNothingIsDeletedWithoutItsNote(t *testing.T) {
	f := setup(t, Options{})
	j := f.create("a", everyMinute())
	f.must(f.rdb.Do(f.ctx, "ACL", "SETUSER", "default", "-xadd").Err())
	t.Cleanup(func() { f.rdb.Do(context.Background(), "ACL", "SETUSER", "default", "+xadd") })
	if err := f.DeleteJob(f.ctx, "a"); !errors.Is(err, job.ErrStoreDenied) {
		t.Errorf("deleted: %v", err)
	}
	edit := func(s job.Spec) (job.Spec, error) { s.Name = "other"; return s, nil }
	if _, err := f.UpdateJob(f.ctx, "a", edit); !errors.Is(err, job.ErrStoreDenied) {
		t.Errorf("edited: %v", err)
	}
	if _, _, err := f.RunJob(f.ctx, "a"); !errors.Is(err, job.ErrStoreDenied) {
		t.Errorf("run: %v", err)
	}
	if is := f.job("a"); is.Revision != j.Revision || is.Name != j.Name || len(f.runs("a")) != 0 {
		t.Errorf("changed to %+v", is)
	}
	if _, due := f.score(f.keys.due(), "a"); !due {
		t.Error("half deleted")
	}
}

// A key of another type stops nobody: it is put aside, said, and what the records say of it
// put back.
func TestKeysOfAnotherTypeArePutAside(t *testing.T) {
	for _, kind := range []string{"lock", "wait", "active", "runs", "session"} {
		for name, holds := range map[string]bool{"held": true, "free": false} {
			t.Run(kind+" "+name, func(t *testing.T) {
				f := setup(t, Options{})
				shared := everyMinute()
				shared.SessionKey = "shared"
				first := f.create("first", shared)
				key := map[string]string{"lock": f.keys.lock("shared"), "wait": f.keys.wait("shared"), "active": f.keys.active("first", first.UID),
					"runs": f.keys.runs("first"), "session": f.keys.session("shared")}[kind]
				spoil := func() {
					f.must(f.rdb.Del(f.ctx, key).Err())
					f.must(f.rdb.XAdd(f.ctx, &redis.XAddArgs{Stream: key, Values: []string{"a", "b"}}).Err())
				}
				var holder job.Begun
				if holds {
					holder = f.begin(f.runNow("first"))
				}
				spoil()
				second := f.runNow("first")
				begun := f.begin(second)
				if holds {
					if begun.Verdict != job.BeginParked {
						t.Fatalf("it begins beside another of its session: %s", begun.Verdict)
					}
					if kind == "lock" || kind == "session" {
						spoil()
					}
					f.commit(holder, "one")
					begun = f.begin(second)
				}
				if begun.Verdict != job.BeginOK {
					t.Fatalf("the session stands still: %s", begun.Verdict)
				}
				f.commit(begun, "two")
				if r := f.record(second); r.Outcome != job.Succeeded {
					t.Errorf("the run ended %s", r.Outcome)
				}
				open, err := f.rdb.SCard(f.ctx, f.keys.open()).Result()
				f.must(err)
				left, err := f.rdb.Exists(f.ctx, f.keys.lock("shared"), f.keys.active("first", first.UID)).Result()
				f.must(err)
				if open != 0 || left != 0 {
					t.Errorf("%d unfinished, %d keys are left", open, left)
				}
				rep := f.repairs()
				entry := "key:" + strings.TrimPrefix(key, f.keys.prefix)
				if len(rep.Quarantined) != 1 || rep.Quarantined[0].Entry != entry || !strings.Contains(rep.Quarantined[0].Reason, "a stream") ||
					rep.Counts[job.KeyDamaged] == 0 {
					t.Errorf("said %+v", rep)
				}
				aside := f.keys.damaged(strings.TrimPrefix(key, f.keys.prefix))
				if kept, err := f.rdb.Type(f.ctx, aside).Result(); err != nil || kept != "stream" {
					t.Errorf("aside is a %s, %v", kept, err)
				}
				f.forget()
				if got := f.release(); len(got) != 1 {
					t.Errorf("released %v", got)
				}
			})
		}
	}
}
