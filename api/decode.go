package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/wire"
)

// Bodies are read field by field and not by encoding/json's struct decoding,
// because a client has to be told everything at once, in its own spelling: json
// stops at the first type error, takes "TASK" for "task", lets the second of two
// equal keys win, and knows one spelling a field.

const (
	maxDecodeProblems = 20 // then reading stops: the body is not meant for us
	maxEchoRunes      = 64 // of a client's field name or value in an answer
)

// shape is what a JSON object may hold.
type shape[T any] struct {
	fields   []field[T]
	readOnly []string          // fields of answers, which clients send back
	synonyms map[string]string // other people's names for our fields
	example  string            // a whole body that works
}

// field is one field of a shape. Clients may write its name in camelCase, as
// answers do, or in snake_case, as the ai-server's tools do.
type field[T any] struct {
	name string
	// read returns how to store the value, or what is wrong with it.
	read    func(raw json.RawMessage) (set func(*T), problem string)
	example string
	// clear is what null means in an edit; without it null is refused there.
	clear func(*T)
	// insteadOf names the required field that this one takes the place of.
	insteadOf string
}

// nullMeaning says what null stands for.
type nullMeaning int

const (
	nullIsAbsent nullMeaning = iota // in a new object
	nullClears                      // in an edit
)

// input is a body as read: how to store its values and what was wrong with it.
type input[T any] struct {
	set      []func(*T)
	problems []job.Problem
	sent     map[string]string // field name to the client's spelling of it
	refused  map[string]bool   // fields that have a problem here
	instead  map[string]string // field that is missing to one that was meant instead
	snake    bool              // the client writes snake_case
}

// readObject reads and decodes the body of r.
func readObject[T any](s *server, w http.ResponseWriter, r *http.Request, sh shape[T], nulls nullMeaning) (*input[T], error) {
	body, err := s.readBody(w, r)
	if err != nil {
		return nil, err
	}
	return decodeObject(body, sh, nulls)
}

// refuseBody accepts an empty body or object where there is nothing to say.
func (s *server) refuseBody(w http.ResponseWriter, r *http.Request) error {
	body, err := s.readBody(w, r)
	if err != nil || len(body) == 0 {
		return err
	}
	in, err := decodeObject(body, shape[struct{}]{example: "{}"}, nullIsAbsent)
	if err != nil {
		return err
	}
	return in.check(nil)
}

// readBody returns the body without the space around it. A missing content type
// passes; one of a form does not, since any web page can send forms anywhere.
func (s *server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.MaxBodyBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, err
	case err != nil:
		return nil, &apiError{status: http.StatusBadRequest, detail: "The body could not be read to its end."}
	}
	body = bytes.TrimSpace(body)
	if contentType := r.Header.Get("Content-Type"); len(body) > 0 && contentType != "" {
		media, _, err := mime.ParseMediaType(contentType)
		if err != nil || (media != "application/json" && !strings.HasSuffix(media, "+json")) {
			return nil, &apiError{status: http.StatusUnsupportedMediaType, detail: "The body must be JSON, sent with the header Content-Type: application/json."}
		}
	}
	return body, nil
}

// decodeObject decodes one flat JSON object. It returns an error when body is
// no such object at all; what is wrong with single fields is kept in the input.
func decodeObject[T any](body []byte, sh shape[T], nulls nullMeaning) (*input[T], error) {
	if err := checkObject(body, sh.example); err != nil {
		return nil, err
	}
	in := &input[T]{sent: map[string]string{}, refused: map[string]bool{}, instead: map[string]string{}}
	seen := map[string]bool{}
	dec := json.NewDecoder(bytes.NewReader(body))
	_, _ = dec.Token() // the opening brace; checkObject saw that everything parses
	for dec.More() && len(in.problems) < maxDecodeProblems {
		var raw json.RawMessage
		token, err := dec.Token()
		if err == nil {
			err = dec.Decode(&raw)
		}
		if err != nil {
			return nil, fmt.Errorf("decode a body that was valid: %w", err)
		}
		key, _ := token.(string)
		if seen[key] {
			in.refuse(key, "is there twice; send it once", sh.exampleOf(key))
			continue
		}
		seen[key] = true
		sh.decodeField(in, key, raw, nulls)
	}
	return in, nil
}

// checkObject says whether body is one JSON object and nothing after it.
func checkObject(body []byte, example string) error {
	var raw json.RawMessage
	switch err := json.Unmarshal(body, &raw); {
	case len(body) == 0:
		return invalid("body", "is empty; it must be a JSON object", example)
	case !utf8.Valid(body):
		return invalid("body", "is not valid UTF-8", example)
	case err != nil:
		return invalid("body", "is not one valid JSON object: "+clip(err.Error(), 2*maxEchoRunes), example)
	case body[0] != '{':
		return invalid("body", "must be a JSON object, not "+kindOf(body), example)
	}
	return nil
}

