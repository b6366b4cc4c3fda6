//go:build unix

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// UpgradeSignal asks a process to upgrade; nil where none can.
func UpgradeSignal() os.Signal { return syscall.SIGUSR2 }

// readyByte is what goes over the pipe.
const readyByte = 'r'

// inherited is a file of the starter's, which no program that this one starts gets.
func inherited(fd int, name string) *os.File {
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}

func monotonic() (time.Duration, error) {
	var now unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return time.Duration(now.Nano()), err
}

// Handed is a socket for the next process.
type Handed struct {
	Name string // without commas
	net.Listener
}

// Upgrade starts the program at path with args and environ and the sockets, and returns
// when it is Ready. When it ends before, or ctx does, it is gone and the error says so:
// nothing has changed then. After a nil error the caller must drain and end, and pid is
// the main process.
func (p *Process) Upgrade(ctx context.Context, path string, args, environ []string, sockets []Handed) (pid int, err error) {
	files := []uintptr{0, 1, 2}
	var names []string
	var copies []int
	defer func() {
		for _, fd := range copies {
			_ = unix.Close(fd)
		}
	}()
	hear, speak, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer hear.Close()
	// os.File.Fd and os/exec make files blocking, which the listeners are not to become.
	add := func(c syscall.Conn) error {
		fd, err := duplicate(c)
		if err == nil {
			copies, files = append(copies, fd), append(files, uintptr(fd))
		}
		return err
	}
	err = add(speak)
	_ = speak.Close()
	if err != nil {
		return 0, err
	}
	for _, s := range sockets {
		c, ok := s.Listener.(syscall.Conn)
		if !ok {
			return 0, fmt.Errorf("listener %s cannot be handed over", s.Name)
		}
		if err := add(c); err != nil {
			return 0, fmt.Errorf("listener %s: %w", s.Name, err)
		}
		names = append(names, s.Name)
	}
	var env []string
	for _, v := range environ {
		if name, _, _ := strings.Cut(v, "="); name != handed && !strings.HasPrefix(name, "LISTEN_") && name != "WATCHDOG_PID" {
			env = append(env, v)
		}
	}
	pid, _, err = syscall.StartProcess(path, args, &syscall.ProcAttr{Env: append(env, handed+"="+strings.Join(names, ",")), Files: files})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	for _, fd := range copies { // so that the pipe ends with the process
		_ = unix.Close(fd)
	}
	copies = nil
	if err := await(ctx, hear); err != nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		var status syscall.WaitStatus
		_, _ = syscall.Wait4(pid, &status, 0, nil)
		if status.Exited() {
			err = fmt.Errorf("the new process ended with status %d before it was ready", status.ExitStatus())
		}
		return 0, err
	}
	_ = p.tell("MAINPID=" + strconv.Itoa(pid)) // there is no way back: a supervisor that hears nothing sees this one end
	return pid, nil
}

// await returns nil when the next process is ready.
func await(ctx context.Context, hear *os.File) error {
	stop := context.AfterFunc(ctx, func() { _ = hear.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var said [1]byte
	n, err := hear.Read(said[:])
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the new process was not ready in time: %w", ctx.Err())
	case errors.Is(err, io.EOF):
		return errors.New("the new process ended before it was ready")
	case err == nil && (n != 1 || said[0] != readyByte):
		return errors.New("the new process said something else than that it is ready")
	}
	return err
}

// duplicate copies the descriptor under c. The copy is closed in children but for those
// that are given it.
func duplicate(c syscall.Conn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	if failed := raw.Control(func(of uintptr) { fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 3) }); failed != nil {
		return 0, failed
	}
	return fd, err
}
