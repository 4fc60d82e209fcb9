package store

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/jobfield"
)

// TestCodecKeepsEveryField of a definition, each by itself and all together.
func TestCodecKeepsEveryField(t *testing.T) {
	var all job.Spec
	for _, f := range jobfield.All() {
		one := job.Spec{}
		for _, s := range []*job.Spec{&one, &all} {
			job.ValueOf(s, f).Set(sample(t, f, job.ValueOf(s, f).Type()))
		}
		if f.Name == "at" {
			all.At = 0 // which excludes maxRuns
		}
		kept(t, f.Name, one)
	}
	kept(t, "all", all)
}

// kept fails the test unless a definition is read as it was written, with its defaults.
func kept(t *testing.T, name string, s job.Spec) {
	t.Helper()
	f := fields(specFields("a", s))
	f["uid"] = "u"
	j, err := decodeJob("a", f)
	if err != nil {
		t.Fatal(err)
	}
	s = s.WithDefaults()
	s.Session = s.ResolveSession("a")
	if d := cmp.Diff(s, j.WithDefaults()); d != "" {
		t.Errorf("%s: %s", name, d)
	}
}

// sample is a value that a field of that type may have, and none of the zero ones.
func sample(t *testing.T, f jobfield.Field, of reflect.Type) reflect.Value {
	t.Helper()
	switch f.Kind {
	case jobfield.Number, jobfield.Seconds:
		if of.Kind() == reflect.Pointer {
			return reflect.ValueOf(new(f.Most))
		}
		return reflect.ValueOf(f.Most)
	case jobfield.Truth:
		return reflect.ValueOf(true)
	case jobfield.MaybeTruth:
		return reflect.ValueOf(new(false))
	case jobfield.Instant:
		return reflect.ValueOf(job.Millis(1_800_000_000_000))
	case jobfield.Labels:
		return reflect.ValueOf([]string{"a", "b:c"})
	case jobfield.Delays:
		return reflect.ValueOf([]int{f.Low, f.Most})
	case jobfield.Word:
		return reflect.ValueOf(f.Choices[1]).Convert(of)
	default:
		return reflect.ValueOf(f.Name).Convert(of)
	}
}
