package app

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/supervisor"
)

// upgrade is the change to the next process.
type upgrade struct {
	asked   <-chan os.Signal
	next    func(context.Context, []supervisor.Handed) (pid int, err error)
	done    chan error
	running bool
}

// startNext starts the next process with the sockets of this one, and says by
// upgrade.done how that went. Meanwhile this one serves on.
func (a *App) startNext(ctx context.Context) {
	if a.upgrade.running {
		a.log.Warn("an upgrade is running already")
		return
	}
	a.upgrade.running = true
	if err := a.replaceable(); err != nil {
		a.upgrade.done <- err
		return
	}
	var sockets []supervisor.Handed
	for _, l := range a.listeners {
		sockets = append(sockets, supervisor.Handed{Name: l.name, Listener: l.Listener})
	}
	a.log.Info("starting the next process", "timeout", a.cfg.Serve.UpgradeTimeout.String())
	go func() {
		bounded, cancel := context.WithTimeout(ctx, a.cfg.Serve.UpgradeTimeout)
		defer cancel()
		pid, err := a.upgrade.next(bounded, sockets)
		if err == nil {
			a.log.Info("the next process serves", "pid", pid)
			for _, l := range a.listeners {
				edge.KeepUnix(l.Listener)
			}
		}
		a.upgrade.done <- err
	}()
}

// replaceable says why another process cannot go on where this one is.
func (a *App) replaceable() error {
	switch {
	case a.upgrade.next == nil:
		return errors.New("this process cannot start another one")
	case a.cfg.DSN == "memory":
		return errors.New("dsn: what is in memory ends with this process")
	case a.cfg.Serve.Proxy.HTTP3:
		return errors.New("serve.proxy.http3: connections over UDP cannot be handed over")
	}
	return nil
}

// watchdog is how often the supervisor hears that this process is alive; 0: never.
func (a *App) watchdog() time.Duration {
	if a.process == nil {
		return 0
	}
	return a.process.Watchdog / 2
}

// tell logs that the supervisor could not be told something.
func (a *App) tell(what string, err error) {
	if err != nil {
		a.log.Warn("the supervisor could not be told", "state", what, "error", err)
	}
}
