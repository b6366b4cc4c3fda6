package login

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
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
	attemptCookie  = "gatewarden_upstream_"
	upstreamTicket = "upstream"
	// attemptFor is how long a person may take at a provider.
	attemptFor = 15 * time.Minute
	// maxAttempts bounds the logins at providers that one browser has begun.
	maxAttempts = 6
	// ProviderLeeway is the tolerated difference of a provider's clock.
	ProviderLeeway = 30 * time.Second
)

// upstreamAttempt is a login at a provider that was begun: what its callback needs. It is
// a ticket in a cookie of its own, so that tabs do not get into each other's way.
type upstreamAttempt struct {
	relyingparty.Asked
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
	a.Asked, a.Began = asked, x.p.o.Now().Unix()
	sealed, err := x.issueTicket(upstreamTicket, upstreamAbout(provider, asked.State), a, attemptFor)
	if err != nil {
		return err
	}
	x.pruneAttempts()
	// The time in front says which are the oldest; nothing else goes by it.
	x.setCookie(attemptCookie+attemptID(asked.State), strconv.FormatInt(a.Began, 10)+"."+sealed, int(attemptFor/time.Second))
	x.leave(address)
	return nil
}

// upstreamAbout is what the ticket of an attempt is about: a provider and a state. The
// answer of one provider at the callback of another finds none.
func upstreamAbout(provider *Provider, state string) string {
	return string(lengthed(provider.ID, provider.Client.Issuer(), state))
}

// pruneAttempts withdraws the oldest attempts when there are too many.
func (x *exchange) pruneAttempts() {
	type open struct {
		id    string
		began int64
	}
	var live []open
	for _, c := range x.r.Cookies() {
		id, ours := strings.CutPrefix(c.Name, x.p.cookieName(attemptCookie))
		if !ours || !isProviderID(id) {
			continue
		}
		began, _, _ := strings.Cut(c.Value, ".")
		at, _ := strconv.ParseInt(began, 10, 64) // without one it is the oldest
		live = append(live, open{id, at})
	}
	slices.SortFunc(live, func(a, b open) int { return cmp.Compare(a.began, b.began) })
	for len(live) >= maxAttempts {
		x.setCookie(attemptCookie+live[0].id, "", -1)
		live = live[1:]
	}
}

// takeAttempt returns the attempt of this browser at a provider with a state, once on all
// nodes.
func (x *exchange) takeAttempt(provider *Provider, state string) (a upstreamAttempt, err error) {
	name := attemptCookie + attemptID(state)
	c, err := x.r.Cookie(x.p.cookieName(name))
	if state == "" || err != nil {
		return a, errTicket
	}
	_, sealed, _ := strings.Cut(c.Value, ".")
	t, err := x.readTicket(upstreamTicket, upstreamAbout(provider, state), sealed, &a)
	if err != nil {
		return a, err
	}
	x.setCookie(name, "", -1)
	return a, x.useTicket(t)
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
	return x.proceed(asked, provider.progress(who, u, a.Keep))
}

// redeem judges a provider's answer, and whether the person was there when it was asked
// for.
func (x *exchange) redeem(provider *Provider, a upstreamAttempt, answer url.Values) (*relyingparty.Person, error) {
	who, err := provider.Client.Redeem(x.ctx, a.Asked, x.p.redirectURI(provider), answer)
	if err != nil {
		return nil, err
	}
	since := time.Unix(a.Began-int64(a.MaxAge), 0).Add(-ProviderLeeway)
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

// progress is what a login with the provider has shown of a user.
func (p *Provider) progress(who *relyingparty.Person, u users.User, keep bool) progress {
	done := progress{Subject: u.ID, Keep: keep}
	if !who.AuthenticatedAt.IsZero() {
		done.At = who.AuthenticatedAt.Unix()
	}
	var amr []string
	list, _ := who.Claims["amr"].([]any)
	for _, method := range list[:min(len(list), maxMethods)] {
		if name, isText := method.(string); isText && name != "" && len(name) <= maxMethod {
			amr = append(amr, name)
		}
	}
	done.Second = p.TrustMFA && slices.Contains(amr, "mfa")
	if acr, _ := who.Claims["acr"].(string); p.PassACR && len(acr) <= maxMethod {
		// Sessions are taken for ones with two factors by mfa, which context adds.
		done.ACR, done.AMR = acr, slices.DeleteFunc(amr, func(method string) bool { return method == "mfa" })
	}
	return done
}

// Bounds of what is passed on of a provider.
const (
	maxMethods = 16
	maxMethod  = 255
)
