package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/titanous/json5"
)

// fileVariable names the configuration file; fileNone, or nothing, means that none is
// read.
const (
	fileVariable = EnvPrefix + "CONFIG"
	fileNone     = "none"
	fileHelp     = "the desktop's configuration file (JSON5), for what no variable sets; none reads none"
)

// maxFileBytes bounds the configuration file.
const maxFileBytes = 1 << 20

// given is a value that a configuration file gives to a setting.
type given struct {
	value  string
	source string // the file, and where it stands in it
}

// file is what a configuration file says about our settings.
type file struct {
	path     string // "" if none was read
	note     string // why that one, or why none
	values   map[string]given
	warnings []string
}

// readFile reads the configuration file that the environment names, or the one at its
// usual place if it is there.
func readFile(lookup func(string) (string, bool)) (file, []error) {
	path, named := lookup(fileVariable)
	path = strings.TrimSpace(path)
	switch {
	case named && (path == "" || path == fileNone):
		return file{note: fileVariable}, nil
	case !named:
		if path = defaultFile(lookup); path == "" {
			return file{note: "default, which needs MOLDABLE_HOME or HOME"}, nil
		}
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return file{}, []error{fmt.Errorf("%s is no file; %s=%s reads none", path, fileVariable, fileNone)}
	case err == nil:
	case named:
		return file{}, []error{fmt.Errorf("%s names a file that cannot be read: %w; %s=%s reads none", fileVariable, err, fileVariable, fileNone)}
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return file{note: "default: there is no " + path}, nil
	default:
		// A home that is somebody else's, as in many a container.
		return file{note: "default", warnings: []string{fmt.Sprintf("whether there is a configuration file is unknown: %v", err)}}, nil
	}
	data, err := readBounded(path)
	if err != nil {
		return file{}, []error{fmt.Errorf("the configuration file cannot be read: %w; %s=%s reads none", err, fileVariable, fileNone)}
	}
	home, _ := lookup("HOME")
	values, secrets, problems := parseFile(path, home, data)
	f := file{path: path, note: "default", values: values}
	if named {
		f.note = fileVariable
	}
	if mode := info.Mode().Perm(); secrets && mode&0o044 != 0 && runtime.GOOS != "windows" {
		f.warnings = []string{fmt.Sprintf("%s holds secrets, and others on this machine can read it (mode %04o): chmod 600 %s", path, mode, path)}
	}
	return f, problems
}

// defaultFile is where the desktop keeps the configuration of its gateway.
func defaultFile(lookup func(string) (string, bool)) string {
	root, _ := lookup("MOLDABLE_HOME")
	if root == "" {
		home, _ := lookup("HOME")
		if home == "" {
			return ""
		}
		root = filepath.Join(home, ".moldable")
	}
	return filepath.Join(root, "gateway", "config.json5")
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(data) > maxFileBytes {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFileBytes)
	}
	return data, err
}

// parseFile takes out of a configuration file what our settings can use, by their
// names. What it does not know is somebody else's and ignored; what it knows must be of
// the right type. secrets reports whether the file holds any, ours or not. No problem
// repeats a value.
func parseFile(path, home string, data []byte) (values map[string]given, secrets bool, problems []error) {
	var root any
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // some editors put it there
	if err := json5.Unmarshal(data, &root); err != nil {
		return nil, false, []error{syntaxProblem(path, data, err)}
	}
	r := &reader{path: path, values: map[string]given{}}
	top := r.object(node{value: root, at: "the file"}, "")
	r.gateway(top, home)
	r.ai(top)
	r.telegram(top)
	return r.values, holdsSecrets(root), r.problems
}

func syntaxProblem(path string, data []byte, err error) error {
	syntax, ok := errors.AsType[*json5.SyntaxError](err)
	if !ok { // a number that no number type holds, which the error would repeat
		return fmt.Errorf("%s holds a number that is too large", path)
	}
	before := data[:min(max(int(syntax.Offset)-1, 0), len(data))]
	line, column := 1+bytes.Count(before, []byte("\n")), len(before)-bytes.LastIndexByte(before, '\n')
	return fmt.Errorf("%s:%d:%d is not JSON5: %w; the least that is: {}", path, line, column, syntax)
}

