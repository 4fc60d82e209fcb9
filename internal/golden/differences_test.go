package golden

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"testing"
)

// difference is what this build tells otherwise than a release did, on purpose. One that is
// none any more fails the test: it has to go.
type difference struct {
	release string         // its directory
	request *regexp.Regexp // method and path; or export, of its lines; or import, of what an export becomes
	field   *regexp.Regexp // where in the answer, such as jobs[].lastOutcome; of an import <job>.session
	why     string
}

// differences is the place for every meaning that was changed. Fields that were added need
// no entry.
var differences = []difference{
	{"v1", regexp.MustCompile(`^GET /api/cron/status$`), regexp.MustCompile(`^due$`), "counts what is due by now: time has gone by"},
}

// comparison holds this build against a release.
type comparison struct {
	t       *testing.T
	release string
	used    []bool // of the differences
}

func compareWith(t *testing.T, release string) *comparison {
	return &comparison{t, release, make([]bool, len(differences))}
}

// answers reports where an answer has not all that the release told.
func (c *comparison) answers(old exchange, now exchange) {
	c.t.Helper()
	request := old.Method + " " + old.Path
	if old.Status != now.Status {
		c.t.Errorf("%s: %d, was %d; %s", request, now.Status, old.Status, now.Answer)
		return
	}
	c.json(request, old.Answer, now.Answer)
}

func (c *comparison) json(request string, old, now []byte) {
	c.t.Helper()
	was, is := decode(c.t, old), decode(c.t, now)
	for _, d := range differ("", was, is) {
		if !c.meant(request, d.field) {
			c.t.Errorf("%s: %s is %s, was %s", request, d.path, d.is, d.was)
		}
	}
}

func (c *comparison) meant(request, field string) bool {
	for i, d := range differences {
		if d.release == c.release && d.request.MatchString(request) && d.field.MatchString(field) {
			c.used[i] = true
			return true
		}
	}
	return false
}

// done reports the differences that are none.
func (c *comparison) done() {
	for i, d := range differences {
		if d.release == c.release && !c.used[i] {
			c.t.Errorf("%s tells the same of %s as %s did: take the difference out (%s)", d.request, d.field, d.release, d.why)
		}
	}
}

func decode(t *testing.T, raw []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return v
}

// deviation is where an answer is not what it was.
type deviation struct{ path, field, was, is string }

var place = regexp.MustCompile(`\[\d+\]`)

// differ lists where now has not all that was in old. Fields may be added, entries of a
// list may not.
func differ(path string, old, now any) (found []deviation) {
	switch old := old.(type) {
	case map[string]any:
		if now, ok := now.(map[string]any); ok {
			for _, name := range sortedKeys(old) {
				at := name
				if path != "" {
					at = path + "." + name
				}
				found = append(found, differ(at, old[name], now[name])...)
			}
			return found
		}
	case []any:
		if now, ok := now.([]any); ok && len(now) == len(old) {
			for i := range old {
				found = append(found, differ(fmt.Sprintf("%s[%d]", path, i), old[i], now[i])...)
			}
			return found
		}
	default:
		if old == now {
			return nil
		}
	}
	was, _ := encode(old)
	is, _ := encode(now)
	return []deviation{{path, place.ReplaceAllString(path, "[]"), string(was), string(is)}}
}

func TestDiffer(t *testing.T) {
	for _, tt := range []struct {
		old, now string
		want     []deviation
	}{
		{`{"a":1,"b":[{"c":"x"}]}`, `{"b":[{"c":"x","new":1}],"a":1,"new":null}`, nil},
		{`{"a":1}`, `{"a":2}`, []deviation{{"a", "a", "1", "2"}}},
		{`{"a":1}`, `{}`, []deviation{{"a", "a", "1", "null"}}},
		{`{"b":[{"c":1},{"c":2}]}`, `{"b":[{"c":1},{"c":3}]}`, []deviation{{"b[1].c", "b[].c", "2", "3"}}},
		{`{"b":[1]}`, `{"b":[1,2]}`, []deviation{{"b", "b", "[1]", "[1,2]"}}},
		{`{"b":{}}`, `{"b":[]}`, []deviation{{"b", "b", "{}", "[]"}}},
		{`{"n":1790000000000123}`, `{"n":1790000000000124}`, []deviation{{"n", "n", "1790000000000123", "1790000000000124"}}},
	} {
		if got := differ("", decode(t, []byte(tt.old)), decode(t, []byte(tt.now))); !slices.Equal(got, tt.want) {
			t.Errorf("%s and %s differ in %v, want %v", tt.old, tt.now, got, tt.want)
		}
	}
}
