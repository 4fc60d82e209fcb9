package mcp

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/gatewaycron/gatewaycron/internal/jobfield"
)

// Bounds of answers, which a model reads whole.
const (
	jobsPage, maxJobsPage = 20, 50
	runsPage, maxRunsPage = 10, 50

	lineRunes  = 120  // of a task or reply in a list
	taskRunes  = 4000 // of a single job
	replyRunes = 8000 // of a single run

	// maxWaitSeconds is less than the 60 s after which clients give a call up.
	maxWaitSeconds = 50
)

// tools are the tools. Their names are those that the ai-server gives its own, in the
// spelling of this protocol.
func (s *Server) tools() []tool {
	no, yes := false, true
	var (
		// None reaches beyond the deployment by itself, but a run does.
		reads   = &sdk.ToolAnnotations{ReadOnlyHint: true, IdempotentHint: true, OpenWorldHint: &no}
		adds    = &sdk.ToolAnnotations{DestructiveHint: &no, OpenWorldHint: &no}
		sets    = &sdk.ToolAnnotations{DestructiveHint: &no, IdempotentHint: true, OpenWorldHint: &no}
		changes = &sdk.ToolAnnotations{DestructiveHint: &yes, IdempotentHint: true, OpenWorldHint: &no}
		runs    = &sdk.ToolAnnotations{DestructiveHint: &no, OpenWorldHint: &yes}

		jobID = property{"jobId", "string", "The job's id, as create_cron_job and list_cron_jobs answer it.", `"job_01m83mjkge4cp4pd476svfty9y"`}
	)
	return []tool{
		{
			name: "create_cron_job", title: "Create a scheduled job", hints: adds, do: createJob,
			description: `Makes a job that runs a task for an AI agent: again and again by schedule or every, or once by at. Send exactly one of these three, and the task.
Examples: {"schedule":"0 9 * * 1-5","timezone":"Europe/Berlin","task":"Summarise my unread mail","name":"Morning summary"}; once: {"at":"2027-03-01T17:00:00+01:00","task":"Remind me to call Ada"}; five times: {"every":3600,"maxRuns":5,"task":"Has the build ended?"}.
The answer says when it runs next. Each call makes another job.`,
			input: object([]string{"task"}, settings(everyField)...),
		},
		{
			name: "list_cron_jobs", title: "List scheduled jobs", hints: reads, do: listJobs,
			description: `Lists jobs, the oldest first, each with its id, when it runs, how its last run ended, and the beginning of its task.`,
			input: object(nil,
				property{"label", "string", "Only jobs that have this label.", `"team:ops"`},
				property{"enabled", "boolean", "true: only jobs that are not paused; false: only those that are.", `true`},
				property{"ended", "boolean", "true: only jobs that have no run to come any more, which are left out otherwise.", `true`},
				property{"limit", "integer", "How many at most: 1 to 50; 20 if absent.", `20`},
				property{"cursor", "string", "The nextCursor of the answer before, for what comes after it.", ``}),
		},
		{
			name: "get_cron_job", title: "Read a scheduled job", hints: reads, do: getJob,
			description: `Reads one job: its whole task, all settings, its next times and how its last run ended.`,
			input:       object([]string{"jobId"}, jobID),
		},
		{
			name: "update_cron_job", title: "Change a scheduled job", hints: changes, stops: true, do: updateJob,
			description: `Changes what is sent of a job and leaves the rest. Of schedule, every and at the one that is sent replaces the others. The answer says when the job runs next; what is under way goes on by the old definition.
Example: {"jobId":"job_…","schedule":"30 8 * * 1-5"}; without a chat: {"jobId":"job_…","clear":["channel","chatId"]}.`,
			input: object([]string{"jobId"}, slices.Concat([]property{jobID}, settings(ofTiming),
				briefly(settings(func(f jobfield.Field) bool { return !f.Timing })), []property{
					{"clear", "array of string", "The names of fields to set back to their defaults.", `["maxRuns","endAt"]`},
				})...),
		},
		{
			name: "delete_cron_job", title: "Delete a scheduled job", hints: changes, stops: true, do: deleteJob,
			description: `Deletes a job for good; to stop it for a while there is pause_cron_job. A run under way finishes, one that waits is cancelled, and the history stays readable.`,
			input:       object([]string{"jobId"}, jobID),
		},
		{
			name: "run_cron_job", title: "Run a job now", hints: runs, do: runJob,
			description: `Runs a job once now, also a paused one, beside its schedule, which stays as it is. This costs a turn of the agent, and the reply goes where the job sends its replies. With waitSeconds the answer holds the reply if the run ends in that time; otherwise it goes on by itself, and get_cron_run tells how it ended. Do not call this again because a run takes long.`,
			input: object([]string{"jobId"}, jobID,
				property{"waitSeconds", "integer", "How long to wait for the end of the run: 0 (do not wait, the default) to 50. A turn takes from seconds to many minutes.", `30`}),
		},
		{
			name: "pause_cron_job", title: "Pause a job", hints: sets, stops: true, do: pauseJob,
			description: `Stops a job until resume_cron_job. A run under way finishes, one that waits is cancelled, and what comes due meanwhile is not made up for.`,
			input: object([]string{"jobId"}, jobID,
				property{"reason", "string", "Why, for whoever sees the job later.", `"on holiday until Monday"`}),
		},
		{
			name: "resume_cron_job", title: "Resume a job", hints: sets, stops: true, do: resumeJob,
			description: `Lets a paused job go on with its next time from now, also one that was disabled because it failed ten times in a row: find out why first.`,
			input:       object([]string{"jobId"}, jobID),
		},
		{
			name: "preview_schedule", title: "Preview a schedule", hints: reads, do: preview,
			description: `Says what a schedule means in words, with its next times in its zone and in UTC. It makes nothing and costs nothing. Send exactly one of schedule, every and at.`,
			input: object(nil, slices.Concat(settings(ofTiming), []property{
				{"count", "integer", "How many times: 1 to 50; 5 if absent.", `5`},
				{"after", "string", "Show the times after this instant, not after now; RFC 3339 with an offset.", `"2027-03-27T00:00:00Z"`},
			})...),
		},
		{
			name: "get_cron_status", title: "How the scheduler stands", hints: reads, stops: true, do: getStatus,
			description: `Says whether what comes due starts: whether everything is paused, and what is wrong with the scheduler, if anything is, with what to do about it.`,
			input:       object(nil),
		},
		{
			name: "list_cron_runs", title: "List the runs of a job", hints: reads, do: listRuns,
			description: `Lists the runs of a job, the newest first, also of a job that is gone: when, how each ended and why, the beginning of its reply, and whether that was delivered. What did not run is listed, too, with the reason.`,
			input: object([]string{"jobId"}, jobID,
				property{"outcome", "string", "Only runs that ended so: succeeded, failed, timed_out, cancelled, skipped or missed.", `"failed"`},
				property{"limit", "integer", "How many at most: 1 to 50; 10 if absent.", `10`},
				property{"cursor", "string", "The nextCursor of the answer before, for what comes after it.", ``}),
		},
		{
			name: "get_cron_run", title: "Read a run", hints: reads, do: getRun,
			description: `Reads one run: how it stands or ended, its attempts, its whole reply, and whether that was delivered.`,
			input: object([]string{"runId"},
				property{"runId", "string", "The run's id, as run_cron_job and list_cron_runs answer it.", `"job_01m83mjkge4cp4pd476svfty9y:1795418580"`}),
		},
	}
}

