package edge

import (
	"net/http"
	"strings"

	"github.com/gatewarden/gatewarden/access"
)

// ApplyPass writes p to the header of a request that goes upstream: removals, then
// replacements, then cookies. It runs after hop-by-hop fields were removed, so that
// nothing a client says can take identity fields away. It returns the Host that p
// sets, empty for none.
func ApplyPass(h http.Header, p *access.Pass) (host string) {
	for _, name := range p.Remove {
		RemoveHeader(h, name)
	}
	marks := hasMarks(h)
	for name, values := range p.Set {
		if name == "Host" {
			if len(values) > 0 {
				host = values[0]
			}
			continue
		}
		if hopByHop(name) {
			continue
		}
		if marks {
			RemoveHeader(h, name)
		}
		h[name] = values
	}
	MergeCookies(h, p.Cookies)
	return host
}

// hasMarks reports whether any name in h could be another spelling of a field.
func hasMarks(h http.Header) bool {
	for k := range h {
		if !isPlainName(k) {
			return true
		}
	}
	return false
}

// MergeCookies puts cookies in front of those that h already has; a cookie of the
// same name is replaced. Others stay byte for byte.
func MergeCookies(h http.Header, cookies []*http.Cookie) {
	if len(cookies) == 0 {
		return
	}
	merged := http.Request{Header: http.Header{}}
	names := make(map[string]bool, len(cookies))
	for _, c := range cookies {
		names[c.Name] = true
		merged.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value, Quoted: c.Quoted}) // drops bytes that end a cookie
	}
	parts := merged.Header["Cookie"]
	for _, line := range h["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			part = strings.TrimSpace(part)
			name, _, _ := strings.Cut(part, "=")
			if part != "" && !names[strings.TrimSpace(name)] {
				parts = append(parts, part)
			}
		}
	}
	h["Cookie"] = []string{strings.Join(parts, "; ")}
}

// WritePass writes what p sets to the header of a 200 answer of a decision
// endpoint, from which the caller copies it to the request.
func WritePass(h http.Header, r *access.Request, p *access.Pass) {
	for name, values := range p.Set {
		if !hopByHop(name) {
			h[name] = append([]string(nil), values...)
		}
	}
	if len(p.Cookies) > 0 {
		line := http.Header{"Cookie": r.Header["Cookie"]}
		MergeCookies(line, p.Cookies)
		h["Cookie"] = line["Cookie"]
	}
}
