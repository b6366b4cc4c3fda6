// Package edge is what every edge of the gateway has in common: it turns an
// http.Request into a canonical access.Request, has it decided, writes refusals
// and records one access event.
//
// A Gate does these steps in one order that an edge cannot change: trust is
// settled by the peer's address first, header fields that belong to the gateway
// are removed next, one canonical URL is made, and only then is the request
// decided. What is left to an edge (proxy, decision) is what to do with a yes.
//
// Server is the listener side: an http.Server with limits that stop slow
// clients, let long streams live, and drain them on shutdown.
package edge

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/cors"
	"github.com/gatewarden/gatewarden/fault"
)

// DecisionID is the response header that carries the decision id.
const DecisionID = "X-Decision-Id"

// RequestID is the request header that carries the decision id upstream. It is
// read from trusted peers only.
const RequestID = "X-Request-Id"

// Decider decides one request. The returned Decision is complete; Decide touches
// no network peer of the edge.
type Decider interface {
	Decide(ctx context.Context, r *access.Request) access.Decision
}

// HeaderOwner is implemented by Deciders whose rules write header fields. The
// names are canonical. The slice is read-only and a new one is returned only when
// the rules changed.
type HeaderOwner interface {
	OwnedHeaders() []string
}

// CookieOwner is implemented by Deciders whose rules write cookies. The slice is as
// HeaderOwner's.
type CookieOwner interface {
	OwnedCookies() []string
}

// CORSFinder is implemented by Deciders whose rules have CORS policies of their own.
type CORSFinder interface {
	// CORS returns the policy, nil for the listener's, and the id of the rule that is
	// for r, the request that a preflight asks about.
	CORS(r *access.Request) (policy *cors.Policy, rule string)
}

// SessionOwner is implemented by Deciders that keep sessions in cookies. It returns
// what the names begin with. Such cookies are given to the Decider as
// access.Request.Cookies and to nobody else, and no upstream can set them. The slice
// is as HeaderOwner's.
type SessionOwner interface {
	SessionCookies() []string
}

// Target is the request that is to be judged, as it came over the wire.
type Target struct {
	Method string
	Scheme string // http or https
	Host   string
	URI    string // absolute path with optional query, as sent
}

// Options configure a Gate.
type Options struct {
	// Listener names the edge in events: proxy, decision.
	Listener string
	// Decider is required. When it is a HeaderOwner, CookieOwner or SessionOwner, the
	// fields and cookies it names are removed from every request.
	Decider Decider
	// Trusted, CORS, MaxBody, MaxURI and MaxRequests are the Settings to begin with.
	Trusted             Trusted
	CORS                *cors.Policy
	MaxBody             int64
	MaxURI, MaxRequests int
	// Certificates says whose certificates of clients are believed.
	Certificates Certificates
	// Target, when set, says which request is judged in place of the received one.
	// It gets the received one with its header fields as they were sent, after
	// forwarding fields were resolved, without URI, and what the forwarding fields
	// said. It changes nothing of r.
	// Errors of kind Invalid and Forbidden are answered 400 and 403.
	Target func(r *http.Request, t Target, f Forwarded) (Target, error)
	// OnlyAdds is for edges that tell another proxy which fields to set, but cannot make
	// it remove fields that it may not even recognise: a request that has a field of the
	// rules in another spelling is refused with 400.
	OnlyAdds bool
	// KeepsPath is for edges where another proxy forwards the path as it was sent: one
	// whose canonical form has other segments is refused with 400, because the upstream
	// might see the path that was sent.
	KeepsPath bool
	// Refusal, when set, translates refusals for who asks; it must not change the
	// response that it gets, which may be shared.
	Refusal func(x *Exchange, a access.Response) access.Response
	// ReadIdle bounds the wait for the next bytes of a request body, WriteIdle the
	// wait for a client to take the next bytes of a response; 0: 60 s, negative: no
	// bound. Neither bounds the whole nor the silence of an upstream, so that long
	// streams live.
	ReadIdle, WriteIdle time.Duration
	// Upgrades are the protocols of RFC 9110 section 7.8 that may be asked for, lower
	// case. Nil: websocket. Others are served as if not asked for.
	Upgrades []string
	// Log gets one record per request, and panics. Nil: no records.
	Log *slog.Logger
	// Observe is called once per request, after the answer; for metrics.
	Observe func(*Event)
}

