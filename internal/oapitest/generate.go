package oapitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// Request is a request that was made of the document, or of what it forbids.
type Request struct {
	Method string
	Target string // path and query, escaped
	Header map[string]string
	Body   []byte
}

func (r Request) String() string {
	return fmt.Sprintf("%s %s %v\n%.2000s", r.Method, r.Target, r.Header, r.Body)
}

// Request draws a request: most of its parts are as the document has them, so that it
// gets past the first check, and some are not. known are values of path parameters that
// there are, by what stands before them in the path.
func (o *Operation) Request(t *rapid.T, known map[string][]string) Request {
	r := Request{Method: o.Method, Header: map[string]string{}}
	path, query := o.Path, url.Values{}
	for _, p := range o.Parameters {
		switch p.In {
		case "path":
			before, after, _ := strings.Cut(path, "{"+p.Name+"}")
			path = before + url.PathEscape(o.pathValue(t, p, known[before])) + after
		case "query":
			if rapid.IntRange(0, 3).Draw(t, "with "+p.Name) == 0 {
				query.Add(p.Name, o.parameter(t, p))
			}
		case "header":
			if rapid.IntRange(0, 3).Draw(t, "with "+p.Name) == 0 {
				r.Header[p.Name] = headerText(o.parameter(t, p))
			}
		}
	}
	if oneIn(t, 12, "a parameter too many") {
		query.Add(rapid.SampledFrom([]string{"limit", "cursor", "x", "", "wait", "töö"}).Draw(t, "which"), odd(t))
	}
	r.Target = path
	if len(query) > 0 {
		r.Target += "?" + query.Encode()
	}
	r.Header["Content-Type"] = "application/json"
	switch {
	case o.Body != nil && (o.BodyRequired || rapid.Bool().Draw(t, "with a body")):
		r.Header["Content-Type"] = o.Body.Type
		r.Body = o.body(t)
	case oneIn(t, 20, "a body where none is"):
		r.Body = []byte(rapid.SampledFrom([]string{"{}", `{"x":1}`, "[", "\x00"}).Draw(t, "which body"))
	}
	if oneIn(t, 30, "another type") {
		r.Header["Content-Type"] = rapid.SampledFrom([]string{"", "text/plain", "application/x-www-form-urlencoded", ";", "application/json; charset=latin1"}).Draw(t, "type")
	}
	return r
}

func oneIn(t *rapid.T, n int, what string) bool { return rapid.IntRange(1, n).Draw(t, what) == n }

// headerText leaves what a header can carry.
func headerText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// odd is a value that no parameter has.
func odd(t *rapid.T) string {
	return rapid.SampledFrom([]string{"", " ", "0", "-1", "1.5", "1e3", "999999999999999999999", "null", "true ", "TRUE", "ä\u2028", "\x00", "\xff",
		"..", "../..", "*", "%2F", "'\"", "{}", strings.Repeat("a", 3000)}).Draw(t, "odd")
}

func (o *Operation) pathValue(t *rapid.T, p Parameter, known []string) string {
	switch rapid.IntRange(0, 7).Draw(t, "kind of "+p.Name) {
	case 0:
		if v := odd(t); v != "" {
			return v
		}
		return "-"
	case 1:
		return fmt.Sprint(o.value(t, p.schema))
	}
	if len(known) == 0 {
		return fmt.Sprint(o.value(t, p.schema))
	}
	return rapid.SampledFrom(known).Draw(t, p.Name)
}

func (o *Operation) parameter(t *rapid.T, p Parameter) string {
	// A wait that is accepted takes its time.
	if oneIn(t, 5, "odd "+p.Name) || p.Name == "wait" {
		return odd(t)
	}
	return fmt.Sprint(o.value(t, p.schema))
}

// objectShape is a schema of an object with what it is made of.
type objectShape struct {
	properties map[string]map[string]any
	required   []string
	choices    [][]string // of which exactly one is there
}

func (o *Operation) shape(s map[string]any) objectShape {
	s = o.doc.resolve(s)
	shape := objectShape{properties: map[string]map[string]any{}}
	parts, _ := s["allOf"].([]any)
	for _, part := range parts {
		of := o.shape(object(part))
		maps.Copy(shape.properties, of.properties)
		shape.required = append(shape.required, of.required...)
	}
	for name, p := range object(s["properties"]) {
		shape.properties[name] = object(p)
	}
	shape.required = append(shape.required, texts(s["required"])...)
	choices, _ := s["oneOf"].([]any)
	for _, c := range choices {
		shape.choices = append(shape.choices, texts(object(c)["required"]))
	}
	return shape
}

