package jobs

import (
	"bytes"
	"strings"
	"unicode"
)

// printable takes everything out of a text that a terminal would obey instead of show:
// names, tasks and replies come from models and strangers. Line ends stay.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\t':
			return ' '
		case r == '\u200d': // joins emoji
			return r
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == '\u2028', r == '\u2029', r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, s)
}

// oneLine is a text for a cell of a table.
func oneLine(s string) string {
	return strings.Join(strings.Fields(printable(s)), " ")
}

// columns is how wide a terminal shows a text.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

func runeColumns(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul),
		r >= 0x3000 && r <= 0x303e, r >= 0xff01 && r <= 0xff60, // punctuation and letters of full width
		r >= 0x1f300 && r <= 0x1faff: // emoji
		return 2
	}
	return 1
}

// fit cuts a text to a width, and says so with its last sign.
func fit(s string, width int) string {
	if columns(s) <= width {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		w := runeColumns(r)
		if w > width-1 {
			break
		}
		width -= w
		b.WriteRune(r)
	}
	return strings.TrimRight(b.String(), " ") + "…"
}

// indent puts a text of several lines under something.
func indent(s, by string) string {
	lines := strings.Split(strings.TrimRight(printable(s), "\n "), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(by+line, " ")
	}
	return strings.Join(lines, "\n")
}

func trimSpace(raw []byte) []byte { return bytes.TrimSpace(raw) }
