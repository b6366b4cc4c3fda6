package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// Bounds of HTTP/3 connections.
const (
	// maxHandshakes is how many may be under way before clients have to prove their
	// address first (RFC 9000 section 8.1.2).
	maxHandshakes = 64
	// maxControlStreams are those of RFC 9114 section 6.2 and RFC 9204, and some that
	// are for nothing (RFC 9114 section 6.2.3).
	maxControlStreams = 8
	// quicTimeout is how long a peer may be silent, which keepAlive asks to answer.
	quicTimeout, keepAlive = 30 * time.Second, 10 * time.Second
	// goodbye is how long clients have to take the last answers and leave.
	goodbye = 500 * time.Millisecond
)

// HTTP3 serves HTTP/3 (RFC 9114) beside a Server, with its Handler, TLS and limits. A
// request is never taken from 0-RTT data, which could be replayed: handlers run after
// the handshake, and tickets allow none.
type HTTP3 struct {
	http    *http3.Server
	tls     *tls.Config
	quic    *quic.Config
	idle    time.Duration
	crowd   crowd        // without a Listener
	running atomic.Int64 // handlers
	unready atomic.Int64 // handshakes
	offer   []string

	mu        sync.Mutex
	transport *quic.Transport
	listener  *quic.Listener
	stopped   bool          // Shutdown was called
	served    chan struct{} // closed when Serve does not accept any more
}

// NewHTTP3 returns a server that is not yet serving; o.TLS is required. Port is what
// Advertise tells clients. Connections of a client are counted apart from a Server's.
func NewHTTP3(o ServerOptions, port int) *HTTP3 {
	s := &HTTP3{
		idle: defaultTo(o.IdleTimeout, 120*time.Second), offer: []string{`h3=":` + strconv.Itoa(port) + `"; ma=86400`}, served: make(chan struct{}),
		quic: &quic.Config{HandshakeIdleTimeout: defaultTo(o.ReadHeaderTimeout, 10*time.Second), MaxIdleTimeout: quicTimeout, KeepAlivePeriod: keepAlive,
			MaxIncomingUniStreams: maxControlStreams},
	}
	s.crowd = crowd{most: o.ConnectionsPerClient, exempt: o.Exempt, refused: o.Refused, of: map[netip.Prefix]int{}}
	if o.Refused == nil {
		s.crowd.refused = func() {}
	}
	s.tls = http3.ConfigureTLSConfig(o.TLS)
	s.tls.MinVersion = tls.VersionTLS13
	s.http = &http3.Server{
		Handler: s.handle(o.Handler, defaultTo(o.ReadHeaderTimeout, 10*time.Second)), MaxHeaderBytes: defaultTo(o.MaxHeaderBytes, 64<<10), ConnContext: s.connected,
		Logger: slog.New(slog.DiscardHandler), // it would log queries
	}
	return s
}

// Serve accepts connections on conn, which it closes, until Shutdown; then it returns nil.
func (s *HTTP3) Serve(conn net.PacketConn) error {
	defer close(s.served)
	l, err := s.listen(conn)
	if err != nil || l == nil {
		return errors.Join(err, conn.Close())
	}
	if err := s.http.ServeListener(l); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// listen returns nil after Shutdown.
func (s *HTTP3) listen(conn net.PacketConn) (*quic.Listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, nil
	}
	t := &quic.Transport{Conn: conn, ConnContext: s.begun, VerifySourceAddress: func(net.Addr) bool { return s.unready.Load() > maxHandshakes }}
	l, err := t.Listen(s.tls, s.quic)
	if err == nil {
		s.transport, s.listener = t, l
	}
	return l, err
}

// Shutdown tells clients to leave, accepts nothing new and waits until running requests
// are done. When ctx ends first, it cuts what is left and returns ctx's error.
func (s *HTTP3) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	t, l := s.transport, s.listener
	s.stopped = true
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	_ = l.Close() // of a socket: nothing can be done
	<-s.served
	patient, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for s.running.Load() > 0 && patient.Err() == nil {
			<-tick.C
		}
		time.AfterFunc(goodbye, cancel)
	}()
	_ = s.http.Shutdown(patient) // waits for connections, which idle clients keep
	_ = t.Close()
	_ = t.Conn.Close()
	return ctx.Err()
}

