package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// described is the document as far as these tests read it.
type described struct {
	Paths      map[string]map[string]describedOperation
	Components struct {
		Parameters map[string]describedParameter
		Schemas    map[string]describedSchema
	}
}

type describedOperation struct {
	OperationID string
	Parameters  []describedParameter
}

type describedParameter struct {
	Ref      string `json:"$ref"`
	Name, In string
}

type describedSchema struct {
	Ref        string `json:"$ref"`
	Type       any
	Required   []string
	Properties map[string]describedSchema
	AllOf      []describedSchema
	Items      *describedSchema
}

func readDescribed(t *testing.T) described {
	t.Helper()
	var d described
	if err := json.Unmarshal(openapi, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// whole is a schema with what it is made of.
func (d described) whole(name string) describedSchema {
	s := d.Components.Schemas[name]
	whole := describedSchema{Required: slices.Clone(s.Required), Properties: map[string]describedSchema{}}
	for _, part := range s.AllOf {
		p := d.whole(lastOf(part.Ref))
		whole.Required = append(whole.Required, p.Required...)
		maps.Copy(whole.Properties, p.Properties)
	}
	maps.Copy(whole.Properties, s.Properties)
	slices.Sort(whole.Required)
	return whole
}

func sortedNames[V any](m map[string]V) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func TestEveryRouteIsDescribed(t *testing.T) {
	d := readDescribed(t)
	var want, got []string
	ids := map[string]string{}
	for path, operations := range d.Paths {
		for method, op := range operations {
			want = append(want, strings.ToUpper(method)+" "+path)
			if other := ids[op.OperationID]; other != "" || op.OperationID == "" {
				t.Errorf("%s %s has the operationId %q, as %s", method, path, op.OperationID, other)
			}
			ids[op.OperationID] = path
		}
	}
	routes, ok := New(Options{Now: time.Now}).(chi.Routes)
	if !ok {
		t.Fatal("the handler is no router")
	}
	err := chi.Walk(routes, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		got = append(got, method+" "+route)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("routes (-) and their descriptions (+):\n%s", diff)
	}
}

func fieldNames[T any](sh shape[T]) []string {
	var names []string
	for _, f := range sh.fields {
		names = append(names, f.name)
	}
	slices.Sort(names)
	return names
}

func TestEveryFieldIsDescribed(t *testing.T) {
	d := readDescribed(t)
	for name, fields := range map[string][]string{
		"JobFields":      fieldNames(jobShape),
		"NewJob":         fieldNames(namedJobShape),
		"JobEdit":        fieldNames(namedJobShape),
		"ImportedJob":    fieldNames(importShape),
		"PreviewRequest": fieldNames(previewShape),
		"PauseJob":       fieldNames(pauseShape),
		"PauseAll":       fieldNames(stopShape),
		"NewToken":       fieldNames(tokenShape),
		"Nothing":        nil,
	} {
		if diff := cmp.Diff(fields, sortedNames(d.whole(name).Properties)); diff != "" {
			t.Errorf("%s: fields (-) and their descriptions (+):\n%s", name, diff)
		}
	}
}

func TestEveryAnswerIsDescribed(t *testing.T) {
	d := readDescribed(t)
	for name, view := range map[string]any{
		"Job": jobView{}, "StartedJob": startedJob{}, "JobList": jobList{}, "DeletedJob": deletedJob{},
		"Run": runView{}, "EndedRun": endedRun{}, "RunList": runList{}, "Attempt": job.Attempt{}, "Delivery": deliveryView{},
		"Session": sessionView{}, "Message": job.Message{}, "Preview": previewView{}, "Upcoming": upcomingView{}, "Slot": slotView{},
		"Token": tokenView{}, "MadeToken": newTokenView{}, "TokenList": tokenList{},
		"Status": statusView{}, "OwnStatus": ownStatus{}, "StoppedStatus": stoppedView{}, "Quarantined": quarantinedView{},
		"AuditEntry": auditView{}, "AuditList": auditList{}, "JobLine": jobLine{},
		"ImportReport": importReport{}, "LineProblems": lineProblems{}, "Problem": problem{}, "FieldProblem": job.Problem{},
	} {
		t.Run(name, func(t *testing.T) {
			s := d.whole(name)
			want := map[string]string{}
			for n, p := range s.Properties {
				for p.Ref != "" {
					p = d.Components.Schemas[lastOf(p.Ref)]
				}
				want[n], _ = p.Type.(string)
			}
			got, required := map[string]string{}, []string{}
			tell := func(name string, always bool, kind string) {
				got[name] = kind
				if always {
					required = append(required, name)
				}
			}
			jsonFields(reflect.TypeOf(view), tell)
			switch view.(type) {
			case jobView, startedJob, jobLine:
				definedFields(name == "JobLine", tell)
			}
			slices.Sort(required)
			if diff := cmp.Diff(got, want); diff != "" {
				t.Errorf("fields (-) and their descriptions (+):\n%s", diff)
			}
			if diff := cmp.Diff(required, s.Required); diff != "" {
				t.Errorf("always there (-) and said to be (+):\n%s", diff)
			}
		})
	}
}

// jsonFields tells the fields that encoding/json makes of a struct.
func jsonFields(typ reflect.Type, tell func(name string, always bool, kind string)) {
	for f := range typ.Fields() {
		tag := f.Tag.Get("json")
		if tag == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		if f.Anonymous && tag == "" {
			jsonFields(f.Type, tell)
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		tell(name, !strings.Contains(options, "omitempty"), kindOfType(f.Type))
	}
}

func kindOfType(typ reflect.Type) string {
	if typ == reflect.TypeFor[json.RawMessage]() {
		return "object"
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return kindOfType(typ.Elem())
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Slice:
		return "array"
	default:
		return "object"
	}
}

// TestDocs is about what the page must not leave out, or leave to others.
func TestDocs(t *testing.T) {
	page, err := renderDocs()
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	if !strings.Contains(text, "<style>"+docsCSS+"</style>") {
		t.Error("the style is not what the content security policy allows")
	}
	for _, foreign := range []string{"<script", "http://", "https://", "src=", "style=", "@import", "url("} {
		if strings.Contains(text, foreign) {
			t.Errorf("the page has %q", foreign)
		}
	}
	d := readDescribed(t)
	for path, operations := range d.Paths {
		for method, op := range operations {
			if id := `id="` + op.OperationID + `"`; !strings.Contains(text, id) {
				t.Errorf("%s %s is not on the page", method, path)
			}
		}
	}
	for name := range d.Components.Schemas {
		if !strings.Contains(text, `id="`+name+`"`) {
			t.Errorf("%s is not on the page", name)
		}
	}
	for _, link := range strings.Split(text, `href="#`)[1:] {
		target, _, _ := strings.Cut(link, `"`)
		if !strings.Contains(text, `id="`+target+`"`) {
			t.Errorf("a link leads to #%s, which is not there", target)
		}
	}
}
