package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// What the holder of a token may do. The store keeps to the token of the context: what is
// not the holder's does not exist for it. Here is the rest: what needs the administrator,
// and what a token keeps a definition from saying.

// administrators lets the holders of tokens pass no further.
func (s *server) administrators(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if t := job.TokenOf(r.Context()); t != nil {
			s.renderError(w, r, notForToken(t, ""))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// notForToken refuses what concerns more than a token's own jobs.
func notForToken(t *job.Token, instead string) error {
	whose := "agent " + t.Agent()
	if t.Session() != "" {
		whose = "session " + t.Session()
	}
	return &apiError{status: http.StatusForbidden,
		detail: strings.TrimSpace(fmt.Sprintf("This token is for the jobs of %s alone, and this concerns all: it needs the administrator's token. %s", whose, instead))}
}

// examinedSlots is how many slots of a schedule are looked at for two that are too close:
// more than a day has minutes, so that every distance within a day is seen.
const examinedSlots = 1500

// tooOften says what is wrong with how often a job is due, by a token. The distances of a
// schedule are those on the clock of its zone: a day on which that is put forward makes none
// too short.
func (s *server) tooOften(t *job.Token, spec job.Spec) []job.Problem {
	if t == nil || t.MinIntervalSeconds == 0 || spec.At != 0 {
		return nil
	}
	least := time.Duration(t.MinIntervalSeconds) * time.Second
	detail := fmt.Sprintf("is due more often than this token may have a job due: every %d seconds at most", t.MinIntervalSeconds)
	if spec.EverySeconds != 0 {
		if spec.EverySeconds >= t.MinIntervalSeconds {
			return nil
		}
		return []job.Problem{{Field: "every", Detail: detail, Example: strconv.Itoa(t.MinIntervalSeconds)}}
	}
	tt, err := s.schedules.Timetable(job.Spec{Schedule: spec.Schedule}.Timing("", 0))
	if err != nil {
		return nil // and is refused for that
	}
	slots := tt.Upcoming(s.Now(), examinedSlots)
	for i := 1; i < len(slots); i++ {
		if slots[i].Sub(slots[i-1]) < least {
			return []job.Problem{{Field: "schedule", Detail: detail}}
		}
	}
	return nil
}

// ownStatus is what the holder of a token sees of how the deployment stands.
type ownStatus struct {
	Paused      bool       `json:"paused"`
	PausedSince job.Millis `json:"pausedSince,omitempty"`
	Reason      string     `json:"reason,omitempty"` // of the pause
	Health      healthView `json:"health"`
	Token       tokenView  `json:"token"`
}

func (s *server) answerOwnStatus(w http.ResponseWriter, r *http.Request, t *job.Token) error {
	st, err := s.Switch.Status(r.Context())
	if err != nil {
		return err
	}
	own := viewOfToken(*t)
	own.CreatedBy = ""
	return writeJSON(w, http.StatusOK, ownStatus{Health: viewOfHealth(s.report(r)), Paused: st.PausedSince != 0, PausedSince: st.PausedSince, Reason: st.PauseReason, Token: own})
}

// ownAudit returns from when on the holder of a token may see what was done to a target, 0
// for always. Before, there may have been another job of that id, of somebody else.
func (s *server) ownAudit(ctx context.Context, target string) (job.Millis, error) {
	t := job.TokenOf(ctx)
	if t == nil {
		return 0, nil
	}
	if target == "" || target == job.AuditAll {
		return 0, notForToken(t, "With target=<the id of a job or a run> it is answered.")
	}
	id, _, ofRun := strings.Cut(target, ":")
	if ofRun {
		if _, err := s.History.Run(ctx, target); err != nil {
			return 0, err
		}
	}
	j, err := s.Jobs.Job(ctx, id)
	return j.CreatedAt, err
}