// Advertise has the answers of next say where HTTP/3 is served (RFC 7838), in place of
// what an upstream says of itself.
func (s *HTTP3) Advertise(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&advertising{w, s.offer}, r)
	})
}

// advertising sets Alt-Svc when the answer begins.
type advertising struct {
	http.ResponseWriter
	offer []string
}

// WriteHeader implements http.ResponseWriter.
func (w *advertising) WriteHeader(status int) {
	if status >= 200 {
		w.Header()["Alt-Svc"] = w.offer
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter. After WriteHeader the field has no effect.
func (w *advertising) Write(p []byte) (int, error) {
	w.Header()["Alt-Svc"] = w.offer
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *advertising) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// connection is one of a client's. It ends when no handler ran for the idle time:
// http3's own idle time would not begin while a header is half sent.
type connection struct {
	once  sync.Once // the handshake is over
	mu    sync.Mutex
	runs  int
	timer *time.Timer // nil until the handshake is over
}

type connectionKey struct{}

// begun counts a handshake.
func (s *HTTP3) begun(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
	c := new(connection)
	s.unready.Add(1)
	context.AfterFunc(ctx, func() { s.over(c) })
	return context.WithValue(ctx, connectionKey{}, c), nil
}

func (s *HTTP3) over(c *connection) { c.once.Do(func() { s.unready.Add(-1) }) }

// connected begins to watch a connection whose handshake is over.
func (s *HTTP3) connected(ctx context.Context, conn *quic.Conn) context.Context {
	c := ctx.Value(connectionKey{}).(*connection)
	s.over(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(s.idle, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.runs == 0 {
			_ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "idle")
		}
	})
	context.AfterFunc(ctx, func() { c.timer.Stop() })
	if s.crowd.most > 0 { // counted when the address is known to be the client's own
		p := &place{crowd: &s.crowd}
		if !p.take(conn.RemoteAddr()) {
			_ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad), "too many connections")
		}
		context.AfterFunc(ctx, p.leave)
	}
	return ctx
}

// run counts handlers up or down.
func (c *connection) run(change int, idle time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.runs += change; c.runs == 0 {
		c.timer.Reset(idle)
	} else {
		c.timer.Stop()
	}
}

// handle makes requests what net/http's are over HTTP/2.
func (s *HTTP3) handle(next http.Handler, wait time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.running.Add(1)
		defer s.running.Add(-1)
		c := r.Context().Value(connectionKey{}).(*connection)
		c.run(1, s.idle)
		defer c.run(-1, s.idle)
		if r.Header.Get("Expect") == "100-continue" {
			// net/http waits with it until the body is read, which here would write
			// beside the answer.
			delete(r.Header, "Expect")
			w.WriteHeader(http.StatusContinue)
		}
		own := *r // its Trailer is replaced when the body ends; handlers keep the map that they got
		body := &trailing{ReadCloser: r.Body, own: r, announced: r.Trailer}
		own.Body = body
		if r.ContentLength < 0 && !streams(r.Method) {
			control := http.NewResponseController(w)
			_ = control.SetReadDeadline(time.Now().Add(wait))
			empty := body.look()
			_ = control.SetReadDeadline(time.Time{})
			if empty {
				own.Body, own.ContentLength = http.NoBody, 0
			}
		} else if r.ContentLength == 0 {
			own.Body = http.NoBody
		}
		next.ServeHTTP(w, &own)
	})
}

// streams reports whether a request of a method may have to be answered before its body
// begins. Others mostly have no body, which http3 does not tell: they are looked at,
// so that an upstream is not told of an empty one.
func streams(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// trailing is a request body whose trailers go where net/http puts them: into the map of
// those that the header announced.
type trailing struct {
	io.ReadCloser
	own       *http.Request // http3's
	announced http.Header
	first     []byte // read ahead
	err       error  // of reading ahead
}

// look reads the first byte and reports whether there is none.
func (b *trailing) look() (empty bool) {
	first := make([]byte, 1)
	n, err := io.ReadFull(b.ReadCloser, first)
	b.first, b.err = first[:n], err
	if n > 0 {
		b.err = nil
	}
	return errors.Is(err, io.EOF)
}

// Read implements io.Reader.
func (b *trailing) Read(p []byte) (int, error) {
	if len(b.first) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		for name := range b.announced {
			b.announced[name] = b.own.Trailer[name]
		}
	}
	return n, err
}
