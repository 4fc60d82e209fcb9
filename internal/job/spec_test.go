package job

import (
	"reflect"
	"slices"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/jobfield"
)

// TestEveryFieldHasItsPlace: a Spec has the fields of the table, of the types of their kinds,
// and no others but those that no client defines as such.
func TestEveryFieldHasItsPlace(t *testing.T) {
	types := map[jobfield.Kind][]any{
		jobfield.Text: {""}, jobfield.Line: {""}, jobfield.Identifier: {""}, jobfield.Chat: {""}, jobfield.Channel: {""}, jobfield.Word: {""},
		jobfield.Cron: {""}, jobfield.Zone: {""}, jobfield.Number: {0, new(int)}, jobfield.Seconds: {0}, jobfield.Truth: {false},
		jobfield.MaybeTruth: {new(bool)}, jobfield.Instant: {Millis(0)}, jobfield.Labels: {[]string{}}, jobfield.Delays: {[]int{}},
	}
	var s Spec
	for _, f := range jobfield.All() {
		if places[f.Name] == nil {
			t.Errorf("no field of Spec has the tag %s", f.Name)
			continue
		}
		is := ValueOf(&s, f).Type()
		if f.Kind == jobfield.Word && is.Kind() == reflect.String {
			is = reflect.TypeFor[string]() // one of its own
		}
		if !slices.ContainsFunc(types[f.Kind], func(v any) bool { return reflect.TypeOf(v) == is }) || f.Optional() != (is.Kind() == reflect.Pointer && f.Kind == jobfield.Number) {
			t.Errorf("%s is of the type %s", f.Name, is)
		}
	}
	if len(places) != len(jobfield.All()) {
		t.Errorf("%d fields of Spec have a tag, and the table has %d", len(places), len(jobfield.All()))
	}
	for f := range reflect.TypeFor[Spec]().Fields() {
		if _, tagged := f.Tag.Lookup("field"); !tagged && !slices.Contains([]string{"Session", "SessionForm", "PauseReason"}, f.Name) {
			t.Errorf("%s has no tag", f.Name)
		}
	}
}
