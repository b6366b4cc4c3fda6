// Package access holds the values that a request turns into on its way to a decision.
//
// An edge (proxy, decision endpoint) builds one canonical Request. The rules
// engine decides it and returns a Decision, which is a value: nothing has
// touched the network or a ResponseWriter yet. The edge then applies the
// Decision and nothing else. The package has no behaviour and does no I/O, and
// it imports the standard library only.
//
// Zero values are safe: the zero Verdict denies and the zero Decision refuses.
package access

import (
	"context"
	"crypto/x509"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// Request is one request as the gateway sees it. It is built once at the edge,
// is canonical, and is never changed afterwards; it may be shared by goroutines.
type Request struct {
	// ID is the decision id. It is in the access event and in X-Decision-Id.
	ID string
	// Method is the request method, upper case.
	Method string
	// URL is absolute: what is matched is exactly what is forwarded, logged and
	// put into policies. Scheme and Host are lower case, Host has no default port
	// and no trailing dot, Path is decoded and free of dot segments, RawPath is
	// set only when the wire form differs, and RawQuery is byte for byte as sent.
	URL *url.URL
	// Header holds the request's header fields in canonical spelling. Read-only.
	Header http.Header
	// Cookies are those of the gateway's own sessions, in the order they were sent.
	// They are not in Header, so that nobody who sends Header on sends them on.
	// Read-only.
	Cookies []*http.Cookie
	// Client is the address of the client after trusted proxies were resolved.
	Client netip.Addr
	// Certificate is the certificate that the client has proved to hold, in a TLS
	// handshake with the gateway or with a trusted peer; nil: none.
	Certificate *ClientCertificate
	// Body reads at most limit bytes of the body and leaves it readable for the
	// forwarder. It returns a fault of kind TooLarge beyond limit. Nil: no body.
	Body func(limit int64) ([]byte, error)
}

// ClientCertificate is a certificate whose key the client has. It is never changed
// and may be shared by requests.
type ClientCertificate struct {
	// Leaf is the client's own certificate, Chain what came with it, in that order.
	Leaf  *x509.Certificate
	Chain []*x509.Certificate
	// Verified says that a chain for client authentication that is valid now leads to
	// an authority of the listener (client_ca). Without it the certificate proves the
	// possession of a key, and no name.
	Verified bool
	// Forwarded says that a trusted peer saw the handshake and told of it; else the
	// gateway saw it.
	Forwarded bool
	// SHA256 is the digest of Leaf.Raw: the fingerprint, and x5t#S256 of RFC 8705
	// section 3.1.
	SHA256 [32]byte
}

// Subject is who is asking.
type Subject struct {
	// ID is the subject identifier; empty for a request that nobody vouched for.
	ID string
	// Via names the authenticator that established the subject.
	Via string
	// Extra holds claims and attributes. Read-only: it may be shared by requests.
	Extra map[string]any
	// Token is the access token that established the subject, for mutators that
	// exchange it; empty when there was none, or when DPoP proofs must come with it. A
	// secret: templates, logs and services do not see it.
	Token string
	// ResponseHeader holds fields for the client's response, such as Set-Cookie. It is
	// set by authenticators alone; the engine moves it to the Decision, so that no
	// later stage sees it.
	ResponseHeader http.Header
}

// Lease is what accepted a credential that may end before an exchange that it opened
// does: a WebSocket, an event stream. Authenticators implement it.
type Lease interface {
	// Renew checks the credentials of r, which were accepted before, once more. It
	// spends, refreshes and counts nothing. It returns when they end, zero when no end
	// is known. Errors are those of the authenticator: fault.Unavailable and
	// fault.Timeout mean that it could not be found out, any other one that the
	// credentials are good no longer.
	Renew(ctx context.Context, r *Request) (until time.Time, err error)
}

// Input is what authorizers and mutators see. It exists only after authentication.
type Input struct {
	Request *Request
	Subject Subject
	RuleID  string
	// Captures are the capture groups of the rule's URL pattern, without the
	// whole match, in order.
	Captures []string
}

// Verdict is an authorizer's answer. The zero value denies.
type Verdict struct {
	Allow bool
	// Reason is a stable reason id such as policy_denied. Empty means the default
	// of the stage.
	Reason string
	// Message is what the client of a denial is told; empty means a general text.
	Message string
	// Header fields to send upstream (proxy) or to return (decision endpoint).
	Header http.Header
}

// Pass is what an allowed request carries upstream beside its own fields.
type Pass struct {
	Subject Subject
	// Set replaces header fields; keys are canonical.
	Set http.Header
	// Remove names header fields that must not reach the upstream.
	Remove []string
	// Cookies replace request cookies of the same name.
	Cookies []*http.Cookie
}

// Response is what a refused client is told, as data.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Reply is an error that brings its own answer (a redirect to a login page): no
// error handler is asked.
type Reply struct {
	Response Response
	// Reason is the decision's reason id.
	Reason string
	// Err is the cause, for the log; nil when nothing went wrong.
	Err error
}

// Error is the text of the cause, else the reason.
func (r *Reply) Error() string {
	if r.Err != nil {
		return r.Err.Error()
	}
	return r.Reason
}

// Unwrap returns the cause.
func (r *Reply) Unwrap() error { return r.Err }

// CrossOrigin puts the fields of a CORS policy into the header of an answer, in place
// of the upstream's; origin is the request's field.
type CrossOrigin interface {
	Answer(origin []string, answer http.Header)
}

// Decision is the outcome of one request. The zero value refuses.
type Decision struct {
	Allow   bool
	RuleID  string
	Subject Subject
	// Pass is set only when Allow.
	Pass Pass
	// Upstream is nil for rules that only decide.
	Upstream *Upstream
	// CORS is the rule's own policy; nil for the listener's.
	CORS CrossOrigin
	// Lease is who accepted the credentials; nil when these do not end. Set only when
	// Allow.
	Lease Lease
	// Refusal is set only when !Allow. A zero Refusal is written as status 500.
	Refusal Response
	// ResponseHeader holds fields for the client's response, whoever makes it: the
	// upstream, the refusal, or the edge. Set-Cookie is added, others replace. Keys are
	// canonical.
	ResponseHeader http.Header
	// Served says that Refusal is the answer of a path of the gateway's own, such as
	// the callback of a login.
	Served bool
	// Reason is a stable reason id: allowed, no_rule_match, ambiguous_rules,
	// missing_credentials, invalid_credentials, policy_denied, ...
	Reason string
	// Err is the cause of a refusal, for the log only.
	Err error
	// Trace lists the stages; it is filled only when asked for.
	Trace []Step
}

// Step is one stage of a decision, for explain and traces.
type Step struct {
	Stage    string // match, authn, authz, mutate, upstream, error
	Handler  string
	Outcome  string // ok, skipped, denied, failed
	Detail   string
	Duration time.Duration
}

// Token is what is known about an access token after introspection (RFC 7662
// section 2.2). The zero value is an inactive token.
type Token struct {
	Active  bool
	ID      string // jti
	Subject string
	// ClientSubject is the subject as the token's client knows the person (OpenID Connect
	// Core section 8.1); empty: Subject.
	ClientSubject string
	ClientID      string
	Username      string
	Issuer        string
	TokenType     string // Bearer, DPoP
	TokenUse      string // access_token, refresh_token; empty when unknown
	Scope         []string
	Audience      []string
	IssuedAt      time.Time
	NotBefore     time.Time
	ExpiresAt     time.Time // zero: unknown
	// Bound says what the sender of the token must prove to hold (cnf).
	Bound Confirmation
	// Extra is the response's ext member: claims that the consent or the client added.
	Extra map[string]any
	// Claims are further top-level members of the introspection response.
	Claims map[string]any
}

// Confirmation is the member cnf of a token (RFC 7800): what its sender must prove to
// hold. The zero value demands nothing: a bearer token. All that is set must be proved.
type Confirmation struct {
	// JKT is the RFC 7638 thumbprint of the key that signs DPoP proofs, in base64url
	// (RFC 9449 section 6.1); empty: none.
	JKT string `json:"jkt,omitempty"`
	// X5TS256 is the SHA-256 digest of the client's certificate, in base64url
	// (RFC 8705 section 3.1); empty: none.
	X5TS256 string `json:"x5t#S256,omitempty"`
	// Other says that the token is bound in a way that is not known here.
	Other bool `json:"-"`
}
