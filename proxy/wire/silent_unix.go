//go:build unix

package wire

import (
	"errors"
	"net"
	"syscall"
)

// Supported says whether connections can be kept on this system.
const Supported = true

// probe looks at a connection without reading from it.
type probe struct {
	raw    syscall.RawConn // nil: cannot be looked at
	silent bool
	look   func(fd uintptr)
}

func newProbe(c net.Conn) *probe {
	p := &probe{}
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			p.raw = raw
		}
	}
	p.look = func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		p.silent = errors.Is(err, syscall.EAGAIN) // else bytes, the end, or an error
	}
	return p
}

// isSilent reports whether an idle connection is open and has nothing to read. Bytes
// that nobody asked for would be taken for the next answer.
func (p *probe) isSilent() bool {
	return p.raw != nil && p.raw.Control(p.look) == nil && p.silent
}
