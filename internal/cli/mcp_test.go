package cli

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/config"
)

// tools runs the command on these streams until in ends.
func tools(t *testing.T, in io.Reader, out io.Writer, args ...string) error {
	t.Helper()
	cmd := newMCP("v9", in, out, io.Discard)
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	return cmd.ExecuteContext(t.Context())
}

// TestMCP: the client is answered, nothing else is printed, and the end of its stream is
// the end.
func TestMCP(t *testing.T) {
	environ(t, nil)
	in, client := io.Pipe()
	var out output
	ended := make(chan error, 1)
	go func() { ended <- tools(t, in, &out) }()
	io.WriteString(client, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`+"\n")
	eventually(t, "an answer", func() bool { return strings.HasSuffix(out.String(), "\n") })
	client.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	var answer struct {
		Result struct {
			ServerInfo struct{ Name, Version string }
		}
	}
	if err := json.Unmarshal([]byte(out.String()), &answer); err != nil || answer.Result.ServerInfo.Name != "gateway-cron" || answer.Result.ServerInfo.Version != "v9" {
		t.Errorf("%v: %q", err, out.String())
	}
}

func TestMCPRefuses(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"URL":   {"URL": "ftp://x"},
		"TOKEN": {"TOKEN": "a", "TOKEN_FILE": "b"},
	} {
		environ(t, env)
		var usage usageError
		var out output
		err := tools(t, strings.NewReader(""), &out)
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), config.EnvPrefix+name) || out.String() != "" {
			t.Errorf("%s: %v %q", name, err, out.String())
		}
	}
	environ(t, map[string]string{"TOKEN": "", "TOKEN_FILE": "", "URL": ""})
	if err := tools(t, strings.NewReader(""), io.Discard, "extra"); err == nil {
		t.Error("an argument was accepted")
	}
}