// Settings are what may change while a Gate is in use. A request sees the settings
// that were in force when it came.
type Settings struct {
	// Trusted are the peers whose forwarding fields are read. Zero: nobody.
	Trusted Trusted
	// CORS is for answers of rules without a policy of their own; nil: none. Preflights
	// are answered here unless Target is set: who asks about another proxy's request
	// would take the answer to a preflight for a yes.
	CORS *cors.Policy
	// MaxBody bounds a request body in bytes; 0: no bound. Beyond it: 413.
	MaxBody int64
	// MaxURI bounds the target of a request in bytes, the query included; 0: no bound.
	// Beyond it: 414.
	MaxURI int
	// MaxRequests bounds how many requests run at once, upgraded connections and long
	// answers included; 0: no bound. Beyond it: 503 with Retry-After.
	MaxRequests int
}

// Gate admits requests. Use NewGate.
type Gate struct {
	set          atomic.Pointer[Settings]
	o            Options
	owned        ownership
	certificates *certificates
	finder       CORSFinder   // nil: no rule has a policy
	running      atomic.Int64 // requests, while there is a bound
}

// NewGate returns a Gate, or an error that names the option that is missing.
func NewGate(o Options) (*Gate, error) {
	if o.Decider == nil {
		return nil, errors.New("edge: a decider is required")
	}
	if o.Upgrades == nil {
		o.Upgrades = []string{"websocket"}
	}
	o.ReadIdle, o.WriteIdle = defaultTo(o.ReadIdle, 60*time.Second), defaultTo(o.WriteIdle, 60*time.Second)
	found, err := newCertificates(o.Certificates, o.Target != nil)
	if err != nil {
		return nil, err
	}
	g := &Gate{o: o, certificates: found}
	g.Configure(Settings{Trusted: o.Trusted, CORS: o.CORS, MaxBody: o.MaxBody, MaxURI: o.MaxURI, MaxRequests: o.MaxRequests})
	if owner, ok := o.Decider.(HeaderOwner); ok {
		g.owned.headers = owner.OwnedHeaders
	}
	if owner, ok := o.Decider.(CookieOwner); ok {
		g.owned.cookies = owner.OwnedCookies
	}
	g.finder, _ = o.Decider.(CORSFinder)
	if owner, ok := o.Decider.(SessionOwner); ok {
		g.owned.sessions = owner.SessionCookies
	}
	return g, nil
}

// Configure puts s in force for requests to come.
func (g *Gate) Configure(s Settings) { g.set.Store(&s) }

// Exchange is one request on its way through an edge.
type Exchange struct {
	// W writes the answer and records it in Event.
	W http.ResponseWriter
	// R is the received request: its Header is cleaned, its Method upper case, and its
	// Body may be read once.
	R *http.Request
	// Request is what was decided.
	Request access.Request
	// Decision allows, whenever an edge sees the Exchange.
	Decision access.Decision
	// Removed are the fields of the rules that the client had sent, in its spelling.
	Removed []string
	// CookiesRemoved says that the request had cookies that belong to the gateway.
	CookiesRemoved bool
	// Event is logged when the edge returns.
	Event Event

	gate      *Gate
	set       *Settings
	writer    responseWriter
	body      body
	url       url.URL
	forwarded Forwarded
	stripped  *headerSet
	id        [1]string // Request.ID, for headers
	crowded   bool      // more requests run than may
}

// Serve admits r, has it decided, and calls pass when it is allowed; refusals are
// written here. It records the event and recovers panics: 500 when nothing was
// sent yet, else the connection is aborted.
func (g *Gate) Serve(w http.ResponseWriter, r *http.Request, pass func(*Exchange)) {
	x := &Exchange{R: r, gate: g, set: g.set.Load()}
	x.writer = responseWriter{ResponseWriter: w, idle: g.o.WriteIdle, multiplexed: r.ProtoMajor > 1, x: x}
	x.W = &x.writer
	x.Event = Event{Listener: g.o.Listener, Start: time.Now(), Method: r.Method}
	defer func() {
		v := recover()
		if v != nil {
			x.failed(v)
		}
		x.finish()
		if v != nil && x.Event.Aborted {
			panic(http.ErrAbortHandler)
		}
	}()
	if x.set.MaxRequests > 0 {
		x.crowded = g.running.Add(1) > int64(x.set.MaxRequests)
		defer g.running.Add(-1)
	}
	if err := x.admit(); err != nil {
		x.Decision = access.Decision{Reason: fault.ReasonOf(err), Err: err, Refusal: Refusal(x.Request.ID, err)}
	} else if r.Method == http.MethodOptions && x.preflight() {
		x.Event.Decided = time.Since(x.Event.Start)
		return
	} else {
		x.Decision = g.o.Decider.Decide(r.Context(), &x.Request)
	}
	x.crossOrigin()
	x.Event.Decided = time.Since(x.Event.Start)
	x.writer.fields = x.Decision.ResponseHeader
	if !x.Decision.Allow {
		x.refuse()
		return
	}
	if now := g.owned.current(); now != x.stripped {
		// The rules changed between cleaning and deciding: the decision may be the
		// newer rules', so their fields must be clean too.
		x.strip(now)
		x.forwarded.write(r.Header, x.url.Host, x.url.Scheme)
		if err := x.spelling(); err != nil {
			x.Decision = access.Decision{RuleID: x.Decision.RuleID, Reason: fault.ReasonOf(err), Err: err, Refusal: Refusal(x.Request.ID, err)}
			x.refuse()
			return
		}
	}
	pass(x)
}

