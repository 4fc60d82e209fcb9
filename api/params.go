package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// param is a parameter of a query: its name, which a client may write in camelCase or in
// snake_case, how to read its value, and a value that works.
type param struct {
	name    string
	example string
	read    func(value string) (problem string)
}

// paramSynonyms are other people's names for our parameters.
var paramSynonyms = map[string][]string{
	"status": {"outcome", "lastOutcome"}, "result": {"outcome", "lastOutcome"},
	"agent": {"agentId"}, "session": {"sessionKey"}, "job": {"jobId"}, "id": {"jobId"},
	"labels": {"label"}, "tag": {"label"}, "tags": {"label"}, "active": {"enabled"}, "paused": {"enabled"},
	"since": {"after", "nextAfter"}, "from": {"after", "nextAfter"}, "start": {"after", "nextAfter"},
	"until": {"before", "nextBefore"}, "to": {"before", "nextBefore"}, "end": {"before", "nextBefore"},
	"page": {"cursor"}, "offset": {"cursor"}, "count": {"limit"}, "n": {"limit"}, "max": {"limit"},
	"seconds": {"within"}, "horizon": {"within"},
}

// readParams accepts the parameters, each once, and tells everything that is wrong at
// once. Others are refused: a misspelt filter that is ignored is an answer about
// something else, a misspelt cursor a client that reads the first page for ever.
func readParams(r *http.Request, params ...param) error {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return invalid("query", "is not a valid query string", "?"+params[0].name+"="+params[0].example)
	}
	var problems []job.Problem
	refuse := func(key, detail, example string) {
		problems = append(problems, job.Problem{Field: printable(key), Detail: detail, Example: example})
	}
	sent := map[string]string{} // name to the client's spelling of it
	for _, key := range slices.Sorted(maps.Keys(q)) {
		i := slices.IndexFunc(params, func(p param) bool { return key == p.name || key == snakeCase(p.name) })
		if i < 0 {
			detail, example := unknownParam(key, params)
			refuse(key, detail, example)
			continue
		}
		p := params[i]
		switch other := sent[p.name]; {
		case other != "":
			refuse(key, "and "+other+" are the same parameter; send one of them", "")
		case len(q[key]) > 1:
			refuse(key, "is there twice; send it once", "")
		default:
			if problem := p.read(q[key][0]); problem != "" {
				refuse(key, problem, p.example)
			}
		}
		sent[p.name] = key
	}
	if len(problems) > 0 {
		return &job.InvalidError{Problems: problems[:min(len(problems), maxDecodeProblems)]}
	}
	return nil
}

// unknownParam says what to do about a parameter that there is not, and one that works.
func unknownParam(key string, params []param) (detail, example string) {
	folded := fold(key)
	meant, least := -1, max(1, len(folded)/3)+1
	for i, p := range params {
		if slices.Contains(paramSynonyms[folded], p.name) {
			meant, least = i, 0
		}
		if d := distance(folded, fold(p.name)); d < least {
			meant, least = i, d
		}
	}
	if meant >= 0 {
		p := params[meant]
		return "is not a parameter here (did you mean " + p.name + "?)", p.name + "=" + p.example
	}
	names := make([]string, len(params))
	for i, p := range params {
		names[i] = p.name
	}
	list := names[0]
	if last := len(names) - 1; last > 0 {
		list = strings.Join(names[:last], ", ") + " and " + names[last]
	}
	return "is not a parameter here; there is " + list, params[0].name + "=" + params[0].example
}

// wordParam is a text that is compared with another.
func wordParam(name, example string, at *string) param {
	return param{name, example, func(value string) string {
		switch {
		case value == "":
			return "is empty; leave it out to ask for any"
		case len(value) > job.MaxIdentifierBytes:
			return fmt.Sprintf("is %d bytes; at most %d are allowed", len(value), job.MaxIdentifierBytes)
		}
		*at = value
		return ""
	}}
}

// formParam is a word of a certain form.
func formParam(name, example, form string, valid func(string) bool, at *string) param {
	return param{name, example, func(value string) string {
		if !valid(value) {
			return form
		}
		*at = value
		return ""
	}}
}

// choiceParam is one of some words.
func choiceParam[S ~string](name string, at *S, words ...S) param {
	return param{name, string(words[0]), func(value string) string {
		if !slices.Contains(words, S(value)) {
			list := make([]string, len(words))
			for i, w := range words {
				list[i] = string(w)
			}
			return "must be one of " + strings.Join(list, ", ")
		}
		*at = S(value)
		return ""
	}}
}

// truthParam is true or false.
func truthParam(name string, at **bool) param {
	return param{name, "true", func(value string) string {
		if value != "true" && value != "false" {
			return "must be true or false"
		}
		*at = new(value == "true")
		return ""
	}}
}

// flagParam is true or false; absent it is false.
func flagParam(name string, at *bool) param {
	return param{name, "true", func(value string) string {
		var said *bool
		problem := truthParam(name, &said).read(value)
		*at = said != nil && *said
		return problem
	}}
}

// momentParam is a time as RFC 3339 or in milliseconds.
func momentParam(name string, at *job.Millis) param {
	return param{name, "2027-03-28T11:00:00Z", func(value string) string {
		raw := json.RawMessage(value)
		if value == "" || strings.Trim(value, "0123456789") != "" {
			// A + that was not escaped arrives as a space, and a time has no other.
			raw, _ = json.Marshal(strings.ReplaceAll(value, " ", "+")) // a string: cannot fail
		}
		ms, problem := readInstant(raw)
		if problem == "" {
			problem = checkYear(ms)
		}
		*at = ms
		return problem
	}}
}

// countParam is a whole number from 1 to most.
func countParam(name string, most int, example string, at *int) param {
	return param{name, example, func(value string) string {
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > most {
			return fmt.Sprintf("must be a whole number from 1 to %d", most)
		}
		*at = n
		return ""
	}}
}

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

// readFlag reads the only parameter of a request, true or false; absent it is false.
func readFlag(r *http.Request, name string) (bool, error) {
	var flag bool
	err := readParams(r, flagParam(name, &flag))
	return flag, err
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
