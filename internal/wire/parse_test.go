package wire

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestBaseURL(t *testing.T) {
	good := map[string]string{
		"http://127.0.0.1:39200":      "http://127.0.0.1:39200",
		"http://127.0.0.1:39200/":     "http://127.0.0.1:39200",
		" https://ai.example/prefix/": "https://ai.example/prefix",
		"http://[::1]:39200///":       "http://[::1]:39200",
		"HTTP://host/a%2Fb":           "http://host/a%2Fb",
	}
	for raw, want := range good {
		if got, err := BaseURL(raw); got != want || err != nil {
			t.Errorf("BaseURL(%q) = %q, %v; want %q", raw, got, err, want)
		}
	}
	bad := []string{
		"", "127.0.0.1:39200", "/path", "ftp://host", "http://", "http://:80", "http://user:SECRET@host",
		"http://host?token=SECRET", "http://host/?", "http://host/#SECRET", "http://host/a//b", "http://host/%zzSECRET",
	}
	for _, raw := range bad {
		got, err := BaseURL(raw)
		if err == nil {
			t.Errorf("BaseURL(%q) = %q, want an error", raw, got)
		} else if strings.Contains(err.Error(), "SECRET") {
			t.Errorf("BaseURL(%q): the error %q repeats it", raw, err)
		}
	}
}

func FuzzBaseURL(f *testing.F) {
	for _, seed := range []string{"http://127.0.0.1:39200/", "https://h/a%2Fb/", "http://u@h", "http://[::1%25eth0]:1", "http://h?", "//"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		base, err := BaseURL(raw)
		if err != nil {
			return
		}
		if strings.HasSuffix(base, "/") {
			t.Errorf("BaseURL(%q) = %q ends in a slash", raw, base)
		}
		if _, err := http.NewRequest(http.MethodGet, base+"/health", nil); err != nil {
			t.Errorf("BaseURL(%q) = %q is of no use: %v", raw, base, err)
		}
		if again, err := BaseURL(base); again != base || err != nil {
			t.Errorf("BaseURL(%q) = %q, but that gives %q, %v", raw, base, again, err)
		}
	})
}

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func TestRetryAfter(t *testing.T) {
	tests := []struct {
		value string
		want  time.Duration
		ok    bool
	}{
		{"", 0, false},
		{"0", 0, true},
		{" 7 ", 7 * time.Second, true},
		{"3600", time.Hour, true},
		{"3601", time.Hour, true},
		{"99999999999999999999999", time.Hour, true},
		{"9223372037", time.Hour, true}, // its product overflows a Duration
		{"-1", 0, false},
		{"1.5", 0, false},
		{"soon", 0, false},
		{"Fri, 01 May 2026 12:01:30 GMT", 90 * time.Second, true},
		{"Fri, 01 May 2026 11:00:00 GMT", 0, true},
		{"Sat, 02 May 2026 12:00:00 GMT", time.Hour, true},
	}
	for _, tt := range tests {
		got, ok := RetryAfter(http.Header{"Retry-After": {tt.value}}, noon)
		if got != tt.want || ok != tt.ok {
			t.Errorf("RetryAfter(%q) = %v, %t; want %v, %t", tt.value, got, ok, tt.want, tt.ok)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"1", "Fri, 01 May 2026 12:01:30 GMT", "Friday, 01-May-26 12:00:00 GMT", "1e3", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if got, _ := RetryAfter(http.Header{"Retry-After": {value}}, noon); got < 0 || got > MaxRetryAfter {
			t.Errorf("RetryAfter(%q) = %v", value, got)
		}
	})
}

func TestASCIIJSON(t *testing.T) {
	in := map[string]any{"a": "Grüße 😀 <b>&", "raw": json.RawMessage(`{"ö":"日本"}`)}
	got, err := ASCIIJSON(in)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"a":"Gr\u00fc\u00dfe \ud83d\ude00 <b>&","raw":{"\u00f6":"\u65e5\u672c"}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, err := ASCIIJSON(json.RawMessage(`{`)); err == nil {
		t.Error("invalid raw JSON was accepted")
	}
}

func TestASCIIJSONKeepsEveryText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		raw, err := json.Marshal(map[string]string{text: text})
		if err != nil {
			t.Fatal(err)
		}
		out, err := ASCIIJSON(map[string]any{"text": text, "raw": json.RawMessage(raw)})
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.IndexFunc(out, func(r rune) bool { return r >= utf8.RuneSelf }); i >= 0 {
			t.Fatalf("not ASCII at %d: %q", i, out)
		}
		var back struct {
			Text string            `json:"text"`
			Raw  map[string]string `json:"raw"`
		}
		if err := json.Unmarshal(out, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{text: text}, back.Raw); back.Text != text || diff != "" {
			t.Fatalf("text %q came back as %q; raw %s", text, back.Text, diff)
		}
	})
}

func TestASCIIJSONOfInvalidUTF8(t *testing.T) {
	out, err := ASCIIJSON(map[string]any{"raw": json.RawMessage("\"a\xffb\""), "text": "\xc3"})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"raw":"a\ufffdb","text":"\ufffd"}`; string(out) != want {
		t.Errorf("got %s, want %s", out, want)
	}
}

func TestPrintable(t *testing.T) {
	tests := []struct {
		in   string
		most int
		want string
	}{
		{"plain", 10, "plain"},
		{"two\nlines\tand\x1b[31m more", 40, "two lines and [31m more"},
		{"exactly ten", 10, "exactly..."},
		{"ööööö", 8, "öö..."},
		{"\xff\xfe", 8, ""},
		{"", 8, ""},
	}
	for _, tt := range tests {
		if got := Printable(tt.in, tt.most); got != tt.want {
			t.Errorf("Printable(%q, %d) = %q, want %q", tt.in, tt.most, got, tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "in")
		most := rapid.IntRange(3, 50).Draw(t, "most")
		got := Printable(in, most)
		if len(got) > most || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("Printable(%q, %d) = %q", in, most, got)
		}
	})
}

func TestComplaint(t *testing.T) {
	tests := []struct{ body, want string }{
		{`{"error":"Unknown model: x"}`, "Unknown model: x"},
		{`{"message":"no"}`, "no"},
		{`{"ok":false,"description":"Too Many Requests"}`, "Too Many Requests"},
		{`{"error":{"code":1}}`, `{"error":{"code":1}}`},
		{"<html>\n<b>502</b>", "<html> <b>502</b>"},
		{"", ""},
	}
	for _, tt := range tests {
		if got := Complaint([]byte(tt.body), 100); got != tt.want {
			t.Errorf("Complaint(%q) = %q, want %q", tt.body, got, tt.want)
		}
	}
}

func TestBrokeOff(t *testing.T) {
	tests := map[string]bool{
		`{"text":"hel`: true, `{`: true, ` {"a":1`: true,
		`{}`: false, ``: false, `<html>`: false, `{"a":x`: false, `[1`: false, `"abc`: false,
	}
	for body, want := range tests {
		if got := BrokeOff([]byte(body)); got != want {
			t.Errorf("BrokeOff(%q) = %t, want %t", body, got, want)
		}
	}
}
