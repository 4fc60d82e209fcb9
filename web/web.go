// Package web owns what a person sees in a browser: a landing page at /, the
// sign-in page, and asynqmon, the dashboard of the queue, mounted at /monitoring
// behind a guard of ours, because it has none and could pause queues and delete tasks.
//
// It knows nothing of jobs or runs: what it shows comes from the queue in Redis, or is
// handed in.
package web

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"

	"github.com/gatewaycron/gatewaycron/internal/guess"
	"github.com/gatewaycron/gatewaycron/internal/health"
	"github.com/gatewaycron/gatewaycron/internal/ratelimit"
)

// root is where asynqmon is mounted. It writes this path into its page, so the
// two cannot differ.
const root = "/monitoring"

// maxBody bounds the body of any request, in bytes: the largest real one lists
// the task ids of one page.
const maxBody = 1 << 20

// Options of New.
type Options struct {
	// Redis is where the queues are. Required. The dashboard opens clients of
	// its own, which Close closes.
	Redis asynq.RedisConnOpt
	// Token is asked for at sign-in; scripts may send it as a bearer token or
	// as the password of basic authentication. "" asks for nothing and answers
	// only requests to names of this machine, so the caller must not listen
	// elsewhere.
	Token string
	// Queues are those of this deployment. Others in the same Redis are neither shown nor
	// changed.
	Queues []string
	// ReadOnly refuses everything that changes something. Otherwise what is harmless is
	// allowed, and what would lose or hold up a task is refused all the same.
	ReadOnly bool
	// Version is shown on the landing page.
	Version string
	// Health says how the deployment stands, for the landing page; nil says nothing.
	Health func(ctx context.Context) health.Report
	// Guesses slows down who tries out tokens; nil is one for the dashboard alone.
	Guesses *guess.Guard
	// SignOuts knows the sign-ins that were ended. Required with a token.
	SignOuts SignOuts
	// Now is the clock of sign-ins; nil is time.Now.
	Now func() time.Time
	// Logger is told of what fails; nil discards.
	Logger *slog.Logger
}

// Dashboard serves the pages. It is an http.Handler; Register names its paths.
type Dashboard struct {
	version  string
	queues   []string
	health   func(ctx context.Context) health.Report
	readOnly bool
	logger   *slog.Logger
	guard    *guard
	origins  *http.CrossOriginProtection
	monitor  *asynqmon.HTTPHandler
	shell    page
	script   file
	pages    *template.Template
	pagesCSP string
}

// New prepares the pages. It does not talk to Redis: a Redis that is away is an
// error of the requests that need it.
func New(o Options) (*Dashboard, error) {
	if o.Redis == nil {
		return nil, errors.New("web: Options.Redis is required")
	}
	if o.SignOuts == nil && o.Token != "" {
		return nil, errors.New("web: Options.SignOuts is required with a token")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Guesses == nil {
		o.Guesses = guess.New(guess.Options{Now: o.Now, Logger: o.Logger})
	}
	pages, csp, err := parsePages()
	if err != nil {
		return nil, err
	}
	g, err := newGuard(o.Token, o.Now, o.Guesses, o.SignOuts)
	if err != nil {
		return nil, err
	}
	d := &Dashboard{
		version: o.Version, queues: o.Queues, health: o.Health, readOnly: o.ReadOnly, logger: o.Logger,
		guard: g, origins: http.NewCrossOriginProtection(), pages: pages, pagesCSP: csp,
		monitor: asynqmon.New(asynqmon.Options{
			RootPath: root, RedisConnOpt: o.Redis, ReadOnly: o.ReadOnly,
			PayloadFormatter: asynqmon.PayloadFormatterFunc(format),
			ResultFormatter:  asynqmon.ResultFormatterFunc(format),
		}),
	}
	if d.shell, err = newShell(d.monitor); err == nil {
		d.script, err = wholeIDs(&d.shell, d.monitor)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Close closes the dashboard's connections to Redis.
func (d *Dashboard) Close() error {
	if err := d.monitor.Close(); err != nil {
		return fmt.Errorf("close the dashboard: %w", err)
	}
	return nil
}

// Router is what Register needs of a chi router.
type Router interface {
	Handle(pattern string, h http.Handler)
}

// Register mounts the dashboard at its paths.
func (d *Dashboard) Register(r Router) {
	for _, pattern := range []string{"/", "/login", "/logout", root, root + "/*"} {
		r.Handle(pattern, d)
	}
}

// ServeHTTP implements http.Handler.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	// Not no-referrer: with that, browsers send "Origin: null" even from our own
	// pages, and over plain HTTP the check below has nothing else to go by.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)

	// A page of another site may make a browser send its cookie or its saved
	// password here; and without a token, anything at all.
	if err := d.origins.Check(r); err != nil {
		refuse(w, http.StatusForbidden, "Pages of other sites may not change anything here.")
		return
	}
	// A site whose name is made to resolve to this machine counts as the same
	// site, but its requests carry its name.
	if d.guard.open() && !isLoopback(r.Host) {
		refuse(w, http.StatusForbidden, "Without a token the dashboard answers only to localhost, 127.0.0.1 and [::1]; use such an address or configure a token.")
		return
	}

	switch path := r.URL.Path; {
	case path == "/":
		d.landing(w, r)
	case path == "/login":
		d.login(w, r)
	case path == "/logout":
		d.logout(w, r)
	case path == root || strings.HasPrefix(path, root+"/"):
		d.monitoring(w, r)
	default:
		refuse(w, http.StatusNotFound, "There is no such page. The dashboard is at "+root+".")
	}
}

// monitoring serves asynqmon to those who may see it.
func (d *Dashboard) monitoring(w http.ResponseWriter, r *http.Request) {
	isAPI := strings.HasPrefix(r.URL.Path, apiRoot+"/")
	reading := isReading(r)
	if err := d.guard.check(r); err != nil {
		var limited *guess.LimitedError
		switch {
		case errors.As(err, &limited):
			w.Header().Set("Retry-After", ratelimit.Seconds(limited.Wait))
			refuse(w, http.StatusTooManyRequests, tooManyGuesses(limited))
		case errors.Is(err, errUnknown):
			d.logger.WarnContext(r.Context(), "sign-in not checked", "err", err)
			refuse(w, http.StatusServiceUnavailable, "The store cannot be reached at the moment; ask again.")
		case isAPI || !reading:
			w.Header().Set("WWW-Authenticate", `Bearer realm="gateway-cron"`)
			refuse(w, http.StatusUnauthorized, "A valid token is required: sign in at /login, or send the header Authorization: Bearer <token>.")
		default:
			http.Redirect(w, r, loginURL(r.URL), http.StatusSeeOther)
		}
		return
	}

	switch {
	case isAPI:
		d.api(w, r)
	case !reading:
		refuseMethod(w, "A page can only be read.", "GET, HEAD")
	case r.URL.Path == d.script.path:
		d.script.serve(w)
	case isAsset(r.URL.Path):
		d.monitor.ServeHTTP(&assetWriter{ResponseWriter: w, path: r.URL.Path}, r)
	default:
		d.shell.serve(w)
	}
}
