package store

import (
	"embed"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// A script of lua/ names, on a line "-- include", the modules of lua/lib/ that it uses, and so
// does a module. What Redis runs is these, each once and after those that it includes itself,
// and then the script; names in capitals stand for the constants of constants.go. It is printed
// by make scripts.

//go:embed lua/*.lua lua/lib/*.lua
var luaFiles embed.FS

// Script is what Redis runs for a step of the protocol.
type Script struct{ Name, Text string }

// Scripts returns all scripts of a deployment, by name.
func Scripts(o Options) []Script {
	o = o.withDefaults()
	values := o.fill(newKeys(o.Prefix))
	var all []Script
	for _, name := range slices.Sorted(maps.Keys(programs())) {
		all = append(all, Script{Name: name, Text: values.Replace(programs()[name])})
	}
	return all
}

// programs returns the scripts by name, with the marks of the constants in them, which are the
// same for every deployment.
var programs = sync.OnceValue(func() map[string]string {
	marks := map[string]string{}
	for _, c := range (Options{}).constants(keys{}) {
		marks[c.name] = c.mark()
	}
	// Each file is made ready once: a module stands in many scripts.
	ready := map[string]string{}
	for _, name := range luaNames("lua/lib") {
		ready["lib/"+name] = compact(spell(luaText("lib/"+name), marks))
	}
	scripts := luaNames("lua")
	for _, name := range scripts {
		ready[name] = compact(spell(luaText(name), marks))
	}
	all := map[string]string{}
	for _, name := range scripts {
		all[name] = whole(name, ready)
	}
	return all
})

// luaNames lists the files of a directory, without their ending.
func luaNames(dir string) []string {
	files, err := luaFiles.ReadDir(dir)
	if err != nil {
		panic(err) // embedded: cannot fail in a built program
	}
	var names []string
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), ".lua"); ok {
			names = append(names, name)
		}
	}
	return names
}

func luaText(name string) string {
	text, err := luaFiles.ReadFile(path.Join("lua", name+".lua"))
	if err != nil {
		panic(fmt.Errorf("a script includes what there is not: %w", err))
	}
	return string(text)
}

// included finds the line that names modules.
var included = regexp.MustCompile(`(?m)^-- include (.*)$`)

// includes lists the modules that a script or a module names.
func includes(text string) []string {
	m := included.FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	return strings.Fields(m[1])
}

// whole is a script after what it includes, of files that are ready.
func whole(script string, ready map[string]string) string {
	var b strings.Builder
	there := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if there[name] {
			return
		}
		there[name] = true
		for _, module := range includes(luaText(name)) {
			add("lib/" + module)
		}
		b.WriteString(ready[name])
	}
	add(script)
	return b.String()
}

// luaWord finds the words of a Lua text, and, because none of these is one, texts, comments
// and fields.
var luaWord = regexp.MustCompile(`'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|--[^\n]*|[.:]?\w+`)

// spell writes constants out.
func spell(text string, constants map[string]string) string {
	return luaWord.ReplaceAllStringFunc(text, func(word string) string {
		if value, is := constants[word]; is {
			return value
		}
		return word
	})
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
