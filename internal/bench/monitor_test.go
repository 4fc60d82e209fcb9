//go:build linux

package main

import (
	"bufio"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// monitor hears every command that Redis executes, those within scripts too.
type monitor struct {
	t     testing.TB
	w     *world
	conn  net.Conn
	lines *bufio.Reader
	marks int
}

func newMonitor(t testing.TB, w *world) *monitor {
	t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.Write([]byte("MONITOR\r\n")); err != nil {
		t.Fatal(err)
	}
	m := &monitor{t: t, w: w, conn: conn, lines: bufio.NewReader(conn)}
	if ok, err := m.lines.ReadString('\n'); err != nil || !strings.HasPrefix(ok, "+OK") {
		t.Fatalf("MONITOR answered %q, %v", ok, err)
	}
	return m
}

// heard are the commands since the last time.
func (m *monitor) heard() [][]string {
	m.t.Helper()
	m.marks++
	mark := "mark-" + strconv.Itoa(m.marks)
	if err := m.w.rdb.Echo(m.t.Context(), mark).Err(); err != nil {
		m.t.Fatal(err)
	}
	if err := m.conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		m.t.Fatal(err)
	}
	var commands [][]string
	for {
		line, err := m.lines.ReadString('\n')
		if err != nil {
			m.t.Fatal(err)
		}
		command := monitored(line)
		if len(command) == 2 && command[0] == "echo" && command[1] == mark {
			return commands
		}
		if len(command) > 0 {
			commands = append(commands, command)
		}
	}
}

// monitored reads a line of MONITOR: a time, who, and the quoted arguments.
func monitored(line string) []string {
	_, rest, _ := strings.Cut(line, "] ")
	var args []string
	for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return nil
		}
		arg, err := strconv.Unquote(quoted)
		if err != nil {
			return nil
		}
		args, rest = append(args, arg), rest[len(quoted):]
	}
	if len(args) > 0 {
		args[0] = strings.ToLower(args[0])
	}
	return args
}

// readsAll reports whether a command reads all of something that grows with the
// number of jobs, runs or messages.
func readsAll(command []string) bool {
	const active = "}:active:" // the unfinished runs of one job, of which there are a hundred at most
	name, args := command[0], command[1:]
	switch name {
	case "keys", "scan", "hscan", "sscan", "zscan", "sort", "sinter", "sunion", "sdiff":
		return true
	case "smembers":
		return !strings.Contains(args[0], active)
	case "hgetall", "hkeys", "hvals":
		for _, record := range []string{"}:job:", "}:run:", "}:delivery:"} {
			if strings.Contains(args[0], record) {
				return false
			}
		}
		return true
	case "zrange", "zrevrange", "lrange":
		if limited(args) {
			return false
		}
		for _, option := range args[3:] {
			if o := strings.ToLower(option); o == "byscore" || o == "bylex" {
				return true
			}
		}
		return toTheEnd(args[1], args[2])
	case "zrangebyscore", "zrevrangebyscore", "zrangebylex", "zrevrangebylex":
		return !limited(args)
	}
	return false
}

func limited(args []string) bool {
	for _, option := range args {
		if strings.EqualFold(option, "limit") {
			return true
		}
	}
	return false
}

// toTheEnd reports whether a range of ranks has one bound at each end of a list, so
// that it grows with it.
func toTheEnd(from, to string) bool {
	return strings.HasPrefix(from, "-") != strings.HasPrefix(to, "-")
}

func TestReadsAll(t *testing.T) {
	for command, want := range map[string]bool{
		"keys *":                                true,
		"scan 0":                                true,
		"get k":                                 false,
		"smembers {p}:jobs":                     true,
		"smembers {p}:active:j:u":               false,
		"hgetall {p}:job:j":                     false,
		"hgetall {p}:everything":                true,
		"zrange {p}:jobs 0 -1":                  true,
		"zrange {p}:jobs 0 49":                  false,
		"zrange {p}:jobs -1 -1":                 false,
		"zrange {p}:jobs 5 -1 REV":              true,
		"zrange k -inf +inf BYSCORE":            true,
		"zrange k -inf +inf byscore limit 0 51": false,
		"zrangebyscore k -inf 5":                true,
		"zrangebyscore k 0 5 LIMIT 0 9":         false,
		"lrange k 0 -1":                         true,
		"lrange k -200 -1":                      false,
	} {
		if got := readsAll(strings.Fields(command)); got != want {
			t.Errorf("readsAll(%s) = %t, want %t", command, got, want)
		}
	}
	line := `1700000000.123456 [0 lua] "ZRANGE" "a \"b\" \x00" "-1"` + "\r\n"
	if got := monitored(line); len(got) != 3 || got[0] != "zrange" || got[1] != "a \"b\" \x00" || got[2] != "-1" {
		t.Errorf("monitored(%s) = %q", line, got)
	}
}
