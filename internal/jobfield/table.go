package jobfield

// Bounds that others go by, too. Sizes are in bytes.
const (
	MaxTaskBytes       = 64 << 10
	MaxIdentifierBytes = 200 // of ids and keys that are others'
	MinEverySeconds    = 10
	MaxEverySeconds    = 366 * 24 * 3600
	DefaultMaxRetries  = 3 // ambiguous attempts included
)

const exampleInstant = `"2027-03-28T12:00:00+01:00"`

// table has the fields in the order in which they are shown.
var table = []Field{
	{
		Name: "schedule", Kind: Cron, Most: 256, Timing: true, Always: true, Example: `"0 9 * * 1-5"`,
		Text:   "Five cron fields (minute hour day-of-month month day-of-week), or @hourly @daily @midnight @weekly @monthly @yearly @annually, which are stored expanded. A job has one of `schedule`, `every` and `at`.",
		Values: "256 bytes",
		Flag:   "schedule", Usage: `five cron fields, like "0 9 * * 1-5", or @hourly, @daily, @weekly, @monthly`,
		Tool:        `Five cron fields, minute hour day-of-month month day-of-week, as in "0 9 * * 1-5" (09:00 on weekdays), "*/15 * * * *" (every 15 minutes) or "0 18 1 * *" (18:00 on day 1 of every month). No seconds field. Instead: every, or at.`,
		ToolExample: `"0 9 * * 1-5"`,
	},
	{
		Name: "every", Instead: "schedule", Kind: Seconds, Low: MinEverySeconds, Most: MaxEverySeconds, Timing: true, Example: "3600",
		Text: "Seconds from one slot to the next, counted from `startAt`, else from when it was set.",
		Flag: "every", Usage: "run each so often, like 5m, 2h or 1d, instead of a schedule",
		Tool: "Instead of schedule: run each so many seconds, counted from now or startAt; 10 at least.", ToolExample: "7200",
	},
	{
		Name: "at", Instead: "schedule", Kind: Instant, Timing: true, Example: exampleInstant,
		Text: "The one slot; the job is deleted when it has run. Stands without `startAt`, `endAt` and `maxRuns`.",
		More: "It has [ended](#ends) if its slot passed without a run.",
		Flag: "at", Usage: "run once at this time, like 2027-01-01T09:00:00+01:00, instead of a schedule",
		Tool:        "Instead of schedule: run once at this instant, then the job is deleted. RFC 3339 with an offset.",
		ToolExample: `"2027-03-01T17:00:00+01:00"`,
	},
	{
		Name: "timezone", Kind: Zone, Timing: true, Always: true, Default: "", Example: `"Europe/Berlin"`,
		Text:   "IANA name of the zone on whose wall clock the schedule is; UTC if left out.",
		Values: "`UTC`",
		Flag:   "tz", Usage: "IANA zone of the schedule, like Europe/Berlin (default UTC)",
		Tool:        "The IANA zone in which schedule is read; UTC if absent, so send the user's. Daylight saving is taken care of.",
		ToolExample: `"Europe/Berlin"`,
	},
	{
		Name: "startAt", Kind: Instant, Timing: true, Example: exampleInstant,
		Text: "No slot before this time.",
		Flag: "start", Usage: "no run before this time",
		Tool: "No run before this instant; RFC 3339 with an offset.", ToolExample: `"2027-01-01T00:00:00+01:00"`,
	},
	{
		Name: "endAt", Kind: Instant, Timing: true, Example: exampleInstant,
		Text: "No slot after this time.",
		Flag: "end", Usage: "no run after this time",
		Tool: "No run after this instant; RFC 3339 with an offset.", ToolExample: `"2027-12-31T23:59:59+01:00"`,
	},
	{
		Name: "jitterSeconds", Stored: "jitter", Kind: Seconds, Most: 24 * 3600, Default: 0, Example: "300",
		Text: "Each job puts its runs off by a share of its own, the same every time, but never as late as the next slot.",
		Flag: "jitter", Usage: "put runs off by up to so much, the same for each run of the job",
	},

	{
		Name: "task", Kind: Text, Most: MaxTaskBytes, Required: true, Always: true, Example: `"Summarise my unread mail"`,
		Text: "The text the agent is given at each run.",
		Flag: "task", Usage: "what the agent is to do",
		Tool:        "What the agent is told at each run, complete in itself: the run does not see this conversation unless it has its sessionKey.",
		ToolExample: `"Summarise my unread mail"`,
	},
	{
		Name: "name", Kind: Line, Most: 200, Example: `"Morning summary"`,
		Text: "One line, for people.",
		Flag: "name", Usage: "one line, for people",
		Tool: "One line for people to recognise the job by.", ToolExample: `"Morning summary"`,
	},
	{
		Name: "labels", Kind: Labels, Length: 10, Example: `["team:ops","daily"]`,
		Text:   "What the job can be found by.",
		Values: "at most 10, each 1 to 63 of `a-z 0-9 _ . : / -`",
		Flag:   "label", Usage: "label to find the job by, like team:ops; may be given several times",
		Tool: "Words to find the job by: each up to 63 of a-z 0-9 _ . : / -.", ToolExample: `["team:ops"]`,
	},
	{
		// Without null: clients that send every field, null where they have nothing to say,
		// would resume a paused job by renaming it.
		Name: "enabled", Kind: Truth, NoNull: true, Always: true, Default: true, Example: "true",
		Text: "`false` pauses the job; a pause is not made up for.",
		More: "A job is disabled by itself after ten failed runs of the schedule in a row; `pauseReason` says so, and resuming begins the count anew.",
		Flag: "enabled", Usage: "false pauses the job",
		Tool: "false makes the job paused; true if absent.", ToolExample: "true",
	},

	{
		Name: "channel", Kind: Channel, Example: `"telegram"`,
		Text:   "Where the reply goes: a connected channel. Comes with `chatId`.",
		Values: "`telegram` with a bot token, any name with a channel manager",
		Flag:   "channel", Usage: "where replies go, like telegram; with --chat",
		Tool:        "Where replies go, with chatId: a connected channel. Without both the reply is only kept in the run.",
		ToolExample: `"telegram"`,
	},
	{
		Name: "chatId", Kind: Chat, Most: MaxIdentifierBytes, Example: `"123456"`,
		Text: "Which chat gets the reply. Comes with `channel`.",
		Flag: "chat", Usage: "chat that replies go to",
		Tool: "The chat in that channel, with channel.", ToolExample: `"123456"`,
	},
	{
		Name: "peerId", Kind: Chat, Most: MaxIdentifierBytes, Example: `"123456"`,
		Text: "Who the chat is with.",
		Flag: "peer", Usage: "the person in the chat",
	},
	{
		Name: "threadId", Kind: Chat, Most: MaxIdentifierBytes, Example: `"42"`,
		Text: "A thread of the chat.",
		Flag: "thread", Usage: "thread of the chat",
	},
	{
		Name: "isGroup", Kind: MaybeTruth, Example: "true",
		Text: "Whether the chat is a group.",
		Flag: "group", Usage: "whether the chat is a group",
		Tool: "Whether that chat is a group.", ToolExample: "false",
	},
	{
		Name: "deliver", Kind: Word, Choices: []string{"always", "on_failure", "never"}, Default: "always", Example: `"always"`,
		Text: "What goes to the chat: `always` every reply, and alerts; `on_failure` no reply, and an alert when a run fails; `never` nothing.",
		Flag: "deliver", Usage: "what goes to the chat (default always)",
		Tool:        "What goes to the chat: always (every reply), on_failure (only word of failures) or never. always if absent.",
		ToolExample: `"always"`,
	},
	{
		Name: "alertChannel", Kind: Channel, Example: `"telegram"`,
		Text:   "Where it is told that the job fails or did not run, with `alertChatId`; `none` for nowhere. If left out, the job's own chat, or, where it has none or `deliver` is `never`, whoever the deployment tells.",
		Values: "as `channel`, or `none`; see [alerts](operations.md#alerts)",
		Flag:   "alert-channel", Usage: "where it is told that the job fails; with --alert-chat; none for nowhere (default the job's chat, else whoever the deployment tells)",
	},
	{
		Name: "alertChatId", Kind: Chat, Most: MaxIdentifierBytes, Example: `"123456"`,
		Text: "The chat that is told.",
		Flag: "alert-chat", Usage: "chat that is told",
	},
	{
		Name: "alertThreadId", Kind: Chat, Most: MaxIdentifierBytes, Example: `"42"`,
		Text: "A thread of that chat.",
		Flag: "alert-thread", Usage: "thread of that chat",
	},
	{
		// Most is below the number of failures that disable a job, which is told in any case.
		Name: "alertAfter", Kind: Number, Low: 1, Most: 9, Example: "2",
		Text: "It is told after so many failures of the schedule in a row. If left out, as many as the deployment says (two), but the first one where the next run is over an hour away or none is left, where the same would fail again, and with `deliver` `on_failure`.",
		Flag: "alert-after", Usage: "tell after so many failures in a row (default 2; 1 if the next run is over an hour away)",
	},
	{
		Name: "alertCooldownSeconds", Stored: "alertCooldown", Kind: Seconds, Low: 1, Most: 7 * 24 * 3600, Example: "3600",
		Text: "How long the job then tells of no other failure. If left out, as long as the deployment says (an hour).",
		Flag: "alert-cooldown", Usage: "how long it then tells of no other (default 1h)",
	},

	{
		Name: "agentId", Kind: Identifier, Most: MaxIdentifierBytes, Example: `"main"`,
		Text: "Which agent; `main` if left out.",
		Flag: "agent", Usage: "the agent (default main)",
		Tool: "The agent that does the task; main if absent.", ToolExample: `"main"`,
	},
	{
		Name: "sessionKey", Kind: Identifier, Most: MaxIdentifierBytes, Example: `"agent:main:telegram:dm:123"`,
		Text: "The conversation that the runs go into; derived from the [chat](#sessions) and its thread, else from the job, if left out.",
		More: "No `//`, no `.` or `..` between slashes.",
		Flag: "session", Usage: "conversation that the runs go into (default that of the chat)",
		Tool:        "The conversation that the runs go into and remember; the chat's own if absent.",
		ToolExample: `"agent:main:telegram:dm:123456"`,
	},
	{
		Name: "context", Kind: Word, Choices: []string{"session", "isolated"}, Default: "session", Example: `"session"`,
		Text: "`session` sends what was said before along; `isolated` begins each run with nothing, in a session of the job's own that holds the last run only, and stands without `sessionKey`.",
		Flag: "context", Usage: "isolated starts each run with nothing (default session)",
		Tool:        "session: a run sees what was said before; isolated: each begins with nothing, which is cheaper. session if absent.",
		ToolExample: `"isolated"`,
	},
	{
		Name: "model", Kind: Identifier, Most: MaxIdentifierBytes, Example: `"anthropic/claude-sonnet-4-5"`,
		Text: "Passed to the ai-server; its default if left out.",
		Flag: "model", Usage: "model (default the ai-server's)",
		Tool: "The model to use; the ai-server's own if absent.", ToolExample: `"anthropic/claude-sonnet-4-5"`,
	},
	{
		Name: "reasoningEffort", Kind: Identifier, Most: MaxIdentifierBytes, Example: `"medium"`,
		Text: "Passed to the ai-server; its default if left out.",
		Flag: "effort", Usage: "reasoning effort of the model",
	},
	{
		Name: "allowScheduling", Kind: Truth, Default: false, Example: "true",
		Text: "Leaves the agent the tools that make and run jobs. Where tools name the run, it can be neither set nor changed, and the runs of one job make ten jobs at most; where they do not, nothing bounds these but the token.",
		More: "See [Jobs made in a run](#jobs-made-in-a-run).",
		Flag: "allow-scheduling", Usage: "leave the agent the tools that make and run jobs",
		Tool:        "Leave the agent, in its runs, the tools that make and run jobs. Only if the user asks for it: such a job can make others, ten where its tools name the run, else without end.",
		ToolExample: "false",
	},

	{
		Name: "maxRuns", Kind: Number, Low: 1, Most: 1_000_000, Example: "1",
		Text: "The job is deleted after that many runs; its history stays.",
		More: "It says what became of the job to whoever asks for it ([Ends](#ends)).",
		Flag: "max-runs", Usage: "delete the job after so many runs",
		Tool: "Delete the job after it has run this many times by its schedule.", ToolExample: "5",
	},
	{
		Name: "overlap", Kind: Word, Choices: []string{"skip", "queue_one", "allow", "cancel_previous"}, Default: "skip", Example: `"skip"`,
		Text: "What becomes of a slot that comes due while a run of the job is in progress: `skip` it; `queue_one`, it runs after that, and one waits at most; `allow` it, in one session one after the other; `cancel_previous` ends that run, if it is one of the schedule and not committed.",
		Flag: "overlap", Usage: "when the last run has not ended (default skip)",
		Tool:        "When a run is still going on as the next comes due: skip that, queue_one, allow or cancel_previous. skip if absent.",
		ToolExample: `"skip"`,
	},
	{
		Name: "misfire", Kind: Word, Choices: []string{"run_once", "run_all", "skip"}, Default: "run_once", Example: `"run_once"`,
		Text: "What becomes of slots that were missed: `run_once`, the newest runs; `run_all`, the newest ten run, one after the other; `skip`, none that is over a minute late.",
		Flag: "misfire", Usage: "what to do about missed runs (default run_once)",
		Tool:        "What was missed while nothing could run: run_once (the newest), run_all (the newest ten) or skip. run_once if absent.",
		ToolExample: `"run_once"`,
	},
	{
		// A slot counts as late only after a minute.
		Name: "misfireGraceSeconds", Stored: "misfireGrace", Kind: Seconds, Low: 60, Most: 7 * 24 * 3600, Default: 3600, Example: "3600",
		Text: "How old a missed slot may be to run.",
		Flag: "misfire-grace", Usage: "how late a missed run may be made (default 1h)",
	},
	{
		Name: "timeoutSeconds", Stored: "timeout", Kind: Seconds, Low: 1, Most: 6 * 3600, Default: 900, Example: "900",
		Text: "Deadline of one attempt.",
		Flag: "timeout", Usage: "limit of one attempt (default 15m)",
		Tool: "How long one attempt may take: 1 to 21600; 900 if absent.", ToolExample: "900",
	},
	{
		Name: "maxRetries", Kind: Number, Most: 10, Default: DefaultMaxRetries, Example: "3",
		Text: "How often a failed run is tried again, but never past the next slot.",
		Flag: "max-retries", Usage: "how often a failed run is tried again (default 3)",
	},
	{
		Name: "retryDelaysSeconds", Stored: "retryDelays", Kind: Delays, Length: 10, Low: 1, Most: 24 * 3600, Default: []int{30, 60, 300}, Example: "[30,60,300]",
		Text: "How long after a failure, for the first retry, the second and so on; the last one repeats.",
		Flag: "retry-delays", Usage: "how long to wait before each retry (default 30s,1m,5m)",
	},
	{
		Name: "onAmbiguous", Kind: Word, Choices: []string{"retry", "fail"}, Default: "retry", Example: `"retry"`,
		Text: "After an attempt whose outcome nobody knows.",
		Flag: "on-ambiguous", Usage: "after an attempt whose outcome nobody knows (default retry)",
	},
}
