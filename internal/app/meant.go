package app

import (
	"context"
	"errors"
	"strings"

	"github.com/gatewaycron/gatewaycron/internal/doctor"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/store"
)

// maxNamed is how many jobs of one name are told from each other.
const maxNamed = 10

// meantJob returns the id of the job that somebody means, as the commands take it: by its
// id, also of one that is gone, its name, or the beginning of its id. What means none is
// returned as it is, and what means several as a finding.
func meantJob(ctx context.Context, s *store.Store, text string) (id string, unclear []doctor.Finding, err error) {
	if _, _, err := s.FindRuns(ctx, job.RunFilter{JobID: text}, "", 1); !errors.Is(err, job.ErrNotFound) {
		return text, nil, err
	}
	var named, begun []string
	for cursor, more := "", true; more && len(named) <= maxNamed; more = cursor != "" {
		var jobs []job.Job
		if jobs, cursor, err = s.FindJobs(ctx, job.JobFilter{Match: text}, cursor, 100); err != nil {
			return "", nil, err
		}
		for _, j := range jobs {
			if j.Name == text {
				named = append(named, j.ID)
			} else if len(begun) <= maxNamed {
				begun = append(begun, j.ID)
			}
		}
	}
	if len(named) == 0 {
		named = begun
	}
	switch len(named) {
	case 0:
		return text, nil, nil
	case 1:
		return named[0], nil, nil
	}
	return "", []doctor.Finding{{Level: doctor.Fail, What: "job", Found: "several may be meant: " + strings.Join(named[:min(len(named), maxNamed)], ", "),
		Remedy: "give the id of one"}}, nil
}
