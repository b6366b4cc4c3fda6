// Package api is the management API over HTTP and JSON: package manage behind
// gorilla/mux. It serves the gateway's own endpoints (/rules, health, version,
// metrics, keys), the policies and groups of early Hydra, and Hydra's
// administrative API both without prefix (v1) and under /admin (v2).
// openapi.yaml in this folder describes every route.
//
// A handler reads an exchange and returns an error; one place turns errors into
// the envelope of the path: RFC 9457 for our own paths, Ory's for Oathkeeper's and
// early Hydra's, OAuth 2.0's for Hydra's.
package api

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/gorilla/mux"

	"github.com/gatewarden/gatewarden/authz"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/oauth2"
)

// Decisions is the decision endpoint. It sees its requests as they were sent, in
// front of the router and of the guard: other proxies call it with the host,
// method and header fields of their clients.
type Decisions interface {
	http.Handler
	Handles(r *http.Request) bool
}

// Check is one part of readiness.
type Check struct {
	Name string
	// Check returns nil when the part works; its error is shown to operators.
	Check func(ctx context.Context) error
}

// Build says which program is running.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Date    string `json:"date,omitempty"`
}

// Reloaded is what a reload did.
type Reloaded struct {
	// Changed are keys of the configuration that are in force as they are now; Restart
	// are those that need a restart and stay as they were.
	Changed []string `json:"changed"`
	Restart []string `json:"restart"`
	// Rules is the version of the rule set in force.
	Rules uint64 `json:"rule_set_version"`
}

// Deps is what the API is made of. A part that is nil has no routes.
type Deps struct {
	Rules    *manage.Rules
	Policies *manage.Policies
	Groups   *manage.Groups
	// Warden decides for /warden/allowed and AuthZEN, and with Tokens for /warden/token/allowed.
	Warden authz.Warden
	// ByRules decides AuthZEN's questions about routes; nil: the policies do.
	ByRules RouteDecider
	Clients *manage.Clients
	Users   *manage.Users
	Keys    *manage.Keys
	// GatewayKeys are the public keys of the id_token mutator, the one that signs
	// first: /.well-known/jwks.json and /keys/id-token.public.
	GatewayKeys func(ctx context.Context) (jose.JSONWebKeySet, error)
	LoginApp    oauth2.LoginApp
	LogoutApp   oauth2.LogoutApp
	DeviceApp   oauth2.DeviceApp
	// BackchannelApp answers requests that wait for people (OpenID CIBA Core); nil: there are
	// none.
	BackchannelApp oauth2.BackchannelApp
	Sessions       *manage.Sessions
	TrustGrants    *manage.TrustGrants
	Tokens         *manage.Tokens
	Decisions      Decisions
	Metrics        http.Handler
	// Reload reads configuration, certificates and rules again: POST /reload.
	Reload func(ctx context.Context) (Reloaded, error)

	// Upstreams lists the addresses that rules lead to and what is known of them.
	Upstreams func() any

	// Checks say what readiness depends on.
	Checks []Check
	// Sources returns the state of every source of access rules, as JSON, for
	// /health/ready?verbose; nil: none is told.
	Sources func() any
	// CredentialFiles returns the state of every file of users or keys that rules read
	// while they run, in the same way.
	CredentialFiles func() any
	// Certificates returns the state of every host that a certificate is got for, in the
	// same way. One that is missing does not make the program unready: a balancer that
	// asks would keep the directory's challenge away.
	Certificates func() any
	// Redis returns the state of the shared Redis in the same way; a nil result: none.
	Redis func() any
	// Discreet keeps the errors of checks to the log: readiness names only the parts
	// that fail. For listeners that strangers reach.
	Discreet bool
	// Draining reports that the program is about to stop, which is not ready.
	Draining func() bool
	Build    Build
	Guard    Guard
	// PageKey is the secret from which the key of page tokens is derived; it must be the
	// same on all nodes. Default: random, so that tokens end with the process.
	PageKey []byte
	// LegacyErrors adds status_code to the errors of Hydra's paths, as Hydra 1.8 did.
	LegacyErrors bool
	// OnRequest is told of every answer; route is the template of the route.
	OnRequest func(route string, status int, took time.Duration)
	// Log gets what went wrong inside; default: nowhere.
	Log *slog.Logger
}

