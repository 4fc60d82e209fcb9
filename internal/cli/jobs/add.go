package jobs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

// maxTaskBytes is more than the API takes, and less than what a wrong file could hold.
const maxTaskBytes = 1 << 20

func (t *tool) add() *cobra.Command {
	var (
		d        *draft
		id, file string
	)
	cmd := t.command("add [SCHEDULE] TASK", "make a job",
		`  gateway-cron job add "0 9 * * 1-5" "Summarise my inbox" --tz Europe/Berlin --channel telegram --chat 123
  gateway-cron job add --every 5m "Look after the build" --deliver on_failure
  gateway-cron job add --in 20m "Remind me of the bread" --channel telegram --chat 123
  gateway-cron job add --at "2027-01-01 09:00" --tz Europe/Berlin "Wish a happy new year"
  gateway-cron job add @daily --task-file task.md --name "Daily report" --label team:ops
  echo "Summarise my inbox" | gateway-cron job add "0 9 * * *" -`,
		cobra.ArbitraryArgs, func(cmd *cobra.Command, args []string) error {
			if err := d.place(cmd, args, file != ""); err != nil {
				return err
			}
			body, err := d.body(cmd)
			if err != nil {
				return err
			}
			if err := t.readTask(cmd, body, file); err != nil {
				return err
			}
			if id != "" {
				body["id"] = id
			}
			a, err := t.create(cmd.Context(), client.Path("jobs"), body)
			if err != nil {
				return withSuggestion(err, body)
			}
			if err := t.tellJob("created", body, a); err != nil {
				return err
			}
			t.tellPaused(cmd.Context())
			return nil
		})
	cmd.Long = `Make a job: when, and what the agent is to do then.

SCHEDULE is five cron fields in quotes, minute hour day month weekday, or @hourly,
@daily, @weekly, @monthly. Instead of it stands --every, --in or --at. TASK is a text,
- for standard input, or --task-file. What is not said has the API's default.`
	d = newDraft(cmd, t.Now, func(field) bool { return true })
	t.completeFlags(cmd)
	cmd.Flags().StringVar(&id, "id", "", "id of the job, instead of one that is made up")
	cmd.Flags().StringVar(&file, "task-file", "", "file with the task; - for standard input")
	return cmd
}

// place takes the arguments for the schedule and the task, whichever the flags left open.
func (d *draft) place(cmd *cobra.Command, args []string, taskFile bool) error {
	_, byTask := d.flags["task"]
	if byTask && taskFile {
		return usage(cmd, "--task and --task-file exclude each other: give one of them")
	}
	var open []string
	if d.flags["schedule"] == "" && d.flags["every"] == "" && d.flags["at"] == "" {
		open = append(open, "schedule")
	}
	if !byTask && !taskFile {
		open = append(open, "task")
	}
	if len(args) > len(open) && len(args) >= 5 && open != nil && open[0] == "schedule" {
		return usage(cmd, `quote the schedule, so that it is one argument and the shell leaves its * alone: "0 9 * * 1-5"`)
	}
	switch {
	case len(args) > len(open) && len(open) == 0:
		return usage(cmd, "the flags say when and what already, so %q is too much", args[0])
	case len(args) > len(open):
		return usage(cmd, "%q is too much; quote the %s", args[len(open)], strings.Join(open, " and the "))
	case len(args) < len(open) && len(open)-len(args) == 2:
		return usage(cmd, `when and what are missing, like: gateway-cron job add "0 9 * * 1-5" "Summarise my inbox"`)
	case len(args) < len(open) && len(open) == 2:
		return usage(cmd, "there is one of schedule and task; both are needed, and when is one of: %s", noTimingHint)
	case len(args) < len(open) && open[0] == "task":
		return usage(cmd, "the task is missing: a text in quotes, or --task-file")
	case len(args) < len(open):
		return usage(cmd, "the schedule is missing, one of: %s", noTimingHint)
	}
	for i, name := range open {
		d.values[name], d.flags[name] = args[i], name
	}
	return nil
}

// readTask puts the task into a body, if a file or standard input has it.
func (t *tool) readTask(cmd *cobra.Command, body map[string]any, file string) error {
	if body["task"] == "-" {
		file = "-"
	}
	if file == "" {
		return nil
	}
	text, err := t.readFile(file)
	if err != nil {
		return usage(cmd, "the task cannot be read: %w", err)
	}
	if text = strings.TrimRight(text, "\r\n"); strings.TrimSpace(text) == "" {
		return usage(cmd, "the task is empty")
	}
	body["task"] = text
	return nil
}

// readFile reads a file or, as -, standard input.
func (t *tool) readFile(name string) (string, error) {
	in := t.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	content, err := io.ReadAll(io.LimitReader(in, maxTaskBytes+1))
	if err == nil && len(content) > maxTaskBytes {
		err = fmt.Errorf("%s is over %d bytes", name, maxTaskBytes)
	}
	return string(content), err
}

// withSuggestion adds to a refused schedule what to write instead.
func withSuggestion(err error, body map[string]any) error {
	refused, ok := errors.AsType[*client.Error](err)
	f, also := errors.AsType[*Failure](err)
	written, _ := body["schedule"].(string)
	if !ok || !also || written == "" {
		return err
	}
	for _, p := range refused.Problems {
		if p.Field == "schedule" {
			f.Hint = suggest(written)
		}
	}
	return err
}
