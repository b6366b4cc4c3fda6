package edge

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/gatewarden/gatewarden/edge/wire"
)

// ServerOptions configure a Server. Zero values are the defaults named.
type ServerOptions struct {
	Handler http.Handler
	// TLS turns TLS and, by ALPN, HTTP/2 on. Versions below 1.2 are refused.
	TLS *tls.Config
	// H2C accepts HTTP/2 with prior knowledge on a listener without TLS.
	H2C bool
	// ReadHeaderTimeout bounds the arrival of a request header; default 10 s.
	ReadHeaderTimeout time.Duration
	// IdleTimeout bounds the wait for the next request of a connection; default 120 s.
	IdleTimeout time.Duration
	// MaxHeaderBytes bounds a request header; default 64 KiB. Beyond it: 431.
	MaxHeaderBytes int
	// ProxyProtocol says whose PROXY protocol headers are read. Zero: nobody's.
	ProxyProtocol ProxyProtocol
	// Standard serves every request by net/http. Else, on a listener without TLS, plain
	// requests are served by package wire.
	Standard bool
	// ConnectionsPerClient bounds the connections of one client, an IPv4 address or an
	// IPv6 network of 64 bits, after PROXY protocol; 0: no bound. The next ones are
	// closed. Exempt clients and peers without an address are not counted.
	ConnectionsPerClient int
	Exempt               func(netip.Addr) bool // nil: nobody
	// Refused is called for each connection that is closed for being too many. Nil:
	// nothing. It must not block.
	Refused func()
	// Farewell bounds the wait, at a Shutdown, for clients that keep a connection to learn
	// from their next answer that it ends. What is idle then is closed. 0: no wait.
	Farewell time.Duration
	// Log gets the server's own complaints at level debug. Nil: none.
	Log *slog.Logger
}

// Server is a listener with limits. It has no read or write timeout for a whole
// request, which would cut streams; see Options.ReadIdle and WriteIdle.
type Server struct {
	http    *http.Server
	wire    *wire.Server // nil: not used
	proxied ProxyProtocol
	crowd   crowd // but for its Listener
	cancel  context.CancelFunc
	running atomic.Int64 // handlers

	farewell time.Duration
	leaving  atomic.Bool
	stopping atomic.Bool
	standard atomic.Int64                 // connections of http
	listener atomic.Pointer[net.Listener] // nil: it does not serve yet
}

// NewServer returns a Server that is not yet serving.
func NewServer(o ServerOptions) *Server {
	s := &Server{proxied: o.ProxyProtocol, farewell: o.Farewell, crowd: crowd{most: o.ConnectionsPerClient, exempt: o.Exempt, refused: o.Refused, of: map[netip.Prefix]int{}}}
	if o.Refused == nil {
		s.crowd.refused = func() {}
	}
	base, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(o.H2C && o.TLS == nil)
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s.http = &http.Server{
		Handler:           s.count(o.Handler),
		ReadHeaderTimeout: defaultTo(o.ReadHeaderTimeout, 10*time.Second),
		IdleTimeout:       defaultTo(o.IdleTimeout, 120*time.Second),
		MaxHeaderBytes:    defaultTo(o.MaxHeaderBytes, 64<<10),
		Protocols:         &protocols,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnState:         s.follow,
		// OPTIONS * is nobody's resource; it is refused like any other such target.
		DisableGeneralOptionsHandler: true,
	}
	if o.TLS != nil {
		s.http.TLSConfig = o.TLS.Clone()
		s.http.TLSConfig.MinVersion = max(o.TLS.MinVersion, tls.VersionTLS12)
	} else if !o.Standard {
		s.wire = wire.New(s.http)
	}
	return s
}

func defaultTo[T ~int | ~int64](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// Serve accepts connections on l until Shutdown; then it returns nil.
func (s *Server) Serve(l net.Listener) error {
	var err error
	if !s.proxied.Trusted.Nobody() {
		l = announcing{Listener: l, ProxyProtocol: s.proxied, timeout: s.http.ReadHeaderTimeout}
	}
	if s.crowd.most > 0 {
		s.crowd.Listener = l
		l = &s.crowd
	}
	s.listener.Store(&l)
	if s.stopping.Load() {
		return l.Close()
	}
	switch {
	case s.http.TLSConfig != nil:
		err = s.http.ServeTLS(l, "", "")
	case s.wire != nil:
		err = s.wire.Serve(l)
	default:
		err = s.http.Serve(l)
	}
	if err == http.ErrServerClosed || s.stopping.Load() {
		return nil
	}
	return err
}

// Leave has every answer of HTTP/1.1 end its connection from now on, so that clients
// that keep connections are elsewhere when Shutdown comes.
func (s *Server) Leave() { s.leaving.Store(true) }

// follow counts the connections that net/http serves.
func (s *Server) follow(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.standard.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.standard.Add(-1)
	}
}

// depart accepts nothing new, and waits a moment for the connections that are kept to
// end with their next answer: to close one that is idle may take a request that is on
// its way with it.
func (s *Server) depart(ctx context.Context) {
	s.stopping.Store(true)
	s.Leave()
	if l := s.listener.Load(); l != nil {
		_ = (*l).Close()
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(s.farewell); time.Now().Before(end) && ctx.Err() == nil; <-tick.C {
		if s.standard.Load() == 0 && (s.wire == nil || s.wire.Connections() == 0) {
			return
		}
	}
}

// Shutdown stops accepting and waits until running requests are done, upgraded
// connections included. When ctx ends first, it cuts what is left and returns
// ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.depart(ctx)
	shutdown, cut := s.http.Shutdown, s.http.Close
	if s.wire != nil {
		shutdown, cut = s.wire.Shutdown, s.wire.Close
	}
	err := shutdown(ctx)
	if err == nil {
		err = s.wait(ctx)
	}
	s.cancel() // ends upgraded connections, which no server knows
	if err != nil {
		_ = cut() // the error of ctx says more
	}
	return err
}

// count follows running handlers, because servers forget hijacked connections.
func (s *Server) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.running.Add(1)
		defer s.running.Add(-1)
		if doubtful(r) || r.ProtoMajor == 1 && s.leaving.Load() {
			w = closing{w}
		}
		next.ServeHTTP(w, r)
	})
}

// wait polls, as http.Server.Shutdown does; nothing new starts any more.
func (s *Server) wait(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for s.running.Load() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// doubtful reports whether a peer may have framed the body of r in another way:
// net/http does not tell whether a chunked request had a length as well, nor whether
// one of HTTP/1.0 was chunked.
func doubtful(r *http.Request) bool {
	return r.ProtoMajor == 1 && (len(r.TransferEncoding) > 0 || r.ProtoMinor == 0)
}

// closing ends the connection after the answer, so that no request follows on it (RFC
// 9112 sections 6.1 and 9.6).
type closing struct{ http.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w closing) WriteHeader(status int) {
	if status >= 200 {
		w.Header()["Connection"] = []string{"close"}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter. After WriteHeader the field has no effect.
func (w closing) Write(p []byte) (int, error) {
	w.Header()["Connection"] = []string{"close"}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w closing) Unwrap() http.ResponseWriter { return w.ResponseWriter }
