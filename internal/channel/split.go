package channel

import (
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// plain are the parts of a reply that is sent as it is.
func plain(reply string, limit int) []Part {
	var parts []Part
	for _, text := range split(reply, limit) {
		parts = append(parts, Part{Text: text})
	}
	return parts
}

// split cuts text into parts of at most limit UTF-16 units, the measure of most
// chats: at the end of a line if one ends in the second half of the room, else
// between words likewise, else between characters. The white space at a cut is
// dropped, all other is kept; text without anything visible gives no part.
func split(text string, limit int) []string {
	rest := trimBlank(strings.ToValidUTF8(text, "\uFFFD"))
	var parts []string
	for rest != "" {
		end := prefix(rest, limit)
		if end < len(rest) {
			end = boundary(rest, end)
		}
		if part := trimBlank(rest[:end]); part != "" {
			parts = append(parts, part)
		}
		rest = trimBlank(strings.TrimLeftFunc(rest[end:], inlineSpace))
	}
	return parts
}

// trimBlank drops white space behind and empty lines before; the indentation of
// the first line with text stays.
func trimBlank(s string) string {
	s = strings.TrimRightFunc(s, unicode.IsSpace)
	text := strings.IndexFunc(s, func(r rune) bool { return !unicode.IsSpace(r) })
	if text < 0 {
		return ""
	}
	return s[strings.LastIndexByte(s[:text], '\n')+1:]
}

func inlineSpace(r rune) bool { return r != '\n' && unicode.IsSpace(r) }

// prefix is the length in bytes of the longest prefix of s with at most limit
// UTF-16 units, and at least one character.
func prefix(s string, limit int) int {
	units := 0
	for i, r := range s {
		units += utf16.RuneLen(r)
		if units > limit && i > 0 {
			return i
		}
	}
	return len(s)
}

// boundary is the best place to cut s at or before end, which lies inside s.
func boundary(s string, end int) int {
	half := end / 2
	if s[end] == '\n' {
		return end
	}
	if i := strings.LastIndexByte(s[:end], '\n'); i >= half {
		return i
	}
	// A space right behind the room is a boundary as well.
	if next, _ := utf8.DecodeRuneInString(s[end:]); unicode.IsSpace(next) {
		return end
	}
	if i := strings.LastIndexFunc(s[:end], unicode.IsSpace); i >= half && i > 0 {
		return i
	}
	return end
}

// units is the length of s in UTF-16 units.
func units(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}
