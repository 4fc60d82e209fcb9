package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/gatewaycron/gatewaycron/internal/config"
)

var errNoRedisURL = errors.New("GATEWAY_CRON_REDIS_URL must be set: processes that share the work need one Redis, for example redis://127.0.0.1:6379/0")

// redisOptions are the options of every client of ours.
func redisOptions(c config.Config) (*redis.Options, error) {
	if c.RedisURL == "" {
		return nil, errNoRedisURL
	}
	opts, err := redis.ParseURL(c.RedisURL)
	if err != nil {
		// The error may repeat the URL, and with it a password.
		return nil, errors.New("GATEWAY_CRON_REDIS_URL cannot be read as a Redis URL, for example redis://127.0.0.1:6379/0")
	}
	// A renewal must be answered within two seconds: without this, a context's
	// deadline is not one for the connection.
	opts.ContextTimeoutEnabled = true
	// Thousands of slots can be due in one second, each enqueued by a goroutine of
	// its own; the default pool, ten a core, makes them time out.
	opts.PoolSize = 256
	opts.PoolTimeout = opts.ReadTimeout
	opts.ConnMaxIdleTime = 0
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return opts, nil
}

// redisLog hands what go-redis has to say to slog: a line for each failed dial.
// Whoever needed the connection reports the failure; this is only the detail.
type redisLog struct{ logger *slog.Logger }

// Printf logs one line.
func (l redisLog) Printf(ctx context.Context, format string, args ...any) {
	l.logger.DebugContext(ctx, "redis client", "detail", fmt.Sprintf(format, args...))
}

// dashboardRedis gives the dashboard clients of its own, which it closes.
type dashboardRedis struct{ opts *redis.Options }

// MakeRedisClient makes a client.
func (d dashboardRedis) MakeRedisClient() any {
	opts := *d.opts
	opts.PoolSize = 8
	return redis.NewClient(&opts)
}

// checkRedis says, once, what Redis is not set up to keep: durability is Redis's,
// and our promises hold within it. A managed Redis may refuse the question.
func checkRedis(ctx context.Context, rdb redis.UniversalClient, logger *slog.Logger) {
	policy, err := rdb.ConfigGet(ctx, "maxmemory-policy").Result()
	if err != nil {
		logger.Info("redis does not tell its configuration; it needs appendonly yes and maxmemory-policy noeviction", "err", err)
		return
	}
	if p := policy["maxmemory-policy"]; p != "" && p != "noeviction" {
		logger.Warn("redis may drop jobs when memory is short: set maxmemory-policy noeviction", "maxmemory_policy", p)
	}
	if aof, err := rdb.ConfigGet(ctx, "appendonly").Result(); err == nil && aof["appendonly"] != "yes" {
		logger.Warn("redis may lose jobs when it is killed: set appendonly yes", "appendonly", aof["appendonly"])
	}
}
