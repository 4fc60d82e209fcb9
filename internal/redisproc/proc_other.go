//go:build !unix

package redisproc

import (
	"context"
	"fmt"
	"runtime"
)

// Proc is never made on this system, for which there is no redis-server.
type Proc struct{}

// Start returns ErrNoBinary.
func Start(context.Context, Options) (*Proc, error) {
	return nil, fmt.Errorf("%w (none exists for %s)", ErrNoBinary, runtime.GOOS)
}

// URL is never called.
func (p *Proc) URL() string { return "" }

// Pid is never called.
func (p *Proc) Pid() int { return 0 }

// Err is never called.
func (p *Proc) Err() error { return nil }

// Stop is never called.
func (p *Proc) Stop(context.Context) error { return nil }
