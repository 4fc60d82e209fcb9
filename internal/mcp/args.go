package mcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gatewaycron/gatewaycron/internal/wire"
)

// args are the arguments of a call under their camelCase names. A null counts as absent:
// some clients send every argument there is, null where the model said nothing.
type args map[string]json.RawMessage

// usageError is a call that reached no API; its text is for the model.
type usageError string

func (e usageError) Error() string { return string(e) }

func readArgs(raw json.RawMessage) (args, error) {
	var sent map[string]json.RawMessage
	switch {
	case len(raw) > 0 && json.Unmarshal(raw, &sent) != nil:
		return nil, usageError("The arguments must be one JSON object.")
	case !utf8.Valid(raw):
		return nil, usageError("The arguments are not valid UTF-8.")
	case sent == nil:
		return args{}, nil
	}
	// Member by member, because a map lets the second of two equal names win.
	a, seen := args{}, map[string]bool{}
	dec := json.NewDecoder(bytes.NewReader(raw))
	_, _ = dec.Token() // the opening brace: it is one object
	for dec.More() {
		var value json.RawMessage
		key, err := dec.Token()
		if err == nil {
			err = dec.Decode(&value)
		}
		if err != nil {
			return nil, fmt.Errorf("read arguments that were valid: %w", err)
		}
		sentAs := fmt.Sprint(key)
		name := camelCase(sentAs)
		switch {
		case seen[sentAs], a[name] != nil && string(value) != "null":
			return nil, usageError(fmt.Sprintf("%s is there twice; send it once.", cut(name, 40)))
		case wire.HalfCharacter(value):
			return nil, usageError(fmt.Sprintf(`%s has half a character (\u with one surrogate of two); send the whole one.`, cut(name, 40)))
		case string(value) != "null":
			a[name] = value
		}
		seen[sentAs] = true
	}
	return a, nil
}

// take returns a string argument and removes it; "" if it is absent.
func (a args) take(name string) (string, error) {
	raw, ok := a[name]
	if !ok {
		return "", nil
	}
	delete(a, name)
	var v string
	if json.Unmarshal(raw, &v) != nil {
		return "", usageError(name + " must be a string.")
	}
	return v, nil
}

// id takes the id that a call is about. A model that has just read one in an answer
// calls it id.
func (a args) id(name, example, source string) (string, error) {
	if _, ok := a[name]; !ok && a["id"] != nil {
		a[name] = a["id"]
		delete(a, "id")
	}
	id, err := a.take(name)
	if err == nil && strings.TrimSpace(id) == "" {
		err = usageError(fmt.Sprintf("%s is missing: send the id, for example %q. %s", name, example, source))
	}
	return strings.TrimSpace(id), err
}

func (a args) jobID() (string, error) {
	return a.id("jobId", "job_01m83mjkge4cp4pd476svfty9y", "list_cron_jobs lists the jobs with their ids.")
}

func (a args) runID() (string, error) {
	return a.id("runId", "job_01m83mjkge4cp4pd476svfty9y:1795418580", "list_cron_runs lists the runs of a job with their ids.")
}

// number takes a whole number from 0 to most; what is absent is deflt. One in quotes is
// accepted.
func (a args) number(name string, deflt, most int) (int, error) {
	raw, ok := a[name]
	if !ok {
		return deflt, nil
	}
	delete(a, name)
	n, err := strconv.Atoi(strings.Trim(string(raw), `"`))
	if err != nil || n < 0 || n > most {
		return 0, usageError(fmt.Sprintf("%s must be a whole number up to %d, for example %d.", name, most, min(most, max(1, deflt))))
	}
	return n, nil
}

// done refuses what is left when a tool has taken all that it knows.
func (a args) done(known ...string) error {
	if len(a) == 0 {
		return nil
	}
	unknown := make([]string, 0, len(a))
	for name := range a {
		unknown = append(unknown, cut(name, 40))
	}
	slices.Sort(unknown)
	takes := "it takes no arguments"
	if len(known) > 0 {
		takes = "there is " + strings.Join(known, ", ")
	}
	return usageError(fmt.Sprintf("%s is no argument here; %s.", strings.Join(unknown[:min(len(unknown), 5)], ", "), takes))
}

// query is what is left as the parameters of a list, which the API checks.
func (a args) query() url.Values {
	q := url.Values{}
	for name, raw := range a {
		var v string
		if json.Unmarshal(raw, &v) != nil {
			v = string(raw)
		}
		if v != "" {
			q.Set(name, v)
		}
	}
	return q
}

// camelCase turns chat_id into chatId.
func camelCase(name string) string {
	var b strings.Builder
	upper := false
	for _, r := range name {
		switch {
		case r == '_' && b.Len() > 0:
			upper = true
			continue
		case upper:
			r = unicode.ToUpper(r)
		}
		upper = false
		b.WriteRune(r)
	}
	return b.String()
}
