package testenv

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// account is the user that a server runs as; nil: our own.
type account struct{ uid, gid uint32 }

// unprivileged gives folder to the first of the users that exists, because database
// servers refuse to run as root. For any other user than root it does nothing.
func unprivileged(folder string, names ...string) (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &account{uint32(uid), uint32(gid)}, os.Chown(folder, int(uid), int(gid))
	}
	return nil, fmt.Errorf("running as root, and none of the users %q exists", names)
}

func attributes(user *account, bound bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true}
	if user != nil {
		a.Credential = &syscall.Credential{Uid: user.uid, Gid: user.gid}
	}
	if bound {
		a.Pdeathsig = syscall.SIGQUIT // a test that panics leaves no server behind
	}
	return a
}
