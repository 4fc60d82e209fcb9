// Package local owns the way to a gateway on the same machine that no other client can
// block: a socket in its state directory, which only the owner can open. The command line
// takes it by itself. What is asked there is checked as anything else is, token included.
//
// It must import nothing of ours: both ends do.
package local

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// alive is how long a socket may take to show whether anybody listens there.
const alive = time.Second

// Path is the socket of the gateway whose settings name that state directory and that address
// to listen on. Its name has both parts of the address: two gateways of one user may differ in
// either.
func Path(stateDir, addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("split %q: %w", addr, err)
	}
	if stateDir == "" {
		return "", errors.New("there is no state directory")
	}
	return filepath.Join(stateDir, "api", cmp.Or(host, "all")+"_"+port+".sock"), nil
}

// Listen listens at a Path. Closing the listener removes the socket; what a process that was
// killed has left there is removed first. The socket is the owner's alone, and whoever comes in
// there is of this machine, so that nothing is encrypted.
func Listen(path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the socket: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory is entered by its x
		return nil, fmt.Errorf("make the directory of the socket private: %w", err)
	}
	if abandoned(path) {
		_ = os.Remove(path) // if it must go, listening there fails
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	return l, nil
}

// abandoned reports whether nobody listens at a socket.
func abandoned(path string) bool {
	c, err := (&net.Dialer{Timeout: alive}).Dial("unix", path)
	if err == nil {
		_ = c.Close() // it was only knocked at
	}
	return isRefused(err)
}

// Gateway is where the gateway is that the settings of this machine name: its socket, and the
// address that its URL has.
type Gateway struct{ Path, Addr string }

// Transport carries requests to that gateway over its socket, if that is there and belongs to
// the same user, and all others over the network. of is called when it is needed.
func Transport(of func() Gateway) http.RoundTripper {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	if usual, ok := http.DefaultTransport.(*http.Transport); ok {
		t = usual.Clone()
	}
	dialer := &net.Dialer{Timeout: 30 * time.Second}
	socket := func(ctx context.Context, addr string) net.Conn {
		g := of()
		if addr != g.Addr || !isOwn(g.Path) {
			return nil
		}
		c, err := (&net.Dialer{Timeout: alive}).DialContext(ctx, "unix", g.Path)
		if err != nil {
			return nil // the network is tried
		}
		return c
	}
	t.DialContext = func(ctx context.Context, proto, addr string) (net.Conn, error) {
		if c := socket(ctx, addr); c != nil {
			return c, nil
		}
		return dialer.DialContext(ctx, proto, addr)
	}
	t.DialTLSContext = func(ctx context.Context, proto, addr string) (net.Conn, error) {
		if c := socket(ctx, addr); c != nil {
			return c, nil
		}
		return (&tls.Dialer{NetDialer: dialer, Config: t.TLSClientConfig}).DialContext(ctx, proto, addr)
	}
	return t
}
