package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/schedule"
)

const (
	defaultPreview = 5
	maxPreview     = 50
)

// previewRequest asks what a schedule means before a job is made of it.
type previewRequest struct {
	schedule, timezone string
	after              time.Time // exclusive; zero means now
	count              int
}

var previewShape = shape[previewRequest]{
	fields: []field[previewRequest]{
		text("schedule", `"0 9 * * 1-5"`, func(p *previewRequest) *string { return &p.schedule }),
		text("timezone", `"Europe/Berlin"`, func(p *previewRequest) *string { return &p.timezone }),
		moment("after", `"2026-03-28T12:00:00+01:00"`, func(p *previewRequest) *time.Time { return &p.after }),
		count("count", maxPreview, "5", func(p *previewRequest) *int { return &p.count }),
	},
	synonyms: map[string]string{"cron": "schedule", "expression": "schedule", "tz": "timezone", "limit": "count"},
	example:  `{"schedule":"0 9 * * 1-5","timezone":"Europe/Berlin"}`,
}

type previewView struct {
	Schedule    string   `json:"schedule"`
	Timezone    string   `json:"timezone"`
	Next        []string `json:"next"`  // RFC 3339, UTC
	Local       []string `json:"local"` // the same in the zone
	Description string   `json:"description"`
}

func (s *server) preview(w http.ResponseWriter, r *http.Request) error {
	in, err := readObject(s, w, r, previewShape, nullIsAbsent)
	if err != nil {
		return err
	}
	req := previewRequest{after: s.Now(), count: defaultPreview}
	in.apply(&req)
	sched, found := parseSchedule(req.schedule, req.timezone)
	if err := in.check(found); err != nil {
		return err
	}
	slots := sched.Upcoming(req.after, req.count)
	return writeJSON(w, http.StatusOK, previewView{
		Schedule:    sched.Expr(),
		Timezone:    sched.Zone(),
		Next:        formatTimes(slots, time.UTC),
		Local:       formatTimes(slots, sched.Location()),
		Description: sched.Describe(),
	})
}

// parseSchedule returns the schedule or what is wrong with it.
func parseSchedule(expr, zone string) (*schedule.Schedule, []job.Problem) {
	sched, err := schedule.Parse(expr, zone)
	if err == nil {
		return sched, nil
	}
	var parse *schedule.ParseError
	if !errors.As(err, &parse) {
		return nil, []job.Problem{{Field: "schedule", Detail: err.Error()}}
	}
	problems := make([]job.Problem, len(parse.Problems))
	for i, p := range parse.Problems {
		problems[i] = job.Problem(p)
	}
	return nil, problems
}
