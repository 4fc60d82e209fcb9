package app

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/client"
	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/edge"
	"github.com/gatewaycron/gatewaycron/internal/local"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// TestClientsThatReadNothing: on the routes that need no token, they neither keep others from
// being served nor stay.
func TestClientsThatReadNothing(t *testing.T) {
	url := redistest.Start(t).URL()
	o, out, log := options(t, Roles{API: true}, func(c *config.Config) { c.RedisURL, c.Token = url, "secret" })
	o.Edge = edge.Options{MaxConns: 20, WriteTimeout: 200 * time.Millisecond}
	a, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	p := serve(t, a, out, log)
	eventually(t, "the ready line", p.ready)

	connect := func(from string) *net.TCPConn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.DialContext(t.Context(), "tcp4", p.Addr())
		if err != nil {
			t.Skipf("this machine has no address %s: %v", from, err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		return c.(*net.TCPConn)
	}
	var deaf []net.Conn
	for range 40 { // an address has 10
		c := connect("127.0.0.2")
		if err := c.SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, strings.Repeat("GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n", 40)) // fails where it is refused
		deaf = append(deaf, c)
	}
	c := connect("127.0.0.3")
	if _, err := fmt.Fprint(c, "GET /health HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("somebody else: %v %v", res, err)
	}
	res.Body.Close()
	if n := log.count("connections refused"); n != 1 {
		t.Errorf("the log says %d times that connections are refused", n)
	}
	for i, c := range deaf {
		whole, err := io.ReadAll(c)
		if err == nil && strings.Count(string(whole), "HTTP/1.1 200") == 40 {
			t.Errorf("client %d got all that it had left lying", i)
		}
	}
}

// TestTheCommandLineComesIn where nobody else does any more.
func TestTheCommandLineComesIn(t *testing.T) {
	url := redistest.Start(t).URL()
	o, out, log := options(t, Roles{API: true}, func(c *config.Config) { c.RedisURL, c.Token = url, "secret" })
	o.Edge = edge.Options{MaxConns: 2}
	a, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	p := serve(t, a, out, log)
	eventually(t, "the ready line", p.ready)
	for _, from := range []string{"127.0.0.2", "127.0.0.3"} { // and ask for nothing
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.DialContext(t.Context(), "tcp4", p.Addr())
		if err != nil {
			t.Skipf("this machine has no address %s: %v", from, err)
		}
		t.Cleanup(func() { c.Close() })
	}
	status := func(transport http.RoundTripper, token string) int {
		t.Helper()
		calls, err := client.New("http://"+p.Addr(), token, transport)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := calls.Do(t.Context(), client.Request{Method: http.MethodGet, Path: client.Path("status")})
		if refused, is := errors.AsType[*client.Error](err); is {
			return refused.Status
		}
		return answer.Status
	}
	eventually(t, "nobody else comes in", func() bool { return status(&http.Transport{DisableKeepAlives: true}, "secret") == 0 })
	path, err := local.Path(o.Config.StateDir, p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	own := local.Transport(func() local.Gateway { return local.Gateway{Path: path, Addr: p.Addr()} })
	for token, want := range map[string]int{"secret": http.StatusOK, "guess": http.StatusUnauthorized, "": http.StatusUnauthorized} {
		if got := status(own, token); got != want {
			t.Errorf("with the token %q: %d", token, got)
		}
	}
}
