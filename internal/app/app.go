// Package app wires the parts into a process and owns its life: what is started,
// in which order, and how it stops. It is the only place where concrete types
// meet; everything else knows interfaces of its own.
package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/hibiken/asynq"
	"github.com/oklog/ulid/v2"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/api"
	"github.com/gatewaycron/gatewaycron/handlers"
	"github.com/gatewaycron/gatewaycron/internal/absence"
	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/edge"
	"github.com/gatewaycron/gatewaycron/internal/executor/aiserver"
	"github.com/gatewaycron/gatewaycron/internal/guess"
	"github.com/gatewaycron/gatewaycron/internal/health"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/local"
	"github.com/gatewaycron/gatewaycron/internal/redisproc"
	"github.com/gatewaycron/gatewaycron/internal/store"
	"github.com/gatewaycron/gatewaycron/scheduler"
	"github.com/gatewaycron/gatewaycron/tasks"
	"github.com/gatewaycron/gatewaycron/web"
)

// Roles are the parts that a process runs.
type Roles struct {
	API       bool // REST API and dashboard
	Scheduler bool
	Worker    bool
}

// AllRoles are the roles of a process that does everything.
func AllRoles() Roles { return Roles{API: true, Scheduler: true, Worker: true} }

// Options say what to run.
type Options struct {
	Name    string // of the sub-command, for the ready line
	Config  config.Config
	Roles   Roles
	Version string
	// EmbeddedRedis allows a Redis of our own where the configuration names none.
	EmbeddedRedis bool
	Stdout        io.Writer // gets the ready line
	// Command is how this program is called from here, for commands that somebody copies.
	Command string
	Logger  *slog.Logger
	// WithoutEmitterLease is for tests; see scheduler.Options.
	WithoutEmitterLease bool
	// welcome is called after the ready line.
	welcome func(context.Context, *App)
	// Health are the times after which something counts as wrong; zero values are the usual
	// ones.
	Health health.Options
	// Edge bounds the connections of the API; zero values are the usual bounds.
	Edge edge.Options
}

// App is a running process.
type App struct {
	opts     Options
	logger   *slog.Logger
	id       string
	host     string
	listener net.Listener
	http     *http.Server
	tls      *tls.Config   // nil: plain HTTP
	stopping chan struct{} // closed when the HTTP server begins to stop
	front    atomic.Pointer[http.Handler]
	embedded *redisproc.Proc
	room     *room // of the embedded Redis
	rdb      redis.UniversalClient
	queue    redis.UniversalClient // the same one, for asynq
	reserve  redis.UniversalClient // connections of those who stop things
	store    *store.Store

	closers []func() // last in, first out
}

// Run runs the process until ctx ends, and stops it cleanly.
func Run(ctx context.Context, o Options) error {
	redis.SetLogger(redisLog{o.Logger}) // go-redis has one for the whole process
	a, err := Start(ctx, o)
	switch {
	case errors.Is(err, context.Canceled):
		return nil // told to stop while the embedded Redis was loading
	case err != nil:
		return err
	}
	return a.Serve(ctx)
}