// settings are the fields of a job that want picks of those that a model has a use for; the
// API knows more, and takes them all.
func settings(want func(jobfield.Field) bool) []property {
	var all []property
	for _, f := range jobfield.All() {
		if f.Tool != "" && want(f) {
			all = append(all, property{f.Name, kindOf(f), f.Tool, f.ToolExample})
		}
	}
	return all
}

func ofTiming(f jobfield.Field) bool { return f.Timing }

func everyField(jobfield.Field) bool { return true }

// kindOf is the type of a field in JSON Schema.
func kindOf(f jobfield.Field) string {
	switch f.Kind {
	case jobfield.Number, jobfield.Seconds:
		return "integer"
	case jobfield.Truth, jobfield.MaybeTruth:
		return "boolean"
	case jobfield.Labels:
		return "array of string"
	case jobfield.Delays:
		return "array of integer"
	default:
		return "string"
	}
}

// briefly leaves out what create_cron_job has taught: each model pays for every word of
// this list.
func briefly(properties []property) []property {
	brief := make([]property, len(properties))
	for i, p := range properties {
		brief[i] = property{name: p.name, kind: p.kind, description: "As for create_cron_job."}
	}
	return brief
}

// property is one argument of a tool. Its kind is a type of JSON Schema, or "array of" one, its
// example JSON, or nothing.
type property struct{ name, kind, description, example string }

// object is the schema of a tool's arguments, the properties in their order. It does not
// refuse others: the API knows more fields, and says more helpfully what is wrong.
func object(required []string, properties ...property) json.RawMessage {
	var b bytes.Buffer
	b.WriteString(`{"type":"object","properties":{`)
	for i, p := range properties {
		if i > 0 {
			b.WriteByte(',')
		}
		kind, items, list := strings.Cut(p.kind, " of ")
		b.WriteString(quote(p.name) + `:{"type":` + quote(kind))
		if list {
			b.WriteString(`,"items":{"type":` + quote(items) + `}`)
		}
		b.WriteString(`,"description":` + quote(p.description))
		if p.example != "" {
			b.WriteString(`,"examples":[` + p.example + `]`)
		}
		b.WriteByte('}')
	}
	b.WriteByte('}')
	if len(required) > 0 {
		names, _ := json.Marshal(required) // strings always encode
		b.WriteString(`,"required":` + string(names))
	}
	b.WriteByte('}')
	return b.Bytes()
}

func quote(s string) string {
	raw, _ := json.Marshal(s) // a string always encodes
	return string(raw)
}
