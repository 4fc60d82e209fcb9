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
	id   string
	spec job.Spec

	PauseReason string `json:"pauseReason,omitempty"`
	// SessionForm says how the session's key is made, so that an import gives the job the
	// same session.
	SessionForm job.SessionForm `json:"sessionForm"`
	// MadeBy is part of it, though no client defines it: without it a job that was made in
	// a run could make others once it was moved.
	MadeBy string `json:"madeBy,omitempty"`
}

func (l jobLine) MarshalJSON() ([]byte, error) {
	type rest jobLine
	return asOne(identity{l.id}, definition{spec: l.spec, line: true}, rest(l))
}

// lineOf renders a definition. Equal definitions are equal lines, and nothing else is.
func lineOf(id, madeBy string, s job.Spec) ([]byte, error) {
	return encodeLine(jobLine{id: id, spec: s, PauseReason: s.PauseReason, SessionForm: s.SessionFormOf(id), MadeBy: madeBy})
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
