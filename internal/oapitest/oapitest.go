// Package oapitest holds traffic against an OpenAPI 3.1 document, and makes traffic of
// one: it is for tests. It takes the document as text and imports nothing of ours, so
// that what it checks is what a client can read.
package oapitest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// base is the address that the document has for the validator.
const base = "https://document.invalid/openapi.json"

// Document is a description of an API.
type Document struct {
	root       map[string]any
	compiler   *jsonschema.Compiler
	Operations []*Operation // by path, then by method
}

// Operation is one method of one path.
type Operation struct {
	ID, Method, Path string
	Parameters       []Parameter
	Body             *Content // nil without one
	BodyRequired     bool
	Answers          map[string][]Content // by status or "default"; empty without a body

	doc *Document
}

// Parameter is something of a request besides its body.
type Parameter struct {
	Name, In string
	schema   map[string]any
	check    *jsonschema.Schema
}

// Allows reports whether the parameter may have a value.
func (p Parameter) Allows(value string) bool {
	if number, err := jsonschema.UnmarshalJSON(strings.NewReader(value)); err == nil && p.check.Validate(number) == nil {
		return true
	}
	return p.check.Validate(value) == nil
}

// Content is a body of one type.
type Content struct {
	Type     string
	Examples map[string]any
	schema   map[string]any
	check    *jsonschema.Schema // nil for a text
}

// Load reads a document.
func Load(text []byte) (*Document, error) {
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	root, ok := parsed.(map[string]any)
	if !ok {
		return nil, errors.New("the document is no object")
	}
	d := &Document{root: root, compiler: jsonschema.NewCompiler()}
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource(base, root); err != nil {
		return nil, fmt.Errorf("add the document: %w", err)
	}
	// Each schema compiles by itself, also one that nothing refers to.
	for _, name := range slices.Sorted(maps.Keys(object(d.at("components")["schemas"]))) {
		if _, err := d.compiler.Compile(base + "#/components/schemas/" + name); err != nil {
			return nil, fmt.Errorf("schema %s: %w", name, err)
		}
	}
	paths := d.at("paths")
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		methods := object(paths[path])
		for _, method := range slices.Sorted(maps.Keys(methods)) {
			op, err := d.operation(path, method, object(methods[method]))
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", method, path, err)
			}
			d.Operations = append(d.Operations, op)
		}
	}
	return d, nil
}

func (d *Document) operation(path, method string, described map[string]any) (*Operation, error) {
	op := &Operation{doc: d, Method: strings.ToUpper(method), Path: path, Answers: map[string][]Content{}}
	op.ID, _ = described["operationId"].(string)
	parameters, _ := described["parameters"].([]any)
	for _, p := range parameters {
		p := d.resolve(object(p))
		name, _ := p["name"].(string)
		in, _ := p["in"].(string)
		check, err := d.compile(op.ID+"-"+name, object(p["schema"]), false)
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", name, err)
		}
		op.Parameters = append(op.Parameters, Parameter{name, in, object(p["schema"]), check})
	}
	if body := object(described["requestBody"]); len(body) > 0 {
		contents, err := d.contents(body, op.ID+"-body", false)
		if err != nil || len(contents) != 1 {
			return nil, fmt.Errorf("its body has %d types: %w", len(contents), err)
		}
		op.Body = &contents[0]
		op.BodyRequired, _ = body["required"].(bool)
	}
	for status, answer := range object(described["responses"]) {
		contents, err := d.contents(d.resolve(object(answer)), op.ID+"-"+status, true)
		if err != nil {
			return nil, fmt.Errorf("answer %s: %w", status, err)
		}
		op.Answers[status] = contents
	}
	return op, nil
}

// contents reads what a request or an answer may have. A closed one may have no more
// than is described, although clients are told to expect more of later releases.
func (d *Document) contents(of map[string]any, name string, closed bool) ([]Content, error) {
	var all []Content
	content := object(of["content"])
	for n, mediaType := range slices.Sorted(maps.Keys(content)) {
		media := object(content[mediaType])
		c := Content{Type: mediaType, schema: object(media["schema"]), Examples: map[string]any{}}
		for name, example := range object(media["examples"]) {
			c.Examples[name] = object(example)["value"]
		}
		if strings.Contains(mediaType, "json") {
			var err error
			if c.check, err = d.compile(fmt.Sprintf("%s-%d", name, n), c.schema, closed); err != nil {
				return nil, err
			}
		}
		all = append(all, c)
	}
	return all, nil
}

// compile makes a check of a schema that stands within the document.
func (d *Document) compile(name string, schema map[string]any, closed bool) (*jsonschema.Schema, error) {
	if ref, _ := schema["$ref"].(string); ref != "" {
		schema = map[string]any{"$ref": base + ref}
		if closed {
			schema["unevaluatedProperties"] = false
		}
	}
	address := "https://document.invalid/" + name + ".json"
	if err := d.compiler.AddResource(address, schema); err != nil {
		return nil, err
	}
	return d.compiler.Compile(address)
}

// at returns an object of the document by the names on the way to it.
func (d *Document) at(names ...string) map[string]any {
	o := d.root
	for _, name := range names {
		o = object(o[name])
	}
	return o
}

// resolve returns what a reference stands for, without what stands beside it.
func (d *Document) resolve(o map[string]any) map[string]any {
	for {
		ref, ok := o["$ref"].(string)
		if !ok {
			return o
		}
		o = d.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	}
}

func object(v any) map[string]any {
	o, _ := v.(map[string]any)
	return o
}

// Operation returns the operation of an id, nil if there is none.
func (d *Document) Operation(id string) *Operation {
	for _, op := range d.Operations {
		if op.ID == id {
			return op
		}
	}
	return nil
}

// CheckBody says what of a request's body the document does not allow.
func (o *Operation) CheckBody(body []byte) error {
	switch {
	case o.Body == nil && len(body) == 0, len(body) == 0 && !o.BodyRequired:
		return nil
	case o.Body == nil:
		return errors.New("the operation has no body")
	}
	return o.Body.validate(body)
}

// CheckAnswer says what of an answer the document does not tell.
func (o *Operation) CheckAnswer(status int, header http.Header, body []byte) error {
	contents, ok := o.Answers[strconv.Itoa(status)]
	if !ok {
		if status < 400 {
			return fmt.Errorf("the status %d is not described", status)
		}
		contents = o.Answers["default"]
	}
	if len(contents) == 0 {
		if len(body) > 0 {
			return fmt.Errorf("an answer %d has no body", status)
		}
		return nil
	}
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("the Content-Type %q: %w", header.Get("Content-Type"), err)
	}
	for _, c := range contents {
		if c.Type == media {
			return c.validate(body)
		}
	}
	return fmt.Errorf("the Content-Type %s is not described for an answer %d", media, status)
}

func (c Content) validate(body []byte) error {
	if c.check == nil {
		return nil
	}
	texts := [][]byte{body}
	if strings.Contains(c.Type, "ndjson") {
		texts = slices.DeleteFunc(bytes.Split(body, []byte("\n")), func(line []byte) bool { return len(bytes.TrimSpace(line)) == 0 })
	}
	for _, text := range texts {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return fmt.Errorf("no JSON: %w", err)
		}
		if err := c.check.Validate(value); err != nil {
			return err
		}
	}
	return nil
}
