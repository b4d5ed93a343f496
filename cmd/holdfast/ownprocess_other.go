//go:build !linux

package main

import "syscall"

// ownProcess is a child as any other.
func ownProcess() *syscall.SysProcAttr { return nil }

func lockThread() {}
