package arch

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// everything, in rule.ours, grants every package of the module but those for
// tests.
const everything = "*"

// rule says what one package may import. Paths of ours are relative to the
// module's root.
type rule struct {
	pkg    string
	ours   []string // packages of this module it may import
	forbid []string // libraries it must not import
	tests  bool     // only files of tests may import it
	why    string
}

func (r rule) allows(pkg string) bool {
	return slices.Contains(r.ours, everything) || slices.Contains(r.ours, pkg)
}

func (r rule) forbids(imported string) bool {
	return slices.ContainsFunc(r.forbid, func(library string) bool {
		isStd := !strings.Contains(library, ".")
		return imported == library || !isStd && strings.HasPrefix(imported, library+"/")
	})
}

// check compares the imports of the module in tree, whose path is module, with
// rules and returns one line for each difference, sorted.
func check(tree fs.FS, module string, rules []rule) ([]string, error) {
	imports, err := packages(tree)
	if err != nil {
		return nil, err
	}

	var found []string
	report := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }

	rows := map[string]rule{}
	for _, r := range rules {
		if _, twice := rows[r.pkg]; twice {
			report("%s has two rows", r.pkg)
		}
		if r.why == "" {
			report("%s: the row gives no reason", r.pkg)
		}
		rows[r.pkg] = r
		if _, exists := imports[r.pkg]; !exists {
			report("%s has a row, but no such package exists: remove the row", r.pkg)
		}
	}

	for pkg, files := range imports {
		r, ok := rows[pkg]
		if !ok {
			report("%s has no row: add one to the table, with its reason", pkg)
			continue
		}
		for _, imported := range slices.Sorted(maps.Keys(files)) {
			ours, isOurs := strings.CutPrefix(imported, module+"/")
			switch {
			case isOurs && rows[ours].tests:
				report("%s: %s must not import %s: it is for tests", files[imported], pkg, ours)
			case isOurs && !r.allows(ours):
				report("%s: %s must not import %s: %s", files[imported], pkg, ours, r.why)
			case !isOurs && r.forbids(imported):
				report("%s: %s must not import %s: %s", files[imported], pkg, imported, r.why)
			}
		}
	}
	slices.Sort(found)
	return found, nil
}

// packages lists, for each directory of tree with Go files, what its files
// import and one file that does. Files of every platform count and files of
// tests do not; a directory that has only those is listed with no imports.
// Nested modules, and the directories that the go command skips, are left out.
func packages(tree fs.FS) (map[string]map[string]string, error) {
	found := map[string]map[string]string{}
	err := fs.WalkDir(tree, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if file != "." && skipped(tree, file) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(file) != ".go" {
			return nil
		}

		dir := path.Dir(file)
		if found[dir] == nil {
			found[dir] = map[string]string{}
		}
		if strings.HasSuffix(file, "_test.go") {
			return nil
		}
		source, err := fs.ReadFile(tree, file)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return fmt.Errorf("%s: import %s: %w", file, spec.Path.Value, err)
			}
			found[dir][imported] = file
		}
		return nil
	})
	return found, err
}

func skipped(tree fs.FS, dir string) bool {
	name := path.Base(dir)
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "vendor" || name == "node_modules" {
		return true
	}
	_, err := fs.Stat(tree, path.Join(dir, "go.mod"))
	return err == nil
}

func join(lists ...[]string) []string { return slices.Concat(lists...) }
