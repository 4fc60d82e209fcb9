package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/aiserver"
	"github.com/gatewaycron/gatewaycron/internal/channel"
	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/doctor"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
	"github.com/gatewaycron/gatewaycron/internal/store"
)

// DoctorOptions say what to examine.
type DoctorOptions struct {
	Job    string    // explains this job (see meantJob) instead of examining the deployment
	At     time.Time // the time to explain; zero means the last slots
	JSON   bool
	Stdout io.Writer
}

// fullMemory is the share of maxmemory above which Redis is reported as nearly full.
const fullMemory = 0.9

// Doctor examines the deployment that the configuration describes, or explains one of
// its jobs, and writes what it finds. It writes nothing into Redis and sends nothing to
// anybody. The error wraps ErrUnhealthy if anything fails.
func Doctor(ctx context.Context, c config.Loaded, o DoctorOptions) error {
	redis.SetLogger(redisLog{slog.New(slog.DiscardHandler)}) // what fails is a finding
	findings := examine(ctx, c, o)
	write := doctor.WriteText
	if o.JSON {
		write = doctor.WriteJSON
	}
	if err := write(o.Stdout, findings); err != nil {
		return err
	}
	if n := doctor.Failed(findings); n > 0 {
		return fmt.Errorf("%w: %d of %d findings are failures", ErrUnhealthy, n, len(findings))
	}
	return nil
}

func examine(ctx context.Context, c config.Loaded, o DoctorOptions) []doctor.Finding {
	schedules := schedule.NewCache(16)
	var findings []doctor.Finding
	for _, w := range c.Warnings {
		findings = append(findings, doctor.Finding{Level: doctor.Warn, What: "configuration", Found: w})
	}
	rdb, s, reached := openRedis(ctx, c.Config)
	if rdb != nil {
		defer rdb.Close()
	}
	if o.Job != "" {
		if reached.Level == doctor.Fail {
			return append(findings, reached)
		}
		id, unclear, err := meantJob(ctx, s, o.Job)
		if err != nil || unclear != nil {
			return append(append(findings, unclear...), unread(err)...)
		}
		about, err := doctor.Explain(ctx, s, schedules, id, o.At)
		return append(append(findings, about...), unread(err)...)
	}
	if reached.Level == doctor.Fail {
		findings = append(findings, reached)
	} else {
		findings = append(findings, redisFindings(ctx, rdb, c.RedisCheck)...)
		about, err := doctor.Deployment(ctx, s)
		findings = append(append(findings, about...), unread(err)...)
	}
	findings = append(findings, doctor.Zones(schedules))
	asked, wrong := parties(c.Config)
	return append(append(findings, wrong...), doctor.Parties(ctx, asked)...)
}

// unread is the finding of records that Redis did not give out.
func unread(err error) []doctor.Finding {
	if err == nil {
		return nil
	}
	return []doctor.Finding{{Level: doctor.Fail, What: "records", Found: "cannot be read: " + err.Error(),
		Remedy: "see redis, and whether its user may read the keys (docs/operations.md)"}}
}

// openRedis connects to the Redis of the deployment, the embedded one of a running serve
// included, and says whether it answers.
func openRedis(ctx context.Context, c config.Config) (redis.UniversalClient, *store.Store, doctor.Finding) {
	f := doctor.Finding{Level: doctor.Fail, What: "redis"}
	if c.RedisURL == "" {
		socket := filepath.Join(c.StateDir, "redis", "redis.sock")
		if _, err := os.Stat(socket); err != nil {
			f.Found = "GATEWAY_CRON_REDIS_URL is not set, and no serve runs one in " + c.StateDir
			f.Remedy = "start gateway-cron serve, or set GATEWAY_CRON_REDIS_URL or GATEWAY_CRON_STATE_DIR as the processes have it"
			return nil, nil, f
		}
		c.RedisURL = (&url.URL{Scheme: "unix", Path: socket, RawQuery: "db=0"}).String()
	}
	opts, err := redisOptions(c)
	if err != nil {
		f.Found, f.Remedy = err.Error(), "set it as docs/operations.md says"
		return nil, nil, f
	}
	rdb := newRedis(opts, dashboardPool)
	s := store.New(rdb, store.Options{Prefix: c.Prefix, HistoryPerJob: c.HistoryPerJob, Replicated: replicated(opts)})
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	// One that refuses changes refuses a ping too, and can still be asked what is wrong.
	if err := s.Ping(ctx); err != nil && rdb.Info(ctx, "server").Err() != nil {
		f.Found, f.Remedy = "does not answer: "+err.Error(), "is it up, and GATEWAY_CRON_REDIS_URL right?"
		return rdb, s, f
	}
	return rdb, s, doctor.Finding{Level: doctor.OK, What: "redis", Found: "answers"}
}

