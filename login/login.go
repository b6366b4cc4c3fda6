// Package login is the built-in pages of the authorization server: login, consent,
// logout, errors, and a person's own account, with local users.
//
// It is a login and consent app like anybody's: it answers challenges with the same
// calls that the headless API has, in process, and can do nothing that such an app
// could not. People log in with a password, or with an OpenID provider (upstream.go),
// whose accounts become users here as identities.go says. Pages are made on the server, and are under a policy
// that allows no script but the one that asks the browser for passkeys (passkey.go);
// everything else works without. What people type is checked in limits.go and credentials.go;
// every form carries a token of its page (csrf.go).
package login

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/users"
)

// The paths of the pages, below the issuer.
const (
	LoginPath   = "/login"
	ConsentPath = "/consent"
	LogoutPath  = "/logout"
	DonePath    = "/logout/done"
	ErrorPath   = "/error"
	AccountPath = "/account"
	assetsPath  = "/login/assets/"
)

// Requests are what login, consent and logout apps are asked; the authorization
// server is one.
type Requests interface {
	oauth2.LoginApp
	oauth2.LogoutApp
	// BelongsTo reports whether the browser began the request of the challenge.
	BelongsTo(ctx context.Context, r *http.Request, by oauth2.FlowKey, challenge string) (bool, error)
}

// Sessions are the logins and consents of people; the authorization server keeps them.
type Sessions interface {
	// Session returns the login session of the browser; nil for none.
	Session(ctx context.Context, r *http.Request) (*oauth2.LoginSession, error)
	// SignIn begins a login that ends at a path below the issuer.
	SignIn(w http.ResponseWriter, r *http.Request, returnTo string, again bool)
	LoginSessions(ctx context.Context, subject string, limit int) ([]oauth2.LoginSession, error)
	RevokeLoginSession(ctx context.Context, id string) error
	ConsentSessions(ctx context.Context, f oauth2.ConsentFilter, limit, offset int) ([]oauth2.ConsentGrant, error)
	RevokeConsents(ctx context.Context, subject, clientID string) error
	// Requests that wait for a person (OpenID CIBA Core).
	oauth2.BackchannelApp
}

// Users finds people.
type Users interface {
	User(ctx context.Context, id string) (users.User, error)           // fault.NotFound
	UserByLogin(ctx context.Context, login string) (users.User, error) // fault.NotFound
}

// Passwords checks passwords; passwords.Verifier is one.
type Passwords interface {
	Verify(ctx context.Context, hash, plain string) error
	// Fail does the work of Verify and fails.
	Fail(ctx context.Context, hash, plain string) error
}

// PasswordChanger changes what is stored of a user's password.
type PasswordChanger interface {
	// SetPassword gives the user a new one and ends the user's logins but one.
	SetPassword(ctx context.Context, id, password, keepSession string) error // fault.Invalid for a weak one
	// Rehash keeps the password under a hash of today's kind.
	Rehash(ctx context.Context, u users.User, password string) error
}

// Options of New; all but Theme, Log and Now are required.
type Options struct {
	// Issuer is the URL that the pages lie below.
	Issuer    string
	Requests  Requests
	Sessions  Sessions
	Users     Users
	Passwords Passwords
	// DummyHash is what the password of nobody is compared with.
	DummyHash string
	Accounts  PasswordChanger
	Attempts  users.AttemptStore
	// Providers are those that people may log in with. Identities keeps whose accounts
	// there are whose; with no provider it may be nil.
	Providers  []Provider
	Identities users.IdentityStore
	// Factors keeps second factors, SecondFactor says who must have one.
	Factors      users.FactorStore
	SecondFactor SecondFactor
	// Replays remembers which steps of logins were done.
	Replays oauth2.ReplayStore
	// Client returns the address that a request comes from.
	Client func(r *http.Request) netip.Addr
	// Secrets key the tokens of forms, the cookies and the tickets: the first signs and
	// seals, all verify and open.
	Secrets [][]byte
	// Keep is how long "keep me signed in" lasts.
	Keep  time.Duration
	Theme Theme
	Log   *slog.Logger
	Now   func() time.Time
}

// Pages serves the pages. It is safe for concurrent use.
type Pages struct {
	o       Options
	base    string // path of the issuer, without slash at its end
	secure  bool
	look    *look
	signing signing
	sealing sealing
	// passkeys is nil where browsers have none: without TLS, and at an address.
	passkeys *webauthn.WebAuthn
	script   string // address of the script
	cross    *http.CrossOriginProtection
}

