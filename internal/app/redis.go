package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/store"
)

const (
	// redisPool is the most connections a client opens, to each node of a cluster.
	// Thousands of slots can be due in one second, each enqueued by a goroutine of its
	// own, and all of them into one queue, which is one node: with go-redis's default,
	// ten a core, they time out waiting for a connection.
	redisPool = 256
	// reservePool is what is kept for those who stop things: whatever uses up the others,
	// a connection is free for them, and one is open already.
	reservePool = 8
	// dashboardPool is enough for people.
	dashboardPool = 8
	// failoverDial bounds one dial where another server may take over: a machine that
	// is gone refuses nothing, and the default of 5 s would be the longest part of a
	// failover.
	failoverDial = time.Second
	redisRead    = 3 * time.Second
)

var errNoRedisURL = errors.New("GATEWAY_CRON_REDIS_URL must be set: processes that share the work need one Redis, for example redis://127.0.0.1:6379/0")

// redisOptions are the options of every client of ours: of one server, of a master
// that Sentinel names, or of a cluster. See redis_url.go for the spellings.
func redisOptions(c config.Config) (*redis.UniversalOptions, error) {
	if c.RedisURL == "" {
		return nil, errNoRedisURL
	}
	o, encrypted, err := parseRedisURL(c.RedisURL)
	if err != nil {
		return nil, fmt.Errorf("GATEWAY_CRON_REDIS_URL cannot be read: %w", err)
	}
	if o.TLSConfig, err = redisTLS(c, encrypted); err != nil {
		return nil, err
	}
	// A renewal must be answered within two seconds: without this, a context's
	// deadline is not one for the connection.
	o.ContextTimeoutEnabled = true
	o.PoolSize = redisPool
	if o.ReadTimeout == 0 {
		o.ReadTimeout = redisRead
	}
	o.PoolTimeout = o.ReadTimeout
	if o.DialTimeout == 0 && replicated(o) {
		o.DialTimeout = failoverDial
	}
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return o, nil
}

// replicated reports whether another server may take over, so that what is
// acknowledged must have reached it.
func replicated(o *redis.UniversalOptions) bool { return o.MasterName != "" || o.IsClusterMode }

// newRedis opens a client. It dials when it is first used.
func newRedis(o *redis.UniversalOptions, pool int) redis.UniversalClient {
	own := *o // clients write their defaults into what they are given
	own.Addrs = slices.Clone(o.Addrs)
	own.PoolSize = pool
	rdb := redis.NewUniversalClient(&own)
	rdb.AddHook(store.Unanswered{})
	return rdb
}

// newReserve opens a client of few connections that are kept.
func newReserve(o *redis.UniversalOptions) redis.UniversalClient {
	own := *o
	own.MinIdleConns = 1
	return newRedis(&own, reservePool)
}

// dashboardRedis gives the dashboard clients of its own, which it closes.
type dashboardRedis struct{ opts *redis.UniversalOptions }

// MakeRedisClient makes a client of the kind that the options name.
func (d dashboardRedis) MakeRedisClient() any { return newRedis(d.opts, dashboardPool) }

// redisLog hands what go-redis has to say to slog: a line for each failed dial.
// Whoever needed the connection reports the failure; this is only the detail.
type redisLog struct{ logger *slog.Logger }

// Printf logs one line.
func (l redisLog) Printf(ctx context.Context, format string, args ...any) {
	l.logger.DebugContext(ctx, "redis client", "detail", fmt.Sprintf(format, args...))
}
