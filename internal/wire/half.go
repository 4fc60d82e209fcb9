package wire

import (
	"bytes"
	"strconv"
)

// HalfCharacter reports whether a string in valid JSON has an escaped surrogate without its
// other half. Decoders put another character in its place, so that what is stored is not
// what was sent.
func HalfCharacter(raw []byte) bool {
	for {
		at := bytes.IndexByte(raw, '\\')
		if at < 0 {
			return false
		}
		if raw = raw[at:]; raw[1] != 'u' {
			raw = raw[2:]
			continue
		}
		switch unit := escaped(raw); {
		case unit >= 0xDC00 && unit <= 0xDFFF:
			return true
		case unit >= 0xD800 && unit <= 0xDBFF:
			if low := escaped(raw[6:]); low < 0xDC00 || low > 0xDFFF {
				return true
			}
			raw = raw[12:]
		default:
			raw = raw[6:]
		}
	}
}

// escaped is the UTF-16 unit of the escape that raw begins with, 0 if it begins with none.
func escaped(raw []byte) uint64 {
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return 0
	}
	unit, _ := strconv.ParseUint(string(raw[2:6]), 16, 16) // valid JSON
	return unit
}
