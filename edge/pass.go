package edge

import (
	"net/http"
	"slices"
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

// WritePass writes what the decision's Pass sets to the header of an answer from which
// another proxy copies it to the request. A proxy that copies a field must do right
// whatever the rule: Cookie and Authorization, where rules write them, are answered as
// they go upstream, changed or not.
func (x *Exchange) WritePass(h http.Header) {
	p := &x.Decision.Pass
	for name, values := range p.Set {
		if !hopByHop(name) {
			h[name] = slices.Clip(values)
		}
	}
	const credential = "Authorization"
	if sent := x.R.Header[credential]; h[credential] == nil && x.stripped.owned[credential] && len(sent) > 0 && !removes(p, credential) {
		h[credential] = append([]string(nil), sent...)
	}
	if len(p.Cookies) > 0 || len(x.stripped.cookies) > 0 || len(x.stripped.sessions) > 0 {
		line := http.Header{"Cookie": x.R.Header["Cookie"]}
		MergeCookies(line, p.Cookies)
		if cookies := line["Cookie"]; len(cookies) > 0 || x.CookiesRemoved {
			h["Cookie"] = []string{strings.Join(cookies, "; ")}
		}
	}
}

// WriteUnset answers fields that must not go upstream as empty, so that a proxy that
// copies only what is there overwrites the client's.
func (x *Exchange) WriteUnset(h http.Header) {
	for name := range x.stripped.owned {
		if h[name] == nil && !isCredential(name) {
			h[name] = []string{""}
		}
	}
	for _, name := range x.Decision.Pass.Remove {
		if name = fold(name); h[name] == nil {
			h[name] = []string{""}
		}
	}
}

// Unset lists the fields that must not go upstream from who asks, in lower case: those
// of the rules that the Pass does not set, those that it removes, and the spellings of
// them that the client used. Names with '-' are there with '_', too.
func (x *Exchange) Unset() []string {
	p := &x.Decision.Pass
	all := x.stripped.spellings
	names := make([]string, 0, len(all)+2*len(p.Remove)+len(x.Removed))
	for i := range all {
		if s := &all[i]; s.folded || p.Set[s.field] == nil && !isCredential(s.field) {
			names = append(names, s.name)
		}
	}
	sorted := len(names)
	for _, name := range p.Remove {
		if p.Set[name] == nil {
			name = strings.ToLower(fold(name))
			names = append(names, name, strings.ReplaceAll(name, "-", "_"))
		}
	}
	for _, name := range x.Removed {
		if p.Set[name] == nil {
			names = append(names, strings.ToLower(name))
		}
	}
	if len(names) == sorted {
		return names
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func removes(p *access.Pass, name string) bool {
	return slices.ContainsFunc(p.Remove, func(s string) bool { return fold(s) == name })
}
