// Package edge owns the connections of the HTTP server: how many there are, of whom, and
// how long a peer may leave what is written to it. So no client can take the files that the
// process needs for its own calls, nor hold anything by taking nothing.
//
// It knows neither requests nor routes: what it bounds holds for all of them. It must import
// nothing of ours but how addresses are told apart.
package edge

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/ratelimit"
)

const (
	// defaultWriteTimeout is how long a peer may take for one part of what is written.
	defaultWriteTimeout = 30 * time.Second
	// maxPart is how much a peer has to take in that time: a connection of 3 KB a second
	// does, however long the whole takes.
	maxPart = 64 << 10
	// sendBuffer bounds what the kernel keeps for a peer that takes nothing. It is memory
	// of this process where memory is counted, and the kernel would let it grow to megabytes.
	sendBuffer = 256 << 10

	// mostConns is how many connections there are at most, however many files are allowed:
	// each holds up to 64 KiB of a request's header.
	mostConns = 1024
	// complainEvery is how often the log says that connections are refused.
	complainEvery = time.Minute
)

// Options bound the connections; zero values are the usual bounds.
type Options struct {
	// WriteTimeout is how long a peer may take for 64 KiB; 0 means 30 s.
	WriteTimeout time.Duration
	// MaxConns is how many connections there may be; 0 means 1024, or half of the files that
	// the process may open if that is less. One address may have half of them; what has none,
	// at a socket of this machine, may have all.
	MaxConns int
	Logger   *slog.Logger
}

// Listener accepts connections within the bounds.
type Listener struct {
	net.Listener
	Options

	mu       sync.Mutex
	conns    map[*conn]struct{}
	networks map[netip.Prefix]int // how many connections each has
	refused  int                  // since the log said so
	said     time.Time            // when it did
}

// Bound returns a listener that accepts what l does, within the bounds. A server has to call
// ConnState, too.
func Bound(l net.Listener, o Options) *Listener {
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = defaultWriteTimeout
	}
	if o.MaxConns <= 0 {
		o.MaxConns = min(mostConns, max(maxFiles()/2, 2))
	}
	return &Listener{Listener: l, Options: o, conns: map[*conn]struct{}{}, networks: map[netip.Prefix]int{}}
}

// Accept returns the next connection that there is room for. Others are closed at once.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if admitted := l.admit(c); admitted != nil {
			return admitted, nil
		}
	}
}

// admit gives a connection a place, if need be that of one on which nothing is asked. It
// closes the connection and returns nil if there is no place.
func (l *Listener) admit(c net.Conn) net.Conn {
	network := ratelimit.Network(c.RemoteAddr().String())
	l.mu.Lock()
	room := true
	var idle []*conn // to be closed
	if network.IsValid() && l.networks[network] >= max(l.MaxConns/2, 1) {
		room = l.evict(&idle, func(other *conn) bool { return other.network == network })
	}
	if room && len(l.conns) >= l.MaxConns {
		room = l.evict(&idle, func(*conn) bool { return true })
	}
	var admitted *conn
	if room {
		admitted = &conn{Conn: c, listener: l, network: network}
		l.conns[admitted] = struct{}{}
		l.networks[network]++
	}
	l.mu.Unlock()

	for _, i := range idle {
		_ = i.Conn.Close() // nothing is under way on it
	}
	if admitted == nil {
		_ = c.Close() // it was never used
		l.complain(network)
		return nil
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer) // fails only for a connection that is gone
	}
	return admitted
}

// evict takes the place of the connection that has been idle for longest of those that may
// go, and reports whether there was one.
func (l *Listener) evict(evicted *[]*conn, may func(*conn) bool) bool {
	var longest *conn
	for c := range l.conns {
		if !c.idleSince.IsZero() && may(c) && (longest == nil || c.idleSince.Before(longest.idleSince)) {
			longest = c
		}
	}
	if longest == nil {
		return false
	}
	l.forget(longest)
	*evicted = append(*evicted, longest)
	return true
}

// forget frees the place of a connection, once.
func (l *Listener) forget(c *conn) {
	if _, has := l.conns[c]; !has {
		return
	}
	delete(l.conns, c)
	if l.networks[c.network]--; l.networks[c.network] == 0 {
		delete(l.networks, c.network)
	}
}

// complain logs that connections are refused, now and then.
func (l *Listener) complain(network netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused++
	if now := time.Now(); l.said.IsZero() || now.Sub(l.said) >= complainEvery {
		l.Logger.Warn("connections refused", "refused", l.refused, "last_from", network.String(),
			"connections", len(l.conns), "at_most", l.MaxConns, "at_most_of_one_address", max(l.MaxConns/2, 1))
		l.refused, l.said = 0, now
	}
}

// ConnState is for http.Server.ConnState: it tells the listener of a connection whether that
// is idle.
func ConnState(nc net.Conn, state http.ConnState) {
	if over, ok := nc.(interface{ NetConn() net.Conn }); ok { // TLS
		nc = over.NetConn()
	}
	c, ours := nc.(*conn)
	if !ours {
		return
	}
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	if state == http.StateIdle {
		c.idleSince = time.Now()
	} else {
		c.idleSince = time.Time{}
	}
}

// conn is a connection that cuts a peer which takes nothing.
type conn struct {
	net.Conn
	listener  *Listener
	network   netip.Prefix
	idleSince time.Time // zero while something is asked; guarded by the listener's mu
}

// Write implements net.Conn. Each part has the time that the peer may take for it.
func (c *conn) Write(b []byte) (int, error) {
	for written := 0; ; {
		if err := c.SetWriteDeadline(time.Now().Add(c.listener.WriteTimeout)); err != nil {
			return written, fmt.Errorf("set the time for a write: %w", err)
		}
		n, err := c.Conn.Write(b[written:min(len(b), written+maxPart)])
		written += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.reset()
		}
		if err != nil || written == len(b) {
			return written, err
		}
	}
}

// CloseWrite is what the server ends an answer with whose request it has not read to the
// end: without it the peer would lose the answer.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// reset closes the connection without waiting for what the peer has not taken, which the
// kernel would go on offering.
func (c *conn) reset() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails only for a connection that is gone
	}
	_ = c.Close() // as above
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.listener.mu.Lock()
	c.listener.forget(c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}
