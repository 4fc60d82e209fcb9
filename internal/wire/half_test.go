package wire

import "testing"

func TestHalfCharacter(t *testing.T) {
	for raw, want := range map[string]bool{
		`"x"`: false, `"\n\"\\"`: false, `"\u0041"`: false, `"\ud83d\ude00"`: false, `"\uD83D\uDE00\uD83D\uDE00"`: false, `"\\ud83d"`: false,
		`"\ud83d"`: true, `"\ude00"`: true, `"\ude00\ud83d"`: true, `"\ud83dx"`: true, `"\ud83d\u0041"`: true, `"\ud83d\ud83d\ude00"`: true,
		`["a","\\\ud83d"]`: true, `{"a":{"b":"\uDBFF"}}`: true, `7`: false, ``: false, `"\ud83d\\ude00"`: true,
	} {
		if got := HalfCharacter([]byte(raw)); got != want {
			t.Errorf("%s: %v", raw, got)
		}
	}
}
