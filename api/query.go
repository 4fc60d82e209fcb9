package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

const maxCursorBytes = 256

// page is which part of a list a client asks for.
type page struct {
	cursor string // "" is the beginning
	limit  int
}

// readPage reads which part of a list is asked for, and the filters that the list has.
func readPage(r *http.Request, standard, most int, filters ...param) (page, error) {
	p := page{limit: standard}
	filters = append(filters, cursorParam(&p.cursor), countParam("limit", most, strconv.Itoa(standard), &p.limit))
	return p, readParams(r, filters...)
}

func cursorParam(at *string) param {
	return param{"cursor", "…", func(value string) string {
		if len(value) > maxCursorBytes {
			return "is none of ours; send the nextCursor of the page before"
		}
		*at = value
		return ""
	}}
}

func readLimit(q url.Values, standard, most int) (int, error) {
	if !q.Has("limit") {
		return standard, nil
	}
	n, err := strconv.Atoi(q.Get("limit"))
	if err != nil || n < 1 || n > most {
		return 0, invalid("limit", fmt.Sprintf("must be a whole number from 1 to %d", most), strconv.Itoa(standard))
	}
	return n, nil
}

// readFlag reads a parameter that is true or false; absent it is false.
func readFlag(q url.Values, name string) (bool, error) {
	switch q.Get(name) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	if q.Has(name) {
		return false, invalid(name, "must be true or false", "true")
	}
	return false, nil
}

// readQuery accepts the named parameters, each once. Others are refused: a
// misspelt cursor that is ignored is a client that reads the first page for ever.
func readQuery(r *http.Request, names ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, invalid("query", "is not a valid query string", "?"+names[0]+"=…")
	}
	var problems []job.Problem
	for key, values := range q {
		switch {
		case !slices.Contains(names, key):
			problems = append(problems, job.Problem{Field: printable(key), Detail: "is not a parameter here; there is " + strings.Join(names, " and ")})
		case len(values) > 1:
			problems = append(problems, job.Problem{Field: key, Detail: "is there twice; send it once"})
		}
	}
	if len(problems) > 0 {
		slices.SortFunc(problems, func(a, b job.Problem) int { return strings.Compare(a.Field, b.Field) })
		return nil, &job.InvalidError{Problems: problems[:min(len(problems), maxDecodeProblems)]}
	}
	return q, nil
}
