package childproc

import "syscall"

func sysProcAttr() *syscall.SysProcAttr {
	// SIGKILL, because a child that is stuck ignores every other signal.
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
