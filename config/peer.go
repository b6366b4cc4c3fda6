package config

import "net/netip"

// Peer is who may be trusted: a network, or, written unix, whoever can connect to the
// listener's Unix socket.
type Peer struct {
	Network netip.Prefix
	Unix    bool
}

// String returns what is written in a configuration.
func (p Peer) String() string {
	if p.Unix {
		return "unix"
	}
	return p.Network.String()
}
