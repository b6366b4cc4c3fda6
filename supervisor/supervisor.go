// Package supervisor is what a process shares with the one that started it: systemd, or
// this program before an upgrade. It takes over listening sockets that are open
// already, starts the next process with them, and says when it is ready, reloads, stops
// and is still alive.
//
// Sockets come by systemd's protocol (sd_listen_fds(3)), or after an upgrade by one of
// our own, in which the processes wait for each other over a pipe: systemd's names the
// pid of the process, which nobody knows before it is there.
package supervisor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// handed is the variable that tells the next process what it gets: the names of the
// sockets, with commas. Its file 3 is the pipe, and the sockets follow.
const handed = "GATEWARDEN_HANDED"

// Socket is a listening socket that was open before the process started.
type Socket struct {
	// Name is systemd's FileDescriptorName, or the name of the listener before an
	// upgrade.
	Name string
	net.Listener
	// Handed says that this program opened it, before an upgrade.
	Handed bool
}

// Process is this process as its starter knows it. The zero Process was started by
// nobody who cares.
type Process struct {
	sockets []Socket
	pipe    *os.File // to the process before an upgrade; nil: there is none
	// Watchdog is how often Alive must be called at least; 0: never.
	Watchdog time.Duration
}

// Inherit takes what the starter has left, once: it clears its variables.
func Inherit() (*Process, error) {
	p := &Process{}
	names, upgraded := os.LookupEnv(handed)
	var files []*os.File
	if upgraded {
		if err := os.Unsetenv(handed); err != nil {
			return nil, err
		}
		p.pipe = inherited(3, "pipe")
		for i, name := range strings.FieldsFunc(names, func(r rune) bool { return r == ',' }) {
			files = append(files, inherited(4+i, name))
		}
	} else {
		files = activation.Files(true)
	}
	for _, f := range files {
		l, err := net.FileListener(f)
		if name := f.Name(); err != nil {
			return nil, fmt.Errorf("socket %q that was handed over: it does not listen for connections: %w", name, err)
		}
		p.sockets = append(p.sockets, Socket{f.Name(), l, upgraded})
		_ = f.Close() // the listener has a copy
	}
	var err error
	if p.Watchdog, err = daemon.SdWatchdogEnabled(true); err != nil {
		return nil, fmt.Errorf("WATCHDOG_USEC: %w", err)
	}
	return p, nil
}

// Take returns the socket for a listener with a name and an address (host:port, or the
// path of a Unix socket): the one of that name, else the one at that address. A host
// that is empty or unspecified stands for any.
func (p *Process) Take(name, address string) (Socket, bool) {
	if p == nil {
		return Socket{}, false
	}
	for _, fits := range []func(Socket) bool{
		func(s Socket) bool { return s.Name == name },
		func(s Socket) bool { return sameAddress(s.Addr(), address) },
	} {
		for i, s := range p.sockets {
			if fits(s) {
				p.sockets = append(p.sockets[:i:i], p.sockets[i+1:]...)
				return s, true
			}
		}
	}
	return Socket{}, false
}

func sameAddress(bound net.Addr, address string) bool {
	if bound.Network() == "unix" {
		return bound.String() == address
	}
	host, port, err := net.SplitHostPort(bound.String())
	wantHost, wantPort, wrong := net.SplitHostPort(address)
	if err != nil || wrong != nil || port != wantPort {
		return false
	}
	return host == wantHost || unspecified(host) && unspecified(wantHost)
}

func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// Left is an error that names the sockets that nobody took; nil when there are none.
// They would hold requests that nobody answers.
func (p *Process) Left() error {
	if p == nil || len(p.sockets) == 0 {
		return nil
	}
	var list []string
	for _, s := range p.sockets {
		list = append(list, strconv.Quote(s.Name)+" at "+s.Addr().String())
	}
	return errors.New("sockets were handed over that no listener is configured for: " + strings.Join(list, ", ") +
		"; name them by FileDescriptorName= (proxy, management, public, ...) or configure their addresses")
}

// Close closes the sockets that nobody took, and the pipe.
func (p *Process) Close() {
	if p == nil {
		return
	}
	for _, s := range p.sockets {
		_ = s.Close()
	}
	p.sockets = nil
	if p.pipe != nil {
		_ = p.pipe.Close()
		p.pipe = nil
	}
}

// Ready says that the process serves: to systemd, and to the process before an upgrade,
// which leaves then.
func (p *Process) Ready() error {
	err := p.tell(daemon.SdNotifyReady)
	if p != nil && p.pipe != nil {
		_, sent := p.pipe.Write([]byte{readyByte})
		err = errors.Join(err, sent, p.pipe.Close())
		p.pipe = nil
	}
	return err
}

// Reloading says that a reload has begun; Ready ends it. systemd wants the time by the
// clock that starts with the machine.
func (p *Process) Reloading() error {
	now, err := monotonic()
	if err != nil {
		return err
	}
	return p.tell(daemon.SdNotifyReloading + "\nMONOTONIC_USEC=" + strconv.FormatInt(now.Microseconds(), 10))
}

// Stopping says that the process drains.
func (p *Process) Stopping() error { return p.tell(daemon.SdNotifyStopping) }

// Alive keeps the watchdog quiet.
func (p *Process) Alive() error { return p.tell(daemon.SdNotifyWatchdog) }

// tell sends a state to systemd, if it started the process.
func (p *Process) tell(state string) error {
	if p == nil {
		return nil
	}
	_, err := daemon.SdNotify(false, state)
	return err
}
