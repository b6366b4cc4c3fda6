package edge

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// SocketOptions say whose a Unix socket is.
type SocketOptions struct {
	// Owner and Group are names or numbers; empty: the program's.
	Owner, Group string
	// Mode are the permissions; to connect is to write. Zero: the owner alone.
	Mode fs.FileMode
}

// ListenUnix listens at path. A socket that nobody listens at is replaced; one that is
// in use, and a file of another kind, are errors. Close removes the socket unless it is
// another program's by then.
//
// The RemoteAddr of its connections is UnixPeer: a client may bind its end to a file of
// any name, so that its own address could read like one of a trusted network.
func ListenUnix(path string, o SocketOptions) (net.Listener, error) {
	if err := vacant(path); err != nil {
		return nil, err
	}
	// It is made where only the program can reach it and gets its name when its
	// permissions are set. A umask would hold for all threads.
	dir, err := os.MkdirTemp(filepath.Dir(path), ".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	made := filepath.Join(dir, "s")
	bound, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if errors.Is(err, syscall.EINVAL) {
		return nil, errTooLong
	}
	if err != nil {
		return nil, err
	}
	bound.SetUnlinkOnClose(false)
	l := &unixListener{UnixListener: bound, path: path}
	if err = o.apply(made); err == nil {
		if l.file, err = os.Lstat(made); err == nil {
			err = os.Rename(made, path)
		}
	}
	if err != nil {
		_ = bound.Close()
		return nil, err
	}
	return l, nil
}

// errTooLong also speaks of the path that the socket is made at, which is longer.
var errTooLong = errors.New("the path is too long for a Unix socket")

// vacant reports nil when a socket can be made at path.
func vacant(path string) error {
	file, err := os.Lstat(path)
	if err == nil && file.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file that is not a socket")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = c.Close()
		return errors.New("the socket is in use")
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil
	case errors.Is(err, syscall.EINVAL):
		return errTooLong
	}
	return fmt.Errorf("there is a socket that may be in use: %w", err)
}

// apply gives the socket at path its owner, group and mode.
func (o SocketOptions) apply(path string) error {
	uid, gid := -1, -1
	if o.Owner != "" {
		found, err := user.Lookup(o.Owner)
		if err != nil {
			found, err = user.LookupId(o.Owner)
		}
		if err != nil {
			return fmt.Errorf("there is no user %q", o.Owner)
		}
		uid, _ = strconv.Atoi(found.Uid)
	}
	if o.Group != "" {
		found, err := user.LookupGroup(o.Group)
		if err != nil {
			found, err = user.LookupGroupId(o.Group)
		}
		if err != nil {
			return fmt.Errorf("there is no group %q", o.Group)
		}
		gid, _ = strconv.Atoi(found.Gid)
	}
	if err := os.Chown(path, uid, gid); err != nil {
		return err
	}
	mode := o.Mode
	if mode == 0 {
		mode = 0o600
	}
	return os.Chmod(path, mode)
}

// AdoptUnix returns the socket at path, which another process has bound, as ListenUnix
// does. Its path goes with it only if owned is set.
func AdoptUnix(bound *net.UnixListener, path string, owned bool) (net.Listener, error) {
	bound.SetUnlinkOnClose(false)
	l := &unixListener{UnixListener: bound, path: path}
	if !owned {
		return l, nil
	}
	var err error
	l.file, err = os.Lstat(path)
	return l, err
}

// KeepUnix lets the path of a Unix socket be when l is closed: another process serves it.
func KeepUnix(l net.Listener) {
	if u, ok := l.(*unixListener); ok {
		u.kept.Store(true)
	}
}

// unixListener is a Unix socket with a name that is not the one it was bound to.
type unixListener struct {
	*net.UnixListener
	path string
	file fs.FileInfo // nil: the path is somebody else's
	kept atomic.Bool
}

// Accept implements net.Listener.
func (l *unixListener) Accept() (net.Conn, error) {
	c, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	return unixConn{c}, nil
}

// Addr implements net.Listener.
func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close implements net.Listener.
func (l *unixListener) Close() error {
	if now, err := os.Lstat(l.path); err == nil && l.file != nil && !l.kept.Load() && os.SameFile(now, l.file) {
		_ = os.Remove(l.path) // else the next start replaces it
	}
	return l.UnixListener.Close()
}

// unixConn is a connection whose peer has no address.
type unixConn struct{ *net.UnixConn }

// RemoteAddr implements net.Conn.
func (unixConn) RemoteAddr() net.Addr { return &net.UnixAddr{Name: UnixPeer, Net: "unix"} }
