package proxy

import (
	"bufio"
	"encoding/binary"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gatewarden/gatewarden/fault"
)

const (
	// policyViolation is the status of a close frame (RFC 6455 section 7.4.1).
	policyViolation = 1008
	// frameTimeout bounds the wait for the end of a frame that is on its way to the
	// client, behind which alone a close frame may stand.
	frameTimeout = 300 * time.Millisecond
)

// webSocketWriter hands out the client's connection, once it switches protocols, as
// one that can be ended with a close frame.
type webSocketWriter struct {
	http.ResponseWriter
	mu   sync.Mutex
	conn *webSocket // nil: the protocol was not switched
}

// Unwrap is for http.ResponseController.
func (w *webSocketWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack implements http.Hijacker.
func (w *webSocketWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return conn, rw, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn = &webSocket{Conn: conn, border: make(chan struct{}, 1)}
	return w.conn, rw, nil
}

// end tells the client of a WebSocket why it ends.
func (w *webSocketWriter) end(why error) {
	w.mu.Lock()
	conn := w.conn
	w.mu.Unlock()
	if conn != nil {
		conn.end(policyViolation, fault.ReasonOf(why))
	}
}

// webSocket is a client's connection that follows the frames on their way to the
// client (RFC 6455 section 5.2), to know where one ends.
type webSocket struct {
	net.Conn
	mu     sync.Mutex
	frames frames
	ending bool
	border chan struct{} // signalled at the end of a frame while ending
}

// Write passes on what the upstream sent, up to the end of a frame when the connection
// is ending.
func (c *webSocket) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending {
		c.frames.follow(p)
		return c.Conn.Write(p)
	}
	if c.frames.atBorder() {
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Write(p[:c.frames.rest(p)])
	if c.frames.atBorder() {
		select {
		case c.border <- struct{}{}:
		default:
		}
		if err == nil && n < len(p) {
			err = net.ErrClosed
		}
	}
	return n, err
}

// CloseWrite implements what httputil.ReverseProxy looks for, as net.TCPConn and
// tls.Conn do.
func (c *webSocket) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

// end sends a close frame, when the frame before it ends in time, and closes.
func (c *webSocket) end(status uint16, reason string) {
	// A client that takes nothing must not keep its connection; this also frees a
	// Write that holds the lock.
	_ = c.Conn.SetWriteDeadline(time.Now().Add(frameTimeout))
	defer c.Conn.Close()
	c.mu.Lock()
	c.ending = true
	ready := c.frames.atBorder()
	c.mu.Unlock()
	if !ready {
		timer := time.NewTimer(frameTimeout)
		defer timer.Stop()
		select {
		case <-c.border:
		case <-timer.C:
			return
		}
	}
	frame := make([]byte, 4, 4+len(reason))
	frame[0], frame[1] = 0x88, byte(2+len(reason)) // FIN, close; a server's frame is not masked
	binary.BigEndian.PutUint16(frame[2:], status)
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.Conn.Write(append(frame, reason...)) // it is closed in any case
}

// frames finds the ends of WebSocket frames in a stream of bytes.
type frames struct {
	head    [14]byte // of the frame that begins
	have    int      // bytes of head
	payload uint64   // bytes that are still to come
}

// atBorder reports whether no frame is under way.
func (f *frames) atBorder() bool { return f.have == 0 && f.payload == 0 }

// follow goes over p.
func (f *frames) follow(p []byte) {
	for len(p) > 0 {
		p = p[f.step(p):]
	}
}

// rest goes over p to the end of the frame that is under way and returns how many
// bytes that are.
func (f *frames) rest(p []byte) int {
	n := 0
	for n < len(p) {
		n += f.step(p[n:])
		if f.atBorder() {
			break
		}
	}
	return n
}

// step takes over bytes of p, at least one: payload, or one byte of a head.
func (f *frames) step(p []byte) int {
	if f.payload > 0 {
		n := min(f.payload, uint64(len(p)))
		f.payload -= n
		return int(n)
	}
	f.head[f.have] = p[0]
	f.have++
	if f.have < 2 {
		return 1
	}
	size, length := 2, uint64(f.head[1]&0x7f)
	switch length {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if f.head[1]&0x80 != 0 { // masked, which a server's frame must not be
		size += 4
	}
	if f.have < size {
		return 1
	}
	switch length {
	case 126:
		length = uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		length = binary.BigEndian.Uint64(f.head[2:])
	}
	f.have, f.payload = 0, length
	return 1
}
