package app

import (
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
	bound, err := open(setting, l)
	if err != nil {
		return err
	}
	a.listeners = append(a.listeners, listener{name: name, setting: setting, Listener: bound, tls: secured,
		proxied: edge.ProxyProtocol{Trusted: announcers, Required: l.ProxyProtocol.Required}})
	return nil
}

// open listens at an address or a Unix socket.
func open(setting string, l config.Listener) (net.Listener, error) {
	if path := l.Path(); path != "" {
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

	var err error
	for running := true; running; {
		select {
		case <-ctx.Done():
			running = false
		case err = <-failed:
			running = false
		case <-a.reload:
			_, _ = a.Reload(ctx) // logged, and in the readiness
		}
	}
	a.draining.Store(true)
	if a.extAuthz != nil {
		a.extAuthz.Drain()
	}
	a.log.Info("draining", "timeout", a.cfg.Serve.Shutdown.String())
	if err == nil {
		time.Sleep(a.cfg.Serve.DrainDelay) // load balancers notice before the listeners close
	}
	a.shutdown(func(name string) bool { return name == "proxy" || name == "public" })
	a.shutdown(func(name string) bool { return name != "proxy" && name != "public" })
	stop()
	wait()
	a.log.Info("stopped")
	return err
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