// indexOf returns which field key names, -1 if none.
func (sh shape[T]) indexOf(key string) int {
	return slices.IndexFunc(sh.fields, func(f field[T]) bool { return key == f.name || key == snakeCase(f.name) })
}

// exampleOf is a value of the field that key names, or a whole body if it names none.
func (sh shape[T]) exampleOf(key string) string {
	if i := sh.indexOf(key); i >= 0 {
		return sh.fields[i].example
	}
	return sh.example
}

func (sh shape[T]) decodeField(in *input[T], key string, raw json.RawMessage, nulls nullMeaning) {
	i := sh.indexOf(key)
	if i < 0 {
		detail, example := sh.unknown(key)
		in.refuse(key, detail, example)
		return
	}
	f := sh.fields[i]
	if other, ok := in.sent[f.name]; ok {
		in.refused[f.name] = true
		in.refuse(key, "and "+other+" are the same field; send one of them", f.example)
		return
	}
	in.sent[f.name] = key
	in.snake = in.snake || strings.Contains(key, "_")

	if string(raw) == "null" {
		switch {
		case nulls == nullIsAbsent:
		case f.clear == nil:
			in.refused[f.name] = true
			in.refuse(key, "cannot be null here; leave it out to keep it as it is", f.example)
		default:
			in.set = append(in.set, f.clear)
		}
		return
	}
	set, problem := f.read(raw)
	if problem == "" && wire.HalfCharacter(raw) {
		problem = "has half a character (\\u with one surrogate of two); send the whole one"
	}
	if problem != "" {
		in.refused[f.name] = true
		if f.insteadOf != "" {
			in.instead[f.insteadOf] = f.name
		}
		in.refuse(key, problem, f.example)
		return
	}
	in.set = append(in.set, set)
}

// unknown says what to do about a field that the shape does not have, and what works: a
// value of the field that was meant, or a whole body.
func (sh shape[T]) unknown(key string) (detail, example string) {
	folded := fold(key)
	for _, name := range sh.readOnly {
		if folded == fold(name) {
			return "is set by the server and cannot be sent; leave it out", sh.example
		}
	}
	if name := sh.synonyms[folded]; name != "" {
		return didYouMean(name), sh.exampleOf(name)
	}
	nearest, least := "", max(1, len(folded)/3)+1
	for _, f := range sh.fields {
		if d := distance(folded, fold(f.name)); d < least {
			nearest, least = f.name, d
		}
	}
	if nearest != "" {
		return didYouMean(nearest), sh.exampleOf(nearest)
	}
	return "is not a field here; leave it out", sh.example
}

func didYouMean(name string) string {
	return "is not a field here (did you mean " + name + "?)"
}

// refuse notes a problem under the client's own spelling.
func (in *input[T]) refuse(key, detail, example string) {
	in.problems = append(in.problems, job.Problem{Field: printable(key), Detail: detail, Example: example})
}

// apply stores the values that were sent.
func (in *input[T]) apply(to *T) {
	for _, set := range in.set {
		set(to)
	}
}

// check returns everything that is wrong as one *job.InvalidError: what reading
// found, and what others found in the values, told in the client's spelling. A
// field that could not be read was not set, so that what others say of it (that
// it is missing) is left out.
func (in *input[T]) check(found []job.Problem) error {
	all := slices.Clone(in.problems)
	for _, p := range found {
		if in.refused[p.Field] || in.refused[in.instead[p.Field]] {
			continue
		}
		if key, ok := in.sent[p.Field]; ok {
			p.Field = key
		} else if in.snake {
			p.Field = snakeCase(p.Field)
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		return nil
	}
	return &job.InvalidError{Problems: all}
}

// respell tells what the store says of the values in the client's spelling. It is
// for an input that check has passed.
func (in *input[T]) respell(err error) error {
	if invalid, ok := errors.AsType[*job.InvalidError](err); ok {
		return in.check(invalid.Problems)
	}
	return err
}

// snakeCase turns chatId into chat_id.
func snakeCase(name string) string {
	var b strings.Builder
	for _, r := range name {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}

// fold drops what people vary in a name, and bounds it.
func fold(name string) string {
	name, _ = truncate(name, maxEchoRunes)
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(name))
}

// printable makes a client's name safe and short to show.
func printable(key string) string {
	key = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, clip(key, maxEchoRunes))
	if key == "" {
		return `""`
	}
	return key
}

// kindOf names the kind of a JSON value for people.
func kindOf(raw json.RawMessage) string {
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

// distance is the Levenshtein distance in bytes; both are short.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
