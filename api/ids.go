package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// A client may choose the id of a job that it makes: then it can find it again, and make
// it twice by no mistake. In an edit the id is what clients send back of what they got.

// namedJob is what a client says of a job, its id included.
type namedJob struct {
	job.Spec
	id *string // nil where it says none
}

// namedJobShape is jobShape with the id.
var namedJobShape = shape[namedJob]{
	fields: append([]field[namedJob]{withoutNull(stored("id", exampleID, func(n *namedJob) **string { return &n.id }, readID))},
		definitionFields(everyField, func(n *namedJob) *job.Spec { return &n.Spec })...),
	readOnly: slices.DeleteFunc(slices.Clone(jobShape.readOnly), func(name string) bool { return name == "id" }),
	synonyms: jobShape.synonyms,
	example:  jobShape.example,
}

const exampleID = `"morning-summary"`

func readID(raw json.RawMessage) (*string, string) {
	var id string
	if json.Unmarshal(raw, &id) != nil {
		return nil, "must be a string, not " + kindOf(raw)
	}
	return &id, ""
}

// newID is the id that a new job is to have, "" for one of the store's choice.
func (n namedJob) newID() (string, []job.Problem) {
	switch {
	case n.id == nil:
		return "", nil
	case !job.ValidID(*n.id):
		return "", []job.Problem{{Field: "id", Example: exampleID,
			Detail: "must be 1 to 64 of a-z, 0-9, - and _, the first a letter or a digit (leave it out to have one made)"}}
	default:
		return *n.id, nil
	}
}

// oldID says what is wrong with what an edit of the job of that id says of it.
func (n namedJob) oldID(id string) []job.Problem {
	if n.id == nil || *n.id == id {
		return nil
	}
	return []job.Problem{{Field: "id", Detail: "cannot be changed; leave it out, or create another job", Example: strconv.Quote(id)}}
}

// taken answers a new job whose id there is already.
func taken(id string) error {
	return &apiError{status: http.StatusConflict, detail: fmt.Sprintf(
		"A job of the id %s exists already, and was left as it is. Change that one, or create this one under another id, or without one.", id)}
}
