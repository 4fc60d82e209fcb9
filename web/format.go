package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxShown bounds a formatted payload, in bytes, without the note that says
	// what is left out.
	maxShown = 2 << 10
	// maxParsed bounds what is parsed at all: a page shows up to a hundred.
	maxParsed = 64 << 10

	redacted = "[redacted]"
)

// format renders a payload or result for the dashboard: JSON indented, other
// text as it is, both without what looks like a secret and cut to a bearable
// length. Other programs may have queues in the same Redis, so nothing is taken
// for granted. asynqmon does not always know the task type, so it is not used.
func format(_ string, b []byte) string {
	switch {
	case len(b) == 0:
		return ""
	case len(b) > maxParsed:
		return fmt.Sprintf("(%d bytes, too long to show)", len(b))
	}
	if v, err := decode(b); err == nil {
		var out bytes.Buffer
		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false) // the page escapes
		enc.SetIndent("", "  ")
		if enc.Encode(redact(readable(v))) == nil {
			return cut(strings.TrimSuffix(out.String(), "\n"))
		}
	}
	if !isText(b) {
		return fmt.Sprintf("(%d bytes of binary data)", len(b))
	}
	return cut(scrub(string(b)))
}

// decode parses exactly one JSON value and keeps numbers as written.
func decode(b []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("more than one value")
	}
	return v, nil
}

// timeKeys are those of our payloads whose values are times, in milliseconds.
var timeKeys = []string{"slot", "anchor", "at", "from", "until"}

// readable replaces in v times in milliseconds by dates, in the zone that stands beside
// them.
func readable(v any) any {
	switch v := v.(type) {
	case map[string]any:
		zone := time.UTC
		if name, _ := v["timezone"].(string); name != "" {
			if found, err := time.LoadLocation(name); err == nil {
				zone = found
			}
		}
		for key, value := range v {
			n, isNumber := value.(json.Number)
			ms, err := n.Int64()
			if isNumber && err == nil && slices.Contains(timeKeys, key) && ms > 1e11 && ms < 1e14 {
				v[key] = time.UnixMilli(ms).In(zone).Format(time.RFC3339)
			} else {
				v[key] = readable(value)
			}
		}
	case []any:
		for i := range v {
			v[i] = readable(v[i])
		}
	}
	return v
}

// redact replaces in v what looks like a secret, by its key or by its form.
func redact(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if isSecret(key) {
				v[key] = redacted
			} else {
				v[key] = redact(value)
			}
		}
	case []any:
		for i := range v {
			v[i] = redact(v[i])
		}
	case string:
		return scrub(v)
	}
	return v
}

var (
	keyNoise   = strings.NewReplacer("_", "", "-", "", " ", "", ".", "")
	secretKeys = []string{"token", "authorization", "password", "passwd", "secret", "apikey", "cookie", "credential", "privatekey"}
)

// isSecret reports whether a key names a secret, in any spelling of words.
func isSecret(key string) bool {
	key = keyNoise.Replace(strings.ToLower(key))
	for _, s := range secretKeys {
		if strings.Contains(key, s) {
			return true
		}
	}
	return false
}

var (
	schemeSecret = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}`)
	assigned     = regexp.MustCompile(`(?i)((?:api[_-]?key|token|passw(?:or)?d|secret|authorization)["']?\s*[:=]\s*)["']?[^\s"',;&]+`)
	userinfo     = regexp.MustCompile(`://[^/\s@]+@`)
)

// scrub replaces secrets inside a text: credentials of HTTP and of URLs, and
// key=value pairs.
func scrub(s string) string {
	s = schemeSecret.ReplaceAllString(s, "${1} "+redacted)
	s = userinfo.ReplaceAllString(s, "://"+redacted+"@")
	return assigned.ReplaceAllString(s, "${1}"+redacted)
}

func isText(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	return !bytes.ContainsFunc(b, func(r rune) bool { return !unicode.IsPrint(r) && !unicode.IsSpace(r) })
}

// cut shortens s to maxShown bytes, at a character's edge, and says so.
func cut(s string) string {
	if len(s) <= maxShown {
		return s
	}
	end := maxShown
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return fmt.Sprintf("%s\n… (%d more bytes)", s[:end], len(s)-end)
}
