package config

// Clients is about clients of the authorization server.
type Clients struct {
	HTTP ClientsHTTP `key:"http"`
}

// ClientsHTTP is how addresses that clients registered are asked: those of clients that
// registered themselves and of metadata documents, public addresses by https alone.
type ClientsHTTP struct {
	// DisallowPrivate asks those of operators' clients in the same way.
	DisallowPrivate bool `key:"disallow_private_ip_ranges"`
	// AllowedNetworks may be asked though they are not public.
	AllowedNetworks []Peer `key:"allowed_networks"`
	// CAFile is PEM of further authorities that certificates may come from.
	CAFile string `key:"ca_file"`
}

// checkClients checks what is said about clients.
func (c *Config) checkClients(v *validation) {
	for _, p := range c.Clients.HTTP.AllowedNetworks {
		if p.Unix || p.Network.Bits() == 0 {
			v.fault("clients.http.allowed_networks", "must hold networks such as 10.1.0.0/16, not %s", p)
		}
	}
}
