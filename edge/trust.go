package edge

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// Trusted is the set of peers whose forwarding fields are read. The zero value
// trusts nobody.
type Trusted struct {
	prefixes []netip.Prefix
	unix     bool
}

// UnixPeer is the RemoteAddr of whoever connects to a Unix socket; see ListenUnix.
const UnixPeer = "@"

// ParseTrusted reads addresses, CIDR ranges and unix, which stands for whoever can
// connect to the listener's Unix socket. A range of all addresses is an
// error unless everybody is set, because it lets any client choose its address,
// host and scheme.
func ParseTrusted(peers []string, everybody bool) (Trusted, error) {
	var t Trusted
	for _, s := range peers {
		if s == "unix" {
			t.unix = true
			continue
		}
		p, err := netip.ParsePrefix(s)
		if a, aerr := netip.ParseAddr(s); aerr == nil {
			p, err = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
		}
		if err != nil {
			return Trusted{}, fmt.Errorf("trusted proxy %q is neither an address, a CIDR range nor unix", s)
		}
		if p.Bits() == 0 && !everybody {
			return Trusted{}, fmt.Errorf("trusted proxy %q would trust everybody", s)
		}
		t.prefixes = append(t.prefixes, p.Masked())
	}
	return t, nil
}

// Nobody reports whether t trusts nobody.
func (t Trusted) Nobody() bool { return len(t.prefixes) == 0 && !t.unix }

