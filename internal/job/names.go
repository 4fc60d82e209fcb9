package job

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Keys and ids as others see them. An ai-server keeps a conversation in a file that is named
// after its id: it replaces characters, and the file system may ignore case. So keys that
// differ here can be one conversation there.

// Folds returns every name under which a server may keep what has that key or id: two texts
// that have none in common are apart at all of them. A text of ASCII letters, digits and
// - _ : . has one, itself in small letters.
func Folds(text string) []string {
	// What a server takes for one character differs: a code unit, a code point, a byte.
	var units, points, bytes strings.Builder
	for _, r := range text {
		if isPlain(r) {
			for _, b := range []*strings.Builder{&units, &points, &bytes} {
				b.WriteByte(byte(r))
			}
			continue
		}
		points.WriteByte('_')
		units.WriteString(strings.Repeat("_", max(utf16.RuneLen(r), 1)))
		bytes.WriteString(strings.Repeat("_", utf8.RuneLen(r)))
	}
	var folds []string
	for _, name := range []string{units.String(), points.String(), bytes.String(), text} {
		// Upper case first: some small letters have the same capital.
		name = norm.NFD.String(strings.ToLower(strings.ToUpper(norm.NFD.String(name))))
		if trimmed := strings.TrimRight(name, "."); trimmed != "" {
			name = trimmed // as some file systems do
		}
		if !slices.Contains(folds, name) {
			folds = append(folds, name)
		}
	}
	return folds
}

// isPlain reports whether the ai-server keeps a character in the name of a file.
func isPlain(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_:.", r)
}

// SessionIDs returns the ids that the conversation of a session key may have at an ai-server,
// the best first: the key itself, which its people use there too, and others for where that
// would be the conversation of another key. None is longer than MaxSessionBytes unless the
// key is.
func SessionIDs(key string) []string {
	ids := []string{key}
	for n := byte('1'); n <= '3'; n++ {
		sum := sha256.Sum256(append([]byte(key), 0, n))
		suffix := "-" + hex.EncodeToString(sum[:8])
		ids = append(ids, strings.ToValidUTF8(key[:min(len(key), MaxSessionBytes-len(suffix))], "")+suffix)
	}
	return ids
}

// AgentsOf returns the agent ids that a session key may belong to, the shortest first: it
// begins with each of them, whole.
func AgentsOf(key string) []string {
	rest, ok := strings.CutPrefix(key, "agent:")
	if !ok {
		return nil
	}
	return Stems(rest)
}

// Stems returns what an id begins with, up to each of its colons: the ids whose sessions
// would begin like its own.
func Stems(id string) []string {
	var stems []string
	for i, r := range id {
		if r == ':' && i > 0 {
			stems = append(stems, id[:i])
		}
	}
	return stems
}
