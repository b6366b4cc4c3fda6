//go:build unix

package wire

import (
	"errors"
	"net"
	"syscall"
)

// Supported says whether connections can be kept on this system.
const Supported = true

// silent reports whether an idle connection is open and has nothing to read. Bytes
// that nobody asked for would be taken for the next answer.
func silent(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	var n int
	var b [1]byte
	var readErr error
	err = raw.Control(func(fd uintptr) {
		n, _, readErr = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err == nil && n <= 0 && (errors.Is(readErr, syscall.EAGAIN) || errors.Is(readErr, syscall.EWOULDBLOCK))
}
