package redact

import (
	"strings"
	"testing"
)

func TestSecretsAreTakenOut(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"of a provider", "Incorrect API key provided: sk-live-SECRETkey123. See the page.", "Incorrect API key provided: [redacted]. See the page."},
		{"a short one", "invalid x-api-key sk-live-SECRET", "invalid x-api-key [redacted]"},
		{"of anthropic", "bad key sk-ant-api03-abc_DEF-123456", "bad key [redacted]"},
		{"of openrouter, quoted", `key "sk-or-v1-0123456789abcdef" is disabled`, `key "[redacted]" is disabled`},
		{"of a project", "sk-proj-abcdefghijkl", "[redacted]"},
		{"of stripe", "used sk_live_4eC39HqLyjWDarjtT1", "used [redacted]"},
		{"of google", "key AIzaSyA-1234567890abcdefghijklmnopqrstu not valid", "key [redacted] not valid"},
		{"of google, in a URL", "GET https://x.example/v1?key=abc123&alt=json failed", "GET https://x.example/v1?key=[redacted]&alt=json failed"},
		{"an oauth token of google", "ya29.a0AfH6SMBx-y_z expired", "[redacted] expired"},
		{"of groq", "gsk_abcdefgh12345678", "[redacted]"},
		{"of hugging face", "hf_abcdefgh12345678", "[redacted]"},
		{"of github", "remote: ghp_abcdefghijklmnopqrstuvwxyz0123456789 denied", "remote: [redacted] denied"},
		{"of github, fine-grained", "github_pat_11ABCDEFG0_abcdefgh", "[redacted]"},
		{"of gitlab", "glpat-ABCdef123456_-xyz", "[redacted]"},
		{"of slack", "xoxb-123456789012-abcdefghijkl", "[redacted]"},
		{"of aws", "AKIAIOSFODNN7EXAMPLE is not authorized", "[redacted] is not authorized"},
		{"of ours", "token gct_01jd0000000000000000000000_abcdef", "token [redacted]"},
		{"a signing key", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "[redacted]"},
		{"a bot", "POST https://api.telegram.org/bot123456:AAF-abcdefgh/sendMessage", "POST https://api.telegram.org/bot[redacted]/sendMessage"},
		{"a bot, escaped", "/bot123456%3AAAF-abcdefgh/getMe", "/bot[redacted]/getMe"},
		{"a web token", "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-DEF_1 expired", "token [redacted] expired"},
		{"bearer", "Authorization: Bearer abcdef123456", "Authorization: Bearer [redacted]"},
		{"bearer, of letters alone", "sent bearer SECRETSECRET", "sent bearer [redacted]"},
		{"basic", "authorization: Basic dXNlcjpwYXNz", "authorization: Basic [redacted]"},
		{"of a URL", "redis://default:hunter2@10.0.0.1:6379/0: refused", "redis://[redacted]@10.0.0.1:6379/0: refused"},
		{"of a URL, without a user", "https://t0ken@git.example/x", "https://[redacted]@git.example/x"},
		{"in a query", "GET /x?access_token=abc&page=2", "GET /x?access_token=[redacted]&page=2"},
		{"a password", "password=hunter2 rejected", "password=[redacted] rejected"},
		{"in JSON", `{"api_key":"abcd1234efgh","model":"gpt"}`, `{"api_key":"[redacted]","model":"gpt"}`},
		{"in JSON with spaces", `{"client_secret": "Abcd1234", "x": 1}`, `{"client_secret": "[redacted]", "x": 1}`},
		{"in the environment", "OPENAI_API_KEY=abc is wrong", "OPENAI_API_KEY=[redacted] is wrong"},
		{"hexadecimal after the word", "invalid key 0123456789abcdef0123456789abcdef", "invalid key [redacted]"},
		{"base64 after the word", "the secret Zm9vYmFyYmF6cXV4MTIzNDU2Nzg= is wrong", "the secret [redacted] is wrong"},
		{"a private key", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- x", "[redacted] x"},
		{"a hook of slack", "POST https://hooks.slack.com/services/T0/B0/abc: 404", "POST https://hooks.slack.com/services/[redacted]: 404"},
		{"two", "sk-aaaaaaaaaaaa and sk-bbbbbbbbbbbb", "[redacted] and [redacted]"},
		{"in a list", "keys: sk-aaaaaaaaaaaa,sk-bbbbbbbbbbbb", "keys: [redacted],[redacted]"},
	} {
		if got := Text(tc.text); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestTheRestStays(t *testing.T) {
	for _, text := range []string{
		"",
		"ai-server answered 500: overloaded",
		"ai-server answered 500: unknown model: anthropic/claude-sonnet-4-5-20250929",
		"ANTHROPIC_API_KEY is required",
		"no api key for the model anthropic/claude-sonnet-4-5-20250929",
		"max_tokens=4096 is above the limit of 2048 tokens",
		"prompt tokens: 123456, completion tokens: 654321",
		"run morning:1795420800 of job 01jd3k5v8m9n0p1q2r3s4t5v6w failed",
		"run 123456789:manual:01ARZ3NDEKTSV4RRFFQ69G5FAV",
		"the token 01ARZ3NDEKTSV4RRFFQ69G5FAV was revoked",
		"the key 123e4567-e89b-12d3-a456-426614174000 is an id",
		"agent:main:telegram:dm:123456789",
		"task-force-of-the-morning ran",
		"telegram: answered 400: Bad Request: message thread not found",
		"bearer authentication required",
		"Basic authentication is needed",
		"token: expired",
		"password: must not be empty",
		"2026-11-23T09:00:00Z dial tcp 127.0.0.1:6379: connect: connection refused",
		"mail me@example.org about https://example.org/a?page=2#top",
		"commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
		"key=value",
		"risk-assessment-weekly",
		"the secret of the garden is a long story",
	} {
		if got := Text(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// FuzzText: what was redacted once stays as it is, and a key anywhere in a sentence goes.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"token=abc", "AKIAABCDEFGHIJKLMNOPsk-abcdefghij", "sk-sk-sk-aaaaaaaa", "://a@b@c", "Bearer Bearer abc12345",
		"password=password=x", "123456:AA123456:AA123456", "eyJeyJabcdef.abcdef.eyJ", "key \x00\xff sk-"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		once := Text(text)
		if again := Text(once); again != once {
			t.Errorf("%q became %q, and that %q", text, once, again)
		}
		const key = "sk-ant-api03-Zk3bT9xQ"
		if got := Text(text + " " + key + " " + text); strings.Contains(got, key) {
			t.Errorf("%q keeps the key", got)
		}
	})
}
