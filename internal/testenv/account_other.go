//go:build !linux

package testenv

import "syscall"

// account is the user that a server runs as; nil: our own.
type account struct{}

// unprivileged changes the user on Linux only: elsewhere tests do not run as root.
func unprivileged(string, ...string) (*account, error) { return nil, nil }

func attributes(*account, bool) *syscall.SysProcAttr { return nil }