// API serves the management listener. Use New.
type API struct {
	Deps
	router *mux.Router
	// exact are the paths without variables, which are most of what is asked often: the
	// router tries a pattern for each route.
	exact map[string]*resource
	doc   document
	cross http.CrossOriginProtection
}

// New returns the API. It panics on an openapi.yaml that is not YAML, which a
// test rules out.
func New(d Deps) *API {
	if d.OnRequest == nil {
		d.OnRequest = func(string, int, time.Duration) {}
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if len(d.PageKey) == 0 {
		d.PageKey = []byte(rand.Text())
	}
	key, err := hkdf.Key(sha256.New, d.PageKey, nil, "gatewarden page token", sha256.Size)
	if err != nil { // only a length beyond 255 hashes is an error
		panic(err)
	}
	d.PageKey = key
	a := &API{Deps: d, doc: loadDocument(), exact: map[string]*resource{}, router: mux.NewRouter().UseEncodedPath().SkipClean(true)}
	a.router.NotFoundHandler = &resource{api: a, template: "none", family: problem}
	a.gatewayRoutes()
	a.policyRoutes()
	a.authzenRoutes()
	a.clientRoutes()
	a.keyRoutes()
	a.loginRoutes()
	a.trustRoutes()
	a.tokenRoutes()
	a.userRoutes()
	return a
}

// ServeHTTP serves one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.Decisions != nil && a.Decisions.Handles(r) {
		a.Decisions.ServeHTTP(w, r)
		return
	}
	if path := r.URL.Path; len(path) > 1 && path[len(path)-1] == '/' {
		u := *r.URL
		u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), strings.TrimSuffix(u.RawPath, "/")
		r = r.WithContext(r.Context())
		r.URL = &u
	}
	if s := a.exact[r.URL.Path]; s != nil && r.URL.RawPath == "" {
		s.ServeHTTP(w, r)
		return
	}
	a.router.ServeHTTP(w, r)
}

// action answers one method of a resource. It writes nothing before an error.
type action func(x *exchange) error

// methods are the endpoints of a resource, each with what its callers must be allowed.
type methods map[string]endpoint

// resource is one path.
type resource struct {
	api      *API
	template string
	family   family
	open     bool // not guarded: probes and public keys
	methods  methods
}

// route adds a path; Hydra's get a second one under /admin.
func (a *API) route(f family, template string, m methods) {
	a.add(&resource{template: template, family: f, methods: m})
	if f == hydra {
		a.add(&resource{template: "/admin" + template, family: f, methods: m})
	}
}

// public adds a path that anybody who reaches the listener may read.
func (a *API) public(template string, get action) {
	a.add(&resource{template: template, family: problem, open: true, methods: methods{http.MethodGet: {do: get}}})
}

func (a *API) add(s *resource) {
	s.api = a
	a.router.Handle(s.template, s)
	if !strings.Contains(s.template, "{") {
		a.exact[s.template] = s
	}
}

// ServeHTTP dispatches by method and turns errors into answers.
func (s *resource) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	answer := &recorder{ResponseWriter: w}
	x := &exchange{api: s.api, family: s.family, w: answer, r: r}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if err := s.serve(x); err != nil {
		x.fail(err)
	}
	s.api.OnRequest(s.template, answer.status, time.Since(start))
}

func (s *resource) serve(x *exchange) error {
	var c caller
	if !s.open {
		var err error
		if c, err = s.api.admit(x.w, x.r); err != nil {
			return err
		}
	}
	if s.methods == nil {
		return fault.New(fault.NotFound, "unknown_path", "there is nothing at this path")
	}
	method := x.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if e, ok := s.methods[method]; ok {
		if !s.open {
			if err := c.may(x, e); err != nil {
				return err
			}
		}
		return e.do(x)
	}
	x.w.Header().Set("Allow", s.allow())
	if method == http.MethodOptions {
		x.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return &statusError{status: http.StatusMethodNotAllowed, reason: "method_not_allowed", message: "the path does not have the method " + x.r.Method}
}

func (s *resource) allow() string {
	names := slices.Collect(maps.Keys(s.methods))
	if _, ok := s.methods[http.MethodGet]; ok {
		names = append(names, http.MethodHead)
	}
	names = append(names, http.MethodOptions)
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// recorder remembers the status for the metrics.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader remembers the first status.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write implies status 200.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
