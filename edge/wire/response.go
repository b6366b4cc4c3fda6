package wire

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gatewarden/gatewarden/edge/fieldline"
)

const (
	// undecided is how long a body may get before its framing is decided: one that ends
	// earlier gets a Content-Length. As in net/http.
	undecided = 2 << 10
	// gathered is how much of a body is gathered for one write, and joined how much is
	// copied behind a header to save a write of its own.
	gathered = 4 << 10
	joined   = 8 << 10
	// keptOutput bounds what is pooled.
	keptOutput = 16 << 10
)

// output are the buffers of an answer.
type output struct {
	head []byte // in wire form, and what goes with it
	body []byte // not framed yet
}

var outputs = sync.Pool{New: func() any {
	return &output{head: make([]byte, 0, gathered), body: make([]byte, 0, gathered)}
}}

// response is the http.ResponseWriter of a request. It frames answers as net/http does.
// It is not for use by two goroutines at once, nor after the handler has returned.
type response struct {
	conn     *conn
	exchange *exchange
	out      *output // nil: the request is over
	header   http.Header
	isHead   bool
	close    bool // the connection ends with this answer
	duplex   bool
	hijacked bool
	over     bool // the handler has returned
	timed    bool // there is a write deadline

	// What WriteHeader saw.
	status     int // 0: not called
	length     int64
	connection []string
	coding     []string // Transfer-Encoding
	sized      bool     // there is a Content-Length, be it void
	typed      bool     // there is a Content-Type, or it was left out on purpose
	encoded    bool
	dated      bool
	trailing   bool     // trailers follow
	trailers   []string // announced

	framed  bool // the header is complete
	chunked bool
	written int64
	err     error // of the connection
}

var (
	_ http.Flusher  = (*response)(nil)
	_ http.Hijacker = (*response)(nil)
)

func (w *response) begin(c *conn, x *exchange, r *http.Request) {
	w.conn, w.exchange, w.length = c, x, -1
	w.out = outputs.Get().(*output)
	w.isHead, w.close = r.Method == http.MethodHead, r.Close
}

// Header implements http.ResponseWriter. What is changed after WriteHeader matters for
// trailers only.
func (w *response) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	if w.out == nil || w.status != 0 {
		return
	}
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %d", status)) // as net/http does
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.inform(status)
		return
	}
	w.status = status
	o := w.out
	o.head = appendStatus(o.head, status)
	for name, values := range w.header {
		switch name {
		case "Content-Length":
			w.setLength(values)
			continue
		case "Connection":
			w.connection = values
			continue
		case "Transfer-Encoding":
			w.coding = values
			continue
		case "Content-Type":
			w.typed = true
			if status == http.StatusNotModified {
				continue
			}
		case "Content-Encoding":
			w.encoded = len(values) > 0 && values[0] != ""
		case "Date":
			w.dated = true
		case "Trailer":
			w.announce(values)
		default:
			if isTrailer(name) {
				w.trailing = true
				continue
			}
		}
		o.head = appendField(o.head, name, values)
	}
}

// inform sends an informational response.
func (w *response) inform(status int) {
	o := w.out
	o.head = appendStatus(o.head, status)
	for name, values := range w.header {
		if name != "Content-Length" && name != "Transfer-Encoding" {
			o.head = appendField(o.head, name, values)
		}
	}
	o.head = append(o.head, "\r\n"...)
	w.send(o.head)
	o.head = o.head[:0]
}

// setLength takes the length that the handler announces; one that is no number is none.
func (w *response) setLength(values []string) {
	w.sized = true
	if len(values) > 0 && values[0] != "" {
		if n, err := strconv.ParseInt(values[0], 10, 64); err == nil && n >= 0 {
			w.length = n
		}
	}
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	if err := w.admit(len(p)); err != nil || len(p) == 0 {
		return 0, err
	}
	n := len(p)
	if !w.framed {
		if len(w.out.body)+n <= undecided {
			w.out.body = append(w.out.body, p...)
			return n, nil
		}
		first := p
		if have := len(w.out.body); have > 0 { // as much of the body as net/http would look at
			w.out.body = append(w.out.body, p[:undecided-have]...)
			first, p = w.out.body, p[undecided-have:]
		}
		w.frame(first)
	}
	if len(w.out.body)+len(p) <= gathered {
		w.out.body = append(w.out.body, p...)
		return n, w.err
	}
	w.emit(p)
	if w.err != nil {
		return 0, w.err
	}
	return n, nil
}

