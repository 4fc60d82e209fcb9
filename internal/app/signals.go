package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/doctor"
	"github.com/gatewaycron/gatewaycron/internal/health"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/queue"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
	"github.com/gatewaycron/gatewaycron/internal/store"
	"github.com/gatewaycron/gatewaycron/tasks"
)

const (
	// judgedFor is how long a judgement stands for all who ask.
	judgedFor = time.Second
	// readWithin bounds the reading of the facts.
	readWithin = 3 * time.Second
	// listedAiling is how many jobs in trouble are read, of each kind.
	listedAiling = 200
)

// signals gathers the facts of the deployment and has them judged.
type signals struct {
	store   *store.Store
	rdb     redis.UniversalClient
	queues  tasks.Queues
	check   config.RedisCheck
	options health.Options
	room    *room // of the embedded Redis; nil with any other
	// down is why the embedded Redis does not serve; nil if it does, or with any other.
	down func() error
	// refused is why this process's own last heartbeat was not written; nil if it was, or
	// without one.
	refused func() error

	mu     sync.Mutex
	read   time.Time
	facts  health.Facts
	report health.Report
	nodes  []redisNode
}

// Health says how the deployment stands, by facts that are at most a second old.
func (s *signals) Health(ctx context.Context) health.Report {
	_, report := s.look(ctx)
	return report
}

// look returns the facts and what they mean. It never fails: what cannot be read is a
// fact. All who ask at once share one reading.
func (s *signals) look(ctx context.Context) (health.Facts, health.Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.read) > judgedFor {
		// Whoever asked first may go away; the others want the facts all the same.
		// And nobody who stops things may wait for them behind other requests.
		ctx, cancel := context.WithTimeout(job.WithReserve(context.WithoutCancel(ctx)), readWithin)
		defer cancel()
		s.facts = s.gather(ctx)
		s.report = health.Judge(s.facts, s.options)
		s.read = time.Now()
	}
	return s.facts, s.report
}

// Jobs says what is wrong with the jobs of whoever asks.
func (s *signals) Jobs(ctx context.Context) ([]health.Reason, error) {
	a, err := s.store.Ailing(ctx, listedAiling)
	if err != nil {
		return nil, err
	}
	return health.OfJobs(a, s.options), nil
}

// failing reports whether the deployment is failing, for the outside watch.
func (s *signals) failing(ctx context.Context) bool { return s.Health(ctx).State == health.Failing }

// gather reads the facts.
func (s *signals) gather(ctx context.Context) health.Facts {
	f := health.Facts{Now: job.ToMillis(time.Now())}
	if s.room != nil {
		f.Disk = s.room.look()
	}
	if s.down != nil {
		if err := s.down(); err != nil {
			s.nodes = nil
			f.Redis.Away, f.Redis.Fix = err.Error(), "it is started again by itself; if that does not help, redis.log beside its data says why"
			return f
		}
	}
	away := func(err error) health.Facts {
		said := &f.Redis.Away
		if _, answers := errors.AsType[redis.Error](err); answers {
			said = &f.Redis.Denies
		}
		*said = err.Error()
		return f
	}
	var err error
	if s.nodes, err = redisNodes(ctx, s.rdb); err != nil {
		return away(err)
	}
	f.Redis = judgeRedis(s.nodes, s.check)
	if f.Redis.Refuses == "" && s.refused != nil {
		f.Redis.Refuses, f.Redis.Fix = refusal(s.refused())
	}
	if f.Signs, err = s.store.Signs(ctx, s.lateAfter()); err != nil {
		return away(err)
	}
	f.Now = f.Signs.Now
	if f.Status, err = s.store.Status(ctx); err != nil {
		return away(err)
	}
	if f.Absent, err = s.store.Absent(ctx); err != nil {
		return away(err)
	}
	if f.Ailing, err = s.store.Ailing(ctx, listedAiling); err != nil {
		return away(err)
	}
	if f.Clock, err = s.store.Clock(ctx); err != nil {
		return away(err)
	}
	states, err := queue.New(s.rdb).States(ctx, s.queues.Run(), s.queues.Deliver())
	if err != nil {
		return away(err)
	}
	for _, q := range states {
		f.Queues = append(f.Queues, health.Queue{Name: q.Name, Runs: q.Name == s.queues.Run(), Paused: q.Paused, Since: q.PausedSince})
	}
	return f
}

