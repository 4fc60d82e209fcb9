// Package local owns the way to a gateway on the same machine that no other client can
// block: a socket in its state directory, which only the owner can open. The command line
// takes it by itself. What is asked there is checked as anything else is, token included.
//
// It must import nothing of ours: both ends do.
package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// alive is how long a socket may take to show whether anybody listens there.
const alive = time.Second

// errNotHere says that an address is none of this machine alone.
var errNotHere = errors.New("no address of this machine")

// socket is where a gateway that serves addr listens, too.
func socket(stateDir, addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("split %q: %w", addr, err)
	}
	ip, err := netip.ParseAddr(host)
	if host != "" && host != "localhost" && (err != nil || !ip.IsLoopback() && !ip.IsUnspecified()) {
		return "", fmt.Errorf("%s: %w", addr, errNotHere)
	}
	if stateDir == "" {
		return "", errors.New("there is no state directory")
	}
	return filepath.Join(stateDir, "api", port+".sock"), nil
}

// Listen listens in the state directory for the gateway that serves addr. Closing the
// listener removes the socket; what a process that was killed has left is removed here. It
// returns nil without an error for an address at which only other machines call.
func Listen(stateDir, addr string) (net.Listener, error) {
	path, err := socket(stateDir, addr)
	if errors.Is(err, errNotHere) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the socket: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory is entered by its x
		return nil, fmt.Errorf("make the directory of the socket private: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the directory of the socket: %w", err)
	}
	for _, e := range entries {
		if other := filepath.Join(dir, e.Name()); strings.HasSuffix(other, ".sock") && abandoned(other) {
			_ = os.Remove(other) // if it must go, listening there fails
		}
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

// Transport carries requests to a gateway on this machine over its socket, if that is there
// and belongs to the same user, and all others over the network. stateDir is called when it
// is needed.
func Transport(stateDir func() string) http.RoundTripper {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	if usual, ok := http.DefaultTransport.(*http.Transport); ok {
		t = usual.Clone()
	}
	network := (&net.Dialer{Timeout: 30 * time.Second}).DialContext
	t.DialContext = func(ctx context.Context, proto, addr string) (net.Conn, error) {
		if path, err := socket(stateDir(), addr); err == nil && isOwn(path) {
			if c, err := (&net.Dialer{Timeout: alive}).DialContext(ctx, "unix", path); err == nil {
				return c, nil
			}
		}
		return network(ctx, proto, addr)
	}
	return t
}
