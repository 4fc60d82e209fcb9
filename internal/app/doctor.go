package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/doctor"
	"github.com/gatewaycron/gatewaycron/internal/executor/aiserver"
	"github.com/gatewaycron/gatewaycron/internal/health"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
	"github.com/gatewaycron/gatewaycron/internal/store"
	"github.com/gatewaycron/gatewaycron/tasks"
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

// Diagnosis is what was found out about a deployment, or about one of its jobs.
type Diagnosis struct {
	Gateway  string           `json:"-"` // whoever found it out; "" for this process
	State    health.State     `json:"state"`
	Findings []doctor.Finding `json:"findings"`
}

// Doctor writes what a running gateway has found out, or, without one, examines the
// deployment that the configuration describes, or explains one of its jobs. It writes
// nothing into Redis and sends nothing to anybody. The error wraps ErrUnhealthy if anything
// fails.
func Doctor(ctx context.Context, c config.Loaded, asked *Diagnosis, o DoctorOptions) error {
	redis.SetLogger(redisLog{slog.New(slog.DiscardHandler)}) // what fails is a finding
	if asked == nil {
		asked = new(examine(ctx, c, o))
	}
	for _, w := range c.Warnings {
		asked.Findings = slices.Insert(asked.Findings, 0, doctor.Finding{Level: doctor.Warn, What: "configuration", Found: w})
	}
	write := doctor.WriteText
	if o.JSON {
		write = func(w io.Writer, findings []doctor.Finding) error { return doctor.WriteJSON(w, asked.State, findings) }
	}
	if err := write(o.Stdout, asked.Findings); err != nil {
		return err
	}
	if n := doctor.Failed(asked.Findings); n > 0 {
		return fmt.Errorf("%w: %d of %d findings are failures", ErrUnhealthy, n, len(asked.Findings))
	}
	return nil
}

// examine looks for itself, where no gateway answers.
func examine(ctx context.Context, c config.Loaded, o DoctorOptions) Diagnosis {
	schedules := schedule.NewCache(16)
	rdb, s, reached := openRedis(ctx, c.Config)
	if rdb != nil {
		defer rdb.Close()
	}
	findings := []doctor.Finding{{Level: doctor.OK, What: "gateway", Found: "none answers at " + c.APIURL() + "; looked at Redis instead"}}
	if reached.Level == doctor.Fail {
		findings = append(findings, reached)
		if o.Job != "" {
			return Diagnosis{State: health.Failing, Findings: findings}
		}
	}
	d := Diagnosis{State: health.Failing, Findings: findings}
	if reached.Level != doctor.Fail {
		signals := &signals{store: s, rdb: rdb, queues: tasks.NewQueues(c.Prefix, 0), check: c.RedisCheck}
		if c.RedisURL == "" { // the embedded one, on this machine
			signals.room = &room{dir: redisDir(c.Config), least: c.MinFreeBytes, logger: slog.New(slog.DiscardHandler)}
		}
		_, report := signals.look(ctx)
		d.State = report.State
		if o.Job != "" {
			id, unclear, err := meantJob(ctx, s, o.Job)
			if err != nil || unclear != nil {
				d.Findings = append(append(d.Findings, unclear...), unread(err)...)
				return d
			}
			about, err := doctor.Explain(ctx, s, schedules, report, id, o.At)
			d.Findings = append(append(d.Findings, about...), unread(err)...)
			return d
		}
		// The parties are asked below.
		d.Findings = append(d.Findings, slices.DeleteFunc(signals.deployment(ctx), func(f doctor.Finding) bool {
			return f.What == "ai-server" || f.What == "channels"
		})...)
	}
	d.Findings = append(d.Findings, doctor.Zones(schedules))
	asked, wrong := parties(c.Config)
	d.Findings = append(append(d.Findings, wrong...), doctor.Parties(ctx, asked)...)
	return d
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
		socket := filepath.Join(redisDir(c), "redis.sock")
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
		if errors.Is(err, job.ErrStoreDenied) {
			f.Found, f.Remedy = "does not let us in: "+err.Error(), "are the user and the password in GATEWAY_CRON_REDIS_URL right?"
		}
		return rdb, s, f
	}
	return rdb, s, doctor.Finding{Level: doctor.OK, What: "redis", Found: "answers"}
}

// redisFindings say how Redis is set up and how it is. In a cluster every master is asked.
func redisFindings(nodes []redisNode, mode config.RedisCheck) (findings []doctor.Finding) {
	for _, n := range nodes {
		for _, f := range inspectNode(n) {
			level := doctor.Warn
			if mode == config.RedisCheckStrict && !f.harmless {
				level = doctor.Fail
			}
			findings = append(findings, doctor.Finding{Level: level, What: "redis", Found: f.place() + f.what, Remedy: f.remedy})
		}
		findings = append(findings, n.finding())
	}
	return findings
}

// finding is how one server is.
func (n redisNode) finding() doctor.Finding {
	clock := "clock " + n.offset.Round(time.Millisecond).String() + " off ours"
	if n.clockErr != nil {
		clock = "clock unknown"
	}
	f := doctor.Finding{Level: doctor.OK, What: "redis", Found: n.place() + strings.Join([]string{"version " + n.info["redis_version"],
		n.info["role"] + " with " + n.info["connected_slaves"] + " replicas", "appendonly " + yesNo(n.info["aof_enabled"]),
		"appendfsync " + orUnknown(n.fsync), "maxmemory-policy " + n.info["maxmemory_policy"], clock}, ", ")}
	if why, _ := n.refuses(); why != "" {
		return f // the report says it
	}
	if full := n.full(); full > fullMemory {
		f.Level, f.Remedy = doctor.Warn, fmt.Sprintf("%.0f %% of maxmemory is used; when it is full, changes are refused: raise it", 100*full)
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
	if ai, err := aiserver.New(aiserver.Options{BaseURL: c.AIServerURL}); err != nil {
		found = append(found, doctor.Finding{Level: doctor.Fail, What: "ai-server", Found: err.Error()})
	} else {
		all = append(all, doctor.Party{What: "ai-server", Remedy: "start it, or set GATEWAY_CRON_AI_SERVER_URL",
			Ask: func(ctx context.Context) (string, error) {
				_, err := ai.Health(ctx)
				return c.AIServerURL + " is well", err
			}})
	}
	asked, wrongs := channelParties(c)
	all, found = append(all, asked...), append(found, wrongs...)
	return all, found
}
