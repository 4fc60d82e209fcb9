package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// A job's ETag is "<uid>-<revision>.<rest>", the uid cut. What comes before the dot
// stands for the definition, the rest for what its runs leave in the answer. If-Match is
// about the definition alone: a run that begins between reading a job and changing it
// is no reason to refuse the change. If-None-Match is about the whole answer.

// tag is an entity tag.
type tag struct {
	definition string
	rest       string // may be empty in a client's
}

func (t tag) String() string { return `"` + t.definition + "." + t.rest + `"` }

// definitionTag tells a definition from every other, also from that of a later job of
// the same id.
func definitionTag(j job.Job) string {
	return j.UID[:min(len(j.UID), 8)] + "-" + strconv.FormatInt(j.Revision, 10)
}

// tagOf is the tag of the job as GET answers it.
func (s *server) tagOf(j job.Job) tag {
	return tagOfView(j, s.detailedJob(j))
}

func tagOfView(j job.Job, v jobView) tag {
	text, _ := json.Marshal(v) // strings and numbers: cannot fail
	sum := sha256.Sum256(text)
	return tag{definitionTag(j), hex.EncodeToString(sum[:4])}
}

// writeJob answers a job with its tag.
func (s *server) writeJob(w http.ResponseWriter, status int, j job.Job) error {
	v := s.detailedJob(j)
	w.Header().Set("ETag", tagOfView(j, v).String())
	return writeJSON(w, status, v)
}

// readIfMatch returns the check that If-Match asks for, none without that header.
func (s *server) readIfMatch(r *http.Request) ([]func(job.Job) error, error) {
	tags, star, err := readTags(r, "If-Match")
	if err != nil {
		return nil, err
	}
	if star || tags == nil {
		return nil, nil // an unknown job is answered as such in any case
	}
	return []func(job.Job) error{func(j job.Job) error {
		for _, t := range tags {
			if t.definition == definitionTag(j) {
				return nil
			}
		}
		now := s.tagOf(j).String()
		return &apiError{status: http.StatusPreconditionFailed, etag: now, detail: fmt.Sprintf(
			"The job was changed since you read it, so nothing was done: its ETag is %s now (revision %d). Read it again, and send the request with If-Match: %s.",
			now, j.Revision, now)}
	}}, nil
}

// unchanged reports whether If-None-Match names the answer that there is. A header that
// cannot be read names nothing: the answer is sent, which is never wrong.
func unchanged(r *http.Request, now tag) bool {
	tags, star, err := readTags(r, "If-None-Match")
	if err != nil || r.Header.Get("If-None-Match") == "" {
		return false
	}
	return star || slices.Contains(tags, now)
}

// readTags reads a header that is * or a list of tags; tags is nil without the header.
// Weak tags match nothing and are left out.
func readTags(r *http.Request, name string) (tags []tag, star bool, err error) {
	values := r.Header.Values(name)
	if len(values) == 0 {
		return nil, false, nil
	}
	tags = []tag{}
	rest := strings.TrimSpace(strings.Join(values, ","))
	if rest == "*" {
		return tags, true, nil
	}
	for rest != "" {
		text, weak := strings.CutPrefix(rest, "W/")
		inner, opened := strings.CutPrefix(text, `"`)
		value, after, closed := strings.Cut(inner, `"`)
		after = strings.TrimLeft(after, " \t")
		next, more := strings.CutPrefix(after, ",")
		if !opened || !closed || (after != "" && !more) {
			return nil, false, invalid(name, "must be * or the ETag of an earlier answer, with its quotes", `"5JQ7XK2M-3.9f86d081"`)
		}
		if !weak {
			definition, state, _ := strings.Cut(value, ".")
			tags = append(tags, tag{definition, state})
		}
		rest = strings.TrimLeft(next, " \t,")
	}
	return tags, false, nil
}
