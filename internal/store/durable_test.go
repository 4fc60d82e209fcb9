package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// replicatedStore is a store on a master with one replica.
func replicatedStore(t *testing.T) (f *fixture, replica *redistest.Server) {
	t.Helper()
	master := redistest.Start(t, redistest.WithAOF(), redistest.WithTCP())
	_, port, err := net.SplitHostPort(master.Addr())
	if err != nil {
		t.Fatal(err)
	}
	replica = redistest.Start(t, redistest.WithArgs("--replicaof", "127.0.0.1", port))
	rdb := master.Client()
	f = &fixture{Store: New(rdb, Options{Replicated: true}), t: t, rdb: rdb, ctx: t.Context()}
	eventually(t, "the replica keeps up", func() bool {
		return hasReplica(rdb.Info(t.Context(), "replication").Val())
	})
	return f, replica
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

// What somebody relies on is answered only when a replica has it, and a replica that
// stands still is as good as a Redis that is away. Who asks again by the same token is
// told what was done the first time.
func TestAnswersWaitForAReplica(t *testing.T) {
	t.Parallel()
	f, replica := replicatedStore(t)
	edited, deleted, ran := f.create("edited", everyMinute()), f.create("deleted", everyMinute()), f.create("ran", everyMinute())
	claimed := f.create("claimed", everyMinute())
	slot := f.minute(0)
	f.rewind(claimed.ID, slot)
	_, run, err := f.RunJob(f.ctx, ran.ID)
	f.must(err)
	committed := f.begun("committed", everyMinute())
	sent, begun := f.delivery("sent"), f.delivery("begun")
	sending := f.beginDelivery(sent)

	// By the name of the step; to those in again the same is asked once more.
	steps := map[string]func() error{
		"create": func() error { _, err := f.CreateJob(f.ctx, "created", everyMinute()); return err },
		"update": func() error {
			_, err := f.UpdateJob(f.ctx, edited.ID, func(s job.Spec) (job.Spec, error) { s.Task = "new"; return s, nil })
			return err
		},
		"delete": func() error { return f.DeleteJob(f.ctx, deleted.ID) },
		"run":    func() error { _, _, err := f.RunJob(f.ctx, edited.ID); return err },
	}
	again := map[string]func() error{
		"claim": func() error {
			b, err := f.Claim(f.ctx, job.Claim{JobID: claimed.ID, UID: claimed.UID, Slot: slot, Revision: claimed.Revision,
				Next: slot + 60_000, NextDue: slot + 60_000, Token: "t", Worker: "w"})
			return errors.Join(err, verdict(string(b.Verdict), string(job.BeginOK)))
		},
		"begin": func() error {
			b, err := f.Begin(f.ctx, run, "t", "w")
			return errors.Join(err, verdict(string(b.Verdict), string(job.BeginOK)))
		},
		"commit": func() error { _, err := f.Commit(f.ctx, commitOf(committed, "done")); return err },
		"begin delivery": func() error {
			b, err := f.BeginDelivery(f.ctx, begun, 1, "t")
			return errors.Join(err, verdict(string(b.Verdict), string(job.BeginOK)))
		},
		"send": func() error {
			v, err := f.SendBegin(f.ctx, sent, 1, sending.Epoch, 0, 1, "t")
			return errors.Join(err, verdict(string(v), string(job.SendOK)))
		},
	}
	maps.Copy(steps, again)

	replica.Freeze()
	var wg sync.WaitGroup
	for name, step := range steps {
		wg.Go(func() {
			if err := step(); !errors.Is(err, errNotReplicated) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s, with a replica that stands still: %v", name, err)
			}
		})
	}
	wg.Wait()
	replica.Thaw()
	eventually(t, "the replica counts again", func() bool { return hasReplica(f.rdb.Info(f.ctx, "replication").Val()) })
	for name, step := range again {
		if err := step(); err != nil {
			t.Errorf("%s again: %v", name, err)
		}
	}
}

// verdict is an error if an answer that came is not the right one.
func verdict(got, want string) error {
	if got != "" && got != want {
		return fmt.Errorf("answered %s, want %s", got, want)
	}
	return nil
}

// A replica that has stood still for long does not count any more, until it is back.
func TestReplicaThatIsGoneHoldsUpNobody(t *testing.T) {
	t.Parallel()
	f, replica := replicatedStore(t)
	replica.Freeze()
	n := 0
	eventually(t, "the replica does not count any more", func() bool {
		n++
		_, err := f.CreateJob(f.ctx, fmt.Sprint("alone-", n), everyMinute())
		return err == nil
	})
	if n == 1 {
		t.Error("the replica did not count from the beginning")
	}
	replica.Thaw()
	eventually(t, "the replica counts again", func() bool { return hasReplica(f.rdb.Info(f.ctx, "replication").Val()) })
	f.create("after", everyMinute())
	if _, err := New(replica.Client(), Options{}).Job(f.ctx, "after"); err != nil {
		t.Errorf("acknowledged after the thaw: %v", err)
	}
}

