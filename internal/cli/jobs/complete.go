package jobs

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

// completeWithin is how long somebody who pressed Tab waits at most.
const completeWithin = time.Second

type completions = []cobra.Completion

// completeJobs offers the ids of the jobs and, once one is begun, their names.
func (t *tool) completeJobs(cmd *cobra.Command, args []string, begun string) (completions, cobra.ShellCompDirective) {
	return t.complete(cmd, args, func(ctx context.Context) (found completions) {
		for _, j := range offered[client.Job](ctx, t, "jobs", begun, func(j client.Job) bool { return begins(begun, j.ID) || begins(begun, j.Name) }) {
			if strings.HasPrefix(j.ID, begun) {
				found = append(found, cobra.CompletionWithDesc(j.ID, fit(oneLine(called(j)), 60)))
			}
			if begun != "" && j.Name == oneLine(j.Name) && strings.HasPrefix(j.Name, begun) {
				found = append(found, cobra.CompletionWithDesc(j.Name, j.ID))
			}
		}
		return found
	})
}

// completeRuns offers the ids of the newest runs.
func (t *tool) completeRuns(cmd *cobra.Command, args []string, begun string) (completions, cobra.ShellCompDirective) {
	return t.complete(cmd, args, func(ctx context.Context) (found completions) {
		for _, r := range offered[client.Run](ctx, t, "runs", begun, func(r client.Run) bool { return begins(begun, r.ID) }) {
			if strings.HasPrefix(r.ID, begun) {
				found = append(found, cobra.CompletionWithDesc(r.ID, fit(oneLine(outcome(r).text+" "+t.distance(r.CreatedAt)+" "+r.JobName), 60)))
			}
		}
		return found
	})
}

// completeTokens offers the ids of the tokens that are valid.
func (t *tool) completeTokens(cmd *cobra.Command, args []string, begun string) (completions, cobra.ShellCompDirective) {
	return t.complete(cmd, args, func(ctx context.Context) (found completions) {
		for _, k := range page[client.Token](ctx, t, "tokens", nil) {
			if k.RevokedAt == 0 && strings.HasPrefix(k.ID, begun) {
				found = append(found, cobra.CompletionWithDesc(k.ID, fit(oneLine(k.Name), 60)))
			}
		}
		return found
	})
}

// completeFlags offers the values of those flags of a command whose values are known
// somewhere: zones on this machine, the rest in the jobs that there are.
func (t *tool) completeFlags(cmd *cobra.Command) {
	of := func(values func(client.Job) []string) cobra.CompletionFunc {
		return func(cmd *cobra.Command, _ []string, begun string) (completions, cobra.ShellCompDirective) {
			return t.complete(cmd, nil, func(ctx context.Context) completions {
				known := map[string]bool{}
				for _, j := range page[client.Job](ctx, t, "jobs", nil) {
					for _, v := range values(j) {
						known[v] = v != "" && strings.HasPrefix(v, begun)
					}
				}
				maps.DeleteFunc(known, func(_ string, fits bool) bool { return !fits })
				return slices.Sorted(maps.Keys(known))
			})
		}
	}
	for flag, complete := range map[string]cobra.CompletionFunc{
		"tz":      completeZones,
		"label":   of(func(j client.Job) []string { return j.Labels }),
		"agent":   of(func(j client.Job) []string { return []string{j.AgentID} }),
		"channel": of(func(j client.Job) []string { return []string{j.Channel} }),
	} {
		if cmd.Flags().Lookup(flag) != nil {
			_ = cmd.RegisterFlagCompletionFunc(flag, complete) // the flag exists
		}
	}
}

// complete offers one argument, of what is found while somebody waits.
func (t *tool) complete(cmd *cobra.Command, args []string, find func(context.Context) completions) (completions, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
	defer cancel()
	return find(ctx), cobra.ShellCompDirectiveNoFileComp
}

// offered is the first page of a list or, if nothing there fits what is begun, of what the
// API finds for it. Who has more to choose from types on.
func offered[T any](ctx context.Context, t *tool, name, begun string, fits func(T) bool) []T {
	some := page[T](ctx, t, name, nil)
	if begun != "" && !slices.ContainsFunc(some, fits) {
		some = page[T](ctx, t, name, url.Values{"match": {begun}})
	}
	return some
}

// page is the first page of a list; empty if the API does not have it.
func page[T any](ctx context.Context, t *tool, name string, query url.Values) []T {
	if name != "tokens" { // which come in one page, without a limit
		query = maps.Clone(query)
		if query == nil {
			query = url.Values{}
		}
		query.Set("limit", "100")
	}
	a, err := t.get(ctx, client.Path(name), query)
	if err != nil {
		return nil
	}
	list, err := answer[map[string]json.RawMessage](a)
	var some []T
	if err != nil || optional(list[name], &some) != nil {
		return nil
	}
	return some
}

func begins(begun, text string) bool { return strings.HasPrefix(text, begun) }

// completeZones offers the zones that people live in, as this machine lists them.
func completeZones(_ *cobra.Command, _ []string, begun string) (completions, cobra.ShellCompDirective) {
	var found completions
	for _, name := range zones() {
		if strings.HasPrefix(strings.ToLower(name), strings.ToLower(begun)) {
			found = append(found, name)
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// zones are the names that this machine knows or, where it does not list them, a few.
func zones() []string {
	for _, dir := range []string{"/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"} {
		if text, err := os.ReadFile(filepath.Join(dir, "tzdata.zi")); err == nil {
			return zonesIn(string(text))
		}
	}
	return []string{"America/Chicago", "America/Los_Angeles", "America/New_York", "America/Sao_Paulo", "Asia/Dubai", "Asia/Kolkata", "Asia/Shanghai",
		"Asia/Singapore", "Asia/Tokyo", "Australia/Sydney", "Europe/Berlin", "Europe/London", "Europe/Madrid", "Europe/Paris", "UTC"}
}

// zonesIn reads the compact form of the zones: "Z Europe/Berlin …" is one, and
// "L Europe/Berlin Europe/Oslo" another name of it.
func zonesIn(text string) (names []string) {
	for line := range strings.Lines(text) {
		switch words := strings.Fields(line); {
		case len(words) > 1 && words[0] == "Z":
			names = append(names, words[1])
		case len(words) > 2 && words[0] == "L":
			names = append(names, words[2])
		}
	}
	slices.Sort(names)
	return names
}
