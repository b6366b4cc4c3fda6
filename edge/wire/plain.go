package wire

import (
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/gatewarden/gatewarden/edge/fieldline"
)

// Most requests are plain: HTTP/1.1, one of seven methods, a path as target, every
// field on a line of its own, one Host, no coding of the body and nothing that is about
// the connection but whether it is kept. These are read here; FuzzPlain checks that
// http.ReadRequest reads the same, and that http.Server would serve them.

// readPlain reads head, the lines of a request with CR LF behind each, into r and u,
// which becomes r's URL. It reports false when the request is not plain; r and u are
// void then. It sets everything but Body, RemoteAddr and the context.
func readPlain(head string, r *http.Request, u *url.URL) bool {
	line, rest, ok := fieldline.Cut(head)
	if !ok || !readLine(line, r, u) {
		return false
	}
	r.URL = u
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	n := strings.Count(rest, "\n")
	r.Header = make(http.Header, sizeOf(rest, n))
	values := make([]string, 0, n)
	hosted, repeated := false, false
	fields := rest
	for rest != "" {
		if line, rest, ok = fieldline.Cut(rest); !ok {
			return false
		}
		name, value, ok := fieldline.Parse(line)
		if !ok {
			return false
		}
		switch name {
		case "Host":
			if hosted || value == "" || !httpguts.ValidHostHeader(value) {
				return false
			}
			hosted, r.Host = true, value
			continue
		case "Content-Length":
			if r.Header[name] != nil || len(value) > 1 && value[0] == '0' {
				return false
			}
			if r.ContentLength, ok = fieldline.Length(value); !ok {
				return false
			}
		case "Connection":
			switch {
			case r.Header[name] != nil:
				return false
			case strings.EqualFold(value, "close"):
				r.Close = true
			case !strings.EqualFold(value, "keep-alive"):
				return false
			}
		case "Expect", "Http2-Settings", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
			return false
		}
		if repeated && r.Header[name] != nil {
			r.Header[name] = append(r.Header[name], value)
			continue
		}
		values = append(values, value)
		before := len(r.Header)
		r.Header[name] = values[len(values)-1 : len(values) : len(values)]
		if len(r.Header) == before { // the first field that came before; from here each is looked up
			repeated = true
			r.Header[name] = every(name, fields[:len(fields)-len(rest)])
		}
	}
	if p := r.Header["Pragma"]; len(p) > 0 && p[0] == "no-cache" && r.Header["Cache-Control"] == nil {
		r.Header["Cache-Control"] = []string{"no-cache"} // as http.ReadRequest has it
	}
	return hosted
}

// every returns the values of a field in lines that were read.
func every(name, lines string) (values []string) {
	for lines != "" {
		var line string
		line, lines, _ = fieldline.Cut(lines)
		if n, value, _ := fieldline.Parse(line); n == name {
			values = append(values, value)
		}
	}
	return values
}

// sizeOf returns how many fields a header of n lines should have space for.
func sizeOf(lines string, n int) int {
	// room is how many fields an edge adds to a request: its forwarding fields and an id.
	// small is how many a map holds in its cheapest form.
	const room, small = 4, 8
	size := n + room - 1 // Host is no field
	if size > small && n <= small {
		size -= strings.Count(lines, "\nX-") // most are of a proxy, and an edge replaces or removes them
	}
	return size
}

// readLine reads a request line (RFC 9112 section 3).
func readLine(line string, r *http.Request, u *url.URL) bool {
	word, rest, _ := strings.Cut(line, " ")
	target, isPlain := strings.CutSuffix(rest, " HTTP/1.1")
	if r.Method = methodOf(word); r.Method == "" || !isPlain {
		return false
	}
	r.RequestURI = target
	return readTarget(target, u)
}

// methodOf returns word, as a text of its own, when it is a plain method. TRACE and
// CONNECT are not.
func methodOf(word string) string {
	switch word {
	case http.MethodGet:
		return http.MethodGet
	case http.MethodHead:
		return http.MethodHead
	case http.MethodPost:
		return http.MethodPost
	case http.MethodPut:
		return http.MethodPut
	case http.MethodPatch:
		return http.MethodPatch
	case http.MethodDelete:
		return http.MethodDelete
	case http.MethodOptions:
		return http.MethodOptions
	}
	return ""
}

// readTarget reads a target in origin form (RFC 9112 section 3.2.1) without blanks and
// bytes beyond ASCII. Paths in which nothing needs encoding are read here, others by
// package url.
func readTarget(target string, u *url.URL) bool {
	if target == "" || target[0] != '/' {
		return false
	}
	query := len(target)
	usual := true
	for i := 0; i < len(target); i++ {
		c := target[i]
		if c <= ' ' || c >= 0x7f {
			return false
		}
		if c == '?' && i < query {
			query = i
		}
		usual = usual && (usualPath[c] || i >= query)
	}
	if usual && query != len(target)-1 {
		u.Path = target[:query]
		if query < len(target) {
			u.RawQuery = target[query+1:]
		}
		return true
	}
	parsed, err := url.ParseRequestURI(target)
	if err != nil {
		return false
	}
	*u = *parsed
	return true
}

// usualPath are the characters of a path that package url leaves as they are when it
// decodes and when it encodes.
var usualPath = func() (usual [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~$&+,/:;=@") {
		usual[c] = true
	}
	return usual
}()
