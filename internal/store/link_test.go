package store

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLink(t *testing.T) {
	lib := newLibrary(`local P = '{p}:'
-- What stands first.
local KEY = P .. 'key'
local DAY = 24 * 3600000 -- in
                         -- milliseconds
local NOT_CONSTANT, B = 'x', 2 -- unused
local c = B
local clock = redis.call('TIME')

-- one is explained.
local function one(unused) return c + 1 end
local function two()
  local many = one() -- clock
  return many
end
local function three(r) return r.one .. 'clock'..B end
`)
	for script, want := range map[string][]string{
		"return 1":            nil,
		"return B":            {"local NOT_CONSTANT, B = 'x', 2 -- unused"},
		"return 'A' .. clock": {"local clock = redis.call('TIME')"},
		"return two()": {"local NOT_CONSTANT, B = 'x', 2 -- unused", "local c = B", "local function one(unused) return c + 1 end",
			"local function two()", "local many = one() -- clock", "return many", "end"},
		"return three({})":        {"local NOT_CONSTANT, B = 'x', 2 -- unused", "local function three(r) return r.one .. 'clock'..B end"},
		"-- two\nreturn x.two, 1": nil,
	} {
		got := strings.Split(strings.TrimSpace(lib.link(script)), "\n")
		if d := cmp.Diff(append(want, strings.TrimPrefix(script, "-- two\n")), got); d != "" {
			t.Errorf("%s: %s", script, d)
		}
	}
}

func TestConstantsAreWrittenOut(t *testing.T) {
	lib := newLibrary("local P = '{p}:'\nlocal DASHED = '{a--b}:' .. 'key' -- which a prefix may be\nlocal KEY = P .. 'key'\nlocal DAY = 24 * 3600000 -- in\n   -- ms\nlocal MANY = 7\nlocal function day() return now + DAY end\n")
	for script, want := range map[string]string{
		"return KEY":                          "return '{p}:key'",
		"return DASHED":                       "return '{a--b}:key'",
		"return P .. 'a:' .. id":              "return '{p}:a:' .. id",
		"return id .. ':' .. P .. 'x'":        "return id .. ':{p}:x'",
		"return P .. id .. P":                 "return '{p}:' .. id .. '{p}:'",
		"f(P) .. 'x'":                         "f('{p}:') .. 'x'",
		"return 'a' .. x .. ' .. ' .. 'b'":    "return 'a' .. x .. ' .. b'",
		"return {'a', P} -- P":                "return {'a', '{p}:'} -- P",
		"return j.P == 'P' and \"P\" .. DAYS": "return j.P == 'P' and \"P\" .. DAYS",
		"x = -MANY - DAY":                     "x = -7 - (24 * 3600000)",
		"return day()":                        "local function day() return now + (24 * 3600000) end\nreturn day()",
	} {
		if got := strings.TrimSpace(lib.link(script)); got != want {
			t.Errorf("%s is %s, want %s", script, got, want)
		}
	}
}

// What only seldom branches use is made there, once for each; values are made before all.
func TestSeldomBranches(t *testing.T) {
	lib := newLibrary(`local now = clock()
local list = {}
local function one() return now end
local function two() return one() end
local function three()
  if now then
    -- seldom
    list[1] = two()
  end
end
`)
	for script, want := range map[string]string{
		"return three()\n": `local now = clock()
local list = {}
local function three()
if now then
local function one() return now end
local function two() return one() end
list[1] = two()
end
end
return three()
`,
		`if a then
  -- seldom
  three()

  if b then
    -- seldom
    two()
  end
elseif c then
  -- seldom
  two()
else
  return one()
end
`: `local now = clock()
local list = {}
local function one() return now end
if a then
local function three()
if now then
local function two() return one() end
list[1] = two()
end
end
three()
if b then
local function two() return one() end
two()
end
elseif c then
local function two() return one() end
two()
else
return one()
end
`,
	} {
		if d := cmp.Diff(want, lib.link(script)); d != "" {
			t.Errorf("%s: %s", script, d)
		}
	}
}

