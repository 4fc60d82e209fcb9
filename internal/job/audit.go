package job

import "encoding/json"

// AuditAll is the target of what was done to everything at once.
const AuditAll = "*"

// Audited is one change that somebody made, or the product itself ("gateway-cron").
type Audited struct {
	ID     string // grows with every change
	At     Millis
	Actor  string
	Action string // create, edit, pause, resume, delete, run, cancel, redeliver, pause-all, resume-all, create-token, revoke-token
	Target string // a job's id, a run's, or AuditAll
	// Before and After are what of the target changed, JSON objects; nil where there is
	// nothing to tell. A task is told by its length and the beginning of its SHA-256.
	Before, After json.RawMessage
}