// Doctor says of everything how it is, for somebody who asks what is wrong.
func (s *signals) Doctor(ctx context.Context) []doctor.Finding {
	return append(s.deployment(ctx), doctor.Zones(schedule.NewCache(1)))
}

// deployment says how Redis and the deployment are.
func (s *signals) deployment(ctx context.Context) []doctor.Finding {
	facts, report := s.look(ctx)
	s.mu.Lock()
	nodes := s.nodes
	s.mu.Unlock()
	return append(redisFindings(nodes, s.check), doctor.Deployment(facts, report)...)
}

func (s *signals) lateAfter() time.Duration {
	if s.options.LateAfter != 0 {
		return s.options.LateAfter
	}
	return job.LateAfter
}

// refusal says in words why Redis takes no changes, and what to do; "" if the error is
// about something else.
func refusal(err error) (why, fix string) {
	if err == nil {
		return "", ""
	}
	for _, r := range []struct{ sign, why, fix string }{
		{"OOM ", "its memory is full", "raise maxmemory, or make room; restart no worker meanwhile: they hold the replies that could not be written"},
		{"MISCONF ", "it cannot write to its disk", "is the disk full? Restart no worker meanwhile: they hold the replies that could not be written"},
		{"READONLY ", "it is a replica, which takes no writes", "let GATEWAY_CRON_REDIS_URL name the master, or Sentinel"},
		{"The user executing the script can't ", "its user lacks a right", "may it write the keys? See docs/operations.md, Redis"},
		{"NOPERM ", "its user lacks a right", "may it write the keys, and call scripts? See docs/operations.md, Redis"},
		{"NOREPLICAS ", "too few of its replicas are there", "bring them back, or lower min-replicas-to-write"},
	} {
		if strings.Contains(err.Error(), r.sign) {
			return r.why, r.fix
		}
	}
	return "", ""
}

// roomOfAReply is the memory that a large reply needs. With less, whether Redis takes
// changes depends on how large they are: between two refusals it stands just below its
// limit.
const roomOfAReply = 1 << 20

// redisNode is how one server of Redis is, as it says.
type redisNode struct {
	addr     string // of a cluster's; "" otherwise
	info     map[string]string
	fsync    string // "" if it keeps that to itself
	offset   time.Duration
	clockErr error // why its clock is not known
	refused  error // why it refuses a ping
}

// redisNodes asks the server, or every master of a cluster.
func redisNodes(ctx context.Context, rdb redis.UniversalClient) ([]redisNode, error) {
	cluster, ok := rdb.(*redis.ClusterClient)
	if !ok {
		node, err := askRedis(ctx, rdb)
		if err != nil {
			return nil, err
		}
		return []redisNode{node}, nil
	}
	var (
		mu    sync.Mutex
		nodes []redisNode
	)
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		node, err := askRedis(ctx, master)
		node.addr = master.Options().Addr
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			nodes = append(nodes, node)
		}
		return err
	})
	return nodes, err
}

func askRedis(ctx context.Context, rdb redis.Cmdable) (redisNode, error) {
	text, err := rdb.Info(ctx).Result()
	if err != nil {
		return redisNode{}, fmt.Errorf("ask for INFO: %w", err)
	}
	n := redisNode{info: parseInfo(text), fsync: configValue(ctx, rdb, "appendfsync"), refused: rdb.Ping(ctx).Err()}
	n.offset, n.clockErr = clockOffset(ctx, rdb)
	return n, nil
}

// place begins what is said of a server.
func (n redisNode) place() string {
	if n.addr == "" {
		return ""
	}
	return n.addr + ": "
}

