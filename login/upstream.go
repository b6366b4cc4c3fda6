package login

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/relyingparty"
	"github.com/gatewarden/gatewarden/users"
)

const (
	attemptCookie = "gatewarden_upstream_"
	// attemptFor is how long a person may take at a provider.
	attemptFor = 15 * time.Minute
	// maxAttempts bounds the logins at providers that one browser has begun.
	maxAttempts = 6
	// maxAttempt bounds the cookie of one, in bytes.
	maxAttempt = 3000
	// attemptKeys separates the keys of these cookies from all others.
	attemptKeys = "gatewarden/login/v1/upstream"
	// upstreamLeeway is the tolerated difference of a provider's clock.
	upstreamLeeway = 30 * time.Second
)

// errUnknownAttempt means that a callback is not for a login that was begun in this
// browser, or is for one that came back before.
var errUnknownAttempt = fault.New(fault.Forbidden, "unknown_login", "the login was not begun in this browser, took too long, or came back before")

// upstreamAttempt is a login at a provider that was begun: what its callback needs. It is
// sealed in a cookie of its own, so that tabs do not get into each other's way.
type upstreamAttempt struct {
	relyingparty.Asked
	Provider string `json:"p"`
	// Challenge is the login request that it is for. Empty: it links an identity to the
	// user of the login session.
	Challenge string `json:"c,omitempty"`
	Session   string `json:"i,omitempty"`
	Keep      bool   `json:"k,omitempty"`
	// MaxAge is how many seconds before Began the person may have been authenticated;
	// negative: any time.
	MaxAge int   `json:"m"`
	Began  int64 `json:"b"`
}