// node is a value in the file.
type node struct {
	value any
	at    string // where it stands, for example gateway.http.port
}

// object is a node that holds fields; one that is absent has none.
type object struct {
	fields map[string]any
	prefix string // of the places of its fields
}

// reader walks over the file and collects what is right and what is wrong.
type reader struct {
	path     string
	values   map[string]given
	problems []error
}

func (r *reader) wrong(at, must string) {
	r.problems = append(r.problems, fmt.Errorf("%s: %s must be %s", r.path, at, must))
}

func (r *reader) set(name, value, at string) {
	if value != "" {
		r.values[name] = given{value: value, source: r.path + ": " + at}
	}
}

func (r *reader) object(n node, prefix string) object {
	fields, ok := n.value.(map[string]any)
	if !ok && n.value != nil {
		r.wrong(n.at, "an object, for example {}")
	}
	return object{fields: fields, prefix: prefix}
}

func (o object) field(name string) node { return node{value: o.fields[name], at: o.prefix + name} }

func (r *reader) child(o object, name string) object {
	n := o.field(name)
	return r.object(n, n.at+".")
}

func (r *reader) text(n node, example string) string {
	text, ok := n.value.(string)
	if !ok && n.value != nil {
		r.wrong(n.at, "a text, for example "+strconv.Quote(example))
	}
	return strings.TrimSpace(text)
}

// flag reports whether a node is true, and whether it is there and can be read.
func (r *reader) flag(n node) (value, there bool) {
	value, there = n.value.(bool)
	if !there && n.value != nil {
		r.wrong(n.at, "true or false")
	}
	return value, there
}

// number is a whole number in decimal; "" if the node is absent or wrong.
func (r *reader) number(n node, example string) string {
	value, ok := n.value.(float64)
	if ok && value == math.Trunc(value) && math.Abs(value) < 1<<53 {
		return strconv.FormatInt(int64(value), 10)
	}
	if n.value != nil {
		r.wrong(n.at, "a whole number, for example "+example)
	}
	return ""
}

func (r *reader) gateway(top object, home string) {
	gateway := r.child(top, "gateway")
	http := r.child(gateway, "http")

	bind, port := http.field("bind"), http.field("port")
	host, number := r.text(bind, "127.0.0.1"), r.number(port, "19790")
	switch n, _ := strconv.Atoi(number); {
	case number != "" && (n < 0 || n > 65535):
		r.wrong(port.at, "a port from 0 to 65535, for example 19790")
	case host != "" && net.ParseIP(host) == nil && strings.ContainsAny(host, ":/[] "):
		r.wrong(bind.at, `an address without a port, for example "127.0.0.1"`)
	case host != "" && number != "":
		r.set("ADDR", net.JoinHostPort(host, number), bind.at+", "+port.at)
	case host != "":
		r.set("ADDR", net.JoinHostPort(host, "19790"), bind.at)
	case number != "":
		r.set("ADDR", net.JoinHostPort("127.0.0.1", number), port.at)
	}

	token := http.field("auth_token")
	r.set("TOKEN", r.text(token, "a long random text"), token.at)
	body := http.field("max_body_bytes")
	r.set("MAX_BODY_BYTES", r.number(body, "1048576"), body.at)

	if limit := r.child(http, "rate_limit"); limit.fields != nil {
		enabled, perMinute, burst := limit.field("enabled"), limit.field("requests_per_minute"), limit.field("burst")
		on, there := r.flag(enabled)
		most, atOnce := r.number(perMinute, "120"), r.number(burst, "30")
		switch {
		case there && !on:
			r.set("RATE_LIMIT_PER_MINUTE", "0", enabled.at)
		case most != "":
			r.set("RATE_LIMIT_PER_MINUTE", most, perMinute.at)
		case on: // what the desktop means by it
			r.set("RATE_LIMIT_PER_MINUTE", "120", enabled.at)
		}
		r.set("RATE_LIMIT_BURST", atOnce, burst.at)
	}

	dir := gateway.field("data_dir")
	if path := r.text(dir, "~/.moldable/gateway/data"); path != "" {
		// Apart from what others keep there.
		r.set("STATE_DIR", filepath.Join(resolve(path, home, filepath.Dir(r.path)), "gateway-cron"), dir.at)
	}
	public := gateway.field("public_access")
	if value, there := r.flag(public); there {
		r.set("PUBLIC_ACCESS", strconv.FormatBool(value), public.at)
	}
}

