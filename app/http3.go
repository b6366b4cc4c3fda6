package app

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/gatewarden/gatewarden/edge"
)

// bindQUIC opens the UDP port with the number of the proxy's listener.
func (a *App) bindQUIC(context.Context) error {
	if !a.cfg.Serve.Proxy.HTTP3 {
		return nil
	}
	for i := range a.listeners {
		l := &a.listeners[i]
		if l.name != "proxy" {
			continue
		}
		var err error
		if l.packets, err = new(net.ListenConfig).ListenPacket(context.Background(), "udp", l.Addr().String()); err != nil {
			return fmt.Errorf("%s.http3: cannot listen on UDP %s: %w", l.setting, l.Addr(), reason(err))
		}
	}
	return nil
}

// serveHTTP3 gives a listener its server for HTTP/3 and has the other one tell of it.
func (a *App) serveHTTP3(l *listener, o *edge.ServerOptions) {
	port := a.cfg.Serve.Proxy.HTTP3Port
	if port == 0 {
		_, text, _ := net.SplitHostPort(l.Addr().String()) // of a TCP listener
		port, _ = strconv.Atoi(text)
	}
	l.quic = edge.NewHTTP3(*o, port)
	o.Handler = l.quic.Advertise(o.Handler)
}
