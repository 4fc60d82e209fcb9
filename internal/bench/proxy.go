//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
)

// proxy is the way of one process to Redis, on which its commands are counted.
//
// Redis's own statistics cannot tell a command of a client from one within a
// script, and its clients cannot be asked from outside. So the small runs that are
// about counts go through here; those that are about times do not.
type proxy struct {
	listener net.Listener
	addr     string // of Redis
	scripts  *scriptNames

	mu     sync.Mutex
	counts traffic
	links  map[net.Conn]bool
}

// traffic is what a process asked of Redis.
type traffic struct {
	Commands map[string]int64 `json:"commands"` // by name, scripts by theirs
	// Trips are the round trips: commands sent while nothing on the connection was
	// unanswered. A pipeline is one, or a few if it is long.
	Trips int64 `json:"trips"`
}

func newProxy(addr string, scripts *scriptNames) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for a proxy: %w", err)
	}
	p := &proxy{listener: l, addr: addr, scripts: scripts, links: map[net.Conn]bool{},
		counts: traffic{Commands: map[string]int64{}}}
	go p.accept()
	return p, nil
}

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
	defer client.Close()
	server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", p.addr)
	if err != nil {
		return // the client sees its connection end, as without a proxy
	}
	defer server.Close()
	p.hold(client, true)
	p.hold(server, true)
	defer p.hold(client, false)
	defer p.hold(server, false)

	var awaited atomic.Bool // whether something is unanswered
	var answers sync.WaitGroup
	answers.Go(func() {
		buf := make([]byte, 32<<10)
		for {
			n, err := server.Read(buf)
			awaited.Store(false)
			if n > 0 {
				if _, err := client.Write(buf[:n]); err != nil {
					break
				}
			}
			if err != nil {
				break
			}
		}
		_ = client.Close() // ends the other direction too
	})
	p.forward(client, server, &awaited)
	_ = server.Close()
	answers.Wait()
}

// forward passes commands on until the connection ends.
func (p *proxy) forward(client io.Reader, server io.Writer, awaited *atomic.Bool) {
	in, out := bufio.NewReaderSize(client, 64<<10), bufio.NewWriterSize(server, 64<<10)
	for {
		args, err := readCommand(in, out)
		if err != nil {
			return
		}
		p.count(args, !awaited.Swap(true))
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return
			}
		}
	}
}

func (p *proxy) count(args []string, trip bool) {
	name := p.scripts.name(args)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.Commands[name]++
	// What opens a connection is not part of the work.
	if trip && !isHandshake(name) {
		p.counts.Trips++
	}
}

// isHandshake reports whether a command only opens a connection or teaches Redis a
// script, which includes the first call, in vain, by its digest: both happen once,
// however many runs there are.
func isHandshake(name string) bool {
	switch name {
	case "hello", "client", "select", "auth", "eval", "evalsha":
		return true
	}
	return false
}

// traffic is what was counted so far.
func (p *proxy) traffic() traffic {
	p.mu.Lock()
	defer p.mu.Unlock()
	return traffic{Commands: maps.Clone(p.counts.Commands), Trips: p.counts.Trips}
}

func (p *proxy) hold(c net.Conn, held bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if held {
		p.links[c] = true
	} else {
		delete(p.links, c)
	}
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.links {
		_ = c.Close()
	}
}

// readCommand reads one command of a client, copies its bytes to out, and answers
// its first arguments: the name, and what tells scripts apart.
func readCommand(in *bufio.Reader, out *bufio.Writer) ([]string, error) {
	const kept = 4 // evalsha sha 1 key
	n, err := readLength(in, out, '*')
	if err != nil {
		return nil, err
	}
	args := make([]string, 0, kept)
	for i := range n {
		size, err := readLength(in, out, '$')
		if err != nil {
			return nil, err
		}
		if i >= kept {
			if _, err := io.CopyN(out, in, int64(size)+2); err != nil {
				return nil, err
			}
			continue
		}
		arg := make([]byte, size+2)
		if _, err := io.ReadFull(in, arg); err != nil {
			return nil, err
		}
		if _, err := out.Write(arg); err != nil {
			return nil, err
		}
		args = append(args, string(arg[:size]))
	}
	return args, nil
}

func readLength(in *bufio.Reader, out *bufio.Writer, kind byte) (int, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 3 || line[0] != kind {
		return 0, fmt.Errorf("unexpected %q in a command", line)
	}
	if _, err := out.Write(line); err != nil {
		return 0, err
	}
	return strconv.Atoi(string(line[1 : len(line)-2]))
}
