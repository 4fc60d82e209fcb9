package jobs

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

// timingFlags are the flags that say when a job runs.
func timingFlags(f field) bool {
	switch f.api {
	case "schedule", "every", "at", "timezone", "startAt", "endAt":
		return true
	}
	return false
}

func (t *tool) next() *cobra.Command {
	var (
		d     *draft
		count int
	)
	cmd := t.command("next [JOB]", "tell the next times of a job, of a schedule, or of all jobs", `  gateway-cron job next
  gateway-cron job next JOB
  gateway-cron job next --schedule "0 9 * * 1-5" --tz Europe/Berlin --count 10`, cobra.MaximumNArgs(1),
		func(cmd *cobra.Command, args []string) error {
			body, err := d.body(cmd)
			if err != nil {
				return err
			}
			counted := cmd.Flags().Changed("count")
			switch {
			case len(args) > 0 && len(body) > 0:
				return usage(cmd, "either a job or a schedule, not both")
			case len(args) > 0 && counted:
				return usage(cmd, "--count is for a schedule or for all jobs; of one job the API tells five times")
			case len(args) > 0:
				return t.nextOfJob(cmd, args[0])
			case len(body) > 0:
				if counted {
					body["count"] = count
				}
				return t.preview(cmd, body)
			}
			q := url.Values{}
			if counted {
				q.Set("limit", strconv.Itoa(count))
			}
			return t.upcoming(cmd, q)
		})
	d = newDraft(cmd, t.Now, timingFlags)
	t.completeFlags(cmd)
	cmd.Flags().IntVarP(&count, "count", "n", 5, "how many times; of all jobs 20 unless you say")
	cmd.ValidArgsFunction = t.completeJobs
	return t.watched(cmd)
}

func (t *tool) nextOfJob(cmd *cobra.Command, text string) error {
	a, err := t.getJob(cmd.Context(), text)
	if err != nil {
		return err
	}
	if t.json {
		t.printJSON(a.Raw)
		return nil
	}
	j, err := answer[client.Job](a)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.Stdout, "%s: %s\n", t.when(j), oneLine(j.Description))
	if len(j.Next) == 0 {
		fmt.Fprintf(t.Stdout, "  never (%s)\n", t.jobState(j).text)
	}
	return t.times(j.Next, j.Timezone)
}

// preview tells what a timing means before a job is made of it.
func (t *tool) preview(cmd *cobra.Command, body map[string]any) error {
	a, err := t.call(cmd.Context(), client.Request{Method: http.MethodPost, Path: client.Path("preview"), Body: body})
	if err != nil {
		return withSuggestion(err, body)
	}
	if t.json {
		t.printJSON(a.Raw)
		return nil
	}
	p, err := answer[struct {
		Timezone, Description string
		Next                  []string
	}](a)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.Stdout, "%s, %s\n", oneLine(p.Description), oneLine(p.Timezone))
	return t.times(p.Next, p.Timezone)
}

// times prints RFC 3339 times on the clocks of a zone.
func (t *tool) times(times []string, in string) error {
	for _, text := range times {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return fmt.Errorf("the API's answer has a time that is none: %w", err)
		}
		fmt.Fprintf(t.Stdout, "  %s\n", t.clockAndDistance(at.UnixMilli(), zone(in)))
	}
	return nil
}

// upcoming tells what comes next over all jobs.
func (t *tool) upcoming(cmd *cobra.Command, q url.Values) error {
	a, err := t.get(cmd.Context(), client.Path("upcoming"), q)
	if err != nil {
		return err
	}
	if t.json {
		t.printJSON(a.Raw)
		return nil
	}
	u, err := answer[client.Upcoming](a)
	if err != nil {
		return err
	}
	if u.Paused {
		fmt.Fprintln(t.Stderr, "everything is paused: what comes due is skipped until 'gateway-cron resume-all'")
	}
	if len(u.Upcoming) == 0 {
		fmt.Fprintln(t.Stderr, "nothing comes")
		return nil
	}
	ids := make([]string, len(u.Upcoming))
	rows := make([][]cell, len(u.Upcoming))
	for i, s := range u.Upcoming {
		due := s.At
		if s.DueAt != 0 {
			due = s.DueAt
		}
		ids[i] = s.JobID
		rows[i] = []cell{{text: t.clock(due, zone(s.Timezone))}, {text: t.distance(due)}, {text: s.JobID}, {text: s.Name}, {text: s.Description}}
	}
	t.table([]column{{title: "TIME"}, {title: ""}, {title: "JOB", short: shortJobs(ids)}, {title: "NAME", cut: 10}, {title: "WHEN", cut: 10}}, rows)
	return nil
}
