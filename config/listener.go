package config

import "path/filepath"

// keyed is a listener with the key of its section.
type keyed struct {
	key string
	Listener
}

// listeners returns those that may be Unix sockets.
func (c *Config) listeners() []keyed {
	return []keyed{
		{"serve.proxy", c.Serve.Proxy.Listener}, {"serve.api", c.Serve.API.Listener}, {"serve.admin", c.Serve.Admin.Listener},
		{"serve.public", c.Serve.Public.Listener}, {"serve.ext_authz", c.Serve.ExtAuthz.Listener},
	}
}

// socket checks what is said of a Unix socket.
func (l keyed) socket(c *Config, fault func(key, format string, args ...any)) {
	if l.Socket.Mode < 0 || l.Socket.Mode > 0o777 {
		fault(l.key+".socket.mode", "must be permissions of at most 0777, in octal with a leading 0")
	}
	switch path := l.Path(); {
	case len(l.Host) >= len("unix:") && l.Host[:len("unix:")] == "unix:" && !filepath.IsAbs(path):
		fault(l.key+".host", "must be unix: and an absolute path")
	case path == "":
	case c.Demo:
		fault(l.key+".host", "must be an address with --demo")
	case l.key == "serve.public" && c.URLs.Self.Issuer == "":
		fault("urls.self.issuer", "must be set when serve.public.host is a Unix socket: there is no port to name")
	}
}

// named checks that peers are not everybody.
func named(key string, peers []Peer, fault func(key, format string, args ...any)) {
	for _, p := range peers {
		if !p.Unix && p.Network.Bits() == 0 {
			fault(key, "must not trust the whole internet (%s)", p)
		}
	}
}
