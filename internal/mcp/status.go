package mcp

import (
	"context"
	"net/http"
	"strings"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

// statusAnswer is how everything stands, in fields.
type statusAnswer struct {
	Paused  bool           `json:"paused"`
	State   string         `json:"state"` // ok, degraded or failing
	Reasons []statusReason `json:"reasons,omitempty"`
	Summary string         `json:"summary"`
}

type statusReason struct {
	Code   string `json:"code"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
}

// getStatus says whether what is due starts, and if not, why not.
func getStatus(ctx context.Context, c *call) (answer, error) {
	if err := c.args.done(); err != nil {
		return answer{}, err
	}
	var s client.Status
	if err := c.do(ctx, http.MethodGet, client.Path("status"), nil, nil, &s); err != nil {
		return answer{}, err
	}
	a := statusAnswer{Paused: s.Paused, State: s.Health.State}
	var b strings.Builder
	switch {
	case s.Health.State == "failing":
		b.WriteString("The scheduler is failing: what comes due does not start, or cannot be written down.")
	case s.Paused:
		b.WriteString("Everything is paused: nothing starts until it is resumed, and what comes due is skipped.")
	case s.Health.State == "degraded":
		b.WriteString("The scheduler works, but something needs a look.")
	default:
		b.WriteString("The scheduler works: what comes due starts.")
	}
	for _, r := range s.Health.Reasons {
		a.Reasons = append(a.Reasons, statusReason{r.Code, cut(r.Text, lineRunes*4), r.Remedy})
		b.WriteString("\n- " + cut(r.Text, lineRunes*4) + ".")
		if r.Remedy != "" {
			b.WriteString(" What to do: " + r.Remedy + ".")
		}
	}
	a.Summary = b.String()
	return answer{text: a.Summary, data: a}, nil
}
