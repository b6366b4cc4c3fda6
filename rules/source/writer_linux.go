package source

import (
	"errors"
	"os"
	"syscall"
)

// beingWritten reports whether a process has the file open for writing. A read
// lease, which is given back at once, is refused for as long as that is so
// (fcntl(2), F_SETLEASE). Where leases are not to be had, the answer is false and
// the time since the last change has to do.
func beingWritten(f *os.File) bool {
	lease := func(kind uintptr) syscall.Errno {
		_, _, errno := syscall.Syscall(syscall.SYS_FCNTL, f.Fd(), syscall.F_SETLEASE, kind)
		return errno
	}
	errno := lease(syscall.F_RDLCK)
	if errno == 0 {
		_ = lease(syscall.F_UNLCK)
	}
	return errors.Is(errno, syscall.EAGAIN)
}