// redisFindings say how Redis is set up and how it is. In a cluster every master is asked.
func redisFindings(ctx context.Context, rdb redis.UniversalClient, mode config.RedisCheck) []doctor.Finding {
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	found, err := inspectMasters(ctx, rdb, slog.New(slog.DiscardHandler))
	if err != nil {
		return []doctor.Finding{{Level: doctor.Warn, What: "redis", Found: "it could not be asked: " + err.Error(), Remedy: "allow INFO, TIME and CONFIG GET"}}
	}
	var findings []doctor.Finding
	for _, f := range found {
		level := doctor.Warn
		if mode == config.RedisCheckStrict && !f.harmless {
			level = doctor.Fail
		}
		findings = append(findings, doctor.Finding{Level: level, What: "redis", Found: f.place() + f.what, Remedy: f.remedy})
	}
	if cluster, ok := rdb.(*redis.ClusterClient); ok {
		nodes := make(chan doctor.Finding)
		go func() {
			defer close(nodes)
			err = cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
				nodes <- redisState(ctx, node, node.Options().Addr+": ")
				return nil
			})
		}()
		for f := range nodes {
			findings = append(findings, f)
		}
		if err != nil {
			findings = append(findings, doctor.Finding{Level: doctor.Warn, What: "redis", Found: "not every master could be asked: " + err.Error()})
		}
		return findings
	}
	return append(findings, redisState(ctx, rdb, ""))
}

// redisState is how one server is.
func redisState(ctx context.Context, rdb redis.Cmdable, place string) doctor.Finding {
	f := doctor.Finding{Level: doctor.OK, What: "redis"}
	text, err := rdb.Info(ctx).Result()
	if err != nil {
		f.Level, f.Found = doctor.Warn, place+"it could not be asked: "+err.Error()
		return f
	}
	info := parseInfo(text)
	offset, err := clockOffset(ctx, rdb)
	clock := "clock " + offset.Round(time.Millisecond).String() + " off ours"
	if err != nil {
		clock = "clock unknown"
	}
	role := info["role"] + " with " + info["connected_slaves"] + " replicas"
	f.Found = place + strings.Join([]string{"version " + info["redis_version"], role, "appendonly " + yesNo(info["aof_enabled"]),
		"appendfsync " + orUnknown(configValue(ctx, rdb, "appendfsync")), "maxmemory-policy " + info["maxmemory_policy"], clock}, ", ")
	refused := rdb.Ping(ctx).Err()
	used, most := amount(info["used_memory"]), amount(info["maxmemory"])
	switch {
	case info["role"] == "slave":
		f.Level, f.Remedy = doctor.Fail, "it is a replica, which takes no writes: let GATEWAY_CRON_REDIS_URL name the master, or Sentinel"
	case info["loading"] == "1":
		f.Level, f.Remedy = doctor.Fail, "it is still loading its data: wait"
	case refused != nil && strings.Contains(refused.Error(), "MISCONF"):
		f.Level, f.Remedy = doctor.Fail, "it cannot write to its disk and refuses changes: is the disk full?"
	case most > 0 && used > fullMemory*most:
		f.Level, f.Remedy = doctor.Warn, fmt.Sprintf("%.0f %% of maxmemory is used; when it is full, changes are refused: raise it", 100*used/most)
	}
	return f
}

func yesNo(flag string) string {
	if flag == "1" {
		return "yes"
	}
	return "no"
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func amount(s string) float64 {
	n, _ := strconv.ParseFloat(s, 64) // absent counts as 0
	return n
}

// parties are the ai-server and the channels, and what is wrong with their settings.
func parties(c config.Config) (all []doctor.Party, found []doctor.Finding) {
	wrong := func(what string, err error) {
		found = append(found, doctor.Finding{Level: doctor.Fail, What: what, Found: err.Error()})
	}
	if ai, err := aiserver.New(aiserver.Options{BaseURL: c.AIServerURL}); err != nil {
		wrong("ai-server", err)
	} else {
		all = append(all, doctor.Party{What: "ai-server", Remedy: "start it, or set GATEWAY_CRON_AI_SERVER_URL",
			Ask: func(ctx context.Context) (string, error) { return c.AIServerURL + " is well", ai.Health(ctx) }})
	}
	if c.TelegramToken != "" {
		if telegram, err := channel.NewTelegram(channel.TelegramOptions{Token: c.TelegramToken, ServerURL: c.TelegramURL}); err != nil {
			wrong("telegram", err)
		} else {
			all = append(all, doctor.Party{What: "telegram", Ask: telegram.Ask,
				Remedy: "is GATEWAY_CRON_TELEGRAM_TOKEN as @BotFather gave it, and " + c.TelegramURL + " within reach?"})
		}
	}
	if c.ChannelManagerURL != "" {
		if manager, err := channel.NewHTTP(channel.HTTPOptions{BaseURL: c.ChannelManagerURL, Token: c.ChannelManagerToken}); err != nil {
			wrong("channel manager", err)
		} else {
			all = append(all, doctor.Party{What: "channel manager", Unsure: channel.ErrNoHealth,
				Ask: func(ctx context.Context) (string, error) {
					said, err := manager.Ask(ctx)
					return c.ChannelManagerURL + " " + said, err
				},
				Remedy: "start it, or set GATEWAY_CRON_CHANNEL_MANAGER_URL and …_TOKEN"})
		}
	}
	if c.TelegramToken == "" && c.ChannelManagerURL == "" {
		found = append(found, doctor.Finding{Level: doctor.Warn, What: "channels", Found: "none is connected: replies stay in the history",
			Remedy: "set GATEWAY_CRON_CHANNEL_MANAGER_URL or GATEWAY_CRON_TELEGRAM_TOKEN"})
	}
	return all, found
}
