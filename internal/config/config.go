// Package config turns the environment and the desktop's configuration file into a
// checked Config. It reads, checks and reports; it opens nothing but that file and
// secret files, and decides nothing.
//
// It must import nothing of ours.
package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Config is the effective configuration.
type Config struct {
	Addr                string
	URL                 string // of the API, for the command line; "" means the one at Addr
	PublicAccess        bool   // others reach it, whatever Addr says
	Token               string
	TLSCertFile         string // "" means plain HTTP
	TLSKeyFile          string
	RedisURL            string // "" means the embedded Redis, where a role allows it
	RedisCAFile         string // "" means the system's authorities
	RedisCertFile       string
	RedisKeyFile        string
	RedisCheck          RedisCheck
	StateDir            string
	MinFreeBytes        int64 // 0 holds nothing
	AIServerURL         string
	WorkspaceID         string
	Model               string // of jobs that name none; "" means the ai-server's default
	ReasoningEffort     string
	ChannelManagerURL   string
	ChannelManagerToken string
	TelegramToken       string
	TelegramURL         string
	AlertChannel        string // "" means no chat of the deployment
	AlertChat           string
	AlertThread         string
	AlertURL            string // "" means no hook
	AlertSecret         string
	AlertAfter          int
	AlertCooldown       time.Duration
	HeartbeatURL        string // "" means no outside watch
	Concurrency         int
	AgentShare          int // percent of all places
	WorkerMemoryBytes   int64
	Prefix              string
	ShutdownGrace       time.Duration
	MaxBodyBytes        int64
	RateLimitPerMinute  int
	RateLimitBurst      int
	HistoryPerJob       int
	HistoryBytes        int64
	TaskRetention       time.Duration
	DashboardWritable   bool
	LogLevel            slog.Level
	LogFormat           string
}

// RedisCheck says what to do about a Redis that is not set up to keep our promises.
type RedisCheck string

// What to do about it.
const (
	RedisCheckWarn   RedisCheck = "warn"
	RedisCheckStrict RedisCheck = "strict" // do not start
	RedisCheckOff    RedisCheck = "off"    // it is the operator's business
)

// setting is one line of the configuration: where it comes from and what it must be.
type setting struct {
	name   string // without the prefix
	deflt  string
	secret bool // may come from <name>_FILE; never printed
	help   string
	parse  func(c *Config, value string) error
	show   func(c *Config) string
}

const (
	// EnvPrefix starts every variable of ours.
	EnvPrefix = "GATEWAY_CRON_"
	// DefaultAddr is where the API listens, and where the command line looks for it.
	DefaultAddr = "127.0.0.1:19790"
)

var prefixPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

