package match

import "strings"

// OnHost reports whether p can match a URL with the host, which is as in the
// canonical URL. A host pattern that ran out of time may match.
func (p *Pattern) OnHost(hostport string) bool {
	if p == nil {
		return false
	}
	for _, t := range p.targets {
		if t.host.includes(hostport) {
			return true
		}
	}
	return false
}

// SharesHost reports whether there may be a host that p and o both match.
func (p *Pattern) SharesHost(o *Pattern) bool {
	if p == nil || o == nil {
		return false
	}
	for _, t := range p.targets {
		for _, u := range o.targets {
			if t.host.overlaps(&u.host) {
				return true
			}
		}
	}
	return false
}

// Paths returns the paths that p names in full.
func (p *Pattern) Paths() []string {
	var out []string
	if p == nil {
		return nil
	}
	for _, t := range p.targets {
		if t.exact {
			out = append(out, t.prefix)
		}
	}
	return out
}

// Names reports whether p matches one path alone, and that on a host that o may
// match too.
func (p *Pattern) Names(path string, o *Pattern) bool {
	if p == nil || o == nil {
		return false
	}
	for _, t := range p.targets {
		if !t.exact || t.prefix != path {
			continue
		}
		for _, u := range o.targets {
			if t.host.overlaps(&u.host) {
				return true
			}
		}
	}
	return false
}

func (h *host) includes(hostport string) bool {
	name := hostport
	if h.portless {
		name, _, _ = cutPort(hostport)
	}
	if h.exact != "" {
		return name == h.exact
	}
	if h.below != "" && !strings.HasSuffix(name, "."+h.below) {
		return false
	}
	if h.re == nil {
		return true
	}
	ok, err := h.re.match(hostport)
	return ok || err != nil
}

// overlaps reports whether a host may be in both; of two patterns it is taken to be.
func (h *host) overlaps(o *host) bool {
	switch {
	case h.exact != "" && o.exact != "":
		return h.includes(o.exact) || o.includes(h.exact)
	case h.exact != "":
		return o.includes(h.exact)
	case o.exact != "":
		return h.includes(o.exact)
	}
	return true
}