func texts(v any) []string {
	list, _ := v.([]any)
	var all []string
	for _, item := range list {
		if s, ok := item.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

// body draws a body: fields as they are described, then what is wrong with it.
func (o *Operation) body(t *rapid.T) []byte {
	shape := o.shape(o.Body.schema)
	lines := 1
	if strings.Contains(o.Body.Type, "ndjson") {
		lines = rapid.IntRange(0, 4).Draw(t, "lines")
	}
	var all []byte
	for range lines {
		all = append(all, o.objectBody(t, shape)...)
		all = append(all, '\n')
	}
	return bytes.TrimSuffix(all, []byte("\n"))
}

func (o *Operation) objectBody(t *rapid.T, shape objectShape) []byte {
	names := slices.Sorted(maps.Keys(shape.properties))
	fields := map[string]string{}
	put := func(name string) {
		text, err := json.Marshal(o.value(t, shape.properties[name]))
		if err != nil {
			t.Fatalf("encode %s: %v", name, err)
		}
		fields[name] = string(text)
	}
	for _, name := range shape.required {
		put(name)
	}
	if len(names) > 0 {
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, min(len(names), 5), rapid.ID).Draw(t, "fields") {
			put(name)
		}
	}
	if len(shape.choices) > 0 {
		for _, c := range shape.choices {
			for _, name := range c {
				delete(fields, name)
			}
		}
		for _, name := range rapid.SampledFrom(shape.choices).Draw(t, "choice") {
			put(name)
		}
	}
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2, 5}).Draw(t, "mutations") {
		o.mutate(t, shape, names, fields)
	}
	return damaged(t, encodeFields(fields))
}

func encodeFields(fields map[string]string) []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(fields)) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Quote(name))
		b.WriteByte(':')
		b.WriteString(fields[name])
	}
	b.WriteByte('}')
	return b.Bytes()
}

// mutate changes one field into what is, most of the time, not allowed.
func (o *Operation) mutate(t *rapid.T, shape objectShape, names []string, fields map[string]string) {
	name := "x"
	if len(names) > 0 {
		name = rapid.SampledFrom(names).Draw(t, "mutated")
	}
	switch rapid.IntRange(0, 5).Draw(t, "mutation") {
	case 0:
		delete(fields, name)
	case 1:
		fields[rapid.SampledFrom([]string{"shedule", "prompt", "revision", "Task", "chat_id", "constructor", "ä", name + " "}).Draw(t, "extra")] = `"x"`
	case 2: // on and just beyond its bounds
		fields[name] = rapid.SampledFrom(o.bounds(shape.properties[name])).Draw(t, "bound")
	default:
		fields[name] = rapid.SampledFrom([]string{"null", "true", "0", "-1", "1.5", "1e3", "-0", "1e400", "9223372036854775808", "123456789012345678901234567890",
			`""`, `" "`, `"x"`, `"\u0000"`, `"\ud800"`, `"\u202e\u2028😀"`, `"NaN"`, "[]", "[null]", `["a","a"]`, `[1,-1]`, "{}", `{"a":{"b":[]}}`,
			`"` + strings.Repeat("ä", 40_000) + `"`, strings.Repeat("[", 200) + strings.Repeat("]", 200)}).Draw(t, "value")
	}
}

// bounds are the values on the bounds of a schema and beside them.
func (o *Operation) bounds(s map[string]any) []string {
	values := []string{"0"}
	for _, part := range append([]map[string]any{s}, o.parts(s)...) {
		part = o.doc.resolve(part)
		for _, name := range []string{"minimum", "maximum"} {
			if n, ok := whole(part[name]); ok {
				for _, v := range []int64{n - 1, n, n + 1} {
					values = append(values, strconv.FormatInt(v, 10))
				}
			}
		}
		if n, ok := whole(part["maxLength"]); ok {
			values = append(values, `"`+strings.Repeat("a", int(n))+`"`, `"`+strings.Repeat("a", int(n)+1)+`"`)
		}
		if n, ok := whole(part["maxItems"]); ok {
			for _, length := range []int64{n, n + 1} {
				values = append(values, listOf(length, object(part["items"])))
			}
		}
	}
	return values
}

// listOf is an array of distinct texts, or of numbers.
func listOf(length int64, items map[string]any) string {
	entries := make([]string, length)
	for i := range entries {
		entries[i] = strconv.Itoa(i + 1)
		if items["type"] == "string" {
			entries[i] = strconv.Quote(entries[i])
		}
	}
	return "[" + strings.Join(entries, ",") + "]"
}

