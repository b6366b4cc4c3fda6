package edge

import (
	"crypto/rand"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"
)

// Guard is the outer middleware of listeners that decide nothing, such as the
// management API: it bounds request bodies, recovers panics and observes answers.
type Guard struct {
	// Listener names the listener in the log.
	Listener string
	// MaxBody bounds a request body in bytes; 0: 1 MiB.
	MaxBody int64
	// BodyTimeout bounds the arrival of a whole request body; 0: 30 s. WriteIdle bounds
	// the wait for a client to take the next bytes of an answer; 0: 60 s.
	BodyTimeout, WriteIdle time.Duration
	// Certificates finds the certificates of clients for CertificateOf. Nil: no request
	// has one.
	Certificates *ClientCertificates
	// Log gets panics. Nil: nothing.
	Log *slog.Logger
	// Observe is called once per request, after the answer; status is 0 when nothing
	// was sent.
	Observe func(r *http.Request, status int, took time.Duration)
}

// Handler returns next behind the guard. Every request has a fresh X-Request-Id,
// which is in the answer and in the log of a panic; a panic is 500 with that id.
func (g Guard) Handler(next http.Handler) http.Handler {
	if g.MaxBody == 0 {
		g.MaxBody = 1 << 20
	}
	g.BodyTimeout, g.WriteIdle = defaultTo(g.BodyTimeout, 30*time.Second), defaultTo(g.WriteIdle, 60*time.Second)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began, id := time.Now(), rand.Text()
		rw := &responseWriter{ResponseWriter: w, idle: g.WriteIdle, multiplexed: r.ProtoMajor > 1}
		r, unreadable := g.Certificates.attach(r)
		stripCertificates(r.Header)
		r.Header[RequestID] = []string{id}
		rw.Header()[RequestID] = []string{id}
		if r.Body != nil && r.Body != http.NoBody {
			limited := r.WithContext(r.Context()) // see Exchange.admitBody
			limited.Body = http.MaxBytesReader(w, r.Body, g.MaxBody)
			r = limited
			// Not supported: no bound. It holds for what a handler leaves unread, too.
			_ = http.NewResponseController(w).SetReadDeadline(began.Add(g.BodyTimeout))
		}
		defer func() {
			v := recover()
			rw.done()
			if v != nil && v != http.ErrAbortHandler {
				if g.Log != nil {
					g.Log.Error("panic", "listener", g.Listener, "request_id", id, "panic", v, "stack", string(debug.Stack()))
				}
				if rw.status == 0 {
					writeResponse(rw, Refusal(id, nil))
					v = nil
				}
			}
			if g.Observe != nil {
				g.Observe(r, rw.status, time.Since(began))
			}
			if v != nil {
				panic(http.ErrAbortHandler)
			}
		}()
		if unreadable != nil {
			writeResponse(rw, Refusal(id, unreadable))
			return
		}
		next.ServeHTTP(rw, r)
	})
}
