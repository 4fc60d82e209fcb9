//go:build unix

// Package childproc starts a child process that does not outlive us.
//
// On Linux the kernel kills the child when we die, by whatever means. Elsewhere
// nothing does: the caller must be able to find an orphan at its next start. The
// child has a process group of its own, so that a Ctrl-C in the terminal reaches
// only us and we decide when the child goes.
//
// It imports nothing of ours.
package childproc

import (
	"os"
	"os/exec"
	"runtime"
)

// Child is a started process.
type Child struct {
	process *os.Process
	done    chan struct{}
	err     error // written before done is closed
}

// Start starts cmd, whose SysProcAttr it sets. The error is that of
// exec.Cmd.Start.
func Start(cmd *exec.Cmd) (*Child, error) {
	c := &Child{done: make(chan struct{})}
	cmd.SysProcAttr = sysProcAttr()

	started := make(chan error, 1)
	go func() {
		// The parent-death signal of Linux is sent when the thread that created
		// the child ends, and Go ends threads at will. So one goroutine keeps
		// its thread to itself from the start of the child to its end.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()

		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		c.process = cmd.Process
		started <- nil
		c.err = cmd.Wait()
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return c, nil
}

// Pid is the child's process id.
func (c *Child) Pid() int { return c.process.Pid }

// Signal sends sig to the child; after its end the error is os.ErrProcessDone.
func (c *Child) Signal(sig os.Signal) error { return c.process.Signal(sig) }

// Done is closed when the child has ended and was waited for.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err says how the child ended, as exec.Cmd.Wait does; nil while it runs.
func (c *Child) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}
