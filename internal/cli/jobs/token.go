package jobs

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

func (t *tool) tokenCommands() *cobra.Command {
	cmd := t.group("token", "make, see and revoke the tokens of agents",
		"A token lets its holder see and touch the jobs of one agent or of one session, and nothing\nelse. These commands need the administrator's token.",
		`  gateway-cron token create --name "tools of main" --agent main --max-jobs 20 --min-interval 15m
  gateway-cron token list
  gateway-cron token revoke TOKEN_ID`)
	cmd.AddCommand(alias(t.tokenCreate(), "add new", "make"), alias(t.tokenList(), "ls", ""), alias(t.tokenRevoke(), "rm delete remove", ""))
	return cmd
}

func (t *tool) tokenCreate() *cobra.Command {
	var name, agent, session, minInterval string
	var maxJobs, maxRuns, atOnce int
	cmd := t.command("create", "make a token for the jobs of an agent or of a session", `  gateway-cron token create --name "tools of main" --agent main
  gateway-cron token create --name "one chat" --session agent:main:telegram:dm:123 --max-jobs 5 --min-interval 1h --max-runs-per-day 24`, none,
		func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				return usage(cmd, "--name is missing: the audit says by it who did something")
			}
			if (agent == "") == (session == "") {
				return usage(cmd, "one of --agent and --session is needed: whose jobs the token is for")
			}
			body := map[string]any{"name": name}
			for field, value := range map[string]string{"agentId": agent, "sessionKey": session} {
				if value != "" {
					body[field] = value
				}
			}
			for field, given := range map[string]struct {
				flag  string
				value int
			}{"maxJobs": {"max-jobs", maxJobs}, "maxRunsPerDay": {"max-runs-per-day", maxRuns}, "maxConcurrent": {"max-concurrent", atOnce}} {
				if cmd.Flags().Changed(given.flag) {
					body[field] = given.value
				}
			}
			if minInterval != "" {
				seconds, err := parseDuration(minInterval)
				if err != nil {
					return usage(cmd, "--min-interval %q %w", minInterval, err)
				}
				body["minIntervalSeconds"] = seconds
			}
			a, err := t.call(cmd.Context(), client.Request{Method: http.MethodPost, Path: client.Path("tokens"), Body: body})
			if err != nil {
				return err
			}
			if t.json {
				t.printJSON(a.Raw)
				return nil
			}
			made, err := answer[client.Token](a)
			if err != nil {
				return err
			}
			fmt.Fprintln(t.Stderr, "made token "+printable(made.ID)+"; it is shown only now:")
			fmt.Fprintln(t.Stdout, printable(made.Token))
			return nil
		})
	cmd.Long = "Make a token for the jobs of an agent or of a session, and print it, alone on stdout. It is\nnot kept in a form that could be shown again."
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "what it is for; the audit names it")
	f.StringVar(&agent, "agent", "", "the agent whose jobs it is for")
	f.StringVar(&session, "session", "", "the session whose jobs it is for")
	f.IntVar(&maxJobs, "max-jobs", 0, "how many jobs it may have at a time (default 100)")
	f.StringVar(&minInterval, "min-interval", "", "the least time between two runs of a job, such as 15m")
	f.IntVar(&maxRuns, "max-runs-per-day", 0, "how many runs its jobs may have on a day, UTC")
	f.IntVar(&atOnce, "max-concurrent", 0, "how many runs its agent may have in progress at a time")
	t.completeFlags(cmd)
	return cmd
}

func (t *tool) tokenList() *cobra.Command {
	return t.command("list", "list the tokens, the oldest first", "  gateway-cron token list", none,
		func(cmd *cobra.Command, _ []string) error {
			a, err := t.get(cmd.Context(), client.Path("tokens"), nil)
			if err != nil {
				return err
			}
			if t.json {
				t.printJSON(a.Raw)
				return nil
			}
			list, err := answer[struct{ Tokens []client.Token }](a)
			if err != nil {
				return err
			}
			if len(list.Tokens) == 0 {
				fmt.Fprintln(t.Stderr, `no tokens; make one: gateway-cron token create --name "tools of main" --agent main`)
				return nil
			}
			ids := make([]string, len(list.Tokens))
			rows := make([][]cell, len(list.Tokens))
			for i, k := range list.Tokens {
				state := cell{"valid", good}
				if k.RevokedAt != 0 {
					state = cell{"revoked " + t.clock(k.RevokedAt, time.UTC), bad}
				}
				ids[i] = k.ID
				rows[i] = []cell{{text: k.ID}, {text: k.Name}, {text: whose(k)}, {text: fmt.Sprintf("%d of %d", k.Jobs, k.MaxJobs)},
					{text: optionalDuration(k.MinIntervalSeconds)}, {text: optionalCount(k.MaxRunsPerDay)}, {text: optionalCount(k.MaxConcurrent)}, {text: t.used(k.LastUsedAt)}, state}
			}
			t.table([]column{{title: "TOKEN", short: shortTokens(ids)}, {title: "NAME", cut: 12}, {title: "FOR", cut: 16}, {title: "JOBS"},
				{title: "LEAST INTERVAL", spare: 2, extra: true}, {title: "RUNS A DAY", spare: 3, extra: true}, {title: "AT ONCE", spare: 4, extra: true}, {title: "LAST USED", spare: 1, extra: true}, {title: "STATE", cut: 7}}, rows)
			return nil
		})
}

func (t *tool) tokenRevoke() *cobra.Command {
	cmd := t.command("revoke TOKEN_ID", "end a token; the jobs made with it stay", "  gateway-cron token revoke TOKEN_ID", one("token"),
		func(cmd *cobra.Command, args []string) error {
			return t.onToken(cmd.Context(), args[0], func(id string) error {
				a, err := t.call(cmd.Context(), client.Request{Method: http.MethodDelete, Path: client.Path("tokens", id)})
				if err != nil {
					return err
				}
				if t.json {
					t.printJSON(a.Raw)
					return nil
				}
				fmt.Fprintln(t.Stdout, "revoked "+id)
				return nil
			})
		})
	cmd.ValidArgsFunction = t.completeTokens
	cmd.Long = "End a token, everywhere within 10 seconds. The jobs made with it stay and run on: list them\nwith gateway-cron job list, and pause or delete what should not."
	return cmd
}

// whose jobs a token is for.
func whose(k client.Token) string {
	if k.SessionKey != "" {
		return "session " + k.SessionKey
	}
	return "agent " + k.AgentID
}

// used is when a token was used last, which is known to the hour.
func (t *tool) used(at int64) string {
	if at == 0 {
		return "never"
	}
	return t.clock(at, time.UTC)
}

func optionalDuration(seconds int) string {
	if seconds == 0 {
		return ""
	}
	return formatDuration(seconds)
}

func optionalCount(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
