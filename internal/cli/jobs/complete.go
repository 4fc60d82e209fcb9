package jobs

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

// completeWithin is how long somebody who pressed Tab waits at most.
const completeWithin = time.Second

// completeJobs offers the ids of the jobs, with their names, if the API answers soon. One
// page is enough: who has more jobs than that looks for one by a filter.
func (t *tool) completeJobs(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
	defer cancel()
	a, err := t.get(ctx, client.Path("jobs"), url.Values{"limit": {"200"}})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := answer[struct{ Jobs []client.Job }](a)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []cobra.Completion
	for _, j := range list.Jobs {
		if strings.HasPrefix(j.ID, begun) {
			name := j.Name
			if name == "" {
				name = j.Task
			}
			ids = append(ids, cobra.CompletionWithDesc(j.ID, fit(oneLine(name), 60)))
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
