package jobs

import (
	"bytes"
	"strings"
	"unicode"

	"github.com/clipperhouse/displaywidth"
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

// columns is how wide a terminal shows a text: by what people see as one character, of
// which a flag or a family has several runes.
func columns(s string) int { return displaywidth.String(s) }

// fit cuts a text to a width, between two characters, and says so with its last sign.
func fit(s string, width int) string {
	if columns(s) <= width {
		return s
	}
	if width < 1 {
		return ""
	}
	return strings.TrimRight(displaywidth.TruncateString(s, width-1, ""), " ") + "…"
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
