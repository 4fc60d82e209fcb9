package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
)

// The document is written by hand and the code is tested against it, both ways: bodies
// are read field by field for the sake of good errors, so that there are no types to
// make a document of, and nothing that is made of one could read them.

//go:embed openapi.json
var openapi []byte

//go:embed openapi.html
var docsHTML string

//go:embed openapi.css
var docsCSS string

// openAPI answers the document. Like /health it needs no token and any page may read
// it: it is the same everywhere and says nothing about this deployment.
func (s *server) openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	answerText(w, "application/json", openapi)
}

// docs answers the document as a page for people, which needs neither scripts nor
// anything from elsewhere.
func (s *server) docs(w http.ResponseWriter, _ *http.Request) error {
	page, err := s.docsPage()
	if err != nil {
		return fmt.Errorf("render the documentation: %w", err)
	}
	sum := sha256.Sum256([]byte(docsCSS))
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Content-Security-Policy",
		"default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	answerText(w, "text/html; charset=utf-8", page)
	return nil
}

func answerText(w http.ResponseWriter, contentType string, text []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = w.Write(text) // fails only when the client has gone
}

// renderDocs makes the page of the document.
func renderDocs() ([]byte, error) {
	var doc document
	if err := json.Unmarshal(openapi, &doc); err != nil {
		return nil, err
	}
	page, err := template.New("docs").Funcs(template.FuncMap{
		"upper": strings.ToUpper, "last": lastOf, "anchor": anchorOf, "resolve": doc.resolve, "type": schema.words, "indent": indented,
	}).Parse(docsHTML)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = page.Execute(&b, struct {
		document
		CSS template.CSS
	}{doc, template.CSS(docsCSS)}) //nolint:gosec // ours, from the binary
	return b.Bytes(), err
}

// ordered is a JSON object in the order it was written in, which a map forgets.
type ordered[T any] []member[T]

type member[T any] struct {
	Name  string
	Value T
}

func (o *ordered[T]) UnmarshalJSON(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		m := member[T]{Name: fmt.Sprint(name)}
		if err := dec.Decode(&m.Value); err != nil {
			return err
		}
		*o = append(*o, m)
	}
	return nil
}

// get returns the member of a name, or the zero value.
func (o ordered[T]) get(name string) T {
	for _, m := range o {
		if m.Name == name {
			return m.Value
		}
	}
	return *new(T)
}

// The types below are as much of the document as the page shows.

type document struct {
	Info struct{ Title, Description string }
	Tags []struct{ Name, Description string }
	// Paths are the operations of each path by their method.
	Paths      ordered[ordered[operation]]
	Components struct {
		Parameters ordered[parameter]
		Responses  ordered[response]
		Schemas    ordered[schema]
	}
}

type operation struct {
	OperationID          string
	Tags                 []string
	Summary, Description string
	Parameters           []parameter
	RequestBody          *struct {
		Description string
		Content     ordered[media]
	}
	Responses ordered[response]
	Security  *[]any // empty for what is open to everybody
}

type parameter struct {
	Ref                   string `json:"$ref"`
	Name, In, Description string
	Schema                schema
}

type response struct {
	Ref         string `json:"$ref"`
	Description string
	Content     ordered[media]
}

type media struct {
	Schema   schema
	Examples ordered[struct {
		Summary string
		Value   json.RawMessage
	}]
}

type schema struct {
	Ref                  string `json:"$ref"`
	Description          string
	Type                 json.RawMessage // a name, or several
	Format, Pattern      string
	Properties           ordered[schema]
	Required             []string
	Items                *schema
	AllOf, AnyOf         []schema
	Enum                 []string
	Minimum, Maximum     json.Number
	MaxLength, MaxItems  json.Number
	Default              json.RawMessage
	AdditionalProperties json.RawMessage
}

// resolve returns what a reference stands for: a parameter or a response.
func (d document) resolve(v any) any {
	switch v := v.(type) {
	case parameter:
		if v.Ref != "" {
			return d.Components.Parameters.get(lastOf(v.Ref))
		}
	case response:
		if v.Ref != "" {
			return d.Components.Responses.get(lastOf(v.Ref))
		}
	}
	return v
}

// lastOf is the last part of a reference, a name.
func lastOf(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

// anchorOf is where the page has the schema that a reference is to, or into.
func anchorOf(ref string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(ref, "#/components/schemas/"), "/")
	return name
}

// words say what a value may be.
func (s schema) words() string {
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	switch {
	case s.Ref != "":
		add("%s", lastOf(s.Ref))
	case s.Items != nil:
		add("array of %s", s.Items.words())
	case len(s.Enum) > 0:
		add("one of %s", strings.TrimPrefix(strings.Join(s.Enum, ", "), ", "))
	case len(s.AnyOf) > 0:
		for _, choice := range s.AnyOf {
			add("%s", choice.words())
		}
		return strings.Join(words, " or ")
	case len(s.Type) > 0:
		add("%s", strings.Join(strings.FieldsFunc(string(s.Type), func(r rune) bool { return strings.ContainsRune(`[]", `, r) }), " or "))
	}
	if s.Format != "" && s.Format != "int64" {
		add("%s", s.Format)
	}
	switch {
	case s.Minimum != "" && s.Maximum != "":
		add("%s to %s", s.Minimum, s.Maximum)
	case s.Minimum != "":
		add("from %s", s.Minimum)
	}
	if s.MaxLength != "" {
		add("at most %s long", s.MaxLength)
	}
	if s.MaxItems != "" {
		add("at most %s of them", s.MaxItems)
	}
	if len(s.Default) > 0 {
		add("default %s", s.Default)
	}
	return strings.Join(words, ", ")
}

// indented is an example as people read it.
func indented(value json.RawMessage) (string, error) {
	var b bytes.Buffer
	err := json.Indent(&b, value, "", "  ")
	return b.String(), err
}