// Start binds the port and connects the parts. The port is open and answers
// /health when it returns; nothing else runs before Serve.
func Start(ctx context.Context, o Options) (*App, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	a := &App{opts: o, logger: o.Logger, host: host, id: host + "-" + strings.ToLower(ulid.Make().String())}
	if err := a.start(ctx); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// warnOfPlainHTTP says that others can read what is served, and what to do about it.
func warnOfPlainHTTP(c config.Config, logger *slog.Logger) {
	if c.PlainBeyondLoopback() {
		logger.Warn("plain http beyond loopback: whoever is on the way can read tokens and replies; set GATEWAY_CRON_TLS_CERT_FILE and GATEWAY_CRON_TLS_KEY_FILE, or let only a proxy with TLS reach this address",
			"addr", c.Addr)
	}
}

func (a *App) start(ctx context.Context) error {
	c := a.opts.Config
	if a.opts.Roles.API {
		// Bound first: the desktop wants an answer from /health at once, and a
		// Redis of ours may have much to load.
		listener, err := net.Listen("tcp", c.Addr)
		if err != nil {
			return fmt.Errorf("listen on %s: %w (set GATEWAY_CRON_ADDR to use another address)", c.Addr, err)
		}
		a.listener = listener
		if a.tls, err = serverTLS(c); err != nil {
			return err
		}
		warnOfPlainHTTP(c, a.logger)
		a.setFront(api.Starting(api.Options{Version: a.opts.Version, Now: time.Now, Logger: a.logger, Deployment: startingUp{},
			Ready: func(context.Context) error { return errors.New("starting") }}))
		a.serveHTTP(listener)
		if err := a.serveLocally(); err != nil {
			a.logger.Warn("the command line has no way of its own to this gateway, and comes in with all others", "err", err)
		}
	}
	if c.RedisURL == "" {
		if !a.opts.EmbeddedRedis {
			return errNoRedisURL
		}
		dir := redisDir(c)
		proc, err := redisproc.Start(ctx, redisproc.Options{Dir: dir, Logger: a.logger})
		if err != nil {
			return fmt.Errorf("start the embedded redis: %w", err)
		}
		a.embedded, a.room = proc, &room{dir: dir, least: c.MinFreeBytes, logger: a.logger}
		c.RedisURL = proc.URL()
		a.onClose(func() {
			stop, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if err := proc.Stop(stop); err != nil {
				a.logger.Error("embedded redis did not stop cleanly", "err", err)
			}
		})
	}
	opts, err := redisOptions(c)
	if err != nil {
		return err
	}
	a.rdb = newRedis(opts, redisPool)
	a.onClose(func() { _ = a.rdb.Close() }) // nothing is left to do with it
	a.queue = gather(a.rdb)
	a.reserve = newReserve(opts)
	a.onClose(func() { _ = a.reserve.Close() }) // as above
	records := a.rdb                            // where writes wait for a replica, each needs a connection of its own
	if !replicated(opts) {
		records = gather(a.rdb)
	}
	a.store = store.New(records, store.Options{Prefix: c.Prefix, HistoryPerJob: c.HistoryPerJob, HistoryBytes: c.HistoryBytes, Replicated: replicated(opts), Reserve: a.reserve,
		AgentShare: c.AgentShare, AlertAfter: c.AlertAfter, AlertCooldown: c.AlertCooldown})
	return nil
}

// Addr is the address the API listens on; "" without the API.
func (a *App) Addr() string {
	if a.listener == nil {
		return ""
	}
	return a.listener.Addr().String()
}

// Serve runs the roles until ctx ends, and stops everything in the order in which it
// depends on each other.
func (a *App) Serve(ctx context.Context) error {
	defer a.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	c := a.opts.Config
	queues := tasks.NewQueues(c.Prefix, c.TaskRetention)
	channels, err := channels(c)
	if err != nil {
		return err
	}
	if c.RedisCheck == config.RedisCheckStrict && a.awaitRedis(ctx) {
		if err := checkRedis(ctx, a.rdb, c.RedisCheck, a.logger); err != nil && ctx.Err() == nil {
			return err
		}
	}
	var roles []func(context.Context) error
	signals := &signals{store: a.store, rdb: a.reserve, queues: queues, check: c.RedisCheck, options: a.opts.Health, room: a.room}
	var mayBegin func() error
	if a.embedded != nil {
		signals.down, mayBegin = a.embedded.Err, a.room.check
	}
	var leads func() bool // nil: there is no scheduler here
	if a.opts.Roles.API {
		beat := a.newHeartbeat("api", nil)
		signals.refused = beat.lastRefusal
		front, err := a.newFront(queues, channels, signals)
		if err != nil {
			return err
		}
		a.setFront(front)
		roles = append(roles, beat.run)
	}
	if a.opts.Roles.Scheduler {
		s, err := scheduler.New(scheduler.Options{Store: a.store, Redis: a.queue, Queues: queues, ID: a.id,
			Logger: a.logger, QueueLog: newQueueLog(ctx, a.logger), WithoutLease: a.opts.WithoutEmitterLease})
		if err != nil {
			return err
		}
		leads = s.Leads
		check := absence.New(absence.Options{Store: a.store, Leads: leads, Logger: a.logger, Tell: a.absent})
		outside, err := a.outsideWatch(leads, signals)
		if err != nil {
			return err
		}
		beat := a.newHeartbeat("scheduler", nil)
		signals.refused = beat.lastRefusal
		roles = append(append(roles, s.Run, check.Run, beat.run), outside...)
	}
	if a.opts.Roles.Worker {
		ai, err := aiserver.New(aiserver.Options{BaseURL: c.AIServerURL})
		if err != nil {
			return fmt.Errorf("GATEWAY_CRON_AI_SERVER_URL: %w", err)
		}
		a.onClose(ai.CloseIdle)
		watch := &partyWatch{}
		w := handlers.New(handlers.Options{Runs: a.store, Deliveries: a.store,
			Executor: watch.watchAI(ai, aiserver.ExecutorOptions{Sessions: a.store, WorkspaceID: c.WorkspaceID, Model: c.Model, Effort: c.ReasoningEffort}),
			Channels: watch.watchChannels(channels),
			Redis:    a.queue, Queues: queues, Logger: a.logger, QueueLog: newQueueLog(ctx, a.logger), ID: a.id,
			Concurrency: c.Concurrency, Grace: c.ShutdownGrace,
			MemoryBytes: c.WorkerMemoryBytes, MayBegin: mayBegin})
		count := places(w.Places)
		beat := a.newHeartbeat("worker", func(p *job.Process) {
			count(p)
			waiting(w.Waiting(), p)
			p.Parties = watch.report()
		})
		roles = append(roles, w.Run, watch.watch, beat.run)
	}
	if a.opts.Roles.API || a.opts.Roles.Scheduler {
		sender, err := a.alerts(channels, leads)
		if err != nil {
			return err
		}
		watch := &watch{app: a, signals: signals, leads: leads}
		roles = append(roles, sender.Run, watch.run)
	}

	var wg sync.WaitGroup
	for _, run := range roles {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				cancel(err)
			}
		})
	}
	wg.Go(func() { a.announce(ctx) })
	<-ctx.Done()
	a.logger.Info("stopping")
	a.stopHTTP()
	wg.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// announce prints the ready line once Redis answers.
