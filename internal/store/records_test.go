package store

import (
	"bufio"
	"crypto/sha1" // the digest by which Redis knows a script
	"encoding/hex"
	goflag "flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// Here records.go is held to what the scripts do: what they write, by what Redis shows of them
// while all other tests run; what they read, by their text.

var update = goflag.Bool("update", false, "write the fields of the records into docs/protocol.md")

// TestFieldsThatScriptsRead: each is in the layout of its record, and says who reads it.
func TestFieldsThatScriptsRead(t *testing.T) {
	read := readers(t)
	for name, l := range layouts() {
		for _, f := range l.fields {
			found := strings.Join(slices.Sorted(maps.Keys(read[name+" "+f.name])), " ")
			if said := strings.Join(slices.Sorted(strings.FieldsSeq(f.reads)), " "); said != found {
				t.Errorf("%s, %s: read by %q, and records.go says %q", l.key, f.name, found, said)
			}
		}
	}
}

// TestLayouts: what is written of a record is complete, and each name is there once.
func TestLayouts(t *testing.T) {
	scripts := luaNames("lua")
	for _, l := range layouts() {
		names := map[string]bool{}
		for _, f := range l.fields {
			if names[f.name] || f.kind == "" || f.writes == "" {
				t.Errorf("%s, %s: twice, or incomplete", l.key, f.name)
			}
			names[f.name] = true
			for script := range strings.FieldsSeq(f.writes) {
				if script != "Go" && !slices.Contains(scripts, script) {
					t.Errorf("%s, %s: there is no script %s", l.key, f.name, script)
				}
			}
		}
	}
}

// TestCodecHasNoOtherFields: what is stored of a definition is in the layout of a job.
func TestCodecHasNoOtherFields(t *testing.T) {
	for name := range specFields("a", job.Spec{}.WithDefaults()) {
		if !slices.ContainsFunc(layouts()["job"].fields, func(f layoutField) bool { return f.name == name }) {
			t.Errorf("records.go has no field %s of a job", name)
		}
	}
}

// TestProtocolHasTheFields: the tables in docs/protocol.md are those of records.go.
func TestProtocolHasTheFields(t *testing.T) {
	const path, begin, end = "../../docs/protocol.md", "<!-- fields: made from internal/store/records.go -->\n", "<!-- end of fields -->\n"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	is, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no place for the fields", path)
	}
	want := "\n" + tables()
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if is != want {
		t.Errorf("%s is not up to date: go test ./internal/store -run %s -update", path, t.Name())
	}
}