func settings() []setting {
	text := func(field func(*Config) *string) (func(*Config, string) error, func(*Config) string) {
		return func(c *Config, v string) error { *field(c) = v; return nil }, func(c *Config) string { return *field(c) }
	}
	str := func(name, deflt, help string, field func(*Config) *string) setting {
		parse, show := text(field)
		return setting{name: name, deflt: deflt, help: help, parse: parse, show: show}
	}
	secret := func(name, help string, field func(*Config) *string) setting {
		s := str(name, "", help, field)
		s.secret = true
		return s
	}
	link := func(name, deflt, help string, field func(*Config) *string) setting {
		s := str(name, deflt, help, field)
		s.parse = func(c *Config, v string) error {
			*field(c) = strings.TrimRight(v, "/")
			if u, err := url.Parse(v); err == nil && u.User != nil {
				return errors.New("must not contain a user or password") // it is printed
			}
			return checkURL(v, "http", "https")
		}
		return s
	}
	number := func(name, deflt, help string, low, high int64, get func(*Config) int64, set func(*Config, int64)) setting {
		return setting{name: name, deflt: deflt, help: help,
			parse: func(c *Config, v string) error {
				n, err := strconv.ParseInt(v, 10, 64)
				if err != nil || n < low || n > high {
					return fmt.Errorf("must be a whole number from %d to %d, for example %s", low, high, deflt)
				}
				set(c, n)
				return nil
			},
			show: func(c *Config) string { return strconv.FormatInt(get(c), 10) },
		}
	}
	duration := func(name, deflt, help string, low, high time.Duration, field func(*Config) *time.Duration) setting {
		return setting{name: name, deflt: deflt, help: help,
			parse: func(c *Config, v string) error {
				d, err := time.ParseDuration(v)
				if err != nil || d < low || d > high {
					return fmt.Errorf("must be a duration from %s to %s, for example %s", low, high, deflt)
				}
				*field(c) = d
				return nil
			},
			show: func(c *Config) string { return field(c).String() },
		}
	}
	flag := func(name, help string, field func(*Config) *bool) setting {
		return setting{name: name, deflt: "false", help: help,
			parse: func(c *Config, v string) (err error) {
				if *field(c), err = strconv.ParseBool(v); err != nil {
					return errors.New("must be true or false")
				}
				return nil
			},
			show: func(c *Config) string { return strconv.FormatBool(*field(c)) },
		}
	}
	secretLink := func(name, help string, field func(*Config) *string) setting {
		s := secret(name, help, field)
		s.parse = func(c *Config, v string) error {
			*field(c) = v
			return checkURL(v, "http", "https")
		}
		return s
	}
	redisURL := secret("REDIS_URL", "Redis to use; without it, serve and demo run their own",
		func(c *Config) *string { return &c.RedisURL })
	redisURL.parse = func(c *Config, v string) error {
		c.RedisURL = v
		return checkRedisURL(v)
	}
	prefix := str("PREFIX", "gateway-cron", "prefix of all keys and queues: one per deployment on a shared Redis",
		func(c *Config) *string { return &c.Prefix })
	prefix.parse = func(c *Config, v string) error {
		c.Prefix = v
		if !prefixPattern.MatchString(v) {
			return errors.New("must be up to 32 lower-case letters, digits, - or _, for example gateway-cron")
		}
		return nil
	}
	addr := str("ADDR", DefaultAddr, "address of the API and the dashboard", func(c *Config) *string { return &c.Addr })
	addr.parse = func(c *Config, v string) error {
		c.Addr = v
		if _, _, err := net.SplitHostPort(v); err != nil {
			return errors.New("must be host:port, for example 127.0.0.1:19790")
		}
		return nil
	}
	return []setting{
		addr,
		link("URL", "", "the API that the command line calls; without it, the one at GATEWAY_CRON_ADDR", func(c *Config) *string { return &c.URL }),
		secret("TOKEN", "bearer token of the API and the dashboard; needed beyond loopback, with 16 characters or more", func(c *Config) *string { return &c.Token }),
		str("TLS_CERT_FILE", "", "certificate (PEM, with its chain) of the API and the dashboard, which are then served over https", func(c *Config) *string { return &c.TLSCertFile }),
		str("TLS_KEY_FILE", "", "key (PEM) of that certificate", func(c *Config) *string { return &c.TLSKeyFile }),
		flag("PUBLIC_ACCESS", "whether others reach the API through a tunnel or a proxy; a token is then needed on loopback too",
			func(c *Config) *bool { return &c.PublicAccess }),
		redisURL,
		str("REDIS_CA_FILE", "", "certificates (PEM) of the authority that signed Redis's; without it, the system's", func(c *Config) *string { return &c.RedisCAFile }),
		str("REDIS_CERT_FILE", "", "certificate (PEM) to show to Redis", func(c *Config) *string { return &c.RedisCertFile }),
		str("REDIS_KEY_FILE", "", "key (PEM) of that certificate", func(c *Config) *string { return &c.RedisKeyFile }),
		{name: "REDIS_CHECK", deflt: string(RedisCheckWarn), help: "what to do about a Redis that is not set up to keep its data: warn, strict (do not start) or off",
			parse: func(c *Config, v string) error {
				switch c.RedisCheck = RedisCheck(v); c.RedisCheck {
				case RedisCheckWarn, RedisCheckStrict, RedisCheckOff:
					return nil
				}
				return errors.New("must be warn, strict or off")
			},
			show: func(c *Config) string { return string(c.RedisCheck) }},
		str("STATE_DIR", defaultStateDir(), "where the embedded Redis keeps its data", func(c *Config) *string { return &c.StateDir }),
		number("MIN_FREE_BYTES", "268435456", "free space of its disk, beside what a rewrite of its log takes, below which no turn begins; 0 for no limit", 0, 1<<50,
			func(c *Config) int64 { return c.MinFreeBytes }, func(c *Config, n int64) { c.MinFreeBytes = n }),
		link("AI_SERVER_URL", "http://127.0.0.1:39200", "the ai-server that runs the agents", func(c *Config) *string { return &c.AIServerURL }),
		str("WORKSPACE_ID", "", "workspace sent to the ai-server with each call", func(c *Config) *string { return &c.WorkspaceID }),
		str("MODEL", "", "model of jobs that name none; without it, the ai-server's default", func(c *Config) *string { return &c.Model }),
		str("REASONING_EFFORT", "", "reasoning effort of jobs that name none; without it, the ai-server's default", func(c *Config) *string { return &c.ReasoningEffort }),
		link("CHANNEL_MANAGER_URL", "", "channel manager that delivers replies", func(c *Config) *string { return &c.ChannelManagerURL }),
		secret("CHANNEL_MANAGER_TOKEN", "bearer token of the channel manager", func(c *Config) *string { return &c.ChannelManagerToken }),
		secret("TELEGRAM_TOKEN", "bot token; connects Telegram directly", func(c *Config) *string { return &c.TelegramToken }),
		link("TELEGRAM_URL", "https://api.telegram.org", "Bot API server", func(c *Config) *string { return &c.TelegramURL }),
		str("ALERT_CHANNEL", "", "channel of the chat that is told of trouble where no job's chat is: failures of jobs without one, slots that did not run, replies that did not arrive",
			func(c *Config) *string { return &c.AlertChannel }),
		str("ALERT_CHAT", "", "that chat", func(c *Config) *string { return &c.AlertChat }),
		str("ALERT_THREAD", "", "thread of that chat", func(c *Config) *string { return &c.AlertThread }),
		secretLink("ALERT_URL", "gets the same as a POST, signed as Standard Webhooks has it", func(c *Config) *string { return &c.AlertURL }),
		secret("ALERT_SECRET", "signing key of these: whsec_ and base64; needed with GATEWAY_CRON_ALERT_URL", func(c *Config) *string { return &c.AlertSecret }),
		number("ALERT_AFTER", "2", "failures in a row after which a job tells of them, if it says nothing else", 1, 9,
			func(c *Config) int64 { return int64(c.AlertAfter) }, func(c *Config, n int64) { c.AlertAfter = int(n) }),
		duration("ALERT_COOLDOWN", "1h", "how long a job then tells of no other failure, if it says nothing else", time.Second, 7*24*time.Hour,
			func(c *Config) *time.Duration { return &c.AlertCooldown }),
		secretLink("HEARTBEAT_URL", "an outside watch that the scheduler calls each minute, with /fail behind it in trouble", func(c *Config) *string { return &c.HeartbeatURL }),
		number("CONCURRENCY", "64", "runs at once in one worker", 1, 10_000,
			func(c *Config) int64 { return int64(c.Concurrency) }, func(c *Config, n int64) { c.Concurrency = int(n) }),
		number("AGENT_SHARE", "50", "percent of the runs at once of all workers that one agent may have while there are jobs of others; 100 for no limit", 1, 100,
			func(c *Config) int64 { return int64(c.AgentShare) }, func(c *Config, n int64) { c.AgentShare = int(n) }),
		number("WORKER_MEMORY_BYTES", "268435456", "what the turns of one worker may hold together of long conversations, at three times their size; the next waits, and one alone never does", 1<<20, 1<<50,
			func(c *Config) int64 { return c.WorkerMemoryBytes }, func(c *Config, n int64) { c.WorkerMemoryBytes = n }),
		prefix,
		duration("SHUTDOWN_GRACE", "25s", "how long running turns may go on after SIGTERM", 0, time.Hour,
			func(c *Config) *time.Duration { return &c.ShutdownGrace }),
		number("MAX_BODY_BYTES", "1048576", "largest request body of the API", 1024, 64<<20,
			func(c *Config) int64 { return c.MaxBodyBytes }, func(c *Config, n int64) { c.MaxBodyBytes = n }),
		number("RATE_LIMIT_PER_MINUTE", "600", "requests a minute to the API with one token, or from an address without any; 0 for no limit", 0, 1_000_000,
			func(c *Config) int64 { return int64(c.RateLimitPerMinute) }, func(c *Config, n int64) { c.RateLimitPerMinute = int(n) }),
		number("RATE_LIMIT_BURST", "300", "how many of them at once", 1, 1_000_000,
			func(c *Config) int64 { return int64(c.RateLimitBurst) }, func(c *Config, n int64) { c.RateLimitBurst = int(n) }),
		number("HISTORY_PER_JOB", "200", "run records kept for a job", 1, 100_000,
			func(c *Config) int64 { return int64(c.HistoryPerJob) }, func(c *Config, n int64) { c.HistoryPerJob = int(n) }),
		number("HISTORY_BYTES", "16777216", "replies kept for a job, together; of the oldest beyond it only the beginning is", 64<<10, 1<<40,
			func(c *Config) int64 { return c.HistoryBytes }, func(c *Config, n int64) { c.HistoryBytes = n }),
		duration("TASK_RETENTION", "10m", "how long a finished task stays in the dashboard", time.Second, 24*time.Hour,
			func(c *Config) *time.Duration { return &c.TaskRetention }),
		flag("DASHBOARD_WRITABLE", "let the dashboard run waiting tasks at once and forget finished ones; it never pauses, deletes or archives", func(c *Config) *bool { return &c.DashboardWritable }),
		{name: "LOG_LEVEL", deflt: "info", help: "debug, info, warn or error",
			parse: func(c *Config, v string) error {
				if err := c.LogLevel.UnmarshalText([]byte(v)); err != nil {
					return errors.New("must be debug, info, warn or error")
				}
				return nil
			},
			show: func(c *Config) string { return strings.ToLower(c.LogLevel.String()) }},
		{name: "LOG_FORMAT", deflt: "text", help: "text or json",
			parse: func(c *Config, v string) error {
				if c.LogFormat = v; v != "text" && v != "json" {
					return errors.New("must be text or json")
				}
				return nil
			},
			show: func(c *Config) string { return c.LogFormat }},
	}
}

