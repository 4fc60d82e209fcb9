package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/jobfield"
)

const (
	defaultPreview = 5
	maxPreview     = 50
)

// previewRequest asks what a timing means before a job is made of it.
type previewRequest struct {
	spec  job.Spec
	after job.Millis // exclusive; 0 means now
	count int
}

var previewShape = shape[previewRequest]{
	fields: append(definitionFields(func(f jobfield.Field) bool { return f.Timing }, func(p *previewRequest) *job.Spec { return &p.spec }),
		instant("after", func(p *previewRequest) *job.Millis { return &p.after }),
		count("count", maxPreview, "5", func(p *previewRequest) *int { return &p.count }),
	),
	synonyms: map[string]string{
		"cron": "schedule", "expression": "schedule", "tz": "timezone", "limit": "count",
		"everyseconds": "every", "interval": "every", "runat": "at",
	},
	example: `{"schedule":"0 9 * * 1-5","timezone":"Europe/Berlin"}`,
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
	req := previewRequest{after: job.ToMillis(s.Now()), count: defaultPreview}
	in.apply(&req)
	if err := in.check(problemsOf(req.spec.ValidateTiming())); err != nil {
		return err
	}
	spec := normalised(req.spec)
	// Counted from now, as if the job were made now.
	tt, err := s.schedules.Timetable(spec.Timing("", spec.AnchorAt(s.Now())))
	if err != nil {
		return fmt.Errorf("preview: %w", err)
	}
	slots := tt.Upcoming(req.after.Time(), req.count)
	return writeJSON(w, http.StatusOK, previewView{
		Schedule:    spec.Schedule,
		Timezone:    tt.Location().String(),
		Next:        formatTimes(slots, time.UTC),
		Local:       formatTimes(slots, tt.Location()),
		Description: tt.Describe(),
	})
}
