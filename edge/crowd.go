package edge

import (
	"io"
	"net"
	"net/netip"
	"sync"
)

// crowd is a listener that holds so many connections of one client and no more; the
// next ones are closed. A client is an IPv4 address or an IPv6 network of 64 bits, as
// for rate limits. Peers without an address (Unix sockets, PROXY protocol without one)
// and exempt ones are not counted.
type crowd struct {
	net.Listener
	most    int
	exempt  func(netip.Addr) bool
	refused func()

	mu sync.Mutex
	of map[netip.Prefix]int // connections by client; those without any are not kept
}

// Accept implements net.Listener. A connection whose peer may announce another one is
// counted when it is first read from: its address would have to be waited for.
func (l *crowd) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		p := &place{crowd: l}
		switch c := c.(type) {
		case announced:
			return &countedAnnounced{announced: c, place: p}, nil
		case *net.TCPConn: // whose ReadFrom is worth keeping
			if p.take(c.RemoteAddr()) {
				return &countedTCP{TCPConn: c, place: p}, nil
			}
			_ = c.Close()
		default:
			return c, nil // a Unix socket
		}
	}
}

// place is that of one connection.
type place struct {
	crowd  *crowd
	client netip.Prefix
	state  placeState // guarded by crowd.mu
}

type placeState uint8

const (
	unasked placeState = iota
	taken
	over // refused or given back
)

// take reports whether the connection of a peer has a place. Only the first call looks
// at the address.
func (p *place) take(peer net.Addr) bool {
	l := p.crowd
	a := Addr(peer.String())
	exempt := !a.IsValid() || l.exempt != nil && l.exempt(a)
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.state != unasked {
		return p.state == taken
	}
	p.state = taken
	if exempt {
		return true
	}
	bits := 64
	if a.Is4() {
		bits = 32
	}
	client, err := a.Prefix(bits)
	if err != nil || l.of[client] >= l.most {
		p.state = over
		l.refused()
		return false
	}
	p.client = client
	l.of[client]++
	return true
}

// leave gives the place back, once.
func (p *place) leave() {
	l := p.crowd
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.state == taken && p.client.IsValid() {
		if l.of[p.client]--; l.of[p.client] == 0 {
			delete(l.of, p.client)
		}
	}
	p.state = over
}

// countedTCP is a connection that was counted.
type countedTCP struct {
	*net.TCPConn
	place *place
}

// Close implements net.Conn.
func (c *countedTCP) Close() error {
	c.place.leave()
	return c.TCPConn.Close()
}

// countedAnnounced is a connection that is counted as that of the announced peer.
type countedAnnounced struct {
	announced
	place *place
	once  sync.Once
	over  bool
}

// Read implements net.Conn. Where there is no place the connection ends.
func (c *countedAnnounced) Read(p []byte) (int, error) {
	c.once.Do(func() { c.over = !c.place.take(c.RemoteAddr()) })
	if c.over {
		return 0, io.EOF
	}
	return c.announced.Read(p)
}

// Close implements net.Conn.
func (c *countedAnnounced) Close() error {
	c.place.leave()
	return c.announced.Close()
}
