package decision

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/fault"
)

// question is a request as another program describes it in a message.
type question struct {
	method, scheme, host string
	uri                  string // as sent, with the query
	header               http.Header
	body                 []byte
	// withheld is why the body cannot be judged though there is one; nil: it is all there.
	withheld error
	// client is host:port of who sent the request; empty: unknown.
	client string
}

// questions takes questions that are no HTTP requests of their own through a Gate.
type questions struct{ gate *edge.Gate }

func newQuestions(o edge.Options, listener string) (questions, error) {
	o.Listener, o.Target, o.OnlyAdds, o.KeepsPath, o.Refusal = listener, questionTarget, false, true, questionRefusal
	o.Certificates.Field = "" // a message has its own place for certificates
	gate, err := edge.NewGate(o)
	return questions{gate}, err
}

// asked is what a question takes along in its context.
type asked struct {
	err error // why it could not be read
	w   *recorder
}

type askedKey struct{}

func askedOf(r *http.Request) asked {
	a, _ := r.Context().Value(askedKey{}).(asked)
	return a
}

func questionTarget(r *http.Request, t edge.Target, _ edge.Forwarded) (edge.Target, error) {
	return edge.Target{Method: r.Method, Scheme: r.URL.Scheme, Host: r.Host, URI: r.RequestURI}, askedOf(r).err
}

func questionRefusal(x *edge.Exchange, a access.Response) access.Response {
	if w := askedOf(x.R).w; w != nil {
		w.decision = x.Decision
	}
	return a
}

// ask has q decided and calls allow when it may pass; else it returns the refusal. An
// err refuses q, so that it is recorded like any other request.
func (s questions) ask(ctx context.Context, q question, err error, allow func(*edge.Exchange)) *recorder {
	w := &recorder{header: http.Header{}}
	ctx = context.WithValue(ctx, askedKey{}, asked{err, w})
	if q.header == nil {
		q.header = http.Header{}
	}
	for _, name := range [...]string{"Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Method", "X-Forwarded-Uri"} {
		delete(q.header, name)
	}
	r := (&http.Request{
		Method: q.method, URL: &url.URL{Scheme: q.scheme}, Host: q.host, RequestURI: q.uri, Header: q.header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: q.client, Body: http.NoBody,
	}).WithContext(ctx)
	if q.withheld != nil {
		withhold(r, q.withheld)
	} else if len(q.body) > 0 {
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(q.body)), int64(len(q.body))
	}
	s.gate.Serve(w, r, func(x *edge.Exchange) {
		w.decision = x.Decision
		allow(x)
		x.W.WriteHeader(http.StatusOK)
	})
	return w
}

// errPartialBody and errNoBody are for handlers that look at a body which the asking
// proxy forwards but did not send along: judging another one would let it through.
var (
	errPartialBody = fault.New(fault.TooLarge, "request_body_partial", "the request body is too large to be judged")
	errNoBody      = fault.New(fault.Unavailable, "request_body_not_sent", "the asking proxy did not send the request body along")
)

// partial reports whether Envoy cut the body at max_request_bytes.
func partial(h http.Header) bool {
	return slices.ContainsFunc(h["X-Envoy-Auth-Partial-Body"], func(v string) bool { return strings.EqualFold(v, "true") })
}

// withhold gives r a body that cannot be read.
func withhold(r *http.Request, why error) { r.Body, r.ContentLength = unreadable{why}, -1 }

// unreadable is a body that cannot be had.
type unreadable struct{ err error }

// Read implements io.Reader.
func (b unreadable) Read([]byte) (int, error) { return 0, b.err }

// Close implements io.Closer.
func (unreadable) Close() error { return nil }

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
	// decision is what was decided, also when it is a refusal.
	decision access.Decision
}

// Header implements http.ResponseWriter.
func (w *recorder) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}
