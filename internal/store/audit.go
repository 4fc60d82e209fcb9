package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/jobfield"
)

// Who changed what is noted by the scripts that make the changes; see lib/audit.lua.
// Here is what such a note says of a definition, and how the notes are read.

// maxSearched is how many notes one page of those about one target looks at.
const maxSearched = 1000

// note is what is written down of a change; before and after are JSON, "" for nothing. The
// zero value is none.
type note struct{ action, before, after string }

// creation notes a new job by what it has that is not the default.
func creation(id string, is map[string]string) note {
	return note{action: "create", after: told(changed(defaults(id), is))}
}

// deletion notes a job in the same way, so that it could be made again but for its task.
func deletion(id string, was map[string]string) note {
	return note{action: "delete", before: told(changed(defaults(id), was))}
}

// edition notes what an edit changed. One of nothing but enabled and the reason is a
// pause or a resume, whichever request made it; one of nothing is not noted.
func edition(was, is map[string]string) note {
	diff := changed(was, is)
	if len(diff) == 0 {
		return note{}
	}
	n := note{action: "edit", before: told(changed(is, was)), after: told(diff)}
	rest := len(diff)
	for _, name := range []string{"enabled", "pauseReason"} {
		if _, there := diff[name]; there {
			rest--
		}
	}
	switch {
	case rest > 0:
	case is["enabled"] == "1":
		n.action = "resume"
	default:
		n.action = "pause"
	}
	return n
}

func defaults(id string) map[string]string { return specFields(id, job.Spec{Enabled: true}) }

// storedAs are the fields of a definition by their names in the record.
var storedAs = func() map[string]jobfield.Field {
	all := map[string]jobfield.Field{}
	for _, f := range jobfield.All() {
		all[f.Key()] = f
	}
	return all
}()

// told renders fields of a definition for people: named as in the API, the task only by
// what it takes to recognise it, nothing that follows from the rest.
func told(fields map[string]string) string {
	out := map[string]any{}
	for name, value := range fields {
		if value == "" {
			continue // has none, or the default
		}
		f, known := storedAs[name]
		switch {
		case name == "session": // follows from the rest
		case !known:
			out[name] = value
		case f.Kind == jobfield.Text:
			sum := sha256.Sum256([]byte(value))
			out[f.Name] = map[string]any{"bytes": len(value), "sha256": hex.EncodeToString(sum[:6])}
		case f.Kind == jobfield.Truth:
			out[f.Name] = value == "1"
		case f.Kind == jobfield.Labels:
			out[f.Name] = strings.Fields(value)
		case slices.Contains([]jobfield.Kind{jobfield.Number, jobfield.Seconds, jobfield.Instant, jobfield.Delays, jobfield.MaybeTruth}, f.Kind):
			out[f.Name] = json.RawMessage(value)
		default:
			out[f.Name] = value
		}
	}
	if len(out) == 0 {
		return ""
	}
	text, err := json.Marshal(out)
	if err != nil {
		return "" // a number that is none: the record was damaged
	}
	return string(text)
}

// auditCursor is the id of the last note of the page before, in the one spelling that
// Redis gives it. There is none before 0-0, and Redis refuses to look for one.
var auditCursor = regexp.MustCompile(`^((0|[1-9]\d{0,18})-[1-9]\d{0,18}|[1-9]\d{0,18}-0)$`)

// auditPosition is where the notes after a cursor begin, for Redis.
func auditPosition(cursor string) (string, error) {
	switch {
	case cursor == "":
		return "+", nil
	case !auditCursor.MatchString(cursor):
		return "", errCursor()
	default:
		return "(" + cursor, nil
	}
}

// auditSlack is how far the id of a note may be from the time of what it tells: a clock that
// was set goes into the id.
const auditSlack = 24 * time.Hour

// Audit reads one page of the changes, newest first; with a target only those of it, and
// of its runs if it is a job. The cursor of the first page is "", and an empty next
// cursor ends the list. A page of one target may have fewer than limit, or none: it looks
// at so many changes only; but with a token it goes on until it has what it is for, so that
// neither a cursor nor an empty page tells of the changes of others.
func (s *Store) Audit(ctx context.Context, target, cursor string, limit int) ([]job.Audited, string, error) {
	from, err := auditPosition(cursor)
	if err != nil {
		return nil, "", err
	}
	count := limit
	if target != "" {
		count = maxSearched
	}
	// Of its holder's own the oldest note is that the job was made, give or take a clock that
	// was set.
	bound, oldest := job.TokenOf(ctx) != nil, "-"
	if bound {
		id, _, _ := strings.Cut(target, ":")
		created, err := s.client(ctx).HGet(ctx, s.keys.job(id), "createdAt").Int64()
		if err != nil && !isReply(err) {
			return nil, "", fmt.Errorf("read the audit: %w", err)
		}
		oldest = strconv.FormatInt(max(created-auditSlack.Milliseconds(), 0), 10)
	}
	page := make([]job.Audited, 0, limit)
	for {
		found, err := s.client(ctx).XRevRangeN(ctx, s.keys.audit(), from, oldest, int64(count)+1).Result()
		if err != nil {
			return nil, "", fmt.Errorf("read the audit: %w", err)
		}
		for i, m := range found[:min(count, len(found))] {
			a := audited(m)
			its := target == "" || a.Target == target || strings.HasPrefix(a.Target, target+":")
			switch {
			case len(page) == limit && !bound:
				return page, found[i-1].ID, nil
			case len(page) == limit && its:
				return page, page[limit-1].ID, nil
			case its:
				page = append(page, a)
			}
		}
		switch {
		case len(found) <= count:
			return page, "", nil
		case !bound:
			return page, found[count-1].ID, nil
		}
		from = "(" + found[count-1].ID
	}
}

func audited(m redis.XMessage) job.Audited {
	at, _ := strconv.ParseInt(text(m.Values["at"]), 10, 64)
	a := job.Audited{ID: m.ID, At: job.Millis(at), Actor: text(m.Values["actor"]), Action: text(m.Values["action"]),
		Target: text(m.Values["target"])}
	for name, to := range map[string]*json.RawMessage{"before": &a.Before, "after": &a.After} {
		if raw := []byte(text(m.Values[name])); json.Valid(raw) {
			*to = raw
		}
	}
	return a
}
