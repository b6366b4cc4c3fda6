package proxy

import (
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/proxy/wire"
)

// isPlain reports whether x can take the synchronous client: HTTP/1.1 upstream
// without TLS and without a Route, no upgrade, Expect or trailers, and a body that fits a buffer.
func isPlain(x *edge.Exchange) bool {
	r := x.R
	h := r.Header
	return x.Decision.Upstream.URL.Scheme == "http" && x.Decision.Upstream.Route == nil && r.ContentLength >= 0 && r.ContentLength <= bufferSize && len(r.Trailer) == 0 &&
		len(h["Upgrade"]) == 0 && len(h["Expect"]) == 0 && len(h["Te"]) == 0
}

// servePlain forwards x over the synchronous client.
func (f *forwarder) servePlain(x *edge.Exchange) {
	r := x.R
	var body []byte
	if r.ContentLength > 0 {
		buf := f.buffers.pool.Get().(*[]byte)
		defer f.buffers.pool.Put(buf)
		body = (*buf)[:r.ContentLength]
		if _, err := io.ReadFull(r.Body, body); err != nil {
			fail(x, err)
			return
		}
	}
	var received credentials
	if x.Decision.Lease != nil {
		received = credentialsOf(r.Header) // plainRequest takes the header over
	}
	began := time.Now()
	res, err := f.wire.Do(r.Context(), f.plainRequest(x, body))
	if err != nil {
		fail(x, err)
		return
	}
	defer res.Close()
	x.Event.Upstream, x.Event.UpstreamStatus = time.Since(began), res.StatusCode
	h := x.W.Header()
	keepUntyped(h, res.Header)
	if !res.Plain {
		removeHopByHop(res.Header)
	}
	x.CleanAnswer(res.Header)
	for name, values := range res.Header {
		h[name] = values
	}
	announced := len(res.Trailer)
	if announced > 0 {
		h["Trailer"] = []string{strings.Join(slices.Sorted(maps.Keys(res.Trailer)), ", ")}
	}
	x.W.WriteHeader(res.StatusCode)
	if x.Decision.Lease != nil && lasts(res) {
		defer f.leased(x, received, res).report()
	}
	if err := f.copy(x.W, res); err != nil {
		x.Event.Err = err
		panic(http.ErrAbortHandler) // what was sent must not pass for the whole
	}
	writeTrailers(x.W, res.Trailer, announced)
}

// plainRequest is what goes upstream. It takes over x.R's header, which nobody reads
// after this.
func (f *forwarder) plainRequest(x *edge.Exchange, body []byte) *wire.Request {
	up, in := x.Decision.Upstream, x.Request.URL
	t := target(up, in)
	out := &wire.Request{
		Method: x.R.Method, Target: requestURI(&t), Host: up.URL.Host, Address: up.URL.Host,
		Header: x.R.Header, Body: body, Timeout: or(up.Timeout, f.timeout),
	}
	if strings.LastIndexByte(out.Address, ':') <= strings.LastIndexByte(out.Address, ']') {
		out.Address += ":80"
	}
	if up.PreserveHost {
		out.Host = in.Host
	}
	if host := edge.ApplyPass(out.Header, &x.Decision.Pass); host != "" {
		out.Host = host
	}
	delete(out.Header, "Content-Length")
	switch out.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch: // an empty body is meant (RFC 9110 section 8.6)
		out.HasBody = true
	}
	out.Informational = func(status int, fields http.Header) {
		h := x.W.Header()
		maps.Copy(h, fields)
		x.W.WriteHeader(status)
		clear(h)
	}
	return out
}

// requestURI is u.RequestURI, at less cost where nothing needs encoding.
func requestURI(u *url.URL) string {
	if u.RawPath != "" || u.ForceQuery || u.Path == "" {
		return u.RequestURI()
	}
	path := edge.SentPath(u)
	if u.RawQuery == "" {
		return path
	}
	return path + "?" + u.RawQuery
}

// copy copies the body.
func (f *forwarder) copy(w http.ResponseWriter, res *wire.Response) error {
	if body, ok := res.Whole(); ok {
		if len(body) == 0 {
			return nil
		}
		_, err := w.Write(body)
		return err
	}
	buf := f.buffers.pool.Get().(*[]byte)
	defer f.buffers.pool.Put(buf)
	return stream(w, res, *buf)
}

// stream copies the body and, when its length is unknown or it is an event stream,
// hands on every piece at once.
func stream(w http.ResponseWriter, res *wire.Response, buf []byte) error {
	flush := func() error { return nil }
	if res.ContentLength < 0 && res.Body != http.NoBody || strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		flush = http.NewResponseController(w).Flush
		if res.Buffered() == 0 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	for {
		n, err := res.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
	}
}

// writeTrailers sends trailers after the body; those that were not announced need
// a prefix for net/http.
func writeTrailers(w http.ResponseWriter, trailer http.Header, announced int) {
	if len(trailer) == 0 {
		return
	}
	_ = http.NewResponseController(w).Flush() // forces chunks, which trailers need; the client may be gone
	prefix := ""
	if len(trailer) != announced {
		prefix = http.TrailerPrefix
	}
	for name, values := range trailer {
		w.Header()[prefix+name] = values
	}
}

// removeHopByHop removes the fields of the upstream's connection from its answer
// (RFC 9110 section 7.6.1).
func removeHopByHop(h http.Header) {
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			if name = textproto.TrimString(name); name != "" {
				h.Del(name)
			}
		}
	}
	for _, name := range [...]string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		delete(h, name)
	}
}
