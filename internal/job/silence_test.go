package job

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestSpoken(t *testing.T) {
	long := strings.Repeat("There is a lot to tell. ", 20) + "Bye."
	const silent = "\x00" // nothing goes to the chat
	for _, tt := range []struct{ reply, want string }{
		{"", silent}, {" \r\n\t", silent}, {"\u200b\ufeff\u2060", silent}, {"hello", "hello"}, {" hello\n", " hello\n"},

		{"NO_REPLY", silent}, {" NO_REPLY\r\n", silent}, {"\ufeffNO_REPLY\u200b", silent}, {"`NO_REPLY`", silent}, {"**NO_REPLY**", silent},
		{"NO_REPLY.", silent}, {"NO_REPLY!", silent}, {`"NO_REPLY"`, silent}, {"'NO_REPLY'", silent}, {"no_reply", silent}, {"No_Reply", silent},
		{"_NO_REPLY_", silent}, {"__NO_REPLY__", silent}, {"***NO_REPLY.***", silent}, {"~~NO_REPLY~~", silent}, {"(NO_REPLY)", silent},
		{"[NO_REPLY]", silent}, {"<NO_REPLY>", silent}, {"{NO_REPLY}", silent}, {`{"NO_REPLY"}`, silent}, {"„NO_REPLY“", silent}, {"»NO_REPLY«", silent},
		{"“NO_REPLY”", silent}, {"‘NO_REPLY’", silent}, {"「NO_REPLY」", silent}, {"> NO_REPLY", silent}, {"- NO_REPLY", silent}, {"# NO_REPLY", silent},
		{`NO\_REPLY`, silent}, {"NO_REPLY…", silent}, {"🤫 NO_REPLY", silent}, {"<b>NO_REPLY</b>", silent}, {"NO_REPLY\nNO_REPLY", silent},
		{"NO_REPLY NO_REPLY", silent}, {"```\nNO_REPLY\n```", silent}, {"```text\nNO_REPLY\n```", silent}, {"~~~\nNO_REPLY\n~~~\n", silent},
		{"“\nNO_REPLY\n”", silent},

		{"Nothing new.\n\nNO_REPLY", silent}, {"Nothing new.\nNO_REPLY", silent}, {"Nothing new.\r\n**NO_REPLY**\r\n", silent},
		{"Nothing new.\n```\nNO_REPLY\n```", silent}, {"Nothing new.\n\nNO_REPLY\n\nNO_REPLY\n", silent},
		{strings.Repeat("é", 300) + "\nNO_REPLY", silent}, {strings.Repeat("é", 301) + "\nNO_REPLY", strings.Repeat("é", 301)},
		{long + "\n\nNO_REPLY", long}, {long + "\r\n\r\n`NO_REPLY`.\r\n", long}, {long + "\n```text\nNO_REPLY\n```\n", long},
		{long + "\nNO_REPLY\n\nno_reply\n", long}, {"  " + long + "\nNO_REPLY", "  " + long}, {long + "🏴\U000e0067\U000e007f\nNO_REPLY", long + "🏴\U000e0067\U000e007f"},

		{"I will answer NO_REPLY when nothing happens.", "I will answer NO_REPLY when nothing happens."},
		{"Nothing new. NO_REPLY", "Nothing new. NO_REPLY"}, {"NO_REPLY: nothing new", "NO_REPLY: nothing new"},
		{"NO_REPLY\n\nNothing new.", "NO_REPLY\n\nNothing new."}, {long + "\nso I say NO_REPLY", long + "\nso I say NO_REPLY"},
		{"NO_REPLYING", "NO_REPLYING"}, {"XNO_REPLY", "XNO_REPLY"}, {"NO_REPLY2", "NO_REPLY2"}, {"No reply.", "No reply."}, {"NOREPLY", "NOREPLY"},
		{"1. NO_REPLY", "1. NO_REPLY"}, {"Two mails:\n- NO_REPLY is one\n- x", "Two mails:\n- NO_REPLY is one\n- x"},
		{"```\nx\nNO_REPLY\n```", "```\nx\nNO_REPLY\n```"}, {"\xff", "\xff"},
	} {
		text, tell := Spoken(tt.reply)
		if !tell {
			text = silent
		}
		if text != tt.want {
			t.Errorf("%q: %q, want %q", tt.reply, text, tt.want)
		}
	}
}

// checkSpoken holds what Spoken returns against what it may do to any reply: cut lines at its
// end that have NO_REPLY in them, and nothing else.
func checkSpoken(t interface{ Fatalf(string, ...any) }, reply string) {
	text, tell := Spoken(reply)
	word := regexp.MustCompile(`(?i)no\\?_reply`)
	switch rest, ok := strings.CutPrefix(reply, text); {
	case !ok:
		t.Fatalf("%q is altered to %q", reply, text)
	case !word.MatchString(reply) && text != reply, !word.MatchString(reply) && tell == Blank(reply):
		t.Fatalf("%q: %q, %v", reply, text, tell)
	case text != "" && text != reply:
		lines := strings.Split(rest, "\n")
		for _, line := range lines {
			if !Blank(line) && !word.MatchString(line) && !fence.MatchString(line) {
				t.Fatalf("%q lost the line %q", reply, line)
			}
		}
		if long := utf8.RuneCountInString(strings.TrimSpace(text)) > 300; tell != long {
			t.Fatalf("%q: %v", reply, tell)
		}
	case Blank(text) && tell:
		t.Fatalf("%q: nothing is left, and it is to be told", reply)
	}
	if again, _ := Spoken(text); again != text {
		t.Fatalf("%q: %q, and of that %q", reply, text, again)
	}
}

func TestSpokenCutsNothingElse(t *testing.T) {
	piece := rapid.SampledFrom([]string{"NO_REPLY", "no_reply", "`", "**", "\n", "\r\n", " ", "\n```\n", "```text\n", "word", ".", "\u200b", "\ufeff", `\`, "<b>", "1",
		strings.Repeat("word ", 70), "\xff", "é"})
	rapid.Check(t, func(t *rapid.T) {
		checkSpoken(t, strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces"), ""))
	})
}

func FuzzSpoken(f *testing.F) {
	for _, seed := range []string{"", "NO_REPLY", "x\nNO_REPLY", strings.Repeat("word ", 70) + "\n```\n**NO\\_REPLY**\n```\n", "NO_REPLY\n\nx", "\xff\n\u200bno_reply.", "NO_REPLY\n```\n\n```\nNO_REPLY\n```text\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, reply string) { checkSpoken(t, reply) })
}
