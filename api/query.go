package api

import (
	"net/http"
	"strconv"
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
	filters = append(filters, cursorParam(&p.cursor), limitParam(standard, most, &p.limit))
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

func limitParam(standard, most int, at *int) param {
	return countParam("limit", most, strconv.Itoa(standard), at)
}
