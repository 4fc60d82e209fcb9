package web

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestFormat(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"empty", "", ""},
		{"object", `{"b":1,"a":"x"}`, "{\n  \"a\": \"x\",\n  \"b\": 1\n}"},
		{"big numbers as written", `[12345678901234567890,1.50]`, "[\n  12345678901234567890,\n  1.50\n]"},
		{"no html escapes", `"<a & b>"`, `"<a & b>"`},
		{"text of two lines", "one\ntwo", "one\ntwo"},
		{"binary", "\x00\x01", "(2 bytes of binary data)"},
		{"not utf-8", "\xff", "(1 bytes of binary data)"},
		{"two values are text", "1 2", "1 2"},
		{"times", `{"slot":1795418580000,"slots":[{"at":1795418580000,"timezone":"Asia/Tokyo"},{"slot":"x","timezone":"Nowhere"}],"every":60}`,
			"{\n  \"every\": 60,\n  \"slot\": \"2026-11-23T07:23:00Z\",\n  \"slots\": [\n    {\n      \"at\": \"2026-11-23T16:23:00+09:00\",\n      \"timezone\": \"Asia/Tokyo\"\n    },\n    {\n      \"slot\": \"x\",\n      \"timezone\": \"Nowhere\"\n    }\n  ]\n}"},
		{"numbers that are no times", `{"slot":1,"at":1.5,"from":99999999999999999}`, "{\n  \"at\": 1.5,\n  \"from\": 99999999999999999,\n  \"slot\": 1\n}"},
		{"secret keys", `{"BOT_TOKEN":"x","Api-Key":["x"],"deep":[{"clientSecret":{"a":1},"Authorization":1}],"Set-Cookie":"x"}`,
			"{\n  \"Api-Key\": \"[redacted]\",\n  \"BOT_TOKEN\": \"[redacted]\",\n  \"Set-Cookie\": \"[redacted]\",\n  \"deep\": [\n    {\n      \"Authorization\": \"[redacted]\",\n      \"clientSecret\": \"[redacted]\"\n    }\n  ]\n}"},
		{"innocent keys", `{"sessionKey":"agent:main","author":"x"}`, "{\n  \"author\": \"x\",\n  \"sessionKey\": \"agent:main\"\n}"},
		{"secret in a string", `{"err":"GET https://u:pw@host/x?api_key=abc&y=1: Bearer abcdefgh.ijk"}`,
			"{\n  \"err\": \"GET https://[redacted]@host/x?api_key=[redacted]&y=1: Bearer [redacted]\"\n}"},
		{"secret in a text", "password: hunter2\nplain", "password: [redacted]\nplain"},
		{"too long to parse", strings.Repeat("x", maxParsed+1), "(65537 bytes, too long to show)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, format("", []byte(tc.in))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFormatCutsAtACharacter(t *testing.T) {
	got := format("", []byte("x"+strings.Repeat("é", maxShown)))
	if want := "x" + strings.Repeat("é", maxShown/2-1) + "\n… (2050 more bytes)"; got != want {
		t.Errorf("ends in %q", got[len(got)-40:])
	}
}

func TestFormatIsBoundedAndHidesSecrets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const secret = "s3cr3t-value-of-a-key"
		key := rapid.SampledFrom([]string{"token", "API_KEY", "x-authorization", "dbPassword"}).Draw(t, "key")
		in, err := json.Marshal(map[string]string{key: secret, "filler": rapid.String().Draw(t, "filler")})
		if err != nil {
			t.Fatal(err)
		}
		got := format("cron:run", in)
		if strings.Contains(got, secret) {
			t.Fatalf("the secret is shown: %s", got)
		}
		if len(got) > maxShown+64 || !utf8.ValidString(got) {
			t.Fatalf("%d bytes, valid %v", len(got), utf8.ValidString(got))
		}
	})
}

func FuzzFormat(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"token":2}]}`, "\x00", "text\nmore", `"\ud800"`, strings.Repeat("[", 100), "a: b", "://@"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := format("", b); len(got) > maxShown+64 || !utf8.ValidString(got) {
			t.Errorf("%d bytes, valid %v", len(got), utf8.ValidString(got))
		}
	})
}

func TestLocalTarget(t *testing.T) {
	for in, want := range map[string]string{
		"":                           root,
		"/":                          root,
		"/monitoring":                "/monitoring",
		"/monitoring/schedulers":     "/monitoring/schedulers",
		"/monitoring/q?status=a&b=1": "/monitoring/q?status=a&b=1",
		"/monitoring/queues/a%2Fb":   "/monitoring/queues/a%2Fb",
		"/monitoringly":              root,
		"//evil.example/monitoring":  root,
		"https://evil.example":       root,
		"https:/monitoring":          root,
		"javascript:alert(1)":        root,
		`/\evil.example`:             root,
		`/monitoring\..\x`:           root,
		"/monitoring/../login":       root,
		"/monitoring/%2e%2e/x":       root,
		"/monitoring//evil.example":  root,
		"monitoring":                 root,
		"/monitoring\r\nX: y":        root,
		"/monitoring/" + strings.Repeat("x", maxTarget): root,
	} {
		if got := localTarget(in); got != want {
			t.Errorf("localTarget(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzLocalTarget(f *testing.F) {
	for _, s := range []string{"/monitoring/x?y", "//h/monitoring", "/monitoring/../..", "\\\\h", "/monitoring/%00", "?", "/monitoring#f"} {
		f.Add(s)
	}
	base, err := url.Parse("http://here/login")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, next string) {
		u, err := base.Parse(localTarget(next))
		if err != nil {
			t.Fatal(err)
		}
		if u.Scheme != "http" || u.Host != "here" || u.Path != root && !strings.HasPrefix(u.Path, root+"/") {
			t.Errorf("%q leads to %s", next, u)
		}
	})
}