// What is made in a seldom branch stands among the names of the script or the function
// around it: none of those may mean something else to it.
func TestNamesAroundSeldomBranches(t *testing.T) {
	entries, err := luaFiles.ReadDir("lua")
	if err != nil {
		t.Fatal(err)
	}
	around := map[string]string{}
	read := func(name string) string {
		text, err := luaFiles.ReadFile("lua/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, e := range entries {
		if e.Name() != "lib.lua" {
			around[e.Name()] = read(e.Name())
		}
	}
	lib := newLibrary(read("lib.lua"))
	taken := map[string]bool{}
	for name := range strings.FieldsSeq(builtin) {
		taken[name] = true
	}
	for _, d := range lib.declarations {
		for _, name := range d.declares {
			taken[name] = true
		}
		around[d.declares[0]] = strings.TrimPrefix(d.text, "local function "+d.declares[0])
	}
	branched := 0
	for where, text := range around {
		if len(branches(text)) == 1 {
			continue
		}
		branched++
		for _, m := range declares.FindAllStringSubmatch("local function itself"+text, -1) {
			for _, names := range m[1:] {
				for name := range strings.FieldsFuncSeq(names, func(r rune) bool { return r == ',' || r == ' ' }) {
					if taken[name] {
						t.Errorf("%s declares %s, which a function of its branches may mean", where, name)
					}
				}
			}
		}
	}
	if branched < 5 {
		t.Errorf("only %d texts have seldom branches", branched)
	}
}

// Redis tells of a name that is not declared only when it comes to that line.
func TestScriptsNameNothingUndeclared(t *testing.T) {
	f := setup(t, Options{})
	texts := sent("a--b")
	if len(texts) < 20 {
		t.Fatalf("%d scripts: that is not all of them", len(texts))
	}
	for name, text := range texts {
		if err := f.rdb.ScriptLoad(f.ctx, text).Err(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if free := undeclared(text); len(free) > 0 {
			t.Errorf("%s names %v", name, free)
		}
	}
	if got := undeclared("local a = b + x.c\nlocal function d(e, f) return e[f], g end\nt = { h = i }"); !slices.Equal(got, []string{"b", "g", "i", "t", "x"}) {
		t.Errorf("found %v", got)
	}
}

// sent are the scripts as they are sent, by name.
func sent(prefix string) map[string]string {
	values := Options{}.withDefaults().fill(newKeys(prefix))
	texts := map[string]string{}
	for name, text := range linked() {
		texts[name] = values.Replace(text)
	}
	return texts
}

// declares finds what a text declares: functions, parameters, locals, and what loops count with.
var declares = regexp.MustCompile(`local function (\w+)\(([^)]*)\)|function ?[\w.]*\(([^)]*)\)|local ([\w, ]+)|for ([\w, ]+) (?:in|=)`)

// builtin are the names that Redis declares.
const builtin = "KEYS ARGV redis cjson math string table error ipairs next pairs pcall select tonumber tostring type unpack"

// undeclared are the names of a text that it declares nowhere and that are not Redis's,
// in alphabetical order.
func undeclared(text string) []string {
	known := map[string]bool{}
	for word := range strings.FieldsSeq(`and break do else elseif end false for function if in local nil not or repeat return
		then true until while ` + builtin) {
		known[word] = true
	}
	for _, m := range declares.FindAllStringSubmatch(text, -1) {
		for _, names := range m[1:] {
			for name := range strings.FieldsFuncSeq(names, func(r rune) bool { return r == ',' || r == ' ' }) {
				known[name] = true
			}
		}
	}
	free := map[string]bool{}
	for _, at := range token.FindAllStringSubmatchIndex(text, -1) {
		if at[2] < 0 || known[text[at[2]:at[3]]] {
			continue
		}
		before, after := text[:at[2]], text[at[3]:]
		inTable := strings.LastIndexByte(before, '{') > strings.LastIndexByte(before, '}')
		if !inTable || !strings.HasPrefix(after, " = ") {
			free[text[at[2]:at[3]]] = true
		}
	}
	return slices.Sorted(maps.Keys(free))
}
