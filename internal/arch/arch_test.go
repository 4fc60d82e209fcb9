package arch

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/gatewaycron/gatewaycron"

func TestDirectionOfImports(t *testing.T) {
	found, err := check(os.DirFS("../.."), module, rules)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range found {
		t.Error(line)
	}
}

// TestRulesSeeTheModule guards the test above against passing on nothing: on a
// wrong directory, or with a module path that no import has.
func TestRulesSeeTheModule(t *testing.T) {
	gomod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(gomod), "module "+module+"\n") {
		t.Errorf("go.mod does not begin with module %s", module)
	}
	imports, err := packages(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if imports["internal/job"][module+"/internal/schedule"] == "" {
		t.Error("internal/job imports internal/schedule, and the walk did not see it")
	}
}

func TestCheck(t *testing.T) {
	const m = "example.com/m"
	table := []rule{
		{pkg: "domain", forbid: []string{"github.com/redis", "net"}, why: "pure"},
		{pkg: "store", ours: []string{"domain"}, why: "stands on the domain"},
		{pkg: "app", ours: []string{everything}, why: "wires"},
		{pkg: "storetest", ours: []string{"store"}, tests: true, why: "a store for tests"},
	}
	good := map[string]string{
		"domain/d.go":     `package domain; import "time"`,
		"store/s.go":      `package store; import ("example.com/m/domain"; "github.com/redis/go-redis/v9")`,
		"store/s_test.go": `package store_test; import "example.com/m/storetest"`,
		"storetest/s.go":  `package storetest; import "example.com/m/store"`,
		"app/a.go":        `package app; import ("example.com/m/domain"; _ "example.com/m/store")`,
	}

	tests := []struct {
		name  string
		files map[string]string // on top of the good tree
		gone  string            // a file of the good tree that is missing
		rules []rule            // on top of the table
		want  []string
	}{
		{name: "good tree"},
		{
			name:  "upward import",
			files: map[string]string{"domain/up.go": `package domain; import s "example.com/m/store"`},
			want:  []string{"domain/up.go: domain must not import store: pure"},
		},
		{
			name:  "sideways import of a package below a granted one",
			files: map[string]string{"store/x.go": `package store; import "example.com/m/domain/sub"`},
			want:  []string{"store/x.go: store must not import domain/sub: stands on the domain"},
		},
		{
			name:  "forbidden library, by a package of it",
			files: map[string]string{"domain/r.go": `package domain; import "github.com/redis/go-redis/v9"`},
			want:  []string{"domain/r.go: domain must not import github.com/redis/go-redis/v9: pure"},
		},
		{
			name:  "forbidden package of the standard library",
			files: map[string]string{"domain/n.go": `package domain; import "net"`},
			want:  []string{"domain/n.go: domain must not import net: pure"},
		},
		{
			name:  "the standard library is forbidden package by package",
			files: map[string]string{"domain/n.go": `package domain; import "net/url"`},
		},
		{
			name:  "a name that only begins like a forbidden one",
			files: map[string]string{"domain/n.go": `package domain; import "github.com/redistribute/x"`},
		},
		{
			name:  "files of another platform count",
			files: map[string]string{"domain/d_plan9.go": "//go:build never\n\npackage domain; import \"net\""},
			want:  []string{"domain/d_plan9.go: domain must not import net: pure"},
		},
		{
			name:  "a package for tests, outside of tests",
			files: map[string]string{"app/t.go": `package app; import "example.com/m/storetest"`},
			want:  []string{"app/t.go: app must not import storetest: it is for tests"},
		},
		{
			name:  "tests are exempt",
			files: map[string]string{"domain/d_test.go": `package domain; import "example.com/m/store"`},
		},
		{
			name:  "package without a row",
			files: map[string]string{"new/n.go": "package new", "tests/only_test.go": "package tests"},
			want: []string{
				"new has no row: add one to the table, with its reason",
				"tests has no row: add one to the table, with its reason",
			},
		},
		{
			name: "row without a package",
			gone: "app/a.go",
			want: []string{"app has a row, but no such package exists: remove the row"},
		},
		{
			name:  "row without a reason, and a second row",
			rules: []rule{{pkg: "store", ours: []string{"domain"}}},
			want:  []string{"store has two rows", "store: the row gives no reason"},
		},
		{
			name: "what the go command skips",
			files: map[string]string{
				"domain/testdata/x.go": `package x; import "example.com/m/app"`,
				".cache/x.go":          `package x`,
				"_old/x.go":            `package x`,
				"tools/go.mod":         "module example.com/m/tools",
				"tools/t.go":           `package tools; import "example.com/m/app"`,
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := fstest.MapFS{"go.mod": {Data: []byte("module " + m)}}
			for _, files := range []map[string]string{good, tt.files} {
				for name, source := range files {
					tree[name] = &fstest.MapFile{Data: []byte(source)}
				}
			}
			delete(tree, tt.gone)

			got, err := check(tree, m, slices.Concat(table, tt.rules))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("check (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckReportsUnreadableSource(t *testing.T) {
	tree := fstest.MapFS{"domain/d.go": {Data: []byte("package")}}
	if found, err := check(tree, "example.com/m", nil); err == nil {
		t.Errorf("check of a file that does not parse: %q, want an error", found)
	}
}
