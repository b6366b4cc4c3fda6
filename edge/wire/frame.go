package wire

import (
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// frame decides how the body is framed, of which first is the beginning, and completes
// the header; the rules are those of http.Server (RFC 9112 section 6).
func (w *response) frame(first []byte) {
	w.framed = true
	coding := ""
	if len(w.coding) > 0 {
		coding = w.coding[0]
	}
	body := hasBody(w.status)
	o := w.out
	if w.over && !w.trailing && coding == "" && body && !w.sized && (!w.isHead || len(first) > 0) {
		w.length = int64(len(first))
	}
	connection := ""
	if len(w.connection) > 0 {
		connection = w.connection[0]
	}
	if connection == "close" || w.conn.server.closing.Load() {
		w.close = true
	}
	if !w.duplex && !w.exchange.body.settle(w.close) {
		w.close = true
	}
	if body && !w.typed && !w.encoded && coding == "" && len(first) > 0 {
		o.head = appendField(o.head, "Content-Type", []string{http.DetectContentType(first)})
	}
	if !w.dated {
		o.head = append(append(append(o.head, "Date: "...), w.conn.server.dateOf(time.Now())...), "\r\n"...)
	}
	switch {
	case !body:
	case w.length >= 0 && (coding == "" || coding == "identity"):
		o.head = append(strconv.AppendInt(append(o.head, "Content-Length: "...), w.length, 10), "\r\n"...)
	case w.isHead:
	case coding == "identity": // the body ends with the connection
		w.close = true
	default:
		w.chunked = true
		if coding != "chunked" {
			o.head = appendField(o.head, "Transfer-Encoding", w.coding)
		}
		o.head = append(o.head, "Transfer-Encoding: chunked\r\n"...)
	}
	if w.close && w.status != http.StatusSwitchingProtocols && !httpguts.HeaderValuesContainsToken(w.connection[:min(1, len(w.connection))], "close") {
		o.head = append(o.head, "Connection: close\r\n"...)
	} else {
		o.head = appendField(o.head, "Connection", w.connection)
	}
	o.head = append(o.head, "\r\n"...)
}

// emit sends what was gathered, and p behind it.
func (w *response) emit(p []byte) {
	o := w.out
	if n := len(o.body) + len(p); n > 0 && !w.isHead {
		if w.chunked {
			o.head = append(strconv.AppendInt(o.head, int64(n), 16), "\r\n"...)
		}
		o.head = append(o.head, o.body...)
		if len(o.head)+len(p) <= joined {
			o.head = append(o.head, p...)
		} else {
			w.send(o.head)
			w.send(p)
			o.head = o.head[:0]
		}
		if w.chunked {
			o.head = append(o.head, "\r\n"...)
		}
	}
	o.body = o.body[:0]
	if len(o.head) > len("\r\n") || p == nil { // the end of a chunk goes with the next
		w.send(o.head)
		o.head = o.head[:0]
	}
}

// send writes to the connection, unless writing failed before.
func (w *response) send(p []byte) {
	if w.err != nil || len(p) == 0 {
		return
	}
	if _, w.err = w.conn.Conn.Write(p); w.err != nil {
		w.exchange.ctx.end() // the client has gone, or takes nothing
	}
}

// finish completes the answer when the handler has returned. It reports whether the
// connection may carry another one.
func (w *response) finish() (again bool) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.over = true
	if !w.framed {
		w.frame(w.out.body)
	}
	if w.chunked {
		w.lastChunk()
	}
	w.emit(nil)
	w.release()
	if w.timed {
		_ = w.conn.SetWriteDeadline(time.Time{}) // fails on a closed connection, as Write does
	}
	short := !w.isHead && w.length >= 0 && hasBody(w.status) && w.length != w.written
	return !w.close && !short && w.err == nil && w.exchange.body.drain()
}

// lastChunk puts what was gathered into a chunk, and the last one with the trailers
// behind it (RFC 9112 section 7.1).
func (w *response) lastChunk() {
	o := w.out
	if n := len(o.body); n > 0 {
		o.head = append(strconv.AppendInt(o.head, int64(n), 16), "\r\n"...)
		o.head = append(append(o.head, o.body...), "\r\n"...)
		o.body = o.body[:0]
	}
	o.head = append(o.head, "0\r\n"...)
	for name, values := range w.header {
		if isTrailer(name) {
			o.head = appendField(o.head, name[len(http.TrailerPrefix):], values)
		} else if slices.Contains(w.trailers, name) {
			o.head = appendField(o.head, name, values)
		}
	}
	o.head = append(o.head, "\r\n"...)
}

func isTrailer(name string) bool { return strings.HasPrefix(name, http.TrailerPrefix) }

// announce takes the names of trailers.
func (w *response) announce(values []string) {
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			if name = textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name)); httpguts.ValidTrailerHeader(name) {
				w.trailing, w.trailers = true, append(w.trailers, name)
			}
		}
	}
}

// appendValue appends v as one line without blanks around it.
func appendValue(b []byte, v string) []byte {
	v = textproto.TrimString(v)
	if strings.IndexByte(v, '\n') < 0 && strings.IndexByte(v, '\r') < 0 {
		return append(b, v...)
	}
	for i := 0; i < len(v); i++ {
		c := v[i]
		if c == '\n' || c == '\r' {
			c = ' '
		}
		b = append(b, c)
	}
	return b
}
