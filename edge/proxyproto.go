package edge

import (
	"net"
	"time"

	"github.com/pires/go-proxyproto"
)

// ProxyProtocol says whose PROXY protocol headers (HAProxy's specification, versions 1
// and 2) are read. The address that is announced takes the peer's place: in RemoteAddr,
// and so for whose forwarding fields are read.
type ProxyProtocol struct {
	// Trusted may send a header. What others send is data.
	Trusted Trusted
	// Required closes connections of others, and those without a header.
	Required bool
}

// announcing is a listener of connections that may begin with a header.
type announcing struct {
	net.Listener
	ProxyProtocol
	timeout time.Duration // for the header
}

// Accept implements net.Listener. The header is read by the goroutine of the connection.
// The library's own listener is not used: it ends when a refused connection cannot be
// closed in order.
func (l announcing) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		policy := proxyproto.USE
		if l.Required {
			policy = proxyproto.REQUIRE
		}
		switch {
		case l.Trusted.Peer(c.RemoteAddr().String()):
			return announced{proxyproto.NewConn(c, proxyproto.WithPolicy(policy), proxyproto.SetReadHeaderTimeout(l.timeout))}, nil
		case !l.Required:
			return c, nil
		}
		_ = c.Close()
	}
}

// announced is a connection whose peer may have announced another one.
type announced struct{ *proxyproto.Conn }

// RemoteAddr implements net.Conn. It waits for the header. A peer that speaks for one
// it has no TCP address of (UNKNOWN, UDP, a Unix socket with a name that it chose)
// is not taken for that one: its own address may be trusted.
func (c announced) RemoteAddr() net.Addr {
	h := c.ProxyHeader()
	if h == nil || h.Version == 2 && h.Command.IsLocal() {
		return c.Raw().RemoteAddr()
	}
	if source, _, ok := h.TCPAddrs(); ok && source.IP != nil {
		return source
	}
	return nowhere{}
}

// LocalAddr implements net.Conn.
func (c announced) LocalAddr() net.Addr { return c.Raw().LocalAddr() }

// CloseWrite lets net/http end a connection without losing the answer.
func (c announced) CloseWrite() error {
	if half, ok := c.Raw().(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// nowhere is the address of a peer that is not known.
type nowhere struct{}

// Network implements net.Addr.
func (nowhere) Network() string { return "unknown" }

// String implements net.Addr. It is nothing that Trusted trusts.
func (nowhere) String() string { return "unknown" }
