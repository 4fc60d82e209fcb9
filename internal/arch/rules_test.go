package arch

// Libraries by the import paths that begin them; a package of the standard
// library stands for itself alone.
var (
	redis    = []string{"github.com/redis", "github.com/alicebob/miniredis"}
	asynq    = []string{"github.com/hibiken"}
	router   = []string{"github.com/go-chi", "net/http"}
	logging  = []string{"log", "log/slog"}
	io       = []string{"net", "os", "os/exec", "os/signal", "syscall", "database/sql"}
	commands = []string{"github.com/spf13", "flag"}

	// impure is what the packages of the domain must not touch.
	impure = join(redis, asynq, router, logging, io, commands)
)

// rules has one row for every package of this module. A package without a row,
// a row without a package and an import that its row does not grant fail the
// test. To add a package, add its row here, and its reason.
var rules = []rule{
	{
		pkg:    "internal/schedule",
		forbid: impure,
		why:    "cron arithmetic is pure, so that any instant of any zone can be tested without a clock or a server",
	},
	{
		pkg:    "internal/clock",
		forbid: impure,
		why:    "what a reading of Redis's clock is worth, tried without a Redis whose clock is set",
	},
	{
		pkg:    "internal/jobfield",
		forbid: join(redis, asynq, router, logging, commands),
		why:    "a table of words and numbers, for those as well who know a job by the API alone",
	},
	{
		pkg:    "internal/job",
		ours:   []string{"internal/jobfield", "internal/schedule"},
		forbid: impure,
		why:    "the domain is what all others agree on; whatever it imported, everybody would",
	},
	{
		pkg:    "internal/health",
		ours:   []string{"internal/job"},
		forbid: impure,
		why:    "judges facts that are handed in: whoever reads them, all are told the same",
	},
	{
		pkg:    "internal/absence",
		ours:   []string{"internal/job", "internal/schedule"},
		forbid: join(redis, asynq, router, io, commands),
		why:    "the check on those who fire shares nothing with them but the arithmetic: what it imported of the scheduler could be wrong in both",
	},
	{
		pkg:    "internal/ratelimit",
		forbid: impure,
		why:    "counts for the API and for the sign-in, which know nothing of each other",
	},
	{
		pkg:    "internal/edge",
		ours:   []string{"internal/ratelimit"},
		forbid: join(redis, asynq, commands, []string{"github.com/go-chi"}),
		why:    "bounds connections whatever is asked on them: one that knew routes could forget one",
	},
	{
		pkg:    "internal/local",
		forbid: join(redis, asynq, commands, []string{"github.com/go-chi"}),
		why:    "a way in, for both of its ends: what is asked there is none of its business",
	},
	{
		pkg:    "internal/guess",
		ours:   []string{"internal/ratelimit"},
		forbid: join(redis, asynq, router, io, commands),
		why:    "one count of wrong tokens for the API, the tools and the sign-in; whether a token is right they say",
	},
	{
		pkg:    "internal/redact",
		forbid: impure,
		why:    "a text in, a text out: whatever words an error may use it",
	},
	{
		pkg:    "internal/alert",
		ours:   []string{"internal/channel", "internal/job", "internal/outcome", "internal/redact", "internal/wire"},
		forbid: join(redis, asynq, commands),
		why:    "tells people; what there is to tell is handed in, so that it is tested without a store",
	},
	{
		pkg:    "internal/wire",
		forbid: join(redis, asynq, logging, commands),
		why:    "what both clients need of HTTP and JSON; it knows neither of them, nor what they ask for",
	},
	{
		pkg:   "internal/wire/wiretest",
		tests: true,
		why:   "a server that misbehaves below HTTP",
	},
	{
		pkg:    "tasks",
		ours:   []string{"internal/schedule"},
		forbid: join(redis, router, logging, commands),
		why:    "the wire contract of the queue outlives releases: its payloads are spelled out here, and a timing is only translated",
	},
	{
		pkg:    "internal/store",
		ours:   []string{"internal/clock", "internal/job", "internal/jobfield", "internal/redact", "internal/schedule"},
		forbid: join(asynq, router, commands),
		why:    "the protocol in Redis stands on the domain alone; neither the queue nor HTTP may leak into it",
	},
	{
		pkg:    "internal/queue",
		ours:   []string{"internal/job"},
		forbid: join(asynq, router, logging, commands),
		why:    "what asynq's keys say and what is wrong with them; what a task carries is not its business",
	},
	{
		pkg: "internal/recipes",
		why: "carries out the recipes of CONTRIBUTING.md on a copy of the tree, and imports nothing of it",
	},
	{
		pkg:    "internal/scripts",
		ours:   []string{"internal/store"},
		forbid: join(asynq, router, logging, commands),
		why:    "prints what the store would send; it asks no Redis",
	},
	{
		pkg:  "internal/bench",
		ours: []string{"internal/cli", "internal/redisproc/childproc"},
		why:  "measures the product's real processes from outside; of its code it only starts the command line, with a profiler around it",
	},
	{
		pkg:    "internal/cli/jobs",
		ours:   []string{"internal/client", "internal/jobfield"},
		forbid: join(redis, asynq),
		why:    "the commands that talk to a running deployment know it by its API alone",
	},
	{
		pkg:    "internal/client",
		forbid: join(redis, asynq, logging, commands),
		why:    "what the command line and the agent tools know of the API is what came over the wire",
	},
	{
		pkg:    "internal/mcp",
		ours:   []string{"internal/client", "internal/jobfield", "internal/wire"},
		forbid: join(redis, asynq, commands),
		why:    "a tool calls the API as its caller could, over the network or not: what reached behind it would bypass its authorization",
	},
	{
		pkg:    "internal/outcome",
		ours:   []string{"internal/wire"},
		forbid: join(redis, asynq, logging, commands),
		why:    "how a call can end is the same for every outside party; what follows is its caller's",
	},
	{
		pkg:    "internal/executor",
		ours:   []string{"internal/job"},
		forbid: join(redis, asynq, router, logging, commands),
		why:    "what a worker asks of whoever runs a turn; how it is made is the business of a package beside it",
	},
	{
		pkg:    "internal/executor/aiserver",
		ours:   []string{"internal/executor", "internal/job", "internal/outcome", "internal/redact", "internal/wire"},
		forbid: join(redis, asynq, commands),
		why:    "a client of somebody else's API: it translates to the domain and knows nothing of runs in Redis",
	},
	{
		pkg:    "internal/channel",
		ours:   []string{"internal/job", "internal/outcome", "internal/redact", "internal/wire"},
		forbid: join(redis, asynq, commands),
		why:    "a channel sends a text to a chat; whether and when is decided elsewhere",
	},
	{
		pkg:    "internal/redisproc",
		ours:   []string{"internal/redisproc/childproc"},
		forbid: join(asynq, router, commands),
		why:    "keeps a redis-server child alive; what is kept in it is not its business",
	},
	{
		pkg:    "internal/redisproc/childproc",
		forbid: join(redis, asynq, router, commands),
		why:    "a child process that dies with its parent, whatever the child is",
	},
	{
		pkg:   "internal/redistest",
		ours:  []string{"internal/redisproc/childproc"},
		tests: true,
		why:   "real Redis servers for tests; one that knew the store could not judge it",
	},
	{
		pkg:   "internal/producttest",
		ours:  []string{"internal/redisproc/childproc"},
		tests: true,
		why:   "runs the product's processes for the tests of the whole, which must see them as an operator does",
	},
	{
		pkg:    "internal/oapitest",
		tests:  true,
		forbid: join(redis, asynq, commands),
		why:    "holds answers against the document of the API; one that knew the code could not judge it",
	},
	{
		pkg:    "internal/config",
		forbid: join(redis, asynq, router),
		why:    "configuration is values; a package that could read it from here would no longer take its dependencies as arguments",
	},
	{
		pkg:    "internal/standin",
		forbid: join(redis, asynq, commands),
		why:    "the judge of the reliability tests stands outside: it shares no line with what it judges",
	},
	{
		pkg:    "scheduler",
		ours:   []string{"internal/fault", "internal/job", "internal/queue", "internal/schedule", "tasks"},
		forbid: join(router, commands),
		why:    "declares the small interfaces it needs, so that it is tested without a store and knows neither API nor handlers",
	},
	{
		pkg:    "handlers",
		ours:   []string{"internal/alert", "internal/channel", "internal/executor", "internal/fault", "internal/job", "internal/outcome", "internal/queue", "internal/schedule", "tasks"},
		forbid: join(router, commands),
		why:    "the life of a run against interfaces of its own; the store is handed in",
	},
	{
		pkg:    "api",
		ours:   []string{"internal/doctor", "internal/guess", "internal/health", "internal/job", "internal/jobfield", "internal/ratelimit", "internal/schedule", "internal/wire"},
		forbid: join(redis, asynq, commands),
		why:    "HTTP in, domain out; a route that reached for the queue or for Redis would bypass the atomic scripts",
	},
	{
		pkg:    "internal/doctor",
		ours:   []string{"internal/health", "internal/job", "internal/schedule"},
		forbid: join(redis, asynq, router, logging, commands),
		why:    "says what records and answers mean; where they come from is handed in, so that it can only read",
	},
	{
		pkg:    "web",
		ours:   []string{"internal/guess", "internal/health", "internal/ratelimit"},
		forbid: commands,
		why:    "pages and the dashboard's mount; they show what is handed in",
	},
	{
		pkg:  "internal/app",
		ours: []string{everything},
		why:  "the only place where concrete types meet",
	},
	{
		pkg:    "internal/cli",
		ours:   []string{"internal/app", "internal/cli/jobs", "internal/client", "internal/config", "internal/local", "internal/mcp", "internal/redact"},
		forbid: join(redis, asynq),
		why:    "flags and texts for people; it starts a process through app and knows no part of it",
	},
	{
		pkg:    "cmd/gateway-cron",
		ours:   []string{"internal/cli"},
		forbid: join(redis, asynq, router, logging),
		why:    "main hands over arguments and signals; whatever else it knew could not be started by a test",
	},
	{
		pkg: "internal/arch",
		why: "reads the source instead of importing it, so that it can be about every package",
	},
	{
		pkg: "internal/e2e",
		why: "tests of the whole product: its processes are started, not imported",
	},
	{
		pkg: "internal/golden",
		why: "records of releases, and tests of this build against them; nobody else has to know what a release has left",
	},
	{
		pkg: "internal/fault",
		why: "points at which a test build dies; empty in every other, so that it may stand anywhere",
	},
	{
		pkg: "internal/chaos",
		why: "tests of the whole product under faults: its processes are started, not imported",
	},
	{
		pkg: "internal/chaos/judge",
		why: "decides what the product did wrong; one that shared a line with it could share a mistake",
	},
	{
		pkg: "internal/failover",
		why: "tests of deployments whose Redis is more than one server: its processes are started, not imported",
	},
}
