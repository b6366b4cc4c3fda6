// Package wire is a server of HTTP/1.1 that reads a request, runs its handler and
// writes the answer on the one goroutine of the connection. It does for plain requests
// what http.Server does with a second goroutine for each and a dozen deadlines, at a
// third of the cost; it is the counterpart of package proxy/wire.
//
// It reads less than the standard library and never anything else: a request that is
// in any way unusual (see plain.go) is not judged here. The connection goes to an
// http.Server with every byte of that request before it, and stays there. So nothing
// is read in two ways, and what is malformed is refused by the standard library.
//
// Not for TLS.
package wire

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Server serves plain requests itself and hands other connections to an http.Server.
// Use New.
type Server struct {
	rest   *http.Server
	header time.Duration // bound of the arrival of a header
	idle   time.Duration
	limit  int // bytes of a header
	log    *log.Logger

	handed  handover
	closing atomic.Bool
	date    atomic.Pointer[date]

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
}

// New returns a Server that serves as rest is set up: by its Handler, ErrorLog,
// BaseContext and MaxHeaderBytes, and with its ReadHeaderTimeout and IdleTimeout, which
// must be positive. Its other timeouts and hooks are for the connections that it gets.
func New(rest *http.Server) *Server {
	logger := rest.ErrorLog
	if logger == nil {
		logger = log.Default() // as http.Server does
	}
	return &Server{
		rest: rest, header: rest.ReadHeaderTimeout, idle: rest.IdleTimeout, limit: rest.MaxHeaderBytes + slop, log: logger,
		handed:    handover{conns: make(chan net.Conn), closed: make(chan struct{})},
		listeners: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{},
	}
}

// slop is what http.Server reads beyond MaxHeaderBytes before it refuses.
const slop = 4 << 10

// Serve accepts connections on l until Shutdown or Close; then it returns
// http.ErrServerClosed. It closes l.
func (s *Server) Serve(l net.Listener) error {
	l = &onceCloser{Listener: l}
	defer l.Close()
	if !s.trackListener(l, true) {
		return http.ErrServerClosed
	}
	defer s.trackListener(l, false)
	s.handed.address = l.Addr()
	go func() { _ = s.rest.Serve(&s.handed) }() // ends with Shutdown or Close only
	base := context.Background()
	if s.rest.BaseContext != nil {
		base = s.rest.BaseContext(l)
	}
	base = context.WithValue(base, http.ServerContextKey, s.rest)
	var delay time.Duration
	for {
		nc, err := l.Accept()
		if s.closing.Load() {
			if err == nil {
				_ = nc.Close()
			}
			return http.ErrServerClosed
		}
		if err != nil {
			if !passing(err) {
				return err
			}
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			s.log.Printf("accept: %v; again in %v", err, delay)
			time.Sleep(delay)
			continue
		}
		delay = 0
		c := newConn(s, nc)
		if !s.track(c) {
			_ = nc.Close()
			return http.ErrServerClosed
		}
		go c.serve(base)
	}
}

// passing reports whether Accept may succeed later, as when files have run out.
func passing(err error) bool {
	var ne net.Error
	//lint:ignore SA1019 http.Server asks the same; nothing else tells
	return errors.As(err, &ne) && ne.Temporary()
}

// Shutdown stops accepting, closes connections on which no request runs, and waits
// until the others are done. When ctx ends first it returns ctx's error; Close cuts
// what is left. Hijacked connections are forgotten, as http.Server does.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	s.closeResting()
	if err := s.rest.Shutdown(ctx); err != nil {
		return err
	}
	pause := time.Millisecond
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for !s.closeResting() {
		select {
		case <-timer.C:
			pause = min(2*pause, 100*time.Millisecond)
			timer.Reset(pause)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Connections are those that it serves itself, with a request or without.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Close closes all connections at once and cancels the requests on them.
func (s *Server) Close() error {
	s.stop()
	err := s.rest.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.cut()
	}
	return err
}

// stop closes the listeners; connections are no longer handed over, nor kept.
func (s *Server) stop() {
	s.closing.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.listeners {
		_ = l.Close()
	}
	_ = s.handed.Close()
}

// closeResting closes connections on which no request runs, and reports whether none
// is left.
func (s *Server) closeResting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.closeIfResting()
	}
	return len(s.conns) == 0
}

// track reports false when the server is closing.
func (s *Server) track(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *Server) trackListener(l net.Listener, add bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if add && s.closing.Load() {
		return false
	}
	if add {
		s.listeners[l] = struct{}{}
	} else {
		delete(s.listeners, l)
	}
	return true
}

// date is the text of a Date field for one second.
type date struct {
	second int64
	text   string
}

// dateOf returns the text of a Date field; it is formatted once a second.
func (s *Server) dateOf(now time.Time) string {
	second := now.Unix()
	if d := s.date.Load(); d != nil && d.second == second {
		return d.text
	}
	d := &date{second, now.UTC().Format(http.TimeFormat)}
	s.date.Store(d)
	return d.text
}

// onceCloser closes a listener once: some remove files when they close.
type onceCloser struct {
	net.Listener
	once sync.Once
	err  error
}

// Close implements net.Listener.
func (l *onceCloser) Close() error {
	l.once.Do(func() { l.err = l.Listener.Close() })
	return l.err
}
