package store

import (
	"github.com/gatewaycron/gatewaycron/internal/job"
)

// A request that says how to recognise it (job.Once) is noted by the script that carries
// it out, in the same step. So there is no moment at which it is done and not noted, nor
// one at which somebody else must wait for it: of two at once, one finds the other's note.

// onceOf is the Once of a call that may be given one.
func onceOf(once []job.Once) job.Once {
	if len(once) == 0 {
		return job.Once{}
	}
	return once[0]
}

// firstMade is what a request made when it came first: id, unless the script says that
// this was not the first time. It returns the rest of the answer.
func (st step) firstMade(said word, id string, rest []any) (string, []any, error) {
	switch {
	case said == saidSame && len(rest) == 2:
		return text(rest[0]), rest[1:], nil
	case said == saidSpent && len(rest) == 1:
		return "", nil, &job.SpentError{ID: text(rest[0])}
	case said == saidSame, said == saidSpent:
		return "", nil, st.notSo(said, rest)
	default:
		return id, rest, nil
	}
}
