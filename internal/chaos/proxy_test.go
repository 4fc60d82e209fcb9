package chaos

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy is the way of one process to Redis.
//
// A cut swallows the bytes of a direction. What was swallowed cannot be made up
// for, so the connections that lost something are reset when the cut ends, as a
// network that comes back would end them: no stream ever goes on with a hole.
type proxy struct {
	listener      net.Listener
	network, addr string // of Redis

	mu       sync.Mutex
	up, down bool // swallowed
	links    map[*link]bool
}

// link is a connection through the proxy.
type link struct {
	client, server net.Conn
	lost           bool // under the proxy's lock
}

func newProxy(network, addr string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, network: network, addr: addr, links: map[*link]bool{}}
	go p.accept()
	return p, nil
}

func (p *proxy) url() string { return "redis://" + p.listener.Addr().String() + "/0" }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		go p.connect(client)
	}
}

func (p *proxy) connect(client net.Conn) {
	server, err := net.Dial(p.network, p.addr)
	if err != nil {
		reset(client)
		return
	}
	l := &link{client: client, server: server}
	p.mu.Lock()
	p.links[l] = true
	p.mu.Unlock()
	go p.pump(l, client, server, &p.up)
	p.pump(l, server, client, &p.down)
}

// pump moves the bytes of one direction until it ends.
func (p *proxy) pump(l *link, from, to net.Conn, swallowed *bool) {
	defer p.drop(l)
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			p.mu.Lock()
			gone := *swallowed
			l.lost = l.lost || gone
			p.mu.Unlock()
			if !gone {
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) drop(l *link) {
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
	reset(l.client)
	reset(l.server)
}

// cut swallows what comes from now on; heal ends it.
func (p *proxy) cut(up, down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up, p.down = up, down
}

func (p *proxy) heal() {
	p.mu.Lock()
	p.up, p.down = false, false
	var lost []*link
	for l := range p.links {
		if l.lost {
			lost = append(lost, l)
		}
	}
	p.mu.Unlock()
	for _, l := range lost {
		p.drop(l)
	}
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	links := p.links
	p.links = map[*link]bool{}
	p.mu.Unlock()
	for l := range links {
		reset(l.client)
		reset(l.server)
	}
}

// reset ends a connection as a crash would, without a farewell.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func TestProxySwallowsAndResets(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	heard := make(chan string, 10)
	go func() { // answers each line with itself
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			go func() {
				for lines := bufio.NewScanner(c); lines.Scan(); {
					heard <- lines.Text()
					_, _ = io.WriteString(c, lines.Text()+"\n")
				}
			}()
		}
	}()
	p, err := newProxy("tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	dial := func() (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", p.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		return c, bufio.NewReader(c)
	}
	say := func(c net.Conn, text string) {
		if _, err := io.WriteString(c, text+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	hears := func(r *bufio.Reader, want string) {
		t.Helper()
		if got, err := r.ReadString('\n'); err != nil || got != want+"\n" {
			t.Fatalf("heard %q, %v; want %q", got, err, want)
		}
	}
	lossy, fromLossy := dial()
	quiet, fromQuiet := dial()
	say(lossy, "before")
	hears(fromLossy, "before")
	say(quiet, "hello")
	hears(fromQuiet, "hello")

	p.cut(false, true) // answers are swallowed, questions are not
	say(lossy, "one way")
	for _, want := range []string{"before", "hello", "one way"} {
		if got := <-heard; got != want {
			t.Fatalf("the server heard %q, want %q", got, want)
		}
	}
	p.mu.Lock()
	noticed := func() bool {
		for l := range p.links {
			if l.lost {
				return true
			}
		}
		return false
	}
	for !noticed() { // the answer is on its way to nowhere
		p.mu.Unlock()
		p.mu.Lock()
	}
	p.mu.Unlock()

	p.heal()
	if _, err := fromLossy.ReadString('\n'); err == nil {
		t.Error("a connection with a hole in its stream goes on")
	}
	say(quiet, "after") // lost nothing
	hears(fromQuiet, "after")
}
