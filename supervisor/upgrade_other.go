//go:build !unix

package supervisor

import (
	"context"
	"errors"
	"net"
	"os"
	"time"
)

// UpgradeSignal asks a process to upgrade; nil where none can.
func UpgradeSignal() os.Signal { return nil }

const readyByte = 'r'

func inherited(fd int, name string) *os.File { return os.NewFile(uintptr(fd), name) }

func monotonic() (time.Duration, error) { return 0, nil }

// Handed is a socket for the next process.
type Handed struct {
	Name string
	net.Listener
}

// Upgrade is not possible here: sockets cannot be handed over.
func (p *Process) Upgrade(context.Context, string, []string, []string, []Handed) (pid int, err error) {
	return 0, errors.New("this system cannot hand sockets over")
}
