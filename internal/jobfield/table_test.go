package jobfield

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTable: what is said of a field is complete, and true of its example and its default.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range All() {
		for _, name := range []string{f.Name, "stored as " + f.Key(), "--" + f.Flag} {
			if seen[name] {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
		if !json.Valid([]byte(f.Example)) || f.ToolExample != "" && !json.Valid([]byte(f.ToolExample)) {
			t.Errorf("%s: an example is no JSON", f.Name)
		}
		if !regexp.MustCompile(`^[A-Z\x60].*\.$`).MatchString(f.Text) {
			t.Errorf("%s: %q is no sentence", f.Name, f.Text)
		}
		if (f.Tool == "") != (f.ToolExample == "") {
			t.Errorf("%s: a tool has a text or an example alone", f.Name)
		}
		for _, name := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(f.Text, -1) {
			if _, is := Named(name[1]); !is && !slices.ContainsFunc(All(), func(f Field) bool { return slices.Contains(f.Choices, name[1]) }) &&
				!strings.Contains(" none main false ", " "+name[1]+" ") {
				t.Errorf("%s speaks of %s", f.Name, name[1])
			}
		}
		switch f.Kind {
		case Word:
			if len(f.Choices) < 2 || f.Default != f.Choices[0] || !slices.Contains(f.Choices, strings.Trim(f.Example, `"`)) {
				t.Errorf("%s: %v, %v, %s", f.Name, f.Choices, f.Default, f.Example)
			}
		case Number, Seconds:
			var n int
			if err := json.Unmarshal([]byte(f.Example), &n); err != nil || f.Problem(n) != "" {
				t.Errorf("%s: the example %s %s", f.Name, f.Example, f.Problem(n))
			}
			if d, is := f.Default.(int); f.Default != nil && (!is || f.Problem(d) != "") {
				t.Errorf("%s: the default %v", f.Name, f.Default)
			}
		case Text, Line, Identifier, Chat:
			if f.Most == 0 {
				t.Errorf("%s has no bound", f.Name)
			}
		case Labels, Delays:
			if f.Length == 0 {
				t.Errorf("%s has no bound", f.Name)
			}
		case Channel, Cron, Zone, Truth, MaybeTruth, Instant:
		}
	}
}
