package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/config"
)

func TestMCP(t *testing.T) {
	serve := func(env map[string]string, input string, args ...string) (stdout string, err error) {
		t.Helper()
		environ(t, env)
		var out, log bytes.Buffer
		cmd := newMCP("v9", strings.NewReader(input), &out, &log)
		cmd.SetArgs(args)
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		err = cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	const hello = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}` + "\n"
	out, err := serve(nil, hello)
	var answer struct {
		Result struct{ ServerInfo struct{ Name, Version string } }
	}
	if json.Unmarshal([]byte(out), &answer) != nil || answer.Result.ServerInfo.Name != "gateway-cron" || answer.Result.ServerInfo.Version != "v9" || err != nil {
		t.Errorf("%v: nothing but the answer may be printed, not %q", err, out)
	}
	for name, env := range map[string]map[string]string{
		"URL":   {"URL": "ftp://x"},
		"TOKEN": {"TOKEN": "a", "TOKEN_FILE": "b"},
	} {
		var usage usageError
		out, err := serve(env, hello)
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), config.EnvPrefix+name) || out != "" {
			t.Errorf("%s: %v %q", name, err, out)
		}
	}
	if _, err := serve(nil, "", "extra"); err == nil {
		t.Error("an argument was accepted")
	}
}

func TestAPIURL(t *testing.T) {
	for _, tc := range []struct{ url, addr, want string }{
		{"", "127.0.0.1:19790", "http://127.0.0.1:19790"},
		{"", "0.0.0.0:80", "http://127.0.0.1:80"},
		{"", "[::]:80", "http://127.0.0.1:80"},
		{"", ":80", "http://127.0.0.1:80"},
		{"", "cron.lan:80", "http://cron.lan:80"},
		{"https://cron.example.com/x", "127.0.0.1:1", "https://cron.example.com/x"},
	} {
		environ(t, map[string]string{"URL": tc.url})
		if got := apiURL(config.Config{Addr: tc.addr}); got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
}