// Contains reports whether a is trusted.
func (t Trusted) Contains(a netip.Addr) bool {
	for _, p := range t.prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Peer reports whether the peer with an http.Request's RemoteAddr is trusted.
func (t Trusted) Peer(remote string) bool {
	return t.unix && remote == UnixPeer || t.Contains(Addr(remote))
}

// Forwarded is what the forwarding fields of a trusted peer say; for other peers
// it is what the connection says.
type Forwarded struct {
	// Trusted says whether the peer's fields were read.
	Trusted bool
	// Client is the first address from the right that is not trusted.
	Client netip.Addr
	// Scheme is http or https, Host as sent.
	Scheme, Host string
	// Method and URI are X-Forwarded-Method and X-Forwarded-Uri of a trusted peer.
	Method, URI string
	// Present says that the peer, trusted or not, sent X-Forwarded-Method or -Uri.
	Present bool

	chain  string // X-Forwarded-For for the upstream
	keep   http.Header
	values [3]string // what write put into a header, which needs slices
}

// kept are the forwarding fields of a trusted peer that go upstream as they are:
// facts of its own listener that the gateway cannot know.
var kept = [...]string{"X-Forwarded-Port", "X-Forwarded-Prefix"}

// resolve reads the forwarding fields of r. A trusted peer must set or remove
// X-Forwarded-For, -Host and -Proto itself; when it sends none of them, the
// Forwarded field (RFC 7239) is read. Lists are read from the right, because the
// left end is the client's to write.
func (t Trusted) resolve(r *http.Request) Forwarded {
	peer := Addr(r.RemoteAddr)
	f := Forwarded{Client: peer, Scheme: "http", Host: r.Host}
	if r.TLS != nil {
		f.Scheme = "https"
	}
	h := r.Header
	f.Present = len(h["X-Forwarded-Method"]) > 0 || len(h["X-Forwarded-Uri"]) > 0
	if t.Nobody() || !(t.Contains(peer) || t.unix && r.RemoteAddr == UnixPeer) {
		f.chain = addrText(peer, r.RemoteAddr)
		return f
	}
	f.Trusted = true
	f.Method, f.URI = last(h["X-Forwarded-Method"]), whole(h["X-Forwarded-Uri"])
	for _, k := range kept {
		if v := h[k]; len(v) > 0 {
			if f.keep == nil {
				f.keep = make(http.Header, len(kept))
			}
			f.keep[k] = v
		}
	}
	if h["X-Forwarded-For"] == nil && h["X-Forwarded-Proto"] == nil && h["X-Forwarded-Host"] == nil {
		t.readForwarded(&f, h["Forwarded"], peer)
		return f
	}
	var space [4]netip.Addr
	var texts [4]string
	hops := append(space[:0], peer)
	entries := appendList(texts[:0], h["X-Forwarded-For"])
	for trusted := true; len(entries) > 0 && trusted; entries = entries[:len(entries)-1] {
		a, ok := hopAddr(entries[len(entries)-1])
		if !ok {
			break
		}
		f.Client, hops, trusted = a, append(hops, a), t.Contains(a)
	}
	f.chain = chainText(hops)
	f.setScheme(last(h["X-Forwarded-Proto"]))
	if v := h["X-Forwarded-Host"]; v != nil {
		// Said to be empty, it is: the host of the proxy's own question is another one.
		f.Host = last(v)
	}
	return f
}

// Client returns the address that a request comes from.
func (t Trusted) Client(r *http.Request) netip.Addr {
	f := t.resolve(r)
	return f.Client
}

// readForwarded walks the elements of the Forwarded field from the right; host and
// proto are those that the outermost trusted proxy saw (RFC 7239 section 4).
func (t Trusted) readForwarded(f *Forwarded, values []string, peer netip.Addr) {
	hops := []netip.Addr{peer}
	elements := list(values)
	for trusted := true; len(elements) > 0 && trusted; elements = elements[:len(elements)-1] {
		pairs := forwardedPairs(elements[len(elements)-1])
		f.setScheme(pairs["proto"])
		if v := pairs["host"]; v != "" {
			f.Host = v
		}
		a, ok := hopAddr(pairs["for"])
		if !ok {
			break
		}
		f.Client, hops, trusted = a, append(hops, a), t.Contains(a)
	}
	f.chain = chainText(hops)
}

// setScheme takes http and https, and the WebSocket schemes that some proxies send.
func (f *Forwarded) setScheme(s string) {
	switch strings.ToLower(s) {
	case "http", "ws":
		f.Scheme = "http"
	case "https", "wss":
		f.Scheme = "https"
	}
}

// write puts the gateway's own forwarding fields into h.
func (f *Forwarded) write(h http.Header, host, scheme string) {
	f.values = [3]string{f.chain, host, scheme}
	if f.chain != "" {
		h["X-Forwarded-For"] = f.values[0:1:1]
	}
	h["X-Forwarded-Host"] = f.values[1:2:2]
	h["X-Forwarded-Proto"] = f.values[2:3:3]
	for k, v := range f.keep {
		h[k] = v
	}
}

// addrText returns the text of a, cut from remote where that is the same.
func addrText(a netip.Addr, remote string) string {
	if !a.IsValid() {
		return ""
	}
	if i := strings.LastIndexByte(remote, ':'); i > 0 && remote[0] != '[' {
		return remote[:i]
	}
	return a.String()
}

// chainText lists hops, which run from the peer outwards, client first.
func chainText(hops []netip.Addr) string {
	var space [128]byte
	b := space[:0]
	for i := len(hops) - 1; i >= 0; i-- {
		if hops[i].IsValid() {
			if len(b) > 0 {
				b = append(b, ", "...)
			}
			b = hops[i].AppendTo(b)
		}
	}
	return string(b)
}

// hopAddr reads an address with optional port: 192.0.2.1, 192.0.2.1:80, 2001:db8::1,
// [2001:db8::1]:80.
func hopAddr(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		a = ap.Addr()
	}
	return a.Unmap().WithZone(""), true
}

// list splits the values of a list field at commas outside of quotes.
func list(values []string) []string { return appendList(nil, values) }

// appendList appends what list returns to out.
func appendList(out, values []string) []string {
	for _, v := range values {
		start, quoted := 0, false
		for i := 0; i <= len(v); i++ {
			switch {
			case i < len(v) && v[i] == '"':
				quoted = !quoted
			case i < len(v) && quoted && v[i] == '\\':
				i++
			case i == len(v) || v[i] == ',' && !quoted:
				if s := strings.TrimSpace(v[start:min(i, len(v))]); s != "" {
					out = append(out, s)
				}
				start = i + 1
			}
		}
	}
	return out
}

// last returns the right-most entry of a list field.
func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	v := values[len(values)-1]
	return strings.TrimSpace(v[strings.LastIndexByte(v, ',')+1:])
}

// whole returns the last value of a field that is not a list.
func whole(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// forwardedPairs reads one forwarded-element; names are lower case.
func forwardedPairs(element string) map[string]string {
	pairs := map[string]string{}
	for pair := range strings.SplitSeq(element, ";") {
		k, v, _ := strings.Cut(pair, "=")
		v = strings.TrimSpace(v)
		if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
			v = strings.ReplaceAll(v[1:len(v)-1], `\`, "")
		}
		pairs[strings.ToLower(strings.TrimSpace(k))] = v
	}
	return pairs
}
