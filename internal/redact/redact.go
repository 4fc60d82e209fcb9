// Package redact takes what looks like a key or a password out of the texts of others:
// errors of the ai-server and of channels are quoted in records, logs and chats, and some
// quote what they were sent. A reply or a task is never given to it.
//
// It is pure and must not import any package of this module.
package redact

import (
	"regexp"
	"strings"
)

// Mark stands where something was taken out.
const Mark = "[redacted]"

// minLength is the length of the shortest text in which anything is looked for.
const minLength = 8

// rule finds secrets of one kind. Its last group is the secret; without a group all of it
// is one.
type rule struct {
	pattern *regexp.Regexp
	is      func(secret string) bool // nil: whatever was found is one
}

const (
	value   = `([^\s"'&,;<>()\[\]{}|\\]+)`
	naming  = `(?:api[ _-]?key|access[ _-]?key|private[ _-]?key|client[ _-]?secret|secret|token|passw(?:or)?d|passphrase|pwd|credential|authorization|signature)`
	between = `(?:^|[^A-Za-z0-9])`
)

var rules = []rule{
	{pattern: regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|$)`)},
	// The user and the password of a URL.
	{pattern: regexp.MustCompile(`://([^/\s@"'<>]+)@`)},
	// URLs that are secrets as a whole.
	{pattern: regexp.MustCompile(`(?i)hooks\.slack\.com/(?:services|workflows)/([A-Za-z0-9/_-]+)`)},
	{pattern: regexp.MustCompile(`(?i)discord(?:app)?\.com/api/webhooks/([A-Za-z0-9/_-]+)`)},
	// Keys that say by how they begin whose they are: AI providers, payment, our tokens.
	{pattern: regexp.MustCompile(between + `((?:sk|rk)[-_][A-Za-z0-9_-]{8,})`)},
	{pattern: regexp.MustCompile(between + `((?:gct|gsk|hf|r8|npm|whsec|gh[pousr]|github_pat|dop_v1|shpat)_[A-Za-z0-9+/=_-]{8,})`)},
	{pattern: regexp.MustCompile(between + `((?:glpat|xai|pplx|xapp|xox[a-z])-[A-Za-z0-9_-]{8,})`), is: mixed},
	{pattern: regexp.MustCompile(between + `(AIza[A-Za-z0-9_-]{16,})`)},
	{pattern: regexp.MustCompile(between + `(ya29\.[A-Za-z0-9_.-]{8,})`)},
	{pattern: regexp.MustCompile(between + `((?:AKIA|ASIA)[A-Z0-9]{12,}[A-Za-z0-9_-]*)`)},
	// Bots of Telegram, also in the path of a URL.
	{pattern: regexp.MustCompile(`([0-9]{6,12}(?::|%3[Aa])(?:AA[A-Za-z0-9_-]{6,}|[A-Za-z0-9_-]{30,}))`)},
	// JSON web tokens.
	{pattern: regexp.MustCompile(`(eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)?)`)},
	{pattern: regexp.MustCompile(`(?i)\b(?:bearer|basic)[ \t]+([A-Za-z0-9._~+/=-]{8,})`), is: mixed},
	// What a name before it says is one: in a query, in JSON, in a header, in a sentence.
	{pattern: regexp.MustCompile(`(?i)[?&](?:key|sig|code|auth)=` + value)},
	{pattern: regexp.MustCompile(`(?i)` + naming + `(?:[_-][A-Za-z0-9_-]*)?\s*=\s*["']?` + value)},
	{pattern: regexp.MustCompile(`(?i)` + naming + `(?:[_-][A-Za-z0-9_-]*)?["']?\s*:\s*["']?` + value), is: mixed},
	{pattern: regexp.MustCompile(`(?i)\b(?:key|` + naming + `)\b[^.\n]{0,40}?[\s:="'(` + "`" + `]([A-Za-z0-9+/_=-]{16,})`), is: random},
}

// Text returns text without what looks like a secret. What it returned once it returns
// unchanged.
func Text(text string) string {
	if len(text) < minLength {
		return text
	}
	// What is taken out can let stand apart what was one word before: until nothing is
	// found, though no text that somebody wrote needs that.
	for range len(text) {
		before := text
		for _, r := range rules {
			text = r.apply(text)
		}
		if text == before {
			break
		}
	}
	return text
}

func (r rule) apply(text string) string {
	found := r.pattern.FindAllStringSubmatchIndex(text, -1)
	if found == nil {
		return text
	}
	var b strings.Builder
	end := 0
	for _, at := range found {
		from, to := at[len(at)-2], at[len(at)-1]
		secret := text[from:to]
		if r.is != nil && !r.is(secret) {
			continue
		}
		b.WriteString(text[end:from])
		b.WriteString(Mark)
		end = to
	}
	b.WriteString(text[end:])
	return b.String()
}

// mixed reports whether a word is made of more than the letters of a sentence: of eight
// characters at least, with digits among letters, or capitals after the first letter.
func mixed(word string) bool {
	if len(word) < minLength {
		return false
	}
	letter, digit, capital := classes(word)
	return letter && (digit || capital)
}

// random reports whether a word looks as if dice had made it: it is hexadecimal, or base64
// with digits, small and capital letters. Names of models and of runs, ULIDs and UUIDs do
// not.
func random(word string) bool {
	word = strings.TrimRight(word, "=")
	if len(word) < 16 {
		return false
	}
	letter, digit, capital := classes(word)
	if hexadecimal.MatchString(word) {
		return letter && digit
	}
	return len(word) >= 20 && digit && capital && strings.ContainsFunc(word, isSmall)
}

var hexadecimal = regexp.MustCompile(`^(?:[0-9a-f]+|[0-9A-F]+)$`)

func classes(word string) (letter, digit, capital bool) {
	for i, c := range word {
		switch {
		case c >= '0' && c <= '9':
			digit = true
		case isSmall(c):
			letter = true
		case c >= 'A' && c <= 'Z':
			letter = true
			capital = capital || i > 0
		}
	}
	return letter, digit, capital
}

func isSmall(c rune) bool { return c >= 'a' && c <= 'z' }
