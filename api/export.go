package api

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// exportPage is how many jobs an export has in memory at a time.
const exportPage = 50

// ndjson is JSON, one value a line.
const ndjson = "application/x-ndjson"

// jobLine is a job in an export: all that a client may define of it, and its id, so that
// an import makes the same job of it. What has happened to the job is not part of it, nor
// when it was made. Policies stand as they are in force, whatever the defaults of the
// release that reads them.
type jobLine struct {
	ID            string `json:"id"`
	Name          string `json:"name,omitempty"`
	Schedule      string `json:"schedule,omitempty"`
	Every         int    `json:"every,omitempty"`
	At            string `json:"at,omitempty"` // RFC 3339, like the other two
	Timezone      string `json:"timezone,omitempty"`
	StartAt       string `json:"startAt,omitempty"`
	EndAt         string `json:"endAt,omitempty"`
	JitterSeconds int    `json:"jitterSeconds,omitempty"`
	Enabled       bool   `json:"enabled"`
	PauseReason   string `json:"pauseReason,omitempty"`

	Labels []string `json:"labels,omitempty"`

	Task       string `json:"task"`
	AgentID    string `json:"agentId,omitempty"`
	SessionKey string `json:"sessionKey,omitempty"`
	Model      string `json:"model,omitempty"`
	Effort     string `json:"reasoningEffort,omitempty"`

	Channel  string `json:"channel,omitempty"`
	ChatID   string `json:"chatId,omitempty"`
	PeerID   string `json:"peerId,omitempty"`
	ThreadID string `json:"threadId,omitempty"`
	IsGroup  *bool  `json:"isGroup,omitempty"`
	// SessionForm says how the session's key is made of the above, so that an import gives the
	// job the same session.
	SessionForm job.SessionForm `json:"sessionForm"`

	MaxRuns             int             `json:"maxRuns,omitempty"`
	Misfire             job.Misfire     `json:"misfire"`
	MisfireGraceSeconds int             `json:"misfireGraceSeconds"`
	Overlap             job.Overlap     `json:"overlap"`
	TimeoutSeconds      int             `json:"timeoutSeconds"`
	OnAmbiguous         job.OnAmbiguous `json:"onAmbiguous"`
	Deliver             job.Deliver     `json:"deliver"`
	MaxRetries          int             `json:"maxRetries"`
	RetryDelaysSeconds  []int           `json:"retryDelaysSeconds,omitempty"`
	Context             job.Context     `json:"context"`
	AllowScheduling     bool            `json:"allowScheduling,omitempty"`

	AlertChannel         string `json:"alertChannel,omitempty"`
	AlertChatID          string `json:"alertChatId,omitempty"`
	AlertThreadID        string `json:"alertThreadId,omitempty"`
	AlertAfter           int    `json:"alertAfter,omitempty"`
	AlertCooldownSeconds int    `json:"alertCooldownSeconds,omitempty"`

	// MadeBy is part of it, though no client defines it: without it a job that was made in
	// a run could make others once it was moved.
	MadeBy string `json:"madeBy,omitempty"`
}

// lineOf renders a definition. Equal definitions are equal lines, and nothing else is.
func lineOf(id, madeBy string, s job.Spec) ([]byte, error) {
	delays := s.RetryDelaysSeconds // without the default, which the store does not keep either
	s = s.WithDefaults()
	return encodeLine(jobLine{
		ID: id, Name: s.Name, Schedule: s.Schedule, Every: s.EverySeconds, At: instantText(s.At), Timezone: s.Timezone,
		StartAt: instantText(s.StartAt), EndAt: instantText(s.EndAt), JitterSeconds: s.JitterSeconds, Enabled: s.Enabled, PauseReason: s.PauseReason, Labels: s.Labels,
		Task: s.Task, AgentID: s.AgentID, SessionKey: s.SessionKey, Model: s.Model, Effort: s.Effort,
		Channel: s.Channel, ChatID: s.ChatID, PeerID: s.PeerID, ThreadID: s.ThreadID, IsGroup: s.IsGroup, SessionForm: s.SessionFormOf(id),
		MaxRuns: s.MaxRuns, Misfire: s.Misfire, MisfireGraceSeconds: s.MisfireGraceSeconds, Overlap: s.Overlap,
		TimeoutSeconds: s.TimeoutSeconds, OnAmbiguous: s.OnAmbiguous, Deliver: s.Deliver, MaxRetries: *s.MaxRetries,
		RetryDelaysSeconds: delays, Context: s.Context, AllowScheduling: s.AllowScheduling,
		AlertChannel: s.AlertChannel, AlertChatID: s.AlertChatID, AlertThreadID: s.AlertThreadID,
		AlertAfter: s.AlertAfter, AlertCooldownSeconds: s.AlertCooldownSeconds, MadeBy: madeBy,
	})
}

// instantText is an instant as a client may send any of them: milliseconds before 1973
// pass for seconds.
func instantText(m job.Millis) string {
	if m == 0 {
		return ""
	}
	return m.Time().Format(time.RFC3339Nano)
}

// exportJobs answers every job on a line of its own, the oldest first: an import makes
// them anew in this order, so that an export of them is the same again. A job that is
// made or deleted meanwhile is in it or not.
func (s *server) exportJobs(w http.ResponseWriter, r *http.Request) error {
	leave, err := s.last(r)
	if err != nil {
		return err
	}
	defer leave()
	lines, cursor, err := s.exportLines(r.Context(), "")
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", ndjson)
	if r.Method == http.MethodHead {
		return nil
	}
	answer := newParts(w)
	for {
		if err = answer.send(lines); err == nil {
			if cursor == "" {
				return nil
			}
			if err = s.stillMay(r.Context()); err == nil {
				lines, cursor, err = s.exportLines(r.Context(), cursor)
			}
		}
		if answer.refused != nil {
			return answer.refused
		}
		if err != nil {
			if r.Context().Err() == nil {
				s.Logger.WarnContext(r.Context(), "export broken off", "request_id", requestID(r), "err", err)
			}
			// The answer has begun, so that it can only be broken off: one that ended
			// like a whole one would pass for a backup.
			panic(http.ErrAbortHandler)
		}
	}
}

// exportLines renders one page of the jobs and returns the cursor of the next.
func (s *server) exportLines(ctx context.Context, cursor string) (lines []byte, next string, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	jobs, next, err := s.Find.FindJobs(ctx, job.JobFilter{}, cursor, exportPage)
	if err != nil {
		return nil, "", err
	}
	var b bytes.Buffer
	for _, j := range jobs {
		line, err := lineOf(j.ID, j.MadeBy, j.Spec)
		if err != nil {
			return nil, "", err
		}
		b.Write(line)
	}
	return b.Bytes(), next, nil
}
