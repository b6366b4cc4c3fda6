package edge

import (
	"bufio"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/gatewarden/gatewarden/access"
)

// responseWriter records status and size, and bounds how long a client may take
// to accept the next bytes. http.ResponseController reaches the rest by Unwrap.
type responseWriter struct {
	http.ResponseWriter
	status      int
	bytes       int64
	fields      http.Header // the decision's, which every answer carries
	idle        time.Duration
	multiplexed bool // HTTP/2: an expired deadline would end the stream
	armed       bool
	// cors, when set, replaces fields of the answer just before it is sent.
	cors   access.CrossOrigin
	origin []string
	x      *Exchange // nil: there is no upstream
}

// WriteHeader implements http.ResponseWriter. 100 is left to the server, which sends
// it when the body is read for the upstream; sending the upstream's as well would
// race with that.
func (w *responseWriter) WriteHeader(status int) {
	if status == http.StatusContinue {
		return
	}
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
		w.complete()
	} else if w.status == 0 && w.x != nil {
		w.x.CleanAnswer(w.Header()) // an informational response is all the upstream's
	}
	w.ResponseWriter.WriteHeader(status)
}

// complete has the CORS policy replace the upstream's fields and adds the decision's fields to the answer: a cookie stands beside those of
// the upstream, other fields replace the upstream's. An answer that gives somebody a
// cookie is not for caches that people share.
func (w *responseWriter) complete() {
	if w.cors != nil {
		w.cors.Answer(w.origin, w.Header())
	}
	if len(w.fields) == 0 {
		return
	}
	h := w.Header()
	for name, values := range w.fields {
		if name == "Set-Cookie" {
			values = slices.Concat(h[name], values)
			h["Cache-Control"] = append(slices.Clip(h["Cache-Control"]), "private")
		}
		h[name] = values
	}
	w.fields = nil
}

// Write implements http.ResponseWriter.
func (w *responseWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
		w.complete()
	}
	// The first bytes fit the connection's buffers: no deadline for small answers.
	if w.idle > 0 && w.bytes > 0 {
		w.arm(time.Now().Add(w.idle))
		if w.multiplexed {
			defer w.done()
		}
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Hijack implements http.Hijacker; who takes the connection is switching protocols.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.complete() // ReverseProxy writes the header to the connection itself
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.status = http.StatusSwitchingProtocols
	}
	return conn, rw, err
}

// Unwrap is for http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// done takes the deadline away: the connection may carry another request.
func (w *responseWriter) done() {
	if w.armed && w.status != http.StatusSwitchingProtocols {
		w.arm(time.Time{})
		w.armed = false
	}
}

func (w *responseWriter) arm(t time.Time) {
	w.armed = true
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(t) // not supported: no bound
}