// ParameterBounds are the values on the bounds of a parameter and beside them.
func (o *Operation) ParameterBounds(p Parameter) []string {
	values := texts(o.doc.resolve(p.schema)["enum"])
	for _, text := range append(o.bounds(p.schema), `""`, `"x"`, "1.5") {
		values = append(values, strings.Trim(text, `"`))
	}
	return values
}

// parts are the alternatives of a schema.
func (o *Operation) parts(s map[string]any) []map[string]any {
	alternatives, _ := o.doc.resolve(s)["anyOf"].([]any)
	var all []map[string]any
	for _, a := range alternatives {
		all = append(all, object(a))
	}
	return all
}

func whole(v any) (int64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return i, err == nil
}

// damaged is a body that, rarely, is no JSON any more.
func damaged(t *rapid.T, body []byte) []byte {
	if !oneIn(t, 15, "damaged") {
		return body
	}
	switch rapid.IntRange(0, 5).Draw(t, "damage") {
	case 0:
		return body[:rapid.IntRange(0, len(body)).Draw(t, "cut")]
	case 1:
		return append(body, body...)
	case 2:
		return append([]byte("["), append(body, ']')...)
	case 3:
		return bytes.Replace(body, []byte(`"`), []byte("\"\xff"), 1)
	case 4:
		return bytes.Replace(body, []byte("{"), []byte(`{"task":"x","task":"y",`), 1)
	default:
		return []byte(rapid.SampledFrom([]string{"", " ", "null", "true", `"x"`, "\ufeff{}", "{", "\x00"}).Draw(t, "other"))
	}
}

// value draws a value that a schema allows, as far as one schema can say so.
func (o *Operation) value(t *rapid.T, s map[string]any) any {
	s = o.doc.resolve(s)
	if alternatives := o.parts(s); len(alternatives) > 0 {
		return o.value(t, rapid.SampledFrom(alternatives).Draw(t, "alternative"))
	}
	if examples, _ := s["examples"].([]any); len(examples) > 0 && rapid.IntRange(0, 3).Draw(t, "example") > 0 {
		return rapid.SampledFrom(examples).Draw(t, "which example")
	}
	if words := texts(s["enum"]); len(words) > 0 {
		return rapid.SampledFrom(words).Draw(t, "word")
	}
	kind, _ := s["type"].(string)
	if kinds := texts(s["type"]); len(kinds) > 0 {
		kind = rapid.SampledFrom(kinds).Draw(t, "type")
	}
	switch kind {
	case "integer":
		low, high := int64(math.MinInt32), int64(math.MaxInt32)
		if n, ok := whole(s["minimum"]); ok {
			low = n
		}
		if n, ok := whole(s["maximum"]); ok {
			high = n
		}
		return rapid.Int64Range(low, high).Draw(t, "number")
	case "boolean":
		return rapid.Bool().Draw(t, "truth")
	case "array":
		most, ok := whole(s["maxItems"])
		if !ok {
			most = 3
		}
		list := []any{}
		for range rapid.IntRange(0, int(most)).Draw(t, "length") {
			list = append(list, o.value(t, object(s["items"])))
		}
		return list
	case "null":
		return nil
	default:
		return o.text(t, s)
	}
}

func (o *Operation) text(t *rapid.T, s map[string]any) string {
	if s["format"] == "date-time" {
		return time.UnixMilli(rapid.Int64Range(1, 7258118399999).Draw(t, "instant")).UTC().Format(time.RFC3339)
	}
	var text string
	if pattern, _ := s["pattern"].(string); pattern != "" {
		text = rapid.StringMatching(pattern).Draw(t, "text")
	} else {
		text = rapid.String().Draw(t, "text")
	}
	if most, ok := whole(s["maxLength"]); ok && len(text) > int(most) {
		text = text[:most]
		for !utf8.ValidString(text) {
			text = text[:len(text)-1]
		}
	}
	if least, ok := whole(s["minLength"]); ok && int64(len(text)) < least {
		text = "x"
	}
	return text
}

// Bounds are the values on the bounds of each field of the body and beside them.
func (o *Operation) Bounds() map[string][]string {
	all := map[string][]string{}
	for name, s := range o.shape(o.Body.schema).properties {
		all[name] = append(o.bounds(s), "null", "true", `"x"`, "[]", "1.5")
		if words := texts(o.doc.resolve(s)["enum"]); len(words) > 0 {
			for _, word := range words {
				all[name] = append(all[name], strconv.Quote(word))
			}
		}
	}
	return all
}
