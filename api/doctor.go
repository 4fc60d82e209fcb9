package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/doctor"
	"github.com/gatewaycron/gatewaycron/internal/health"
	"github.com/gatewaycron/gatewaycron/internal/job"
)

// healthView is how the deployment stands, on the wire.
type healthView struct {
	State   health.State `json:"state"`
	Reasons []reasonView `json:"reasons"` // the failing ones first
}

type reasonView struct {
	Code  health.Code  `json:"code"`
	State health.State `json:"state"` // how this makes the deployment stand
	Text  string       `json:"text"`
	Count int          `json:"count,omitempty"`
	Since job.Millis   `json:"since,omitempty"`
	Late  bool         `json:"late,omitempty"` // work is late because of it, or missing
	// Remedy is what to do; Command the same for the command line, where it is another.
	Remedy  string `json:"remedy,omitempty"`
	Command string `json:"command,omitempty"`
}

func viewOfHealth(r health.Report) healthView {
	v := healthView{State: r.State, Reasons: make([]reasonView, len(r.Reasons))}
	for i, reason := range r.Reasons {
		v.Reasons[i] = reasonView{Code: reason.Code, State: reason.State, Text: reason.Text, Count: reason.Count, Since: reason.Since, Late: reason.Late, Remedy: reason.Fix.Call}
		if reason.Fix.Command != reason.Fix.Call {
			v.Reasons[i].Command = reason.Fix.Command
		}
	}
	return v
}

// findingsView is what was found out, on the wire.
type findingsView struct {
	OK       bool             `json:"ok"` // nothing of it is a failure
	State    health.State     `json:"state"`
	Findings []doctor.Finding `json:"findings"`
}

// report is what the caller may know of how the deployment stands: the holder of a token
// that is bound, states and codes, and of its own jobs all.
func (s *server) report(r *http.Request) health.Report {
	report := s.Deployment.Health(r.Context())
	if job.TokenOf(r.Context()) == nil {
		return report
	}
	own, err := s.Deployment.Jobs(r.Context())
	if err != nil {
		s.Logger.WarnContext(r.Context(), "jobs in trouble cannot be read", "request_id", requestID(r), "err", err)
	}
	return report.Outline().WithJobs(own)
}

// doctor says of everything how it is.
func (s *server) doctor(w http.ResponseWriter, r *http.Request) error {
	report := s.report(r)
	v := findingsView{State: report.State}
	if job.TokenOf(r.Context()) != nil {
		for _, reason := range report.Reasons {
			v.Findings = append(v.Findings, doctor.Of(reason, "deployment"))
		}
		if len(v.Findings) == 0 {
			v.Findings = []doctor.Finding{{Level: doctor.OK, What: "deployment", Found: "well"}}
		}
	} else {
		v.Findings = s.Deployment.Doctor(r.Context())
	}
	v.OK = doctor.Failed(v.Findings) == 0
	return writeJSON(w, http.StatusOK, v)
}

// explainJob says why a job ran, or did not.
func (s *server) explainJob(w http.ResponseWriter, r *http.Request) error {
	id, err := pathParam(r, "id")
	if err != nil {
		return err
	}
	var ms job.Millis
	if err := readParams(r, momentParam("at", &ms)); err != nil {
		return err
	}
	var at time.Time
	if ms != 0 {
		at = ms.Time()
	}
	if _, err := s.Jobs.Job(r.Context(), id); errors.Is(err, job.ErrNotFound) {
		if _, _, err := s.Find.FindRuns(r.Context(), job.RunFilter{JobID: id}, "", 1); err != nil {
			return err // there is no history of it either
		}
	}
	report := s.report(r)
	findings, err := doctor.Explain(r.Context(), s.Records, s.schedules, report, id, at)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, findingsView{OK: doctor.Failed(findings) == 0, State: report.State, Findings: findings})
}