func attemptID(state string) string {
	sum := sha256.Sum256([]byte(state))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// binding is what a sealed attempt belongs to: its cookie, at this issuer.
func (p *Pages) binding(id string) []byte { return []byte(p.o.Issuer + "\x00" + id) }

func (p *Pages) redirectURI(provider *Provider) string {
	return strings.TrimSuffix(p.o.Issuer, "/") + CallbackPath(provider.ID)
}

// demands are the parameters of an authorization request that make the provider do what
// a client asked of the login, and how long ago it may have been there, in seconds;
// negative: any time.
func demands(asked oauth2.LoginRequest, provider *Provider) (url.Values, int) {
	extra, maxAge := url.Values{}, -1
	if asked.MaxAge != nil {
		maxAge = *asked.MaxAge
	}
	var prompt []string
	for _, p := range asked.Prompt {
		if p == "login" || p == "select_account" {
			prompt = append(prompt, p)
		}
	}
	if slices.Contains(prompt, "login") {
		maxAge = 0
	}
	if len(prompt) > 0 {
		extra.Set("prompt", strings.Join(prompt, " "))
	}
	if maxAge >= 0 { // which makes it say when (OpenID Connect Core section 3.1.2.1)
		extra.Set("max_age", strconv.Itoa(maxAge))
	}
	if hint := asked.OIDCContext.LoginHint; hint != "" {
		extra.Set("login_hint", hint[:min(len(hint), maxHint)])
	}
	if locales := strings.Join(asked.OIDCContext.UILocales, " "); locales != "" && len(locales) <= maxLocales {
		extra.Set("ui_locales", locales)
	}
	if provider.PassACR && len(asked.OIDCContext.ACRValues) > 0 {
		extra.Set("acr_values", strings.Join(asked.OIDCContext.ACRValues, " "))
	}
	return extra, maxAge
}

// beginUpstream sends the browser to a provider, from a form.
func (x *exchange) beginUpstream(provider *Provider, extra url.Values, a upstreamAttempt) error {
	address, asked, err := provider.Client.Ask(x.ctx, x.p.redirectURI(provider), extra)
	if err != nil {
		return err
	}
	a.Asked, a.Provider, a.Began = asked, provider.ID, x.p.o.Now().Unix()
	plain, err := json.Marshal(a)
	if err != nil {
		return err
	}
	x.pruneAttempts()
	id := attemptID(asked.State)
	x.setCookie(attemptCookie+id, x.p.sealer.Seal(plain, x.p.binding(id)), int(attemptFor/time.Second))
	x.leave(address)
	return nil
}

// pruneAttempts withdraws attempts that are worth nothing, and the oldest when there are
// too many.
func (x *exchange) pruneAttempts() {
	type open struct {
		id    string
		began int64
	}
	var live []open
	for _, c := range x.r.Cookies() {
		id, ours := strings.CutPrefix(c.Name, x.p.cookieName(attemptCookie))
		if !ours || len(id) != 16 {
			continue
		}
		if a, err := x.openAttempt(id, c.Value); err == nil {
			live = append(live, open{id, a.Began})
		} else {
			x.setCookie(attemptCookie+id, "", -1)
		}
	}
	slices.SortFunc(live, func(a, b open) int { return cmp.Compare(a.began, b.began) })
	for len(live) >= maxAttempts {
		x.setCookie(attemptCookie+live[0].id, "", -1)
		live = live[1:]
	}
}

// openAttempt opens a cookie. Its error says that it is none of ours, or too old.
func (x *exchange) openAttempt(id, value string) (a upstreamAttempt, err error) {
	if len(value) > maxAttempt {
		return a, errUnknownAttempt
	}
	plain, _, err := x.p.sealer.Open(value, x.p.binding(id))
	if err == nil {
		err = json.Unmarshal(plain, &a)
	}
	if err != nil || attemptID(a.State) != id || x.p.o.Now().Unix() >= a.Began+int64(attemptFor/time.Second) {
		return a, errUnknownAttempt
	}
	return a, nil
}

// takeAttempt returns the attempt of this browser with a state, once on all nodes.
func (x *exchange) takeAttempt(provider *Provider, state string) (upstreamAttempt, error) {
	id := attemptID(state)
	c, err := x.r.Cookie(x.p.cookieName(attemptCookie + id))
	if state == "" || err != nil {
		return upstreamAttempt{}, errUnknownAttempt
	}
	a, err := x.openAttempt(id, c.Value)
	if err != nil {
		return a, err
	}
	if a.Provider != provider.ID || a.State != state { // the answer of one at the callback of another
		return a, errUnknownAttempt
	}
	x.setCookie(attemptCookie+id, "", -1)
	err = x.p.o.Replays.UseJTI(x.ctx, "login_upstream", id, x.p.o.Now().Add(attemptFor))
	if errors.Is(err, oauth2.ErrSpent) {
		err = errUnknownAttempt
	}
	return a, err
}

// callback is GET /login/callback/ID: a provider's answer.
func (x *exchange) callback(provider *Provider) error {
	answer, err := relyingparty.ParseAnswer(x.r.URL.RawQuery)
	if err != nil {
		return err
	}
	a, err := x.takeAttempt(provider, answer.Get("state"))
	if err != nil {
		return err
	}
	if a.Challenge == "" {
		return x.finishLink(provider, a, answer)
	}
	asked, err := x.loginRequest(a.Challenge)
	if err != nil {
		return err
	}
	page := loginPage{Login: x.hinted(asked), Keep: a.Keep}
	who, err := x.redeem(provider, a, answer)
	if status := x.upstreamRefused(provider, err); status != 0 {
		return x.loginForm(status, asked, page)
	}
	if err != nil {
		return err
	}
	u, err := x.userOf(provider, who)
	if status := x.upstreamRefused(provider, err); status != 0 {
		return x.loginForm(status, asked, page)
	}
	if err != nil {
		return err
	}
	to, err := x.admit(asked, provider.factor(who, u, a.Keep))
	if fault.Is(err, fault.Invalid) && asked.Skip { // somebody else than the session's person
		x.fault("", "fault.refused")
		return x.loginForm(http.StatusForbidden, asked, page)
	}
	x.redirectUnless(to, err)
	return err
}

// redeem judges a provider's answer, and whether the person was there when it was asked
// for.
func (x *exchange) redeem(provider *Provider, a upstreamAttempt, answer url.Values) (*relyingparty.Person, error) {
	who, err := provider.Client.Redeem(x.ctx, a.Asked, x.p.redirectURI(provider), answer)
	if err != nil {
		return nil, err
	}
	since := time.Unix(a.Began-int64(a.MaxAge), 0).Add(-upstreamLeeway)
	if a.MaxAge >= 0 && who.AuthenticatedAt.Before(since) {
		return nil, errStale
	}
	return who, nil
}

// errStale means that a provider remembered a login where a new one was asked for.
var errStale = errors.New("the provider did not authenticate the person anew, or does not say so")

// errRefusedUpstream is the one answer to an identity that is nobody's and may not become
// somebody's, and to one of a disabled user.
var errRefusedUpstream = errors.New("the identity may not log in")

// upstreamRefused tells of an error on the way through a provider, and returns the
// status; 0 for an error of our own and for none.
func (x *exchange) upstreamRefused(provider *Provider, err error) int {
	key, status := "", http.StatusForbidden
	switch reason := fault.ReasonOf(err); {
	case err == nil:
		return 0
	case errors.Is(err, errStale):
		key = "fault.provider.stale"
	case errors.Is(err, errRefusedUpstream):
		key = "fault.provider.unknown"
	case reason == "login_refused":
		key = "fault.provider.refused"
	case reason == "login_failed":
		key = "fault.provider.failed"
	case reason == "login_provider_unavailable":
		key, status = "fault.provider.unavailable", http.StatusServiceUnavailable
	default:
		return 0
	}
	x.p.o.Log.WarnContext(x.ctx, "a login with a provider was refused", "provider", provider.ID, "request_id", x.w.Header().Get("X-Request-Id"), "error", err)
	x.fault("", key, "provider", provider.Name)
	return status
}

// factor is what a login with the provider proves.
func (p *Provider) factor(who *relyingparty.Person, u users.User, keep bool) factor {
	f := factor{user: u, keep: keep, acr: oneFactor, at: who.AuthenticatedAt}
	var amr []string
	list, _ := who.Claims["amr"].([]any)
	for _, method := range list[:min(len(list), maxMethods)] {
		if name, isText := method.(string); isText && name != "" && len(name) <= maxMethod {
			amr = append(amr, name)
		}
	}
	if p.TrustMFA && slices.Contains(amr, methodMFA) {
		f.acr, f.amr, f.mfa = twoFactors, []string{methodMFA}, true
	}
	if acr, _ := who.Claims["acr"].(string); p.PassACR && len(acr) <= maxMethod {
		f.acr, f.amr = acr, amr
	}
	return f
}

// Bounds of what is passed on of a provider.
const (
	maxMethods = 16
	maxMethod  = 255
)
