package jobs

import (
	"cmp"
	"context"
	"errors"
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
			s, err := t.changeAll(cmd.Context(), client.Request{Method: http.MethodGet, Path: client.Path("status")})
			if err == nil && s.Health.Urgent() {
				return &Failure{Code: exitFailed, Err: errors.New("the deployment is " + s.Health.State), Hint: "'gateway-cron doctor' says more."}
			}
			return err
		})
	cmd.Long = "Tell how everything stands. Exit code 1 if the deployment is failing, or if slots are late or\nall places taken."
	t.common(cmd)
	return t.watched(cmd)
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
			_, err := t.changeAll(cmd.Context(), client.Request{Method: http.MethodPost, Path: client.Path("all", "pause"), Body: body, Repeatable: true})
			return err
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
			_, err := t.changeAll(cmd.Context(), client.Request{Method: http.MethodPost, Path: client.Path("all", "resume")})
			return err
		})
	t.common(cmd)
	return cmd
}

// changeAll calls and tells how everything stands then.
func (t *tool) changeAll(ctx context.Context, r client.Request) (s client.Status, err error) {
	a, err := t.call(ctx, r)
	if err != nil {
		return s, err
	}
	s, err = answer[client.Status](a)
	if t.json {
		t.printJSON(a.Raw)
		return s, nil // programs read it themselves
	}
	if err != nil {
		return s, err
	}
	state := cell{"going on", good}
	if s.Paused {
		state = cell{"everything is paused since " + t.clockAndDistance(s.PausedSince, time.UTC), bad}
	}
	facts := append([]fact{{"state", state}, {"reason", cell{text: s.Reason}}}, healthFacts(s.Health)...)
	if s.Token != nil {
		t.facts(append(facts, fact{"token", cell{text: s.Token.Name + ", for " + whose(*s.Token)}}))
		return s, nil
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
	return s, nil
}

// healthFacts are what is wrong, each with what to do.
func healthFacts(h client.Health) []fact {
	if h.State == "" {
		return nil
	}
	tone := bad
	if h.State == "ok" {
		tone = good
	}
	facts := []fact{{"health", cell{h.State, tone}}}
	for _, r := range h.Reasons {
		if r.Code == "paused" {
			continue // the state says it
		}
		text := r.Text
		if remedy := cmp.Or(r.Command, r.Remedy); remedy != "" {
			text += " -> " + remedy
		}
		facts = append(facts, fact{"", cell{text: text}})
	}
	return facts
}