var (
	errCrowded    = &fault.Error{Kind: fault.Unavailable, Reason: "too_many_concurrent_requests", Message: "the gateway is busy", RetryAfter: time.Second}
	errURITooLong = fault.New(fault.TooLong, "uri_too_long", "the URI is too long")
)

// admit builds x.Request. Errors are faults of kind Invalid, Forbidden, TooLarge,
// TooLong, Unavailable.
func (x *Exchange) admit() error {
	r, g := x.R, x.gate
	x.forwarded = x.set.Trusted.resolve(r)
	f := &x.forwarded
	x.Request.ID = newID(r, f.Trusted)
	x.id[0] = x.Request.ID
	x.Request.Client = f.Client
	x.Event.ID, x.Event.Client = x.Request.ID, f.Client
	if x.crowded {
		return errCrowded
	}
	if x.set.MaxURI > 0 && len(r.RequestURI) > x.set.MaxURI {
		return errURITooLong
	}
	err := checkHost(r)
	if err == nil {
		x.Request.Certificate, err = g.certificates.of(r, f)
	}
	t := Target{Method: r.Method, Scheme: f.Scheme, Host: f.Host}
	if err == nil && g.o.Target != nil {
		t, err = g.o.Target(r, t, *f)
	}
	if connection := x.strip(g.owned.current()); connection {
		cleanHopByHop(r, g.o.Upgrades)
	}
	if err != nil {
		return err
	}
	if err := x.spelling(); err != nil {
		return err
	}
	u := r.URL
	if g.o.Target != nil {
		u = new(url.URL)
		if err := parseTarget(u, t.URI); err != nil {
			return err
		}
	}
	if t.Method, err = canonicalMethod(t.Method); err != nil {
		return err
	}
	x.Event.Method = t.Method
	if err := canonicalURL(&x.url, u, t.Scheme, t.Host); err != nil {
		return err
	}
	if g.o.KeepsPath && u.Path != x.url.Path {
		return invalid("path_not_canonical", "the path has empty or dot segments, which the upstream may read in another way")
	}
	if r.Method != t.Method {
		// A copy: net/http frames its answer by the method of its own request, and
		// the method that is judged or forwarded may be another one.
		x.R = r.WithContext(r.Context())
		x.R.Method = t.Method
	}
	f.write(r.Header, x.url.Host, x.url.Scheme)
	r.Header[RequestID] = x.id[:]
	x.Request.Method, x.Request.URL, x.Request.Header = t.Method, &x.url, r.Header
	return x.admitBody()
}

// strip takes from the request what belongs to the gateway. It reports whether there
// are fields of the connection.
func (x *Exchange) strip(s *headerSet) (connection bool) {
	removed, connection := s.strip(x.R.Header)
	x.Removed = append(x.Removed, removed...)
	sessions, found := s.stripCookies(x.R.Header)
	if x.stripped == nil { // what was decided on does not change any more
		x.Request.Cookies = sessions
	}
	x.stripped, x.CookiesRemoved = s, found || x.CookiesRemoved
	s.cleanTrailers(x.R.Trailer)
	return connection
}

// spelling refuses what an edge that only adds fields cannot remove.
func (x *Exchange) spelling() error {
	if x.gate.o.OnlyAdds {
		for _, name := range x.Removed {
			if !isPlainName(name) {
				return invalid("header_alias", "the request has another spelling of a header field that belongs to the gateway")
			}
		}
	}
	return nil
}

func (x *Exchange) admitBody() error {
	r, limit := x.R, x.set.MaxBody
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	if limit > 0 && r.ContentLength > limit {
		return errBodyTooLarge
	}
	x.body = body{src: r.Body, max: limit}
	if x.gate.o.ReadIdle > 0 && (r.ProtoMajor == 1 || r.ContentLength > 0) {
		// An HTTP/2 stream without a length may rest for as long as it likes.
		x.body.idle, x.body.control = x.gate.o.ReadIdle, http.NewResponseController(x.writer.ResponseWriter)
	}
	// A copy: net/http looks at the type of its own request's Body to leave one alone
	// that the client was never told to send.
	x.R = r.WithContext(r.Context())
	x.R.Body = &x.body
	x.Request.Body = x.body.Peek
	return nil
}

