package jobs

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

func (t *tool) status() *cobra.Command {
	cmd := t.command("status", "tell how everything stands", "  gateway-cron status\n  gateway-cron status --json", none,
		func(cmd *cobra.Command, _ []string) error {
			return t.changeAll(cmd.Context(), client.Request{Method: http.MethodGet, Path: client.Path("status")})
		})
	t.common(cmd)
	return cmd
}

func (t *tool) pauseAll() *cobra.Command {
	var reason string
	var cancelRuns bool
	cmd := t.command("pause-all", "stop everything: nothing begins until resume-all", `  gateway-cron pause-all --reason "the agents write to the wrong chat"
  gateway-cron pause-all --cancel-runs`, none,
		func(cmd *cobra.Command, _ []string) error {
			body := map[string]any{}
			if reason != "" {
				body["reason"] = reason
			}
			if cancelRuns {
				body["cancelRuns"] = true
			}
			return t.changeAll(cmd.Context(), client.Request{Method: http.MethodPost, Path: client.Path("all", "pause"), Body: body, Repeatable: true})
		})
	cmd.Long = "Stop everything, on all machines. After the answer nothing begins; runs under way go on to\ntheir end unless --cancel-runs cancels them too. What comes due meanwhile is not made up for.\n" + goesOn
	cmd.Flags().StringVar(&reason, "reason", "", "why, for whoever looks at the status")
	cmd.Flags().BoolVar(&cancelRuns, "cancel-runs", false, "cancel the runs under way, too")
	t.common(cmd)
	return cmd
}

func (t *tool) resumeAll() *cobra.Command {
	cmd := t.command("resume-all", "let everything go on after pause-all", "  gateway-cron resume-all", none,
		func(cmd *cobra.Command, _ []string) error {
			return t.changeAll(cmd.Context(), client.Request{Method: http.MethodPost, Path: client.Path("all", "resume")})
		})
	t.common(cmd)
	return cmd
}

// changeAll calls and tells how everything stands then.
func (t *tool) changeAll(ctx context.Context, r client.Request) error {
	a, err := t.call(ctx, r)
	if err != nil {
		return err
	}
	if t.json {
		t.printJSON(a.Raw)
		return nil
	}
	s, err := answer[client.Status](a)
	if err != nil {
		return err
	}
	state := cell{"going on", good}
	if s.Paused {
		state = cell{"everything is paused since " + t.clockAndDistance(s.PausedSince, time.UTC), bad}
	}
	facts := []fact{{"state", state}, {"reason", cell{text: s.Reason}}}
	if s.Token != nil {
		t.facts(append(facts, fact{"token", cell{text: s.Token.Name + ", for " + whose(*s.Token)}}))
		return nil
	}
	if s.CancelledRuns > 0 {
		facts = append(facts, fact{"cancelled", cell{text: strconv.Itoa(s.CancelledRuns) + " runs"}})
	}
	facts = append(facts,
		fact{"note", cell{s.Note, bad}},
		fact{"jobs", cell{text: strconv.Itoa(s.Jobs)}},
		fact{"due now", cell{text: strconv.Itoa(s.Due)}},
		fact{"unfinished", cell{text: strconv.Itoa(s.Unfinished) + " runs and deliveries"}})
	for _, damage := range slices.Sorted(maps.Keys(s.Repaired)) {
		facts = append(facts, fact{"repaired", cell{text: fmt.Sprintf("%s, %d times", damage, s.Repaired[damage])}})
	}
	for _, q := range s.Quarantined {
		facts = append(facts, fact{"cannot be read", cell{fmt.Sprintf("%s since %s: %s", q.Entry, t.clock(q.Since, time.UTC), q.Reason), bad}})
	}
	if more := s.QuarantinedCount - len(s.Quarantined); more > 0 {
		facts = append(facts, fact{"cannot be read", cell{fmt.Sprintf("%d more", more), bad}})
	}
	t.facts(facts)
	return nil
}