// Loaded is a configuration and where it comes from.
type Loaded struct {
	Config
	// Warnings are what the operator should know and what stops nothing, one line each.
	Warnings []string

	file    file
	sources map[string]string // of each setting, by its name; "" where it is not set
}

// Load is Read for those who want the configuration alone.
func Load(lookup func(string) (string, bool)) (Config, error) {
	l, err := Read(lookup)
	return l.Config, err
}

// Read reads the environment and the configuration file: a variable counts first, then
// its secret file, the configuration file, the default. All problems are reported at
// once, one a line, each with its source, without the values of secrets.
func Read(lookup func(string) (string, bool)) (Loaded, error) {
	f, problems := readFile(lookup)
	l := Loaded{Warnings: f.warnings, file: f, sources: map[string]string{}}
	for _, s := range settings() {
		value, source, err := read(lookup, s)
		place := EnvPrefix + s.name // what a problem is about
		if err == nil && value == "" && f.values[s.name].value != "" {
			value, source = f.values[s.name].value, f.values[s.name].source
			place = source
		}
		if err == nil && value == "" && s.deflt != "" {
			value, source = s.deflt, "default"
		}
		if err == nil && value != "" {
			err = s.parse(&l.Config, value)
		}
		l.sources[s.name] = source
		if err != nil {
			problems = append(problems, fmt.Errorf("%s %w", place, err))
		}
	}
	if err := l.checkExposure(); err != nil {
		problems = append(problems, err)
	}
	if (l.TLSCertFile == "") != (l.TLSKeyFile == "") {
		problems = append(problems, fmt.Errorf("%sTLS_CERT_FILE and %sTLS_KEY_FILE belong together: set both or none", EnvPrefix, EnvPrefix))
	}
	problems = append(problems, l.checkAlerts()...)
	return l, errors.Join(problems...)
}

