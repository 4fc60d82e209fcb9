package store

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Redis executes a script from its first line with every call, and each function that
// stands there is made anew. So a script gets of lib.lua only what it uses.

// library is lib.lua, taken apart.
type library []declaration

// declaration is a statement of the outermost level, which declares names: a function,
// or one or more values. It can use only what is declared before it.
type declaration struct {
	text     string
	declares []string
}

var (
	declared = regexp.MustCompile(`^local (?:function (\w+)|([\w, ]+) =)`)
	// token finds the words of a Lua text, and what looks like one: comments, strings and
	// fields, which have no group.
	token = regexp.MustCompile(`--[^\n]*|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\.\.|[.:]\w+|([A-Za-z_]\w*)`)
)

// newLibrary takes a text apart in which every line that begins with "local" begins a
// declaration, and nothing but comments stands before the first.
func newLibrary(source string) library {
	var lib library
	for line := range strings.Lines(source) {
		if m := declared.FindStringSubmatch(line); m != nil {
			names := strings.ReplaceAll(m[1]+m[2], " ", "")
			lib = append(lib, declaration{declares: strings.Split(names, ",")})
		}
		if len(lib) > 0 {
			lib[len(lib)-1].text += line
		}
	}
	return lib
}

// link puts before a script what it uses, and what that uses, in the order of the library.
func (lib library) link(script string) string {
	used := words(script)
	linked := script
	for _, d := range slices.Backward(lib) {
		if slices.ContainsFunc(d.declares, func(name string) bool { return used[name] }) {
			linked = d.text + linked
			maps.Copy(used, words(d.text))
		}
	}
	return compact(linked)
}

// words are the names that a text may mean, and its keywords.
func words(text string) map[string]bool {
	found := map[string]bool{}
	for _, m := range token.FindAllStringSubmatch(text, -1) {
		found[m[1]] = true
	}
	return found
}

// compact drops whole-line comments and indentation: Redis keeps each script in memory.
func compact(source string) string {
	var b strings.Builder
	for line := range strings.Lines(source) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "--") {
			continue
		}
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.String()
}
