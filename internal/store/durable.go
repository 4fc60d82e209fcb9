package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Replication is asynchronous: Redis answers before a replica has the write, and a
// failover in between loses what was answered. So the writes that somebody relies on
// as soon as they are answered wait for one replica: those of the API, the claim and
// the begin of an attempt (lost, the slot would run twice), the begin of a delivery and
// of a send (lost, the message could be sent twice) and the commit of a reply (lost, it would be paid
// for twice). The other writes of an attempt are repeated, or booked as ambiguous,
// when they are lost.
//
// A replica counts if it has confirmed anything within replicaLag; one that is gone,
// loading or stuck counts as none. Without a replica the append-only file of the master
// is all there is, and nothing waits: whoever prefers to be refused then sets
// min-replicas-to-write in Redis. But one that has only just started and has no replica may
// have been replaced while it was away, and not have heard of it: what it takes is gone
// with its next synchronisation. It counts as away, except in a cluster of which this
// process has seen no replica at all.

const (
	// replicaLag is how old a replica's last confirmation may be, in seconds; they come
	// every second.
	replicaLag = 3
	// justStarted is for how many seconds a master without a replica is not relied upon: by
	// then its replicas are back, or its clients know who has taken its place.
	justStarted = 10
	// replicaWithin bounds one wait for a replica. Whoever asked asks again.
	replicaWithin = 2 * time.Second
	// durableTries and durablePause are what the client does for every other command: a
	// command on a connection of its own has no retries but these.
	durableTries = 4
	durablePause = 50 * time.Millisecond // doubled each time
)

// errNotReplicated counts as no answer, as a Redis that is away does.
var errNotReplicated = fmt.Errorf("no replica confirmed the write in time: %w", context.DeadlineExceeded)

// durably is answer for a write that must outlive its master. Repeating it is safe:
// every script gives a resend the answer of the first.
func (s *Store) durably(ctx context.Context, st step, args ...any) (word, []any, error) {
	if !s.replicated {
		return s.answer(ctx, st, args...)
	}
	moved := ""
	for try, pause := 1, durablePause; ; try, pause = try+1, 2*pause {
		said, rest, err := s.writeToReplica(ctx, moved, st, args)
		if err == nil || said != "" || !worthRepeating(err) || try == durableTries {
			return said, rest, err
		}
		if cluster, ok := s.client(ctx).(*redis.ClusterClient); ok {
			cluster.ReloadState(ctx) // somebody else may have the slot now
		}
		var refused *unansweredError
		if moved = ""; errors.As(err, &refused) {
			moved = refused.moved
		}
		select {
		case <-ctx.Done():
			return "", nil, err
		case <-time.After(pause):
		}
	}
}

// writeToReplica runs the script on one connection and waits on the same: WAIT is
// about what its own connection wrote. A node of the cluster may have said that the
// slot moved to another.
func (s *Store) writeToReplica(ctx context.Context, moved string, st step, args []any) (word, []any, error) {
	master, err := s.master(ctx, moved)
	if err != nil {
		return "", nil, unanswered(err)
	}
	conn := master.Conn()
	defer conn.Close()
	said, rest, refused := st.said(st.Run(ctx, conn, []string{s.keys.prefix}, s.timed(ctx, args)...))
	if said == "" {
		return "", nil, refused
	}

	// A resend may have written nothing on this connection, and newer servers then have
	// nothing to wait for. The mark comes after everything that was written before it.
	var info *redis.StringCmd
	if _, err := conn.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, s.keys.mark(), 1, time.Minute)
		info = p.Info(ctx, "replication")
		return nil
	}); err != nil {
		return "", nil, unanswered(err)
	}
	if !hasReplica(info.Val()) {
		if replaced, err := s.mayBeReplaced(ctx, conn); err != nil || replaced {
			return "", nil, cmp.Or(err, errNotReplicated)
		}
		return said, rest, refused
	}
	s.hadReplica.Store(true)
	confirmed, err := conn.Wait(ctx, 1, replicaWithin).Result()
	if err != nil {
		return "", nil, unanswered(err)
	}
	if confirmed < 1 {
		return "", nil, errNotReplicated
	}
	return said, rest, refused
}

// mayBeReplaced reports whether a master that has no replica may have been one of two since
// it started.
func (s *Store) mayBeReplaced(ctx context.Context, conn *redis.Conn) (bool, error) {
	if _, ok := s.client(ctx).(*redis.ClusterClient); ok && !s.hadReplica.Load() {
		return false, nil
	}
	info, err := conn.Info(ctx, "server").Result()
	if err != nil {
		return false, unanswered(err)
	}
	_, rest, _ := strings.Cut(info, "uptime_in_seconds:")
	digits, _, _ := strings.Cut(rest, "\r")
	uptime, err := strconv.Atoi(digits)
	if err != nil {
		return false, fmt.Errorf("read for how long redis has run: %w", err)
	}
	return uptime < justStarted, nil
}

// master is the client of the server that has our keys. Whom the slot moved to knows it
// before the nodes that the client asks for all slots, which may be any.
func (s *Store) master(ctx context.Context, moved string) (*redis.Client, error) {
	switch rdb := s.client(ctx).(type) {
	case *redis.Client:
		return rdb, nil
	case *redis.ClusterClient:
		if moved != "" {
			if node := masterAt(ctx, rdb, moved); node != nil {
				return node, nil
			}
		}
		return rdb.MasterForKey(ctx, s.keys.prefix)
	default:
		return nil, fmt.Errorf("a client of type %T cannot wait for replicas", rdb)
	}
}

// masterAt is the client of a master by its address, nil if none is known there.
func masterAt(ctx context.Context, cluster *redis.ClusterClient, addr string) *redis.Client {
	var found atomic.Pointer[redis.Client]
	_ = cluster.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error { // whatever it finds will do
		if node.Options().NodeAddress == addr { // as the nodes call it
			found.Store(node)
		}
		return nil
	})
	return found.Load()
}

// worthRepeating reports whether the write may succeed at once elsewhere. A refusal
// stays one, and what a replica did not confirm is asked about by the caller, who knows
// how long it may take.
func worthRepeating(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var refusal redis.Error
	return !errors.As(err, &refusal)
}

// hasReplica reports whether the section INFO replication names a replica that keeps up.
func hasReplica(info string) bool {
	for line := range strings.Lines(info) {
		// slave0:ip=127.0.0.1,port=6380,state=online,offset=42,lag=0
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if !strings.HasPrefix(name, "slave") || !strings.Contains(value, "state=online") {
			continue
		}
		_, lag, _ := strings.Cut(value, ",lag=")
		lag, _, _ = strings.Cut(lag, ",")
		if n, err := strconv.Atoi(lag); err == nil && n <= replicaLag {
			return true
		}
	}
	return false
}
