package app

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gatewarden/gatewarden/config"
	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/supervisor"
)

// listener is one bound address and the server behind it.
type listener struct {
	// name is proxy, management, public, admin, ext_authz, acme or metrics.
	name string
	// setting is the key that says where it listens.
	setting string
	net.Listener
	tls    *secured // nil: plain HTTP
	server *edge.Server
	// packets and quic are for HTTP/3; nil: it is not served.
	packets net.PacketConn
	quic    *edge.HTTP3
	// proxied says whose PROXY protocol headers are read.
	proxied edge.ProxyProtocol
}

// bind opens an address. The error names the setting.
func (a *App) bind(name, setting string, l config.Listener) error {
	secured, err := newSecured(l.TLS, a.acme)
	if err != nil {
		return fmt.Errorf("%s.tls%w", setting, err)
	}
	announcers, err := trusted(l.ProxyProtocol.Trusted)
	if err != nil {
		return fmt.Errorf("%s.proxy_protocol.trusted: %w", setting, err)
	}
	bound, err := a.open(name, setting, l)
	if err != nil {
		return err
	}
	a.listeners = append(a.listeners, listener{name: name, setting: setting, Listener: bound, tls: secured,
		proxied: edge.ProxyProtocol{Trusted: announcers, Required: l.ProxyProtocol.Required}})
	return nil
}

// open listens at an address or a Unix socket, unless the socket was handed over.
func (a *App) open(name, setting string, l config.Listener) (net.Listener, error) {
	path := l.Path()
	if s, ok := a.process.Take(name, cmp.Or(path, l.Address())); ok {
		return adopt(setting, path, s)
	}
	if path != "" {
		bound, err := edge.ListenUnix(path, edge.SocketOptions{Owner: l.Socket.Owner, Group: l.Socket.Group, Mode: os.FileMode(l.Socket.Mode)})
		if err != nil {
			return nil, fmt.Errorf("%s.host: cannot listen on %s: %w", setting, path, reason(err))
		}
		return bound, nil
	}
	bound, err := new(net.ListenConfig).Listen(context.Background(), "tcp", l.Address())
	if err != nil {
		return nil, fmt.Errorf("%s.port: cannot listen on %s: %w", setting, l.Address(), reason(err))
	}
	return bound, nil
}

// adopt uses a socket that was open already.
func adopt(setting, path string, s supervisor.Socket) (net.Listener, error) {
	switch bound := s.Listener.(type) {
	case *net.UnixListener:
		if path == "" {
			path = bound.Addr().String()
		}
		return edge.AdoptUnix(bound, path, s.Handed)
	case *net.TCPListener:
		if path == "" {
			return bound, nil
		}
	}
	return nil, fmt.Errorf("%s.host: the socket %q that was handed over is of another kind: %s", setting, s.Name, s.Addr().Network())
}

// reason strips what net repeats about the address.
func reason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// authorities are the system's with those of a file of PEM; nil, which means the
// system's, when there is no file.
func authorities(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return pool, nil
}

// Addresses returns where each listener listens, by name.
func (a *App) Addresses() map[string]string {
	all := map[string]string{}
	for _, l := range a.listeners {
		all[l.name] = l.Addr().String()
	}
	return all
}

// Run serves until ctx ends or a server fails, then drains: readiness turns 503,
// nothing new is accepted, running requests finish. Management goes last, so that
// readiness can be asked for until the end.
func (a *App) Run(ctx context.Context) error {
	if a.cfg.DSN != "memory" { // the start may have taken longer than what was read then is believed
		if err := a.follower.poll(ctx); err != nil {
			a.log.Warn("following changes of the database", "error", err)
		}
	}
	failed := make(chan error, 2*len(a.listeners))
	for _, l := range a.listeners {
		a.log.Info("listening", "server", l.name, "address", l.Addr().String())
		go func() {
			if err := l.server.Serve(l.Listener); err != nil {
				failed <- fmt.Errorf("%s: %w", l.setting, err)
			}
		}()
		if l.quic == nil {
			continue
		}
		a.log.Info("listening for HTTP/3", "server", l.name, "address", l.packets.LocalAddr().String())
		go func() {
			if err := l.quic.Serve(l.packets); err != nil {
				failed <- fmt.Errorf("%s.http3: %w", l.setting, err)
			}
		}()
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	wait := a.work(background)
	if a.demo != nil {
		if err := a.demo.introduce(ctx, a); err != nil {
			a.log.Error("the demo could not be prepared", "error", err)
		}
	} else {
		a.greet()
	}

	a.tell("ready", a.process.Ready())
	err, replaced := a.wait(ctx, failed)
	a.draining.Store(true)
	if !replaced { // else the supervisor has a new process
		a.tell("stopping", a.process.Stopping())
	}
	for _, l := range a.listeners {
		l.server.Leave()
	}
	if a.extAuthz != nil {
		a.extAuthz.Drain()
	}
	a.log.Info("draining", "timeout", a.cfg.Serve.Shutdown.String())
	if err == nil && !replaced {
		time.Sleep(a.cfg.Serve.DrainDelay) // load balancers notice before the listeners close
	}
	a.shutdown(func(name string) bool { return name == "proxy" || name == "public" })
	a.shutdown(func(name string) bool { return name != "proxy" && name != "public" })
	stop()
	wait()
	a.log.Info("stopped")
	return err
}

// wait does what signals ask for until the servers are to end; replaced: by the next
// process, which has their sockets.
func (a *App) wait(ctx context.Context, failed <-chan error) (err error, replaced bool) {
	var alive <-chan time.Time
	if every := a.watchdog(); every > 0 {
		t := time.NewTicker(every)
		defer t.Stop()
		alive = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return nil, false
		case err := <-failed:
			return err, false
		case <-a.reload:
			a.tell("reloading", a.process.Reloading())
			_, _ = a.Reload(ctx) // logged, and in the readiness
			a.tell("ready", a.process.Ready())
		case <-a.upgrade.asked:
			a.startNext(ctx)
		case err := <-a.upgrade.done:
			a.upgrade.running = false
			if err == nil {
				return nil, true
			}
			a.log.Error("the upgrade failed; this process goes on", "error", err)
		case <-alive: // by this loop, so that one that hangs is noticed
			a.tell("alive", a.process.Alive())
		}
	}
}

// shutdown drains the listeners that pick selects, side by side.
func (a *App) shutdown(pick func(name string) bool) {
	ctx, cancel := context.WithTimeout(context.Background(), a.cfg.Serve.Shutdown)
	defer cancel()
	var stopping sync.WaitGroup
	stop := func(name string, shutdown func(context.Context) error) {
		stopping.Go(func() {
			if err := shutdown(ctx); err != nil {
				a.log.Warn("requests were cut because they took longer than serve.shutdown_timeout", "server", name)
			}
		})
	}
	for _, l := range a.listeners {
		if !pick(l.name) {
			continue
		}
		stop(l.name, l.server.Shutdown)
		if l.quic != nil {
			stop(l.name, l.quic.Shutdown)
		}
	}
	stopping.Wait()
}
