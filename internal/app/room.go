package app

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/health"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redisproc"
)

// errNoRoom says that a reply might find no room on the disk.
var errNoRoom = errors.New("the disk of the embedded redis has too little room")

// room watches the disk of the embedded Redis: a turn whose reply cannot be stored is paid
// for all the same, so it is not begun.
type room struct {
	dir    string // of the embedded Redis
	least  int64  // bytes that must be free beside those of a rewrite; 0 holds nothing
	logger *slog.Logger

	mu    sync.Mutex
	short job.Millis // since when there is too little; 0 if there is enough
}

// check returns an error that wraps errNoRoom if no turn may begin. A disk that cannot be
// measured holds nothing.
func (r *room) check() error {
	if d := r.look(); d.Short != "" {
		return fmt.Errorf("%w: %s", errNoRoom, d.Short)
	}
	return nil
}

// look says how the disk is.
func (r *room) look() health.Disk {
	if r.least == 0 {
		return health.Disk{}
	}
	space, err := redisproc.SpaceOf(r.dir)
	if err != nil {
		r.logger.Debug("free space not known", "dir", r.dir, "err", err)
		return health.Disk{}
	}
	need := r.least + space.Log
	r.mu.Lock()
	defer r.mu.Unlock()
	switch short := space.Free < need; {
	case short && r.short == 0:
		r.short = job.ToMillis(time.Now())
		r.logger.Error("no turn begins, because the disk has too little room", "dir", r.dir, "free_bytes", space.Free, "needed_bytes", need)
	case !short && r.short != 0:
		r.short = 0
		r.logger.Info("the disk has room again", "dir", r.dir, "free_bytes", space.Free, "needed_bytes", need)
	}
	if r.short == 0 {
		return health.Disk{}
	}
	return health.Disk{Since: r.short, Dir: r.dir,
		Short: fmt.Sprintf("%d MiB are free and %d MiB must be", space.Free>>20, (need+1<<20-1)>>20)}
}
