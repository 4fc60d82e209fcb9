package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/jobfield"
)

// Here the documents are held to the table of fields, and made of it.

var update = flag.Bool("update", false, "write what follows from the table of fields into openapi.json and docs/api.md")

// TestDocumentsHaveTheFields: openapi.json and docs/api.md say of the fields of a job what the
// table says.
func TestDocumentsHaveTheFields(t *testing.T) {
	for path, render := range map[string]func(string) (string, error){"openapi.json": withFields, "../docs/api.md": withTable} {
		is, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want, err := render(string(is))
		switch {
		case err != nil:
			t.Errorf("%s: %v", path, err)
		case want == string(is):
		case *update:
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Error(err)
			}
		default:
			t.Errorf("%s is not up to date: go test ./api -run %s -update", path, t.Name())
		}
	}
}

// withTable puts the table of the fields between its two marks.
func withTable(doc string) (string, error) {
	const begin, end = "<!-- fields: made from internal/jobfield/table.go -->\n", "<!-- end of fields -->\n"
	before, rest, ok := strings.Cut(doc, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return "", fmt.Errorf("there is no place for the fields")
	}
	var b strings.Builder
	b.WriteString("\n| Field | | Bounds, default |\n|---|---|---|\n")
	for _, f := range jobfield.All() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Name, strings.TrimSpace(f.Text+" "+f.More), values(f))
	}
	return before + begin + b.String() + "\n" + end + after, nil
}

// values says what the values of a field may be, and its default.
func values(f jobfield.Field) string {
	var said []string
	add := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	switch f.Kind {
	case jobfield.Text, jobfield.Line, jobfield.Identifier, jobfield.Chat:
		add("%s bytes", grouped(f.Most))
	case jobfield.Word:
		for _, choice := range f.Choices {
			add("`%s`", choice)
		}
		said = []string{strings.Join(said, ", ")}
	case jobfield.Number, jobfield.Seconds:
		add("%s to %s", grouped(f.Low), grouped(f.Most))
	case jobfield.Delays:
		add("at most %d, each %s to %s", f.Length, grouped(f.Low), grouped(f.Most))
	case jobfield.Instant:
		add("RFC 3339 with an offset, or milliseconds")
	case jobfield.Truth, jobfield.MaybeTruth, jobfield.Channel, jobfield.Cron, jobfield.Zone, jobfield.Labels:
	}
	switch {
	case f.Values != "":
		add("%s", f.Values)
	case f.Required:
		add("required")
	case f.Default != nil && f.Default != "":
		text, _ := json.Marshal(f.Default) // of the table: cannot fail
		add("`%s`", strings.Trim(string(text), `"`))
	}
	return strings.Join(said, "; ")
}

// grouped writes a number with a comma before each three digits.
func grouped(n int) string {
	digits := strconv.Itoa(n)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// withFields puts the fields into the schemas that have them, before what else these have.
func withFields(doc string) (string, error) {
	for schema, describe := range map[string]func(jobfield.Field) string{
		"JobFields": sent, "JobEdit": edited, "Job": returned(false), "JobLine": returned(true),
	} {
		begin := strings.Index(doc, "\n      \""+schema+"\": {\n")
		if begin < 0 {
			return "", fmt.Errorf("there is no schema %s", schema)
		}
		at := begin + strings.Index(doc[begin:], "        \"properties\": {\n") + len("        \"properties\": {\n")
		end := at + strings.Index(doc[at:], "\n        }") + 1
		others, err := otherMembers(doc[at:end])
		if err != nil {
			return "", fmt.Errorf("%s: %w", schema, err)
		}
		var lines []string
		for _, f := range jobfield.All() {
			lines = append(lines, fmt.Sprintf("          %q: %s", f.Name, describe(f)))
		}
		if len(others) > 0 && strings.HasPrefix(others[0], `          "id"`) {
			lines = append(others[:1:1], append(lines, others[1:]...)...)
		} else {
			lines = append(lines, others...)
		}
		doc = doc[:at] + strings.Join(lines, ",\n") + "\n" + doc[end:]
		if schema == "Job" || schema == "JobLine" {
			if doc, err = withRequired(doc, begin, schema == "JobLine"); err != nil {
				return "", fmt.Errorf("%s: %w", schema, err)
			}
		}
	}
	return doc, nil
}

// otherMembers are the members of an object that are no fields of a job, as they are written.
func otherMembers(members string) ([]string, error) {
	var others []string
	d := json.NewDecoder(strings.NewReader("{" + members + "}"))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, err
		}
		if _, is := jobfield.Named(fmt.Sprint(name)); !is {
			others = append(others, fmt.Sprintf("          %q: %s", name, raw))
		}
	}
	return others, nil
}

// withRequired lists the fields that a schema's objects always have.
func withRequired(doc string, begin int, line bool) (string, error) {
	const mark = "        \"required\": "
	at := begin + strings.Index(doc[begin:], mark) + len(mark)
	end := at + strings.Index(doc[at:], "]") + 1
	var names []string
	if err := json.Unmarshal([]byte(doc[at:end]), &names); err != nil {
		return "", err
	}
	names = slices.DeleteFunc(names, func(name string) bool { _, is := jobfield.Named(name); return is || name == "id" })
	all := []string{"id"}
	for _, f := range jobfield.All() {
		if always(f, line) {
			all = append(all, f.Name)
		}
	}
	var b bytes.Buffer
	b.WriteString("[\n")
	for i, name := range append(all, names...) {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, "          %q", name)
	}
	b.WriteString("\n        ]")
	return doc[:at] + b.String() + doc[end:], nil
}