// CleanAnswer removes from the header of an upstream's answer what only the gateway
// tells a client: cookies of its sessions, and the fields of Decision.ResponseHeader.
func (x *Exchange) CleanAnswer(h http.Header) {
	x.gate.owned.current().cleanAnswer(h)
	for name := range x.Decision.ResponseHeader {
		if name != "Set-Cookie" {
			delete(h, name)
		}
	}
}

// BodyErr returns why reading the request's body failed, nil when it did not:
// a fault of kind TooLarge or Invalid, or Timeout when the client stalled.
func (x *Exchange) BodyErr() error { return x.body.failure() }

// refuse writes the decision's refusal.
func (x *Exchange) refuse() {
	refusal := x.Decision.Refusal
	if refusal.Status < 200 || refusal.Status > 599 {
		refusal = Refusal(x.Request.ID, nil)
	}
	if x.gate.o.Refusal != nil {
		refusal = x.gate.o.Refusal(x, refusal)
	}
	x.write(refusal)
}

// Fail answers with a gateway error instead of a response of the upstream, when
// nothing was sent yet.
func (x *Exchange) Fail(status int, reason, message string, err error) {
	x.Event.Reason, x.Event.Err, x.Event.Outcome = reason, err, OutcomeError
	if x.writer.status == 0 {
		x.write(gatewayError(x.Request.ID, status, reason, message))
	}
}

// Identify puts the decision id into the answer.
func (x *Exchange) Identify() { x.W.Header()[DecisionID] = x.id[:] }

func (x *Exchange) write(a access.Response) {
	x.Identify()
	writeResponse(x.W, a)
}

// failed handles a panic with value v.
func (x *Exchange) failed(v any) {
	if v == http.ErrAbortHandler { // a broken stream, already explained or the client's doing
		x.Event.Aborted = true
		x.Event.Outcome = OutcomeError
		switch {
		case x.Event.Reason != "": // the edge knows better
		case x.R.Context().Err() != nil:
			x.Event.Reason = "client_closed_request"
		default:
			x.Event.Reason = "stream_aborted"
		}
		return
	}
	if x.gate.o.Log != nil {
		x.gate.o.Log.Error("panic", "listener", x.gate.o.Listener, "decision_id", x.Request.ID, "panic", v, "stack", string(debug.Stack()))
	}
	x.Event.Aborted = x.writer.status != 0
	x.Fail(http.StatusInternalServerError, "internal", "", errors.New("panic"))
}

func (x *Exchange) finish() {
	e, d := &x.Event, &x.Decision
	x.writer.done()
	x.body.leave()
	e.Rule, e.Subject, e.Allowed = d.RuleID, d.Subject.ID, d.Allow
	e.Host, e.Path, e.Scheme = x.url.Host, x.url.Path, x.url.Scheme
	if x.url.Path == "" {
		e.Path = clip(x.R.URL.EscapedPath())
	}
	if e.Reason == "" {
		e.Reason, e.Err = d.Reason, d.Err
	}
	e.Status, e.Bytes = x.writer.status, x.writer.bytes
	if e.Outcome == "" {
		e.Outcome = outcomeOf(d.Allow, e.Status)
		if d.Served && e.Outcome == OutcomeDeny && e.Status < http.StatusBadRequest {
			e.Outcome = OutcomeServed
		}
	}
	e.Took = time.Since(e.Start)
	if x.gate.o.Log != nil {
		e.log(x.R.Context(), x.gate.o.Log)
	}
	if x.gate.o.Observe != nil {
		x.gate.o.Observe(e)
	}
}

// newID returns the X-Request-Id of a trusted peer when it is a plain token, else
// a fresh id of 128 random bits.
func newID(r *http.Request, trusted bool) string {
	if trusted {
		if v := r.Header[RequestID]; len(v) == 1 && plainID(v[0]) {
			return v[0]
		}
	}
	return rand.Text()
}

// plainID accepts 1 to 128 letters, digits, '-', '_' and '.'.
func plainID(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !isAlnum(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// Addr parses an http.Request's RemoteAddr; the zero Addr when it is none, as on
// a Unix socket. IPv4 in IPv6 is unwrapped and a zone dropped.
func Addr(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
