package access

import (
	"net/url"
	"time"
)

// Upstream is where an allowed request goes. Read-only, shared by requests.
type Upstream struct {
	// URL is the base: scheme http, https or h2c, host, and an optional path that
	// is put in front of the request path. With Route.Targets it is the first one's.
	URL *url.URL
	// PreserveHost keeps the client's Host instead of the upstream's.
	PreserveHost bool
	// StripPath is removed from the start of the request path, on segment borders.
	StripPath string
	// Rewritten replaces the request path: absolute, encoded, free of dot segments;
	// empty: it is not rewritten. Nothing is stripped from it.
	Rewritten string
	// Timeout bounds the wait for the response header, over all attempts; zero means
	// the default of the listener. It never cuts a response body that is being streamed.
	Timeout time.Duration
	// Route is how the upstream is reached; nil: by URL, in one attempt, with the
	// settings of the listener, which is the fast way.
	Route *Route
}

// Route is how an upstream is reached that needs more than an address. Equal Routes of
// one rule set and of the next are one pointer, so that what is known of the targets
// outlives a reload. Durations and sizes that are zero mean the default of the
// listener, or no bound where it says so.
type Route struct {
	// Name identifies the Route in metrics: the URL of its first target.
	Name string
	// Targets are the addresses; empty: the Upstream's URL, which differs by request.
	Targets []Target
	// Guarded refuses addresses that no upstream should have: link-local ones and
	// those of metadata services. It is set for URLs that are made from requests.
	Guarded bool

	Balance Balance
	// Connect bounds connecting; Idle the silence within a response, either way for a
	// WebSocket (zero: no bound); Total the whole exchange but not a switched protocol
	// (zero: no bound).
	Connect, Idle, Total time.Duration
	Retry                Retry
	Active               ActiveHealth
	Passive              PassiveHealth
	Breaker              Breaker
	// TLS is for https targets; nil: the listener's settings.
	TLS *TLS

	// MaxRequest and MaxResponse bound bodies in bytes; zero: no bound. MaxHeader bounds
	// a response header.
	MaxRequest, MaxResponse, MaxHeader int64
}

// Target is one address of an upstream.
type Target struct {
	// URL is as Upstream.URL; of a socket its host is localhost.
	URL *url.URL
	// Socket is the path of a Unix socket that is connected to; empty: URL's host.
	Socket string
	// Weight is the target's share of requests, at least 1.
	Weight int
}

// The ways to choose among targets.
const (
	RoundRobin    = "round_robin"    // by weight, the default
	LeastRequests = "least_requests" // the less busy of two that are drawn by weight
	Hash          = "hash"           // the same target for the same key, unless it is too busy
)

// What a hash may be of. Header and cookie are followed by a name.
const (
	HashSubject = "subject"
	HashClient  = "client"
	HashHeader  = "header"
	HashCookie  = "cookie"
)

// Balance says how a target is chosen.
type Balance struct {
	Policy string // empty: RoundRobin
	// Key is what Hash hashes, Name the header field or cookie.
	Key, Name string
}

// Conditions of Retry beside statuses.
const (
	RetryConnectFailure = "connect_failure" // nothing was sent
	RetryReset          = "reset"           // the connection broke before an answer
)

// Retry says when a request is sent again. Only requests that are idempotent (RFC 9110
// section 9.2.2) and whose body is at hand are, unless nothing was sent.
type Retry struct {
	// Attempts in all; below 2: none is made again.
	Attempts int
	// ConnectFailure, Reset and Statuses are what is tried again.
	ConnectFailure, Reset bool
	Statuses              []int
	// Budget is the share of requests that may be retries, 0 to 1, over time.
	Budget float64
	// Backoff is the longest first pause, doubled for every further one up to MaxBackoff.
	Backoff, MaxBackoff time.Duration
	// Attempt bounds the wait for one attempt's response header; zero: Upstream.Timeout
	// alone.
	Attempt time.Duration
	// MaxBody is how many bytes of a request body are kept to be sent again.
	MaxBody int64
}

// ActiveHealth says how targets are probed; a zero Interval: they are not.
type ActiveHealth struct {
	Path              string
	Host              string // Host header field; empty: the target's
	Interval, Timeout time.Duration
	// Healthy and Unhealthy are how many results in a row change the state.
	Healthy, Unhealthy int
	Statuses           []int // empty: 200 to 299
}

// PassiveHealth says when a target is ejected; zero Failures: never.
type PassiveHealth struct {
	// Failures in a row: no connection, no answer, or 502, 503 or 504.
	Failures int
	// Ejection is how long it gets no requests.
	Ejection time.Duration
}

// Breaker bounds what the targets of a Route get together.
type Breaker struct {
	// MaxRequests at a time, and MaxPending that wait for up to PendingTimeout; zero
	// MaxRequests: no bound.
	MaxRequests, MaxPending int
	PendingTimeout          time.Duration
	// ErrorRate opens the breaker when, of at least MinRequests within Window, such a
	// share failed; zero: never. It stays open for Open, then one request tries.
	ErrorRate    float64
	MinRequests  int
	Window, Open time.Duration
}

// TLS says how a target is spoken to over TLS. Files are PEM; they are read again when
// they change.
type TLS struct {
	CAFile            string // empty: the listener's authorities
	CertFile, KeyFile string // the client's certificate; empty: none
	ServerName        string // for SNI and verification; empty: the target's host
	MinVersion        uint16 // of crypto/tls; zero: 1.2
	HTTP1             bool   // HTTP/2 is not offered
	SkipVerify        bool   // dangerous: anybody may answer
}