// A master that comes back may have been replaced meanwhile. One that stays without a
// replica is all there is.
func TestMasterThatHasJustStartedIsNotReliedUpon(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.WithAOF())
	s := New(server.Client(), Options{Replicated: true})
	n := 0
	create := func() error {
		n++ // one that was refused may be there all the same
		_, err := s.CreateJob(t.Context(), fmt.Sprint("job-", n), everyMinute())
		return err
	}
	if err := create(); !errors.Is(err, errNotReplicated) {
		t.Errorf("acknowledged by a master that has just started: %v", err)
	}
	eventually(t, "it has run for a while", func() bool { return create() == nil })
}

// In a cluster everything goes to the node that has the hash tag, and follows it.
func TestStoreFollowsItsSlot(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	s := New(cluster.Client(), Options{Replicated: true})
	ctx := t.Context()
	if _, err := s.Job(ctx, "a"); !errors.Is(err, job.ErrNotFound) {
		t.Fatal(err)
	}

	slots := cluster.Slots()
	behind := redis.NewClusterClient(&redis.ClusterOptions{
		ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) { return slots, nil },
	})
	t.Cleanup(func() { _ = behind.Close() })

	// The slot moves, and the client does not know yet.
	from := cluster.Node(s.keys.prefix)
	to := cluster.Nodes[0]
	if to == from {
		to = cluster.Nodes[1]
	}
	slot := from.Client().ClusterKeySlot(ctx, s.keys.prefix).Val()
	id := to.Client().ClusterMyID(ctx).Val()
	for _, node := range []*redistest.Server{to, from} {
		if err := node.Client().Do(ctx, "cluster", "setslot", slot, "node", id).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.CreateJob(ctx, "a", everyMinute()); err != nil {
		t.Fatal(err)
	}
	if n := to.Client().DBSize(ctx).Val(); n == 0 {
		t.Error("the node that has the slot has no keys")
	}
	// Whom the client asks for the slots may not know for a while.
	stale := New(behind, Options{Replicated: true})
	if err := stale.DeleteJob(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := stale.CreateJob(ctx, "a", everyMinute()); err != nil {
		t.Fatal(err)
	}
	_, run, err := s.RunJob(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Begin(ctx, run, newToken(), "w")
	if err != nil || b.Verdict != job.BeginOK {
		t.Fatalf("begin: %s, %v", b.Verdict, err)
	}
	if _, err := s.Commit(ctx, commitOf(b, "done")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Session(ctx, b.Run.SessionKey, 10); err != nil {
		t.Error(err)
	}
	if _, _, err := s.Runs(ctx, "a", "", 10); err != nil {
		t.Error(err)
	}
	if w, err := s.DueWindow(ctx, 0, time.Hour, 10); err != nil || len(w.Entries) != 1 {
		t.Errorf("%v, error %v", w, err)
	}
	if _, _, err := s.Look(ctx, 10); err != nil {
		t.Error(err)
	}
	f := &fixture{Store: s, t: t, ctx: ctx}
	if repaired, bad := f.scan(10); len(repaired)+len(bad) != 0 {
		t.Errorf("repaired %v, unreadable %v", repaired, bad)
	}
	f.quarantine(job.UnreadableJob("gone", "x"), job.Unreadable{Entry: "r:gone"})
	if n := len(f.release()); n != 2 {
		t.Errorf("%d were released", n)
	}
	for _, node := range cluster.Nodes {
		if n := node.Client().DBSize(ctx).Val(); node != to && n != 0 {
			t.Errorf("%d keys on a node that has not our slot", n)
		}
	}
}

func TestUnanswered(t *testing.T) {
	for text, want := range map[string]bool{
		"LOADING Redis is loading the dataset in memory":                                                                                  true,
		"READONLY You can't write against a read only replica. script: f1, on @user_script:1.":                                            true,
		"ERR Error running script (call to f_1): @user_script:9: @user_script: 9: -READONLY You can't write against a read only replica.": true,
		"ERR Error running script (call to f_1): @user_script:9: @user_script: 9: -OOM command not allowed":                               true,
		"MOVED 1 h:1":                                                       true,
		"ASK 1 h:1":                                                         true,
		"CLUSTERDOWN The cluster is down":                                   true,
		"TRYAGAIN Multiple keys":                                            true,
		"MASTERDOWN Link with MASTER is down":                               true,
		"NOREPLICAS Not enough good replicas to write.":                     true,
		"UNBLOCKED force unblock from blocking operation":                   true,
		"OOM command not allowed when used memory > 'maxmemory'":            true,
		"BUSY Redis is busy running a script":                               true,
		"ERR max number of clients reached":                                 true,
		"WRONGTYPE Operation against a key holding the wrong kind of value": false,
		"ERR user_script:9: attempt to compare nil with number script: f1, on @user_script:9": false,
		"NOSCRIPT No matching script.":        false,
		"NOPERM this user has no permissions": false,
		"ERR The user executing the script can't run this command or subcommand script: f1, on @user_script:1.": false,
		"NOAUTH Authentication required.":              false,
		"WRONGPASS invalid username-password pair":     false,
		"ERR AUTH <password> called without any":       false,
		"MISCONF Errors writing to the AOF file":       true,
		"BUSYGROUP Consumer Group name already exists": false,
		"LOADINGS": false,
	} {
		refusal := refusal(text)
		err := unanswered(fmt.Errorf("op: %w", refusal))
		var answer redis.Error
		var away net.Error
		if got := !errors.As(err, &answer) && errors.As(err, &away); got != want {
			t.Errorf("%q: counts as no answer: %t (%v)", text, got, err)
		}
		if full := strings.Contains(text, "OOM ") || strings.Contains(text, "MISCONF "); errors.Is(err, job.ErrStoreFull) != full {
			t.Errorf("%q: that the store is full is not told, or told wrongly", text)
		}
		denied := strings.HasPrefix(text, "NO") && !strings.HasPrefix(text, "NOSCRIPT") && !want || strings.HasPrefix(text, "WRONGPASS") || strings.HasPrefix(text, "ERR AUTH") ||
			strings.HasPrefix(text, "ERR The user")
		if errors.Is(err, job.ErrStoreDenied) != denied || unanswered(err).Error() != err.Error() {
			t.Errorf("%q: that access is denied is not told once, or told wrongly: %v", text, err)
		}
		if !want && !errors.Is(err, refusal) {
			t.Errorf("%q became %v", text, err)
		}
	}
	for _, err := range []error{nil, io.EOF, redis.Nil, context.Canceled} {
		if got := unanswered(err); !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
	}
	if err := unanswered(redis.ErrPoolTimeout); errors.Is(err, redis.ErrPoolTimeout) {
		t.Error("a full pool counts as an answer")
	}
}

type refusal string

func (r refusal) Error() string { return string(r) }
func (refusal) RedisError()     {}

// The hook rewrites what a client gets of single commands, of pipelines and of scripts.
func TestUnansweredHook(t *testing.T) {
	t.Parallel()
	f, server := replicatedStore(t)
	o := server.Options()
	o.MaxRetries = -1
	rdb := redis.NewClient(o)
	defer rdb.Close()
	rdb.AddHook(Unanswered{})
	s := New(rdb, Options{Replicated: true})
	f.create("a", everyMinute())

	write := rdb.Set(f.ctx, "k", 1, 0)
	_, piped := rdb.Pipelined(f.ctx, func(p redis.Pipeliner) error { return p.Set(f.ctx, "k", 1, 0).Err() })
	_, created := s.CreateJob(f.ctx, "b", everyMinute())
	_, held := s.HoldEmitter(f.ctx, "s1", time.Second)
	for name, err := range map[string]error{"command": write.Err(), "pipeline": piped, "script": held,
		"durable script": created, "deleted": s.DeleteJob(f.ctx, "a")} {
		if _, ok := errors.AsType[*unansweredError](err); !ok {
			t.Errorf("%s on a replica: %v", name, err)
		}
	}
	if err := rdb.Get(f.ctx, "none").Err(); err != redis.Nil {
		t.Errorf("a missing key: %v", err)
	}
}

func TestHasReplica(t *testing.T) {
	const info = "# Replication\r\nrole:master\r\nconnected_slaves:1\r\n%s\r\nmaster_failover_state:no-failover\r\n"
	for line, want := range map[string]bool{
		"slave0:ip=127.0.0.1,port=1,state=online,offset=9,lag=0":                                              true,
		"slave0:ip=127.0.0.1,port=1,state=online,offset=9,lag=3,io-thread=0":                                  true,
		"slave0:ip=h,port=1,state=online,offset=9,lag=4":                                                      false,
		"slave0:ip=h,port=1,state=wait_bgsave,offset=0,lag=0":                                                 false,
		"slave0:ip=h,port=1,state=send_bulk,offset=0,lag=0\r\nslave1:ip=h,port=2,state=online,offset=1,lag=1": true,
		"slave0:ip=h,port=1,state=online,offset=9":                                                            false,
		"": false,
	} {
		if got := hasReplica(fmt.Sprintf(info, line)); got != want {
			t.Errorf("%q: %t", line, got)
		}
	}
}
