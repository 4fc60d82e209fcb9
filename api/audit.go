package api

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

const (
	defaultAuditPage = 50
	maxAuditPage     = 200
)

// AuditLog keeps who changed what.
type AuditLog interface {
	// Audit returns a page of the changes, newest first, and the cursor of the next; with
	// a target those of that job and its runs, or of that run, or of job.AuditAll. It returns a
	// *job.InvalidError for a cursor it did not make.
	Audit(ctx context.Context, target, cursor string, limit int) ([]job.Audited, string, error)
}

// auditView is one change on the wire.
type auditView struct {
	ID     string          `json:"id"`
	At     job.Millis      `json:"at"`
	Actor  string          `json:"actor"`
	Action string          `json:"action"`
	Target string          `json:"target"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

type auditList struct {
	Entries    []auditView `json:"entries"`
	NextCursor string      `json:"nextCursor,omitempty"`
}

func (s *server) listAudit(w http.ResponseWriter, r *http.Request) error {
	const form = "must be the id of a job or of a run, or *"
	target := ""
	page, err := readPage(r, defaultAuditPage, maxAuditPage,
		formParam("target", strings.Trim(exampleID, `"`), form, isAuditTarget, &target))
	if err != nil {
		return err
	}
	since, err := s.ownAudit(r.Context(), target)
	if err != nil {
		return err
	}
	entries, next, err := s.Audit.Audit(r.Context(), target, page.cursor, page.limit)
	if err != nil {
		return err
	}
	if before := slices.IndexFunc(entries, func(a job.Audited) bool { return a.At < since }); before >= 0 {
		entries, next = entries[:before], "" // what follows is older still, and as little the caller's
	}
	list := auditList{Entries: make([]auditView, len(entries)), NextCursor: next}
	for i, a := range entries {
		list.Entries[i] = auditView(a)
	}
	return writeJSON(w, http.StatusOK, list)
}

func isAuditTarget(s string) bool {
	return job.ValidID(s) || s == job.AuditAll || runIDPattern.MatchString(s)
}
