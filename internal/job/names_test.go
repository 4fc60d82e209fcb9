package job

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/unicode/norm"
)

func TestFolds(t *testing.T) {
	for text, want := range map[string][]string{
		"agent:main:telegram:dm:1": {"agent:main:telegram:dm:1"},
		"Agent:Main_x-1.y":         {"agent:main_x-1.y"},
		"ada@corp":                 {"ada_corp", "ada@corp"},
		"a/b..":                    {"a_b", "a/b"},
		"早报":                       {"__", "______", "早报"},
		"😀":                        {"__", "_", "____", "😀"},
		"É":                        {"_", "__", "e\u0301"},
		"e\u0301":                  {"e_", "e__", "e\u0301"},
		"\u212aelvin":              {"_elvin", "___elvin", "kelvin"},
	} {
		if diff := cmp.Diff(want, Folds(text)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestAgentsOf(t *testing.T) {
	for key, want := range map[string][]string{
		"agent:alpha:ops:cron:a": {"alpha", "alpha:ops", "alpha:ops:cron"},
		"agent:alpha:a":          {"alpha"},
		"agent:alpha":            nil,
		"agent::a":               nil,
		"alpha:a":                nil,
	} {
		if diff := cmp.Diff(want, AgentsOf(key)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", key, diff)
		}
	}
}

// servers are ways in which an id becomes the name of a file; two ids of one name are one
// conversation.
var servers = map[string]func(string) string{
	"replaces code units": func(id string) string {
		var b strings.Builder
		for _, u := range utf16.Encode([]rune(id)) {
			b.WriteRune(kept(rune(u)))
		}
		return b.String()
	},
	"replaces code points": func(id string) string { return strings.Map(kept, id) },
	"replaces bytes": func(id string) string {
		b := []byte(id)
		for i := range b {
			b[i] = byte(kept(rune(b[i])))
		}
		return string(b)
	},
	"replaces what it composes, and ignores case": func(id string) string { return caseless(strings.Map(kept, id)) },
	"ignores case":                               caseless,
	"ignores case and composition":               func(id string) string { return norm.NFC.String(caseless(norm.NFD.String(id))) },
	"ignores case and dots at the end, replaces": func(id string) string { return caseless(strings.TrimRight(strings.Map(kept, id), ".")) },
}

func kept(r rune) rune {
	if r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_:.", r)) {
		return r
	}
	return '_'
}

// caseless takes the least of the characters that differ in case alone.
func caseless(id string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
			least = min(least, o)
		}
		return least
	}, id)
}

// register is what the store keeps: whose the folds of ids are.
type register map[string]string

func (r register) id(key string) string {
	for _, id := range SessionIDs(key) {
		folds := Folds(id)
		if slices.ContainsFunc(folds, func(f string) bool { return r[f] != "" && r[f] != key }) {
			continue
		}
		for _, f := range folds {
			r[f] = key
		}
		return id
	}
	return ""
}

// FuzzSessionIDs: no two keys get one conversation, wherever ids become names of files, and
// however one of them was chosen to be called as the other.
func FuzzSessionIDs(f *testing.F) {
	for _, keys := range [][2]string{{"agent:ada@corp:main", "agent:ada_corp:main"}, {"agent:main:早报", "agent:main:晚报"}, {"A", "a"},
		{"é", "e\u0301"}, {"\u212a", "k"}, {"a.", "a"}, {"😀", "早报"}, {"a/b", `a\b`}, {"ſ", "S"}, {"ς", "Σ"}} {
		f.Add(keys[0], keys[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, key := range []string{a, b} {
			if (Spec{Schedule: "* * * * *", Task: "x", SessionKey: key}).Validate() != nil || key == "" {
				t.Skip("no key")
			}
		}
		r, ids := register{}, map[string]string{}
		keys := []string{a, b}
		keys = append(keys, SessionIDs(a)[1], SessionIDs(b)[1], SessionIDs(b)[2])
		for _, key := range keys {
			id := r.id(key)
			if id == "" || len(id) > MaxSessionBytes || !utf8.ValidString(id) {
				t.Fatalf("%q is called %q", key, id)
			}
			if again := r.id(key); again != id {
				t.Fatalf("%q is called %q and then %q", key, id, again)
			}
			for name, server := range servers {
				at := name + ": " + server(id)
				if other, taken := ids[at]; taken && other != key {
					t.Fatalf("a server that %s has one conversation of %q and %q", name, other, key)
				}
				ids[at] = key
			}
		}
		if ids["ignores case: "+caseless(a)] != a {
			t.Errorf("%q, which came first, is called otherwise", a)
		}
	})
}
