// Package redisproc owns the embedded default of a deployment without a Redis of
// its own: a redis-server child, durable, reachable over a private unix socket
// only, with its data in the state directory.
//
// It owns starting that child, starting it again whenever it ends, with a growing
// delay, and stopping it, and the lock by which one state directory serves one
// process. It must not import other packages of
// ours than its helper, and stores nothing in the Redis it runs.
//
// Two locks make crashes harmless. Ours is held by the process that serves the
// directory. The child's is a file handle that the child inherits: as long as a
// redis-server lives on the directory, even as an orphan of a killed parent, it
// is held. So an orphan is recognised whatever became of process ids, and no
// process of a stranger is ever signalled.
package redisproc

import (
	"errors"
	"log/slog"
)

var (
	// ErrNoBinary says that there is no redis-server to run.
	ErrNoBinary = errors.New("redis-server not found: install it (apt install redis-server, dnf install redis, " +
		"apk add redis, brew install redis) or point GATEWAY_CRON_REDIS_URL at a Redis you run")
	// ErrLocked says that another process serves the state directory.
	ErrLocked = errors.New("state directory is in use")
	// ErrOrphan says that a redis-server left behind by an earlier process
	// could not be stopped.
	ErrOrphan = errors.New("redis-server of an earlier run does not stop")
)

// Options of Start.
type Options struct {
	// Dir is the state directory, made with mode 0700. Required.
	Dir string
	// Binary is the redis-server to run; "" looks for redis-server and then
	// valkey-server in PATH.
	Binary string
	// Logger is told of state changes of the child; nil discards. The child's
	// own log goes to redis.log in Dir.
	Logger *slog.Logger
}
