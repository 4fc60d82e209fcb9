package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxRetryAfter bounds what another server can ask us to wait.
const MaxRetryAfter = time.Hour

// BaseURL checks raw as the base of a service and returns it without a trailing
// slash. It must be http or https with a host, and have no user, query or
// fragment. The error never repeats raw, which may hold a secret by mistake.
func BaseURL(raw string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	switch {
	case err != nil:
		return "", errors.New("is not a URL; an example that works: http://127.0.0.1:39200")
	case u.Scheme != "http" && u.Scheme != "https":
		return "", errors.New("must start with http:// or https://")
	case u.Hostname() == "":
		return "", errors.New("names no host; an example that works: http://127.0.0.1:39200")
	case u.User != nil:
		return "", errors.New("must not contain a user or password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", errors.New("must not contain a query or a fragment")
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	if strings.Contains(path, "//") {
		return "", errors.New("must not contain an empty path segment (//)")
	}
	base := (&url.URL{Scheme: u.Scheme, Host: u.Host}).String() + path
	if again, err := url.Parse(base); err != nil || again.Host != u.Host {
		// The zone of an IPv6 address can hold bytes that do not survive.
		return "", errors.New("names no usable host; an example that works: http://127.0.0.1:39200")
	}
	return base, nil
}

// RetryAfter reads the Retry-After header, in seconds or as an HTTP date, as a
// wait from now, between 0 and MaxRetryAfter. It reports false if the header is
// absent or cannot be read.
func RetryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value == "" {
		return 0, false
	}
	if isDigits(value) {
		// Parsed as unsigned and clamped first: the product of a huge number of
		// seconds would overflow a Duration.
		seconds, err := strconv.ParseUint(value, 10, 64)
		if err != nil || seconds > uint64(MaxRetryAfter/time.Second) {
			return MaxRetryAfter, true
		}
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter), true
}

func isDigits(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// ASCIIJSON encodes v as JSON in ASCII alone: everything else is escaped as
// \uXXXX, in pairs of surrogates where needed, also inside a json.RawMessage.
// A server that decodes its body piece by piece then cannot tear a character.
func ASCIIJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode JSON: %w", err)
	}
	return escape(bytes.TrimSuffix(buf.Bytes(), []byte("\n"))), nil
}

// escape relies on JSON having non-ASCII only inside strings.
func escape(in []byte) []byte {
	first := bytes.IndexFunc(in, func(r rune) bool { return r >= utf8.RuneSelf })
	if first < 0 {
		return in
	}
	out := make([]byte, first, len(in)+len(in)/2)
	copy(out, in)
	for rest := in[first:]; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		rest = rest[size:]
		if r < utf8.RuneSelf {
			out = append(out, byte(r))
			continue
		}
		if high, low := utf16.EncodeRune(r); high != unicode.ReplacementChar {
			out = appendUnit(out, high)
			r = low
		}
		out = appendUnit(out, r)
	}
	return out
}

func appendUnit(out []byte, unit rune) []byte {
	const hex = "0123456789abcdef"
	return append(out, '\\', 'u', hex[unit>>12&15], hex[unit>>8&15], hex[unit>>4&15], hex[unit&15])
}

// Printable makes s fit to be shown: one line of valid UTF-8 without control
// characters, at most bytes, cut with "..." at a character.
func Printable(s string, most int) string {
	const mark = "..."
	if len(s) > 4*most { // no need to clean what is cut anyway
		s = s[:4*most]
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= most {
		return s
	}
	cut := most - len(mark)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strings.TrimRight(s[:cut], " ") + mark
}

// Complaint is what the body of an error answer says to a person: the text of
// its JSON field error, message or description, else the body itself.
func Complaint(body []byte, most int) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) == nil {
		for _, name := range []string{"error", "message", "description"} {
			var text string
			if json.Unmarshal(fields[name], &text) == nil && text != "" {
				return Printable(text, most)
			}
		}
	}
	return Printable(string(body), most)
}

// BrokeOff reports whether body is the beginning of a JSON object that lacks
// its end.
func BrokeOff(body []byte) bool {
	trimmed := bytes.TrimSpace(body)
	if len(trimmed) == 0 || trimmed[0] != '{' {
		return false
	}
	var v json.RawMessage
	err := json.NewDecoder(bytes.NewReader(trimmed)).Decode(&v)
	return errors.Is(err, io.ErrUnexpectedEOF)
}
