package store

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Redis executes a script from its first line with every call: each function that stands
// there is made anew, each value computed anew, and what they were is garbage. So a script
// gets of lib.lua only what it uses, and constants as they are written out. What only
// seldom branches use is made there: a line "-- seldom" marks what follows it in its block,
// which is what is indented like the line, or deeper.

// library is lib.lua, taken apart.
type library struct {
	constants    map[string]string // Lua texts
	declarations []declaration
}

// declaration is a statement of the outermost level, which declares names: a function,
// or one or more values. It can use only what is declared before it.
type declaration struct {
	text     string
	declares []string
	// What it uses anywhere, and what it uses outside of its seldom branches.
	uses, usesOften map[string]bool
}

var (
	declared = regexp.MustCompile(`^local (?:function (\w+)|([\w, ]+) =)`)
	// constant finds a declaration of a name in capitals, whose value is numbers or texts,
	// or constants before it.
	constant = regexp.MustCompile(`^local ([A-Z][A-Z_]*) = ((?:'[^']*'|[^'\n])*?)\s*(?:--.*)?\n`)
	// token finds the words of a Lua text, and what looks like one: comments, strings and
	// fields, which have no group.
	token = regexp.MustCompile(`--[^\n]*|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\.\.|[.:]\w+|([A-Za-z_]\w*)`)
)

// newLibrary takes a text apart in which every line that begins with "local" begins a
// declaration, and nothing but comments stands before the first.
func newLibrary(source string) library {
	lib := library{constants: map[string]string{}}
	var text strings.Builder // without the constants
	for line := range strings.Lines(source) {
		if m := constant.FindStringSubmatch(line); m != nil {
			lib.constants[m[1]] = lib.spell(m[2])
		} else {
			text.WriteString(line)
		}
	}
	for line := range strings.Lines(lib.spell(text.String())) {
		if m := declared.FindStringSubmatch(line); m != nil {
			names := strings.ReplaceAll(m[1]+m[2], " ", "")
			lib.declarations = append(lib.declarations, declaration{declares: strings.Split(names, ",")})
		}
		if n := len(lib.declarations); n > 0 {
			lib.declarations[n-1].text += line
		}
	}
	for i := range lib.declarations {
		d := &lib.declarations[i]
		d.uses, d.usesOften = words(d.text), words(common(d.text))
	}
	return lib
}

// spell writes the constants of a text out, and texts that it joins as one.
func (lib library) spell(text string) string {
	var out []byte
	var literal, joined bool // what ended just now: a text, a text and "..", or neither
	end := 0
	for _, at := range token.FindAllStringSubmatchIndex(text, -1) {
		between, word := text[end:at[0]], text[at[0]:at[1]]
		end = at[1]
		if value, is := lib.constants[word]; is && at[2] >= 0 {
			word = value
			if strings.Contains(word, " ") {
				word = "(" + word + ")"
			}
		}
		near := between == " "
		isText := word[0] == '\''
		if near && joined && isText {
			out = append(out[:len(out)-len("' ..")], word[1:]...)
		} else {
			out = append(append(out, between...), word...)
		}
		literal, joined = isText, near && literal && word == ".."
	}
	return string(append(out, text[end:]...))
}

// link puts before a script what it uses, and what that uses, in the order of the library,
// and before a seldom branch what only such branches use. A value is made once, before all.
func (lib library) link(script string) string {
	script = lib.spell(script)
	often := []string{script}
	for i := range lib.needs(script, nil, false) {
		if d := lib.declarations[i]; !strings.HasPrefix(d.text, "local function") {
			often = append(often, d.text)
		}
	}
	first := lib.needs(common(strings.Join(often, "")), nil, true)
	return compact(lib.texts(first, first) + lib.branch(script, first))
}

// needs are the declarations, by their index, that a text uses, and that those use, or use
// often, but for the ones that are there already.
func (lib library) needs(text string, there map[int]bool, often bool) map[int]bool {
	used, needed := words(text), map[int]bool{}
	for i, d := range slices.Backward(lib.declarations) {
		if there[i] || !slices.ContainsFunc(d.declares, func(name string) bool { return used[name] }) {
			continue
		}
		needed[i] = true
		if often {
			maps.Copy(used, d.usesOften)
		} else {
			maps.Copy(used, d.uses)
		}
	}
	return needed
}

// texts are declarations in the order of the library, where those of there can be used.
func (lib library) texts(which, there map[int]bool) string {
	var b strings.Builder
	for i, d := range lib.declarations {
		if which[i] {
			b.WriteString(lib.branch(d.text, there))
		}
	}
	return b.String()
}

// branch puts before each seldom branch of a text what it uses and what is not there.
func (lib library) branch(text string, there map[int]bool) string {
	var b strings.Builder
	for i, part := range branches(text) {
		if i%2 == 0 {
			b.WriteString(part)
			continue
		}
		more := lib.needs(common(part), there, true)
		known := maps.Clone(there)
		maps.Copy(known, more)
		b.WriteString(lib.texts(more, known) + lib.branch(part, known))
	}
	return b.String()
}

// common is a text without its seldom branches.
func common(text string) string {
	var b strings.Builder
	for i, part := range branches(text) {
		if i%2 == 0 {
			b.WriteString(part)
		}
	}
	return b.String()
}

// branches cuts a script where a seldom branch begins or ends: the second part is the first
// such branch, the third what follows it, and so on.
func branches(script string) []string {
	parts, depth := []string{""}, 0 // how far the branch is indented; 0: it is none
	for line := range strings.Lines(script) {
		text := strings.TrimLeft(line, " ")
		indent := len(line) - len(text)
		switch {
		case depth == 0 && text == "-- seldom\n":
			parts, depth = append(parts, ""), indent
			continue
		case indent < depth && text != "\n":
			parts, depth = append(parts, ""), 0
		}
		parts[len(parts)-1] += line
	}
	return parts
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
