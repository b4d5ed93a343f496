package main

import (
	"runtime"
	"syscall"
)

// ownProcess is a child that Ctrl-C does not reach before it is ended, and that dies with this program, however that ends.
func ownProcess() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// lockThread keeps the thread alive to which the child's life is bound.
func lockThread() { runtime.LockOSThread() }