func (a *App) announce(ctx context.Context) {
	if !a.awaitRedis(ctx) {
		return
	}
	if check := a.opts.Config.RedisCheck; check != config.RedisCheckStrict {
		_ = checkRedis(ctx, a.rdb, check, a.logger) // an error is only for the strict, who asked before
	}
	line := "gateway-cron " + a.opts.Name + " ready"
	if addr := a.Addr(); addr != "" {
		url := a.opts.Config.Scheme() + "://" + addr
		line += fmt.Sprintf(" on %s (dashboard: %s/monitoring)", url, url)
	}
	fmt.Fprintln(a.opts.Stdout, line)
	if a.opts.welcome != nil {
		a.opts.welcome(ctx, a)
	}
}

// awaitRedis waits until Redis answers; it reports false if ctx ended before.
func (a *App) awaitRedis(ctx context.Context) bool {
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for waiting := false; ; waiting = true {
		err := a.ready(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if !waiting {
			a.logger.Warn("waiting for redis; is GATEWAY_CRON_REDIS_URL right?", "err", err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
}

// ready reports whether Redis answers.
func (a *App) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return a.store.Ping(ctx)
}

// newFront is the API and the dashboard on one port.
func (a *App) newFront(queues tasks.Queues, channels channelManager, signals *signals) (http.Handler, error) {
	c := a.opts.Config
	records := recordStore{a.store, queues, asynq.NewClientFromRedisClient(a.queue), asynq.NewClientFromRedisClient(a.reserve), a.logger}
	guesses := guess.New(guess.Options{Now: time.Now, Logger: a.logger})
	surface := api.Options{
		Jobs: records, History: records, Find: a.store, Sessions: a.store, Switch: a.store, Audit: a.store, Tokens: a.store,
		Deployment: signals, Records: a.store, CheckTarget: channels.Check, Ready: a.ready, Token: c.Token, Guesses: guesses, MaxBodyBytes: c.MaxBodyBytes, Stopping: a.stopping,
		RatePerMinute: c.RateLimitPerMinute, RateBurst: c.RateLimitBurst,
		Version: a.opts.Version, Now: time.Now, Logger: a.logger,
	}
	routes := api.New(surface)
	tools, err := a.tools(surface, routes)
	if err != nil {
		return nil, err
	}
	opts, err := redisOptions(a.config())
	if err != nil {
		return nil, err
	}
	dashboard, err := web.New(web.Options{Redis: dashboardRedis{opts}, Token: c.Token, Guesses: guesses, SignOuts: a.store, ReadOnly: !c.DashboardWritable,
		Queues: []string{queues.Run(), queues.Deliver()}, Health: signals.Health,
		Version: a.opts.Version, Now: time.Now, Logger: a.logger})
	if err != nil {
		return nil, fmt.Errorf("make the dashboard: %w", err)
	}
	a.onClose(func() {
		if err := dashboard.Close(); err != nil {
			a.logger.Warn("dashboard not closed", "err", err)
		}
	})
	// chi matches paths as they come: http.ServeMux would redirect an odd one, and
	// turn a POST into a GET.
	r := chi.NewRouter()
	dashboard.Register(r)
	r.Handle("/mcp", tools)
	r.Mount("/", routes)
	r.MethodNotAllowed(routes.ServeHTTP) // methods that chi does not know
	return r, nil
}

// localConns bounds the connections at the socket for the command line.
const localConns = 64

// redisDir is where the embedded Redis keeps its data.
func redisDir(c config.Config) string { return filepath.Join(c.StateDir, "redis") }

// config is the configuration with the embedded Redis filled in.
func (a *App) config() config.Config {
	c := a.opts.Config
	if a.embedded != nil {
		c.RedisURL = a.embedded.URL()
	}
	return c
}

// serveHTTP serves whatever handler is in front, until the app closes. How long an answer
// may take is bounded by what its client takes of it, see edge: no bound for the whole would
// be right for a stream.
func (a *App) serveHTTP(listener net.Listener) {
	a.http = &http.Server{
		ConnState:         edge.ConnState,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*a.front.Load()).ServeHTTP(w, r) }),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(a.logger.Handler(), slog.LevelDebug),
	}
	if a.tls != nil {
		a.http.TLSConfig = a.tls
		a.http.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){} // see serverTLS
	}
	a.stopping = make(chan struct{})
	a.http.RegisterOnShutdown(sync.OnceFunc(func() { close(a.stopping) }))
	serve := a.http.Serve
	if a.tls != nil {
		serve = func(l net.Listener) error { return a.http.ServeTLS(l, "", "") }
	}
	a.accept(listener, a.opts.Edge, serve)
}