// WriteString implements io.StringWriter.
func (w *response) WriteString(s string) (int, error) {
	if w.out == nil || len(w.out.body)+len(s) > undecided {
		return w.Write([]byte(s))
	}
	if err := w.admit(len(s)); err != nil {
		return 0, err
	}
	w.out.body = append(w.out.body, s...)
	return len(s), nil
}

// admit reports why n bytes cannot be written.
func (w *response) admit(n int) error {
	switch {
	case w.hijacked:
		return http.ErrHijacked
	case w.out == nil:
		return errOver
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if n == 0 {
		return nil
	}
	if !hasBody(w.status) {
		return http.ErrBodyNotAllowed
	}
	if w.written += int64(n); w.length >= 0 && w.written > w.length {
		return http.ErrContentLength
	}
	return nil
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is for http.ResponseController.
func (w *response) FlushError() error {
	switch {
	case w.hijacked:
		return http.ErrHijacked
	case w.out == nil:
		return errOver
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.framed {
		w.frame(w.out.body)
	}
	w.emit(nil)
	return w.err
}

// SetReadDeadline is for http.ResponseController. It bounds the arrival of the body and
// means nothing when that is there.
func (w *response) SetReadDeadline(t time.Time) error {
	return w.conn.watch.bound(&w.exchange.body, t, true)
}

// SetWriteDeadline is for http.ResponseController.
func (w *response) SetWriteDeadline(t time.Time) error {
	if w.out == nil {
		return errOver
	}
	w.timed = true
	return w.conn.SetWriteDeadline(t)
}

// EnableFullDuplex is for http.ResponseController.
func (w *response) EnableFullDuplex() error {
	w.duplex = true
	return nil
}

// Hijack implements http.Hijacker.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	switch {
	case w.hijacked:
		return nil, nil, http.ErrHijacked
	case w.out == nil:
		return nil, nil, errOver
	}
	if w.status != 0 {
		_ = w.FlushError() // the hijacker finds out
	}
	c := w.conn
	c.watch.disable()
	w.hijacked = true
	w.release()
	if err := c.Conn.SetDeadline(time.Time{}); err != nil {
		return nil, nil, err
	}
	body := &w.exchange.body
	before := append(append([]byte(nil), body.here...), c.buf[c.from:c.to]...)
	in := bufio.NewReaderSize(&replayed{Conn: c.Conn, before: before}, max(len(before), gathered))
	_, _ = in.Peek(len(before)) // which is there
	return c.Conn, bufio.NewReadWriter(in, bufio.NewWriter(c.Conn)), nil
}

// release gives the buffers back.
func (w *response) release() {
	o := w.out
	w.out = nil
	if cap(o.head) <= keptOutput {
		o.head, o.body = o.head[:0], o.body[:0]
		outputs.Put(o)
	}
}

// hasBody reports whether answers with a status have a body (RFC 9110 section 6.4.1).
func hasBody(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

func appendStatus(b []byte, status int) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	if text := http.StatusText(status); text != "" {
		b = append(append(b, ' '), text...)
	} else {
		b = strconv.AppendInt(append(b, " status code "...), int64(status), 10)
	}
	return append(b, "\r\n"...)
}

// appendField appends a field line for each value. A name that is no token is left out,
// and the end of a line in a value is a blank, as in net/http.
func appendField(b []byte, name string, values []string) []byte {
	if !fieldline.IsToken(name) {
		return b
	}
	for _, v := range values {
		b = append(append(b, name...), ':', ' ')
		b = appendValue(b, v)
		b = append(b, '\r', '\n')
	}
	return b
}
