//go:build unix

package redistest

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// databases is how many logical databases a server has. Each Fresh takes one
// and none is used twice, so that what a test leaves running cannot write into
// another one's data; the number is what `go test -count=100` may need.
const databases = 10_000

// shared is the server of this test binary. It is the one thing that TestMain
// and the tests cannot hand to each other.
var shared struct {
	sync.Mutex
	managed bool // Main runs: somebody will stop the server
	server  *Server
	nextDB  int
}

// Main runs the tests of a package that uses Fresh and ends the shared server,
// if any test started it:
//
//	func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }
func Main(m interface{ Run() int }) (code int) {
	shared.Lock()
	shared.managed = true
	shared.Unlock()

	code = m.Run()

	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		return code
	}
	shared.server.Kill()
	if err := os.RemoveAll(shared.server.dir); err != nil {
		fmt.Fprintf(os.Stderr, "redistest: remove %s: %v\n", shared.server.dir, err)
		return max(code, 1)
	}
	return code
}

// DB is an empty logical database that belongs to one test. Pub/sub knows no
// databases: channels of parallel tests must differ by Prefix.
type DB struct {
	t      testing.TB
	server *Server
	// Number is the database's number.
	Number int
	// Prefix is unique to this database, ends in a colon and may be used for
	// keys and pub/sub channels.
	Prefix string
}

// Fresh gives the test an empty database on the server that all tests of this
// binary share. It needs Main in TestMain.
func Fresh(t testing.TB) *DB {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.managed {
		t.Fatal("redistest: Fresh needs TestMain to call redistest.Main, which ends the shared server")
	}
	if shared.server == nil {
		s, err := newServer()
		if err != nil {
			t.Fatalf("redistest: %v", err)
		}
		shared.server = s
	}
	if shared.nextDB == databases {
		t.Fatalf("redistest: all %d databases of this run are used", databases)
	}
	db := &DB{t: t, server: shared.server, Number: shared.nextDB, Prefix: "test" + strconv.Itoa(shared.nextDB) + ":"}
	shared.nextDB++
	return db
}

// URL is the database's address in the form of redis.ParseURL.
func (d *DB) URL() string { return d.server.url(d.Number) }

// Options are connection options, for the caller to change.
func (d *DB) Options() *redis.Options {
	o := d.server.Options()
	o.DB = d.Number
	return o
}

// Asynq is the connection option for asynq.
func (d *DB) Asynq() asynq.RedisClientOpt {
	o := d.server.Asynq()
	o.DB = d.Number
	return o
}

// Client opens a client and closes it with the test.
func (d *DB) Client() *redis.Client { return newClient(d.t, d.Options()) }