// serveLocally serves the same on a socket for the command line on this machine, whose
// connections are none of those that other clients can use up.
func (a *App) serveLocally() error {
	host, _, err := net.SplitHostPort(a.opts.Config.Addr)
	if err != nil {
		return fmt.Errorf("split %q: %w", a.opts.Config.Addr, err)
	}
	_, port, err := net.SplitHostPort(a.Addr()) // which the system has chosen if that is 0
	if err != nil {
		return fmt.Errorf("split %q: %w", a.Addr(), err)
	}
	path, err := local.Path(a.opts.Config.StateDir, net.JoinHostPort(host, port))
	if err != nil {
		return err
	}
	socket, err := local.Listen(path)
	if err != nil {
		return err
	}
	a.accept(socket, edge.Options{WriteTimeout: a.opts.Edge.WriteTimeout, MaxConns: localConns}, a.http.Serve)
	return nil
}

// accept serves what comes in at a listener, within the bounds.
func (a *App) accept(l net.Listener, bounds edge.Options, serve func(net.Listener) error) {
	bounds.Logger = a.logger
	bounded := edge.Bound(l, bounds)
	go func() {
		if err := serve(bounded); !errors.Is(err, http.ErrServerClosed) {
			a.logger.Error("http server ended", "err", err)
		}
	}()
}

// stopHTTP ends the API: nothing new is accepted, requests under way have a moment, and
// those that wait or stream end at once.
func (a *App) stopHTTP() {
	if a.http == nil {
		return
	}
	stop, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := a.http.Shutdown(stop); err != nil {
		_ = a.http.Close() // what still runs has had its time
	}
}

func (a *App) setFront(h http.Handler) { a.front.Store(&h) }

func (a *App) onClose(f func()) { a.closers = append(a.closers, f) }

func (a *App) close() {
	a.stopHTTP()
	for _, v := range slices.Backward(a.closers) {
		v()
	}
	a.closers = nil
}

// recordStore enqueues at once what the API starts, as a shortcut for the sweeper.
type recordStore struct {
	*store.Store
	queues          tasks.Queues
	client, reserve *asynq.Client
	logger          *slog.Logger
}

// CancelRun ends an unfinished run; see store.Store.CancelRun.
func (s recordStore) CancelRun(ctx context.Context, id string) error {
	carriers, err := s.Store.CancelRun(ctx, id)
	s.carry(ctx, carriers)
	return err
}

// Redeliver sends a reply once more; see store.Store.Redeliver.
func (s recordStore) Redeliver(ctx context.Context, id string, once ...job.Once) error {
	carriers, err := s.Store.Redeliver(ctx, id, once...)
	s.carry(ctx, carriers)
	return err
}

func (s recordStore) carry(ctx context.Context, carriers []job.Carrier) {
	client := s.client
	if job.OnReserve(ctx) {
		client = s.reserve
	}
	for _, c := range carriers {
		task, err := s.queues.Carry(string(c.Kind), c.ID, c.N)
		if err == nil {
			err = task.Enqueue(ctx, client)
		}
		if err != nil {
			s.logger.Warn("carrier not enqueued at once, the next look will", "kind", string(c.Kind), "id", c.ID, "err", err)
			return
		}
	}
}

// RunJob starts a manual run; see store.Store.RunJob.
func (s recordStore) RunJob(ctx context.Context, id string, once ...job.Once) (job.Job, string, error) {
	j, run, err := s.Store.RunJob(ctx, id, once...)
	if err != nil {
		return j, run, err
	}
	s.carry(ctx, []job.Carrier{{Kind: job.CarryRun, ID: run}})
	return j, run, nil
}