// always reports whether every job in a response, or in an export, has a field.
func always(f jobfield.Field, line bool) bool {
	text, _ := json.Marshal(definition{spec: job.Spec{}, line: line}) // nothing set: cannot fail
	return bytes.Contains(text, []byte(`"`+f.Name+`":`))
}

const identifiers = `"pattern": "^[^\\x00-\\x20\\x7f]*$"`

// sent is the schema of a field as a client sends it.
func sent(f jobfield.Field) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch f.Kind {
	case jobfield.Instant:
		return fmt.Sprintf(`{"description": %s, "$ref": "#/components/schemas/Instant"}`, quoted(f.Plain()))
	case jobfield.Chat:
		return fmt.Sprintf(`{"type": ["string", "integer"], "maxLength": %d, %s, "examples": [%s], "description": %s}`,
			f.Most, identifiers, f.Example, quoted(f.Plain()+" A whole number is taken as its digits."))
	case jobfield.Number, jobfield.Seconds:
		add(`"type": "integer", "minimum": %d, "maximum": %d`, f.Low, f.Most)
	case jobfield.Truth, jobfield.MaybeTruth:
		add(`"type": "boolean"`)
	case jobfield.Labels:
		add(`"type": "array", "maxItems": %d, "uniqueItems": true, "items": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_.:/-]{0,62}$"}`, f.Length)
	case jobfield.Delays:
		add(`"type": "array", "maxItems": %d, "items": {"type": "integer", "minimum": %d, "maximum": %d}`, f.Length, f.Low, f.Most)
	case jobfield.Word:
		add(`"type": "string", "enum": ["", "%s"]`, strings.Join(f.Choices, `", "`))
	case jobfield.Channel:
		add(`"type": "string", "pattern": "^([a-z0-9][a-z0-9_-]{0,63})?$"`)
	case jobfield.Text, jobfield.Line, jobfield.Identifier, jobfield.Cron, jobfield.Zone:
		add(`"type": "string"`)
		if f.Required {
			add(`"minLength": 1`)
		}
		if f.Most > 0 {
			add(`"maxLength": %d`, f.Most)
		}
		if f.Kind == jobfield.Identifier {
			add(identifiers)
		}
	}
	text := f.Plain()
	switch d, _ := json.Marshal(f.Default); { // of the table: cannot fail
	case f.Kind == jobfield.Word:
		text += " " + f.Choices[0] + " if left out."
	case f.Default != nil && f.Default != "":
		add(`"default": %s`, d)
	case f.Kind != jobfield.MaybeTruth:
		add(`"examples": [%s]`, f.Example)
	}
	if f.Kind == jobfield.Text {
		text += " At most " + grouped(f.Most) + " bytes."
	}
	add(`"description": %s`, quoted(text))
	return "{" + strings.Join(parts, ", ") + "}"
}

// edited is the schema of a field in an edit.
func edited(f jobfield.Field) string {
	ref := fmt.Sprintf(`{"$ref": "#/components/schemas/JobFields/properties/%s"}`, f.Name)
	if f.NoNull || f.Required {
		return ref
	}
	return `{"anyOf": [` + ref + `, {"type": "null"}]}`
}

// returned is the schema of a field in a response, or in an export.
func returned(line bool) func(jobfield.Field) string {
	return func(f jobfield.Field) string {
		switch kind := kindOfField(f, line); {
		case f.Kind == jobfield.Instant && line:
			return `{"type": "string", "format": "date-time"}`
		case f.Kind == jobfield.Instant:
			return `{"type": "integer", "format": "int64", "description": "Milliseconds."}`
		case f.Kind == jobfield.Labels:
			return `{"type": "array", "items": {"type": "string"}}`
		case f.Kind == jobfield.Delays:
			return `{"type": "array", "items": {"type": "integer"}}`
		default:
			return `{"type": "` + kind + `"}`
		}
	}
}

// kindOfField is the type of a field in responses, or in exports.
func kindOfField(f jobfield.Field, line bool) string {
	switch f.Kind {
	case jobfield.Number, jobfield.Seconds:
		return "integer"
	case jobfield.Truth, jobfield.MaybeTruth:
		return "boolean"
	case jobfield.Labels, jobfield.Delays:
		return "array"
	case jobfield.Instant:
		if !line {
			return "integer"
		}
		return "string"
	default:
		return "string"
	}
}

func quoted(s string) string {
	line, _ := encodeLine(s) // a string: cannot fail
	return strings.TrimSpace(string(line))
}

// definedFields tells the fields of a definition as jsonFields does those of a struct.
func definedFields(line bool, tell func(name string, always bool, kind string)) {
	tell("id", true, "string")
	for _, f := range jobfield.All() {
		tell(f.Name, always(f, line), kindOfField(f, line))
	}
}
