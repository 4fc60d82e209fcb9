package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/config"
)

const (
	// clockOff is how far the clock of Redis may be from ours before it is worth a
	// word: nothing breaks, but schedules follow Redis.
	clockOff = 5 * time.Second
	// checkWithin bounds the questions; a managed Redis may not answer them at all.
	checkWithin = 10 * time.Second
)

// errRedisUnfit says that Redis is not set up to keep what we promise.
var errRedisUnfit = errors.New("redis does not keep what is promised")

// finding is something that Redis is not set up to do.
type finding struct {
	node   string // of a cluster; "" otherwise
	what   string
	remedy string
	// harmless findings are told, but stop nobody.
	harmless bool
}

// checkRedis asks, once, whether Redis is set up to keep our promises: durability is
// Redis's, and they hold within it. In a cluster every master is asked. It says what it
// finds, and answers an error that wraps errRedisUnfit if the mode is strict.
func checkRedis(ctx context.Context, rdb redis.UniversalClient, mode config.RedisCheck, logger *slog.Logger) error {
	if mode == config.RedisCheckOff {
		logger.Info("redis is not checked, as GATEWAY_CRON_REDIS_CHECK=off says: that it keeps what it is told is up to you")
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	nodes, err := redisNodes(ctx, rdb)
	logNodes(nodes, logger)
	var findings []finding
	for _, n := range nodes {
		findings = append(findings, inspectNode(n)...)
		err = errors.Join(err, n.clockErr)
	}
	if err != nil {
		findings = append(findings, finding{what: "it could not be asked: " + err.Error(),
			remedy: "allow INFO, TIME and CONFIG GET, or say GATEWAY_CRON_REDIS_CHECK=off"})
	}
	var unfit []error
	for _, f := range findings {
		if mode == config.RedisCheckStrict && !f.harmless {
			unfit = append(unfit, fmt.Errorf("%w: %s%s: %s", errRedisUnfit, f.place(), f.what, f.remedy))
			continue
		}
		args := []any{"what", f.what, "remedy", f.remedy}
		if f.node != "" {
			args = append(args, "node", f.node)
		}
		logger.Warn("redis does not keep what is promised", args...)
	}
	return errors.Join(unfit...)
}

func (f finding) place() string {
	if f.node == "" {
		return ""
	}
	return f.node + ": "
}

// configValue reads a setting that INFO does not tell; "" if Redis keeps it to itself.
func configValue(ctx context.Context, rdb redis.Cmdable, name string) string {
	values, err := rdb.ConfigGet(ctx, name).Result()
	if err != nil {
		return "" // a managed Redis has no CONFIG, and need not
	}
	return values[name]
}

// clockOffset is how far the clock of Redis is ahead of ours, give or take half the
// time that the answer took.
func clockOffset(ctx context.Context, rdb redis.Cmdable) (time.Duration, error) {
	asked := time.Now()
	theirs, err := rdb.Time(ctx).Result()
	if err != nil {
		return 0, fmt.Errorf("ask for TIME: %w", err)
	}
	return theirs.Sub(asked.Add(time.Since(asked) / 2)), nil
}

func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}

// atLeast compares major and minor of a version such as 7.0.15.
func atLeast(version string, major, minor int) bool {
	a, rest, _ := strings.Cut(version, ".")
	b, _, _ := strings.Cut(rest, ".")
	have, err := strconv.Atoi(a)
	if err != nil {
		return false
	}
	part, err := strconv.Atoi(b)
	return have > major || have == major && err == nil && part >= minor
}
