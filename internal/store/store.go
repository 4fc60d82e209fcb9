// Package store owns the records of Gateway Cron in Redis: jobs with their
// cursors, runs, deliveries, sessions, and the indexes over them. Every step of
// the protocol is one Lua script in lua/, whose header states its arguments, what
// it returns and the rule it holds; each has one Go method here.
//
// It must not import asynq, chi, the scheduler or the handlers. All times are UTC
// milliseconds by the clock of Redis.
package store

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/clock"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

// Options are the limits of a deployment; zero values get the defaults.
type Options struct {
	Prefix          string        // key prefix; default "gateway-cron"
	HistoryPerJob   int           // run records kept for a job; default 200
	HistoryBytes    int64         // of whole replies in these; default 16 MiB
	Retention       time.Duration // how long an ended run is readable; default 30 days
	SessionMessages int           // messages kept in a session; default 200
	SessionBytes    int64         // of messages kept in a session, of long ones; default 8 MiB
	SessionTTL      time.Duration // how long an unused session is kept; default 90 days
	AgentShare      int           // percent of all places that one agent may hold where there are more; default 50
	AlertAfter      int           // failures in a row after which a job tells of them; default 2
	AlertCooldown   time.Duration // how long it then tells of none; default an hour
	AlertGather     time.Duration // how long an alert waits for others; default 5 s
	AlertEvery      time.Duration // how often a chat gets one at most; default a minute
	// Replicated says that a replica may become the master, so that what is
	// acknowledged must have reached one; see durable.go.
	Replicated bool
	// Reserve is a client whose connections are for calls under job.WithReserve alone; nil
	// gives them none of their own.
	Reserve redis.UniversalClient
	// Clock says when the clock of Redis counts as set, and for how long it is not believed.
	Clock clock.Options
}

func (o Options) withDefaults() Options {
	o.Clock = o.Clock.WithDefaults()
	if o.Prefix == "" {
		o.Prefix = "gateway-cron"
	}
	if o.HistoryPerJob == 0 {
		o.HistoryPerJob = 200
	}
	if o.HistoryBytes == 0 {
		o.HistoryBytes = 16 << 20
	}
	if o.SessionBytes == 0 {
		o.SessionBytes = 8 << 20
	}
	if o.Retention == 0 {
		o.Retention = 30 * 24 * time.Hour
	}
	if o.SessionMessages == 0 {
		o.SessionMessages = 200
	}
	if o.SessionTTL == 0 {
		o.SessionTTL = 90 * 24 * time.Hour
	}
	if o.AgentShare == 0 {
		o.AgentShare = 50
	}
	if o.AlertAfter == 0 {
		o.AlertAfter = 2
	}
	if o.AlertCooldown == 0 {
		o.AlertCooldown = time.Hour
	}
	if o.AlertGather == 0 {
		o.AlertGather = 5 * time.Second
	}
	if o.AlertEvery == 0 {
		o.AlertEvery = time.Minute
	}
	return o
}

// maxAttempts bounds the attempts of one run, those that count as no retry included.
const maxAttempts = 50

// Store reads and writes the records. It is safe for concurrent use and for any
// number of processes on one Redis.
type Store struct {
	rdb       redis.UniversalClient
	reserve   redis.UniversalClient
	keys      keys
	scripts   steps
	schedules *schedule.Cache
	reading   chan struct{} // holds one while a batch of a list is read
	clock     *clock.Clock  // of Redis, as this process knows it

	owners owners // see owners.go

	agentIDTTL time.Duration // how long an agent counts as in use that no job and no token has

	replicated bool
	hadReplica atomic.Bool // a write has waited for one
	known      atomic.Pointer[identity]

	learning      sync.Mutex  // held while all records are gone over for their agents
	agentIDsKnown atomic.Bool // and that was done
}

// New returns a store on the given client, which stays the caller's to close.
func New(rdb redis.UniversalClient, o Options) *Store {
	o = o.withDefaults()
	if o.Reserve == nil {
		o.Reserve = rdb
	}
	k := newKeys(o.Prefix)
	return &Store{rdb: rdb, reserve: o.Reserve, keys: k, scripts: newSteps(o.fill(k)), reading: make(chan struct{}, 1), schedules: schedule.NewCache(4096),
		clock: clock.New(o.Clock), owners: owners{turn: make(chan struct{}, 1)}, replicated: o.Replicated,

		agentIDTTL: max(o.Retention, o.SessionTTL)}
}

// client is where the calls of ctx go.
func (s *Store) client(ctx context.Context) redis.UniversalClient {
	if job.OnReserve(ctx) {
		return s.reserve
	}
	return s.rdb
}

// Ping reports whether Redis answers.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.client(ctx).Ping(ctx).Err(); err != nil {
		return fmt.Errorf("ping redis: %w", err)
	}
	return nil
}

// newToken is a random token: an identity for one call, so that a resend by the
// client library is recognised.
func newToken() string { return rand.Text() }
