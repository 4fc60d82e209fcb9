package store

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	// declares finds what a text declares: functions, parameters, locals, and what loops count with.
	declares = regexp.MustCompile(`local function (\w+)\(([^)]*)\)|function ?[\w.]*\(([^)]*)\)|local ([\w, ]+)|for ([\w, ]+) (?:in|=)`)
	// declared finds what a module declares for others.
	declared = regexp.MustCompile(`(?m)^local (?:function (\w+)|([\w, ]+) =)`)
)

// luaFixed are the names that Redis declares, and the keywords.
const luaFixed = `KEYS ARGV redis cjson math string table error ipairs next pairs pcall select tonumber tostring type unpack
	and break do else elseif end false for function if in local nil not or repeat return then true until while`

// unit is a function of a module, or a script.
type unit struct {
	name, module, text string // module is "" for a script
	declares           []string
}

// luaUnits are all of them, those of a module in its order.
func luaUnits() []unit {
	var all []unit
	for _, name := range luaNames("lua") {
		all = append(all, unit{name: name, text: luaText(name)})
	}
	for _, name := range luaNames("lua/lib") {
		text := luaText("lib/" + name)
		at := declared.FindAllStringSubmatchIndex(text, -1)
		for i, m := range at {
			end := len(text)
			if i+1 < len(at) {
				end = at[i+1][0]
			}
			names := text[m[0]:m[0]]
			for g := 2; g < 6; g += 2 {
				if m[g] >= 0 {
					names += text[m[g]:m[g+1]]
				}
			}
			list := splitNames(names)
			all = append(all, unit{name: list[0], module: name, text: text[m[0]:end], declares: list})
		}
	}
	return all
}

func splitNames(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// luaWords are the words of a text that may be names, each once.
func luaWords(text string) map[string]bool {
	found := map[string]bool{}
	for _, word := range luaWord.FindAllString(text, -1) {
		if strings.Trim(word[:1], `'"-.:0123456789`) != "" {
			found[word] = true
		}
	}
	return found
}

// reached are the texts of a script and of the functions that it may call.
func reached(script string) []string {
	all := luaUnits()
	var texts []string
	found := map[string]bool{}
	var add func(u unit)
	add = func(u unit) {
		if found[u.module+" "+u.name] {
			return
		}
		found[u.module+" "+u.name] = true
		texts = append(texts, u.text)
		words := luaWords(u.text)
		for _, v := range all {
			if v.module != "" && slices.ContainsFunc(v.declares, func(name string) bool { return words[name] }) {
				add(v)
			}
		}
	}
	add(all[slices.IndexFunc(all, func(u unit) bool { return u.module == "" && u.name == script })])
	return texts
}

// TestIncludes: a script or a module includes the modules whose names it uses, and no others,
// and names nothing before it is declared.
func TestIncludes(t *testing.T) {
	units := luaUnits()
	home := map[string]string{}
	for _, u := range units {
		for _, name := range u.declares {
			if home[name] != "" || strings.Contains(" "+luaFixed+" ", " "+name+" ") {
				t.Errorf("%s of %s is declared elsewhere, too", name, u.module)
			}
			home[name] = u.module
		}
	}
	uses, before := map[string]map[string]bool{}, map[string]bool{}
	for _, u := range units {
		file := u.name
		if u.module != "" {
			file = "lib/" + u.module
		}
		if uses[file] == nil {
			uses[file] = map[string]bool{}
		}
		for _, name := range u.declares {
			before[name] = true
		}
		own := map[string]bool{}
		for _, m := range declares.FindAllStringSubmatch(strings.TrimPrefix(u.text, "local function "+u.name), -1) {
			for _, name := range splitNames(strings.Join(m[1:], ",")) {
				own[name] = true
			}
		}
		for word := range luaWords(u.text) {
			switch module := home[word]; {
			case module == "" || own[word] && !slices.Contains(u.declares, word):
			case module != u.module:
				uses[file][module] = true
			case !before[word]:
				t.Errorf("%s: %s uses %s, which comes later", file, u.name, word)
			}
		}
	}
	for file, modules := range uses {
		if d := cmp.Diff(slices.Sorted(maps.Keys(modules)), slices.Sorted(slices.Values(includes(luaText(file))))); d != "" {
			t.Errorf("%s uses (-) and includes (+): %s", file, d)
		}
	}
}

// Redis tells of a name that is not declared only when it comes to that line.
func TestScriptsNameNothingUndeclared(t *testing.T) {
	f := setup(t, Options{})
	all := Scripts(Options{Prefix: "a--b"})
	if len(all) < 20 {
		t.Fatalf("%d scripts: that is not all of them", len(all))
	}
	for _, s := range all {
		if err := f.rdb.ScriptLoad(f.ctx, s.Text).Err(); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
		if free := undeclared(s.Text); len(free) > 0 {
			t.Errorf("%s names %v", s.Name, free)
		}
	}
	if got := undeclared("local a = b + x.c\nlocal function d(e, f) return e[f], g end\nt = { h = i }"); !slices.Equal(got, []string{"b", "g", "i", "t", "x"}) {
		t.Errorf("found %v", got)
	}
}

// undeclared are the names of a text that it declares nowhere and that are not Redis's,
// in alphabetical order.
func undeclared(text string) []string {
	known := map[string]bool{}
	for word := range strings.FieldsSeq(luaFixed) {
		known[word] = true
	}
	for _, m := range declares.FindAllStringSubmatch(text, -1) {
		for _, name := range splitNames(strings.Join(m[1:], ",")) {
			known[name] = true
		}
	}
	free := map[string]bool{}
	for _, at := range luaWord.FindAllStringIndex(text, -1) {
		word := text[at[0]:at[1]]
		if known[word] || strings.Trim(word[:1], `'"-.:0123456789`) == "" {
			continue
		}
		before, after := text[:at[0]], text[at[1]:]
		inTable := strings.LastIndexByte(before, '{') > strings.LastIndexByte(before, '}')
		if !inTable || !strings.HasPrefix(after, " = ") {
			free[word] = true
		}
	}
	return slices.Sorted(maps.Keys(free))
}

func TestSpell(t *testing.T) {
	constants := map[string]string{"P": "'{p}:'", "KEY": "'{p}:key'", "MANY": "7"}
	for text, want := range map[string]string{
		"return KEY":                             "return '{p}:key'",
		"return P .. 'a:' .. id":                 "return '{p}:' .. 'a:' .. id",
		"f(P) .. 'P' -- P":                       "f('{p}:') .. 'P' -- P",
		"return j.P == 'it\\'s P' and \"P\"":     "return j.P == 'it\\'s P' and \"P\"",
		"x = -MANY - MANYMORE":                   "x = -7 - MANYMORE",
		"local n = MANY -- one's\nreturn P, '}'": "local n = 7 -- one's\nreturn '{p}:', '}'",
	} {
		if got := spell(text, constants); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
}
