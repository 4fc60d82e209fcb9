package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

// filter is a flag that becomes a parameter of a list.
type filter struct {
	flag, param, usage string
	choices            []string
}

// pages are the flags of a list that the API answers in pages.
type pages struct {
	limit   int
	all     bool
	cursor  string
	most    int // of one page
	filters []filter
	values  map[string]*string
}

func newPages(cmd *cobra.Command, usual, most int, filters ...filter) *pages {
	p := &pages{most: most, filters: filters, values: map[string]*string{}}
	f := cmd.Flags()
	f.IntVarP(&p.limit, "limit", "n", usual, "how many")
	f.BoolVar(&p.all, "all", false, "all, however many")
	f.StringVar(&p.cursor, "cursor", "", "go on where another list ended")
	for _, x := range filters {
		p.values[x.flag] = f.String(x.flag, "", x.usage)
		if len(x.choices) > 0 {
			_ = cmd.RegisterFlagCompletionFunc(x.flag, cobra.FixedCompletions(x.choices, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
		}
	}
	return p
}

// query is what the flags ask for, but for the page.
func (p *pages) query(cmd *cobra.Command) (url.Values, error) {
	if p.limit < 1 {
		return nil, usage(cmd, "--limit must be at least 1, not %d", p.limit)
	}
	q := url.Values{}
	for _, x := range p.filters {
		if cmd.Flags().Changed(x.flag) {
			q.Set(x.param, *p.values[x.flag])
		}
	}
	return q, nil
}

// fetch collects a list. The API may answer fewer than it was asked for, or none, and
// still have more: it looks at a bounded number of records a call. For programs each
// answer is printed as it came, one unless all are wanted.
func fetch[T any](ctx context.Context, t *tool, cmd *cobra.Command, p *pages, path, name string) (items []T, next string, err error) {
	q, err := p.query(cmd)
	if err != nil {
		return nil, "", err
	}
	for cursor := p.cursor; ; cursor = next {
		size := p.most
		if !p.all {
			size = min(p.most, p.limit-len(items))
		}
		q.Set("limit", strconv.Itoa(size))
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		a, err := t.get(ctx, path, q)
		if err != nil {
			return items, "", err
		}
		page, err := answer[map[string]json.RawMessage](a)
		if err != nil {
			return items, "", err
		}
		next = ""
		var some []T
		if err := json.Unmarshal(page[name], &some); err != nil {
			return items, "", fmt.Errorf("the API's answer has no list of %s: %w", name, err)
		}
		if raw, ok := page["nextCursor"]; ok {
			if err := json.Unmarshal(raw, &next); err != nil {
				return items, "", fmt.Errorf("the API's answer has a cursor that is none: %w", err)
			}
		}
		items = append(items, some...)
		if t.json {
			t.printJSON(a.Raw)
			items = nil // they are printed
		}
		if next == "" || !p.all && (t.json || len(items) >= p.limit) {
			return items, next, nil
		}
	}
}

// more says that a list goes on. It is no part of the list.
func (t *tool) more(next string) {
	if next != "" && !t.json {
		fmt.Fprintf(t.Stderr, "There are more: --all, or --cursor %s\n", next)
	}
}

func outcomes() []string {
	return []string{"succeeded", "failed", "timed_out", "cancelled", "skipped", "missed"}
}

func deliveries() []string {
	return []string{"pending", "delivered", "failed", "unknown", "suppressed", "not_requested"}
}

func (t *tool) list() *cobra.Command {
	var p *pages
	cmd := t.command("list", "list jobs", `  gateway-cron job list
  gateway-cron job list --label team:ops --outcome failed
  gateway-cron job list --enabled=false --json`, none, func(cmd *cobra.Command, _ []string) error {
		jobs, next, err := fetch[client.Job](cmd.Context(), t, cmd, p, client.Path("jobs"), "jobs")
		if err != nil || t.json {
			return err
		}
		t.jobTable(jobs)
		t.more(next)
		t.tellPaused(cmd.Context())
		return nil
	})
	p = newPages(cmd, 50, 200,
		filter{"enabled", "enabled", "only enabled jobs; =false only paused ones", []string{"true", "false"}},
		filter{"agent", "agentId", "only jobs of this agent", nil},
		filter{"label", "label", "only jobs with this label", nil},
		filter{"channel", "channel", "only jobs that reply on this channel", nil},
		filter{"session", "sessionKey", "only jobs of this conversation", nil},
		filter{"outcome", "lastOutcome", "only jobs of which this became last", outcomes()},
		filter{"delivery", "lastDelivery", "only jobs whose newest reply stands so", deliveries()},
		filter{"ended", "ended", "only jobs that have no run to come any more, which are left out otherwise", []string{"true", "false"}},
		filter{"next-after", "nextAfter", "only jobs that run next at this time or later", nil},
		filter{"next-before", "nextBefore", "only jobs that run next before this time", nil},
	)
	for _, flag := range []string{"enabled", "ended"} {
		cmd.Flags().Lookup(flag).NoOptDefVal = "true"
	}
	normalise(cmd)
	t.completeFlags(cmd)
	return t.watched(cmd)
}

func (t *tool) jobTable(jobs []client.Job) {
	if len(jobs) == 0 {
		fmt.Fprintln(t.Stderr, `no jobs; make one: gateway-cron job add "0 9 * * 1-5" "Summarise my inbox"`)
		return
	}
	ids := make([]string, len(jobs))
	for i, j := range jobs {
		ids[i] = j.ID
	}
	rows := make([][]cell, len(jobs))
	for i, j := range jobs {
		next := cell{text: t.distance(j.NextRunAt)}
		switch {
		case !j.Enabled:
			next = cell{"paused", faint}
		case j.Ended:
			next = cell{"ended", faint}
		}
		last := t.lastOutcome(j)
		if lost := notArrived(j.LastDelivery); lost != "" {
			last = cell{last.text + ", " + lost, bad}
		}
		at := cell{text: t.clock(j.NextRunAt, zone(j.Timezone))}
		rows[i] = []cell{{text: j.ID}, {text: called(j)}, {text: t.when(j)}, next, at, last}
	}
	t.table([]column{{title: "ID", short: shortJobs(ids)}, {title: "NAME", cut: 14}, {title: "WHEN", cut: 14}, {title: "NEXT"}, {title: "AT", spare: 1, extra: true}, {title: "LAST", cut: 20}}, rows)
}

// lastOutcome says what became of a job last, and when.
func (t *tool) lastOutcome(j client.Job) cell {
	at := j.LastRunAt
	if j.LastOutcomeSlot != 0 {
		at = j.LastOutcomeSlot
	}
	last := cell{j.LastOutcome, outcomeStyle(j.LastOutcome)}
	if at != 0 {
		last.text = strings.TrimSpace(last.text + " " + t.distance(at))
	}
	return last
}

// notArrived says that a reply did not reach its chat, as far as anybody knows; else "".
func notArrived(delivery string) string {
	return map[string]string{"failed": "not delivered", "unknown": "delivery unknown"}[delivery]
}

// called is what people know a job by.
func called(j client.Job) string { return cmp.Or(j.Name, j.Task) }