// New returns the pages. An error names the file of the theme that is wrong.
func New(o Options) (*Pages, error) {
	issuer, err := url.Parse(o.Issuer)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &Pages{o: o, base: strings.TrimSuffix(issuer.EscapedPath(), "/"), secure: issuer.Scheme == "https", cross: http.NewCrossOriginProtection()}
	if err := p.cross.AddTrustedOrigin(issuer.Scheme + "://" + issuer.Host); err != nil {
		return nil, err
	}
	if p.signing, err = newSigning(o.Secrets); err != nil {
		return nil, err
	}
	if err := checkProviders(o.Providers); err != nil {
		return nil, err
	}
	if p.sealing, err = newSealing(o.Secrets); err != nil {
		return nil, err
	}
	if p.look, err = o.Theme.load(); err != nil {
		return nil, err
	}
	if _, notName := netip.ParseAddr(issuer.Hostname()); notName != nil && (p.secure || issuer.Hostname() == "localhost") {
		if p.passkeys, err = relyingParty(issuer, p.look.name); err != nil {
			return nil, fmt.Errorf("urls.self.issuer: %w", err)
		}
	}
	p.script = issuer.Scheme + "://" + issuer.Host + p.base + assetsPath + p.look.script.name
	return p, nil
}

// Handles reports whether a path is one of the pages.
func (p *Pages) Handles(path string) bool {
	rest, below := strings.CutPrefix(path, p.base)
	if !below {
		return false
	}
	switch rest {
	case LoginPath, ConsentPath, LogoutPath, DonePath, ErrorPath, AccountPath:
		return true
	}
	id, callback := strings.CutPrefix(rest, callbackPath)
	return callback && p.provider(id) != nil || strings.HasPrefix(rest, assetsPath)
}

// ServeHTTP serves a page.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{p: p, w: w, r: r, ctx: r.Context()}
	x.headers()
	path := strings.TrimPrefix(r.URL.Path, p.base)
	if name, asset := strings.CutPrefix(path, assetsPath); asset {
		p.look.serveAsset(w, r, name)
		return
	}
	x.v = p.look.view(r, p.base)
	routes := map[string][2]func() error{ // what reads, what changes
		LoginPath:   {x.showLogin, x.submitLogin},
		ConsentPath: {x.showConsent, x.submitConsent},
		LogoutPath:  {x.showLogout, x.submitLogout},
		DonePath:    {x.showDone, nil},
		ErrorPath:   {x.showError, nil},
		AccountPath: {x.showAccount, x.submitAccount},
	}
	serve := routes[path]
	if id, is := strings.CutPrefix(path, callbackPath); is && p.provider(id) != nil {
		serve[0] = func() error { return x.callback(p.provider(id)) }
	}
	var err error
	switch {
	case (r.Method == http.MethodGet || r.Method == http.MethodHead) && serve[0] != nil:
		err = serve[0]()
	case r.Method == http.MethodPost && serve[1] != nil:
		if err = x.readForm(); err == nil {
			err = serve[1]()
		}
	default:
		err = &fault.Error{Kind: fault.Invalid, Reason: "method_not_allowed"}
	}
	if err != nil {
		x.fail(err)
	}
}

// exchange is one request for a page.
type exchange struct {
	p    *Pages
	w    http.ResponseWriter
	r    *http.Request
	ctx  context.Context //nolint:containedctx // of this one request
	v    *view
	form url.Values
	// secret is what the browser is known by, see browser; empty: not looked at yet.
	secret string
}

// fail shows what went wrong as a page. Text of causes stays in the log.
func (x *exchange) fail(err error) {
	var handled *oauth2.Handled
	if errors.As(err, &handled) { // answered before: begin again
		x.redirect(handled.RedirectTo)
		return
	}
	kind, status := fault.KindOf(err), fault.KindOf(err).HTTPStatus()
	key := "error." + kind.String()
	if fault.ReasonOf(err) == "method_not_allowed" {
		status = http.StatusMethodNotAllowed
	}
	if status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		x.p.o.Log.ErrorContext(x.ctx, "login page failed", "path", x.r.URL.Path, "request_id", x.w.Header().Get("X-Request-Id"), "error", err)
	}
	x.render(status, "error", errorPage{Text: x.v.T(key), ID: x.w.Header().Get("X-Request-Id")})
}

// redirect sends the browser on after a GET.
func (x *exchange) redirect(to string) {
	x.w.Header().Set("Location", to)
	x.w.WriteHeader(http.StatusSeeOther)
}

// leave sends the browser on after a form. A redirect would be held to the form's own
// policy (form-action) all the way to the client and beyond, so the page refreshes.
func (x *exchange) leave(to string) {
	x.w.Header().Set("Refresh", "0; url="+to)
	x.render(http.StatusOK, "continue", to)
}