// refuses says why a server takes no changes, and what to do; "" if it takes them.
func (n redisNode) refuses() (why, fix string) {
	switch {
	case n.info["role"] == "slave":
		return refusal(errors.New("READONLY "))
	case n.info["loading"] == "1":
		return "it is still loading its data", "wait"
	case n.full() > 0 && amount(n.info["used_memory"]) > amount(n.info["maxmemory"])-roomOfAReply && n.info["maxmemory_policy"] == "noeviction":
		return refusal(errors.New("OOM "))
	}
	return refusal(n.refused)
}

// full is the share of maxmemory that is used; 0 without a bound.
func (n redisNode) full() float64 {
	if most := amount(n.info["maxmemory"]); most > 0 {
		return amount(n.info["used_memory"]) / most
	}
	return 0
}

// judgeRedis says what the servers mean for us.
func judgeRedis(nodes []redisNode, check config.RedisCheck) (r health.Redis) {
	for _, n := range nodes {
		if why, fix := n.refuses(); why != "" && r.Refuses == "" {
			r.Refuses, r.Fix = n.place()+why, fix
		}
		if full := n.full(); full > fullMemory && r.Nearly == "" {
			r.Nearly = fmt.Sprintf("%s%.0f %% of the maxmemory of Redis is used", n.place(), 100*full)
		}
		if check == config.RedisCheckOff {
			continue
		}
		for _, f := range inspectNode(n) {
			if !f.harmless {
				r.Lossy = append(r.Lossy, health.Lossy{What: f.place() + f.what, Fix: f.remedy})
			}
		}
	}
	return r
}

// inspectNode says what a server is not set up to keep.
func inspectNode(n redisNode) (found []finding) {
	note := func(harmless bool, what, remedy string) {
		found = append(found, finding{node: n.addr, what: what, remedy: remedy, harmless: harmless})
	}
	if v := n.info["redis_version"]; !atLeast(v, 6, 2) {
		note(false, "it is version "+v, "use Redis 6.2 or newer, or Valkey")
	}
	if p := n.info["maxmemory_policy"]; p != "noeviction" {
		note(false, "maxmemory-policy is "+p+": it may drop jobs when memory is short", "set maxmemory-policy noeviction")
	}
	if n.info["aof_enabled"] != "1" {
		note(false, "appendonly is no: it may lose jobs when it is killed", "set appendonly yes")
	} else if n.fsync == "no" {
		note(false, "appendfsync is no: a power cut may cost the changes of half a minute", "set appendfsync always or everysec")
	}
	if n.clockErr == nil && n.offset.Abs() > clockOff {
		note(true, "its clock is "+n.offset.Round(time.Second).String()+" away from this machine's; schedules follow its clock",
			"keep the clocks of all machines in step, with NTP")
	}
	return found
}

// logged tells the log what was found out about the servers.
func logNodes(nodes []redisNode, logger *slog.Logger) {
	for _, n := range nodes {
		args := []any{"redis_version", n.info["redis_version"], "appendfsync", n.fsync}
		if n.addr != "" {
			args = append(args, "node", n.addr)
		}
		logger.Info("redis checked", args...)
	}
}

// startingUp is how a deployment stands as long as this process does not know.
type startingUp struct{}

// Health says so.
func (startingUp) Health(context.Context) health.Report {
	return health.Report{State: health.Failing, Reasons: []health.Reason{{Code: health.Starting, State: health.Failing, Count: 1,
		Text: "this process is starting", Fix: health.Fix{Command: "ask again in a second", Call: "ask again in a second"}}}}
}

// Jobs knows of none yet.
func (startingUp) Jobs(context.Context) ([]health.Reason, error) { return nil, nil }

// Doctor says so.
func (s startingUp) Doctor(ctx context.Context) []doctor.Finding {
	return []doctor.Finding{doctor.Of(s.Health(ctx).Reasons[0], "process")}
}
