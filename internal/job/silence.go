package job

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// NoReply is the word by which an agent says that there is nothing to tell. The reply is
// committed as it is; Spoken says what of it goes to the chat.
const NoReply = "NO_REPLY"

// maxAside bounds, in characters, what an agent may say before the word on a last line and
// still have nothing to tell.
const maxAside = 300

// onlyNoReply matches a text that has no other word than NoReply, in whatever it is dressed:
// quotes, emphasis, brackets, punctuation, tags, an escaped underscore.
var onlyNoReply = func() *regexp.Regexp {
	word := strings.ReplaceAll(NoReply, "_", `\\?_`)
	dress := `(?:</?[a-z]+>|[^\p{L}\p{N}])*`
	return regexp.MustCompile(`(?i)^` + dress + `(?:` + word + dress + `)+$`)
}()

// fence matches a line that opens or closes a block of code.
var fence = regexp.MustCompile("^\\s*(?:```+|~~~+)[ \\t]*[A-Za-z0-9_-]*\\s*$")

// Spoken returns what of a reply is for the chat, without lines at its end that are NoReply
// alone, and whether there is something to tell at all: there is nothing if no text is left,
// or no more than an aside before NoReply. A reply that mentions NoReply anywhere else is
// returned as it is.
func Spoken(reply string) (text string, tell bool) {
	if onlyNoReply.MatchString(reply) {
		return "", false
	}
	text = reply
	for {
		rest, cut := withoutNoReply(text)
		if !cut {
			break
		}
		text = rest
	}
	if onlyNoReply.MatchString(text) { // what was around it is gone
		return "", false
	}
	aside := text != reply && utf8.RuneCountInString(strings.TrimSpace(text)) <= maxAside
	return text, !aside && !Blank(text)
}

// withoutNoReply cuts the last line of a text if that is NoReply alone, with the fences
// around it, and the space before it.
func withoutNoReply(text string) (rest string, cut bool) {
	rest, line := lastLine(text)
	if fence.MatchString(line) {
		rest, line = lastLine(rest)
		before, opening := lastLine(rest)
		if !fence.MatchString(opening) {
			return text, false
		}
		rest = before
	}
	if !onlyNoReply.MatchString(line) {
		return text, false
	}
	return strings.TrimRightFunc(rest, unicode.IsSpace), true
}

// lastLine splits the last line that shows something from what is before it.
func lastLine(text string) (before, line string) {
	text = strings.TrimRightFunc(text, invisible)
	i := strings.LastIndexByte(text, '\n') + 1
	return text[:i], text[i:]
}

// Blank reports whether a text shows nothing.
func Blank(text string) bool { return strings.TrimLeftFunc(text, invisible) == "" }

func invisible(r rune) bool {
	return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) || unicode.IsControl(r)
}