// resolve makes a path of the file absolute: ~ is the home, and another relative path
// begins at the file.
func resolve(path, home, dir string) string {
	rest, inHome := strings.CutPrefix(path, "~")
	switch {
	case inHome && home != "" && (rest == "" || rest[0] == '/'):
		return filepath.Join(home, rest)
	case filepath.IsAbs(path):
		return path
	}
	return filepath.Join(dir, path)
}

// chatPath is what we append to the base URL of an ai-server.
const chatPath = "/api/gateway/chat"

func (r *reader) ai(top object) {
	ai := r.child(top, "ai")
	wanted, list := ai.field("default_adapter"), ai.field("adapters")
	name := r.text(wanted, "moldable")
	adapters, ok := list.value.([]any)
	if !ok && list.value != nil {
		r.wrong(list.at, `a list, for example [{type: "ai-server", name: "moldable", base_url: "http://127.0.0.1:39200"}]`)
		return
	}
	chosen, names := object{}, []string{}
	for i, value := range adapters {
		at := fmt.Sprintf("%s[%d]", list.at, i)
		adapter := r.object(node{value: value, at: at}, at+".")
		own := r.text(adapter.field("name"), "moldable")
		names = append(names, strconv.Quote(own))
		if adapter.fields != nil && chosen.fields == nil && (name == "" || own == name) {
			chosen = adapter
		}
	}
	switch {
	case chosen.fields == nil && name != "" && len(names) > 0:
		r.wrong(wanted.at, "the name of one of "+list.at+", which are "+strings.Join(names, ", "))
		return
	case chosen.fields == nil:
		return
	}
	kind := chosen.field("type")
	if t := r.text(kind, "ai-server"); t != "" && t != "ai-server" && t != "http" {
		r.wrong(kind.at, `"ai-server" or "http", because this adapter is the one to use`)
		return
	}
	base, whole := chosen.field("base_url"), chosen.field("url")
	link, full := r.text(base, "http://127.0.0.1:39200"), r.text(whole, "http://127.0.0.1:39200"+chatPath)
	if link != "" {
		r.set("AI_SERVER_URL", link, base.at)
	} else {
		r.set("AI_SERVER_URL", strings.TrimSuffix(strings.TrimRight(full, "/"), chatPath), whole.at)
	}
	for _, f := range []struct{ field, setting, example string }{
		{"model", "MODEL", "anthropic/claude-sonnet-4-5"}, {"reasoning_effort", "REASONING_EFFORT", "medium"}, {"workspace_id", "WORKSPACE_ID", "personal"},
	} {
		n := chosen.field(f.field)
		r.set(f.setting, r.text(n, f.example), n.at)
	}
}

func (r *reader) telegram(top object) {
	telegram := r.child(r.child(top, "channels"), "telegram")
	token := telegram.field("bot_token")
	value := r.text(token, "123456:ABC-def")
	if on, there := r.flag(telegram.field("enabled")); on || !there {
		r.set("TELEGRAM_TOKEN", value, token.at)
	}
}

// holdsSecrets reports whether any field of the file looks like a secret.
func holdsSecrets(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			text, _ := value.(string)
			for _, kind := range []string{"token", "secret", "password", "api_key", "apikey"} {
				if text != "" && strings.HasSuffix(strings.ToLower(name), kind) {
					return true
				}
			}
			if holdsSecrets(value) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, holdsSecrets)
	}
	return false
}
