package proxy

import (
	"net/url"
	"strings"

	"github.com/gatewarden/gatewarden/access"
)

// target returns where a request for u goes: the upstream's base, then u's path
// without the prefix to strip or the rewritten one, then u's query as it is.
func target(up *access.Upstream, u *url.URL) url.URL { return targetAt(up, up.URL, u) }

// targetAt is target for one of the addresses of up.
func targetAt(up *access.Upstream, to, u *url.URL) url.URL {
	t := url.URL{Scheme: to.Scheme, Host: to.Host, RawQuery: u.RawQuery, ForceQuery: u.ForceQuery}
	if t.Scheme == "h2c" {
		t.Scheme = "http"
	}
	path, raw := strip(u.Path, u.RawPath, up.StripPath)
	if up.Rewritten != "" {
		if plain, err := url.PathUnescape(up.Rewritten); err == nil { // it was made to be valid
			path, raw = plain, up.Rewritten
		}
	}
	base := strings.TrimSuffix(to.Path, "/")
	t.Path = join(base, path)
	if raw != "" || to.RawPath != "" {
		if raw == "" {
			raw = (&url.URL{Path: path}).EscapedPath()
		}
		if path == "" {
			raw = ""
		}
		t.RawPath = join(strings.TrimSuffix(to.EscapedPath(), "/"), raw)
	}
	return t
}

// join puts a base without trailing slash in front of path, which is empty or
// absolute; the result is absolute.
func join(base, path string) string {
	if base == "" && path == "" {
		return "/"
	}
	return base + path
}

// strip removes prefix from path on a segment border. The canonical path has no
// encoded slash, so that path and raw have the same segments.
func strip(path, raw, prefix string) (string, string) {
	prefix = strings.Trim(prefix, "/")
	if prefix == "" {
		return path, raw
	}
	rest, ok := strings.CutPrefix(path, "/"+prefix)
	if !ok || rest != "" && rest[0] != '/' {
		return path, raw
	}
	if raw != "" {
		for range strings.Count(prefix, "/") + 1 {
			i := strings.IndexByte(raw[1:], '/')
			if i < 0 {
				raw = ""
				break
			}
			raw = raw[i+1:]
		}
	}
	return rest, raw
}