// tables are the layouts as docs/protocol.md has them.
func tables() string {
	all := layouts()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		l := all[name]
		goes := "It stays"
		if l.goes != "" {
			goes = "It goes when " + l.goes
		}
		fmt.Fprintf(&b, "### `%s`\n\nHolds %s. %s.\n\n| Field | Kind | Written by | Read by | Goes before, when | What it is |\n|---|---|---|---|---|---|\n", l.key, l.about, goes)
		for _, f := range l.fields {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", f.name, f.kind, f.writes, f.reads, f.goes, f.about)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

var (
	quotation = regexp.MustCompile(`'(?:[^'\\]|\\.)*'`)
	comment   = regexp.MustCompile(`--[^\n]*`)
	// access finds x.name, and whether it is set.
	access = regexp.MustCompile(`\b([a-z_]+)\.(\w+)( = )?`)
	// asked finds what names some fields of a hash.
	asked = regexp.MustCompile(`(?:redis\.p?call\('(HGET|HMGET|HEXISTS|HSTRLEN|HDEL)', |\b(pick|erase)\()` +
		`(\w+(?: \.\. [^,]*)?|'[^']*'), (\{[^}]*\}|[^()\n]*)`)
	keyOf = regexp.MustCompile(`local (\w+)(?:, [\w, ]+)? = ([A-Z_]+) \.\. `)
)

// variables are what a script calls a record that it has read. Where one unit means another, that
// stands before it.
var variables = map[string]string{
	"j": "job", "by": "job", "r": "run", "found": "run", "d": "delivery", "h": "run delivery", "a": "alert", "t": "token", "first": "idem",
	"owned of": "job run", "pause was": "paused", "pause is": "paused", "resume was": "paused", "clock_step was": "clock",
	"repair key": "run delivery", "tell_undelivered key": "delivery", "lean_runs key": "run", "look key": "run delivery", "erase key": "", "pick key": "",
	// These are no records.
	"redis": "", "string": "", "math": "", "table": "", "cjson": "", "note": "", "kind": "", "fact": "", "failed": "", "chat": "", "changes": "",
	"fields": "", "given": "", "answer": "", "all": "", "err": "", "before": "", "worker": "", "check": "", "previous": "", "run": "", "booked a": "",
	"tell_recovery was": "", "active_runs r": "run", "heartbeat is": "",
}

// beside are what scripts add to a record that they have read, for each other alone.
var beside = map[string]bool{"run id": true, "run permanent": true, "job err": true}

// ofKey names the record of a key.
var ofKey = map[string]string{"JOB": "job", "RUN": "run", "DELIVERY": "delivery", "ALERT": "alert", "TOKEN": "token", "ONCE": "idem"}

// readers returns who reads each field ("<record> <field>"): a script, or a function of the
// library. A name that no layout has is an error.
func readers(t *testing.T) map[string]map[string]bool {
	t.Helper()
	all, read := layouts(), map[string]map[string]bool{}
	note := func(unit, records, field string, reads bool) {
		known := records == ""
		for record := range strings.FieldsSeq(records) {
			switch has := slices.ContainsFunc(all[record].fields, func(f layoutField) bool { return f.name == field }); {
			case !has:
				known = known || beside[record+" "+field]
			case reads:
				known = true
				if read[record+" "+field] == nil {
					read[record+" "+field] = map[string]bool{}
				}
				read[record+" "+field][unit] = true
			default:
				known = true
			}
		}
		if !known {
			t.Errorf("%s: %s has no field %s", unit, records, field)
		}
	}
	for unit, source := range units() {
		source = comment.ReplaceAllString(source, "")
		for _, m := range access.FindAllStringSubmatch(quotation.ReplaceAllString(source, "''"), -1) {
			records, known := variables[unit+" "+m[1]]
			if !known {
				if records, known = variables[m[1]]; !known {
					t.Errorf("%s: of what record is %s?", unit, m[0])
				}
			}
			note(unit, records, m[2], m[3] == "")
		}
		for _, at := range asked.FindAllStringSubmatchIndex(source, -1) {
			of := func(i int) string {
				if at[2*i] < 0 {
					return ""
				}
				return source[at[2*i]:at[2*i+1]]
			}
			records, known := variables[unit+" "+of(3)]
			if !known {
				records, known = recordOf(source[:at[0]], of(3))
			}
			if !known {
				t.Errorf("%s: of what record is %s?", unit, of(0))
			}
			for _, field := range quotation.FindAllString(of(4), -1) {
				if field != "''" {
					note(unit, records, strings.Trim(field, "'"), of(1) != "HDEL" && of(2) != "erase")
				}
			}
		}
	}
	return read
}

// recordOf is the record of a key, which is a name that was given it before, or a call.
func recordOf(before, key string) (string, bool) {
	for _, m := range slices.Backward(keyOf.FindAllStringSubmatch(before, -1)) {
		if m[1] == key {
			key = m[2]
			break
		}
	}
	key, _, _ = strings.Cut(key, " ")
	if record, is := ofKey[key]; is {
		return record, true
	}
	name := strings.ToLower(key)
	_, known := layouts()[name]
	if others := []string{"quarantine", "told", "repairs"}; slices.Contains(others, name) {
		return "", true // their fields are names of other things
	}
	return name, known
}

// units are the scripts, and the functions of the modules, by name.
func units() map[string]string {
	all := map[string]string{}
	for _, u := range luaUnits() {
		all[u.name] += u.text // a function may have the name of a script
	}
	return all
}

// watched runs the tests and holds the layouts to what the scripts write meanwhile.
type watched struct{ *testing.M }

func (m watched) Run() int {
	code := m.M.Run()
	written.drain()
	// Only all tests together write everything.
	whole := code == 0 && goflag.Lookup("test.run").Value.String() == "" && goflag.Lookup("test.skip").Value.String() == ""
	for _, problem := range written.problems(whole) {
		fmt.Fprintln(os.Stderr, "records.go:", problem)
		code = 1
	}
	return code
}

// written is what the servers of these tests show of the scripts.
var written = &writeLog{servers: map[string]net.Conn{}, names: map[string]string{}, ran: map[string]bool{}, writers: map[string]map[string]bool{}, given: map[string]map[string]bool{}}

// writeLog notes which script writes which field.
type writeLog struct {
	reading sync.WaitGroup

	mu      sync.Mutex
	servers map[string]net.Conn        // by address
	names   map[string]string          // of the scripts, by digest
	ran     map[string]bool            // those that wrote anything
	writers map[string]map[string]bool // of "<record> <field>"
	given   map[string]map[string]bool // the arguments of the scripts that have names for them
}

// drained is the last that the servers are asked for.
const drained = "drained"

// drain returns when all that the servers did has been read: of those that are gone, that is
// so when the connection ends.
func (w *writeLog) drain() {
	for addr, server := range w.servers {
		conn, err := net.Dial(server.RemoteAddr().Network(), addr)
		if err != nil {
			continue
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "ECHO "+drained+"\r\n"); err != nil {
			fmt.Fprintln(os.Stderr, "drain what redis shows:", err)
		}
	}
	w.reading.Wait()
}

// watch reads along on the server of some options, if it does not already.
func (w *writeLog) watch(t testing.TB, o *redis.Options) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.servers[o.Addr] != nil {
		return
	}
	conn, err := net.Dial(o.Network, o.Addr)
	if err == nil {
		_, err = io.WriteString(conn, "MONITOR\r\n")
	}
	if err != nil {
		t.Fatalf("watch redis: %v", err)
	}
	w.servers[o.Addr] = conn
	w.reading.Go(func() {
		lines, script := bufio.NewReaderSize(conn, 1<<16), ""
		for {
			line, err := lines.ReadString('\n')
			if err != nil || strings.Contains(line, `"ECHO" "`+drained) {
				return
			}
			script = w.note(script, line)
		}
	})
}

var (
	argument   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	wanted     = regexp.MustCompile(`\bgiven\.(\w+)`)
	ofInterest = regexp.MustCompile(`^"(?:HSET|HSETNX|HINCRBY|eval|evalsha)" `)
	numbered   = regexp.MustCompile(`^(a|p)\d+$`)
)

// note takes a line of MONITOR: when, by whom, the command and its arguments, quoted. It
// is given the script that runs, and returns it.
func (w *writeLog) note(script, line string) string {
	by, command, _ := strings.Cut(line, "] ")
	if !ofInterest.MatchString(command) {
		return script
	}
	var args []string
	for _, quoted := range argument.FindAllString(command, -1) {
		arg, err := strconv.Unquote(quoted)
		if err != nil {
			arg = quoted // of bytes that are no text
		}
		args = append(args, arg)
	}
	if len(args) < 3 {
		return script
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	step := 0
	switch name := strings.ToLower(args[0]); {
	case strings.HasSuffix(by, " lua") && name == "hset":
		step = 2
	case strings.HasSuffix(by, " lua") && (name == "hsetnx" || name == "hincrby"):
		step = len(args)
	case name == "eval":
		first, _, _ := strings.Cut(args[1], "\n")
		sum := sha1.Sum([]byte(args[1]))
		script = strings.TrimPrefix(first, "-- gateway-cron ")
		w.names[hex.EncodeToString(sum[:])] = script
		w.arguments(script, args)
	case name == "evalsha":
		script = w.names[args[1]]
		w.arguments(script, args)
	}
	_, key, _ := strings.Cut(args[1], "}:")
	record, _, _ := strings.Cut(key, ":")
	for i := 2; step > 0 && i < len(args); i += step {
		field := args[i]
		if m := numbered.FindStringSubmatch(field); m != nil {
			field = m[1] + "<n>"
		}
		field = record + " " + field
		if w.writers[field] == nil {
			w.writers[field] = map[string]bool{}
		}
		w.writers[field][script], w.ran[script] = true, true
	}
	return script
}

// arguments notes the names of the arguments of a script that goes by them. Before them come
// the command, the script, the number of keys and the one key, and after them the time.
func (w *writeLog) arguments(script string, args []string) {
	if !slices.Contains(luaNames("lua"), script) || !strings.Contains(luaText(script), "= named()") {
		return
	}
	if w.given[script] == nil {
		w.given[script] = map[string]bool{}
	}
	for i := 4; i+1 < len(args); i += 2 {
		w.given[script][args[i]] = true
	}
}

// misnamed are arguments that a script is given and does not know, and, after all tests,
// those that it asks for in vain.
func (w *writeLog) misnamed(whole bool) []string {
	var all []string
	for script, given := range w.given {
		asked := map[string]bool{}
		for _, m := range wanted.FindAllStringSubmatch(luaText(script), -1) {
			asked[m[1]] = true
			if whole && !given[m[1]] {
				all = append(all, fmt.Sprintf("%s is not given %s in any test", script, m[1]))
			}
		}
		for name := range given {
			if !asked[name] && !strings.HasPrefix(name, "=") {
				all = append(all, fmt.Sprintf("%s is given %s, which it does not know", script, name))
			}
		}
	}
	return all
}

// problems are the writes that no layout has, and, after all tests, the writers that did not
// write.
func (w *writeLog) problems(whole bool) []string {
	var all []string
	for record, l := range layouts() {
		for _, f := range l.fields {
			found := w.writers[record+" "+f.name]
			delete(w.writers, record+" "+f.name)
			said := strings.Fields(f.writes)
			for script := range found {
				if !slices.Contains(said, script) {
					all = append(all, fmt.Sprintf("%s, %s: %s writes it", l.key, f.name, script))
				}
			}
			for _, script := range said {
				if whole && w.ran[script] && !found[script] { // what did not run needs what is not here
					all = append(all, fmt.Sprintf("%s, %s: %s does not write it in any test", l.key, f.name, script))
				}
			}
		}
	}
	for field := range w.writers {
		if record, name, _ := strings.Cut(field, " "); layouts()[record].key != "" {
			all = append(all, fmt.Sprintf("%s: there is no field %s", record, name))
		}
	}
	return slices.Sorted(slices.Values(append(all, w.misnamed(whole)...)))
}
