package relyingparty

import (
	"net/url"
	"strings"

	"github.com/gatewarden/gatewarden/access"
)

// target is where a login returns to when it was begun by a request for a page: that
// page. It is always put behind the origin, so that a path which begins with two
// slashes is a path.
func target(r *access.Request) string {
	to := r.URL.RequestURI()
	if len(to) > maxTarget || !strings.HasPrefix(to, "/") {
		return "/"
	}
	return to
}

// localTarget returns a target that a client named, or "/" when it is anything but a
// path of this host: a browser reads //host, /\host and what has control characters in
// front as another host. Nor is it one of the Party's own paths: a login does not end
// in a logout.
func (p *Party) localTarget(to string) string {
	if !isLocalTarget(to) {
		return "/"
	}
	u, err := url.Parse(to)
	if err != nil || p.Endpoints()[u.Path] != "" {
		return "/"
	}
	return to
}

func isLocalTarget(to string) bool {
	if len(to) > maxTarget || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") {
		return false
	}
	for i := range len(to) {
		if c := to[i]; c <= ' ' || c > '~' || c == '\\' {
			return false
		}
	}
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return false
	}
	// What is encoded may be decoded on the way.
	return !strings.HasPrefix(u.Path, "//") && !strings.ContainsAny(u.Path, "\\\x00\r\n\t") && !strings.Contains(u.Path, "/../") && !strings.HasSuffix(u.Path, "/..") && !strings.Contains(u.Path, "/./")
}