// Unknown lists the variables that look like ours and are none: a misspelt one would
// otherwise be ignored in silence.
func Unknown(environ []string) []string {
	known := map[string]bool{fileVariable: true}
	for _, s := range settings() {
		known[EnvPrefix+s.name] = true
		if s.secret {
			known[EnvPrefix+s.name+"_FILE"] = true
		}
	}
	var unknown []string
	for _, variable := range environ {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, EnvPrefix) && !known[name] {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

// maxSecretBytes bounds a secret file.
const maxSecretBytes = 64 << 10

// read is the value of a setting by the environment, and what gave it: its variable or
// its secret file.
func read(lookup func(string) (string, bool), s setting) (value, source string, err error) {
	value, _ = lookup(EnvPrefix + s.name)
	if value = strings.TrimSpace(value); value != "" {
		source = EnvPrefix + s.name
	}
	if !s.secret {
		return value, source, nil
	}
	path, _ := lookup(EnvPrefix + s.name + "_FILE")
	if path == "" {
		return value, source, nil
	}
	if value != "" {
		return "", "", errors.New("and its _FILE are both set: set one of them")
	}
	value, err = readSecret(path)
	if err != nil {
		return "", "", fmt.Errorf("cannot be read from its _FILE: %w", err)
	}
	return value, EnvPrefix + s.name + "_FILE", nil
}

// readSecret reads a secret file. An empty one is an error: to go on without the
// secret could mean to go on without a lock on the door.
func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err != nil {
		return "", err
	}
	if len(content) > maxSecretBytes {
		return "", errors.New("the file is too large for a secret")
	}
	secret := strings.TrimSpace(string(content))
	if secret == "" {
		return "", errors.New("the file is empty")
	}
	return secret, nil
}

// minTokenChars is the least length of a token that strangers may try out.
const minTokenChars = 16

// checkExposure refuses to serve others without a token, or with one that is guessed soon.
func (l Loaded) checkExposure() error {
	var why string
	switch {
	case l.beyondLoopback():
		why = l.sources["ADDR"] + " listens beyond loopback"
	case l.PublicAccess:
		why = l.sources["PUBLIC_ACCESS"] + " says that others have access"
	default:
		return nil
	}
	switch n := utf8.RuneCountInString(l.Token); {
	case n == 0:
		return fmt.Errorf("%sTOKEN must be set, because %s: anybody who reaches it could run agents; take the output of openssl rand -hex 32",
			EnvPrefix, why)
	case n < minTokenChars:
		return fmt.Errorf("%s has %d characters and must have %d or more, because %s: a short token is guessed; take the output of openssl rand -hex 32",
			l.sources["TOKEN"], n, minTokenChars, why)
	default:
		return nil
	}
}

// beyondLoopback reports whether the API listens on more than the loopback interface. An
// address that is none is reported with ADDR.
func (c Config) beyondLoopback() bool {
	host, _, err := net.SplitHostPort(c.Addr)
	if err != nil || host == "localhost" {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err != nil || !ip.IsLoopback()
}

// PlainBeyondLoopback reports whether others on the way can read what is said with the API.
func (c Config) PlainBeyondLoopback() bool { return c.beyondLoopback() && c.TLSCertFile == "" }

// checkAlerts refuses half a target: alerts that go nowhere would be noticed too late.
func (c Config) checkAlerts() (problems []error) {
	need := func(have, needs, what string) {
		if have != "" && needs == "" {
			problems = append(problems, fmt.Errorf("%s%s", EnvPrefix, what))
		}
	}
	need(c.AlertChannel, c.AlertChat, "ALERT_CHAT must be set with GATEWAY_CRON_ALERT_CHANNEL: it says which chat is told")
	need(c.AlertChat+c.AlertThread, c.AlertChannel, "ALERT_CHANNEL must be set with GATEWAY_CRON_ALERT_CHAT, for example telegram")
	need(c.AlertURL, c.AlertSecret, "ALERT_SECRET must be set with GATEWAY_CRON_ALERT_URL: take the output of echo whsec_$(openssl rand -base64 32)")
	need(c.AlertSecret, c.AlertURL, "ALERT_URL must be set with GATEWAY_CRON_ALERT_SECRET")
	return problems
}

// APIURL is where the command line finds the API.
func (c Config) APIURL() string {
	if c.URL != "" {
		return c.URL
	}
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return c.Scheme() + "://" + c.Addr // Load has refused it
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1" // it listens on every address, and this is one
	}
	return c.Scheme() + "://" + net.JoinHostPort(host, port)
}

// Scheme is that of the URLs of the API.
func (c Config) Scheme() string {
	if c.TLSCertFile != "" {
		return "https"
	}
	return "http"
}

// Print writes the effective configuration, secrets hidden, one variable a line, each
// with where it comes from.
func (l Loaded) Print() string {
	var b strings.Builder
	line := func(name, value, source, help string) {
		if source == "" {
			source = "not set"
		}
		fmt.Fprintf(&b, "%-38s %s\n%-38s   # [%s] %s\n", EnvPrefix+name, value, "", source, help)
	}
	path := l.file.path
	if path == "" {
		path = fileNone
	}
	line(strings.TrimPrefix(fileVariable, EnvPrefix), path, l.file.note, fileHelp)
	for _, s := range settings() {
		value := s.show(&l.Config)
		if s.secret && value != "" {
			value = "(set, hidden)"
		}
		line(s.name, value, l.sources[s.name], s.help)
	}
	for _, w := range l.Warnings {
		fmt.Fprintf(&b, "# warning: %s\n", w)
	}
	return b.String()
}

// checkRedisURL looks only at how the URL begins: net/url knows no lists of hosts, and
// whoever opens the client reads the rest.
func checkRedisURL(v string) error {
	scheme, rest, _ := strings.Cut(v, "://")
	switch scheme {
	case "redis", "rediss", "unix":
		return checkURL(v, "redis", "rediss", "unix")
	case "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster":
		if rest != "" && rest[0] != '/' {
			return nil
		}
	}
	return errors.New("must be a URL that starts with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// (rediss+… for TLS)")
}

func checkURL(v string, schemes ...string) error {
	u, err := url.Parse(v)
	if err != nil { // the error would repeat the value, which may hold a password
		return errNoURL(schemes)
	}
	for _, scheme := range schemes {
		if u.Scheme == scheme && (u.Host != "" || scheme == "unix") {
			return nil
		}
	}
	return errNoURL(schemes)
}

func errNoURL(schemes []string) error {
	return fmt.Errorf("must be a URL that starts with %s://, for example %s://127.0.0.1", strings.Join(schemes, ":// or "), schemes[0])
}

// defaultStateDir is where the platform keeps the state of a user's programs.
func defaultStateDir() string {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "gateway-cron")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(os.TempDir(), "gateway-cron-"+strconv.Itoa(os.Getuid()))
	}
	return filepath.Join(home, ".local", "state", "gateway-cron")
}
