package relyingparty

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// ErrUnknownLogin means that a callback is not for a login that this Party began in
// this browser.
var ErrUnknownLogin = errors.New("the login was not begun in this browser, or took too long")

// Serve answers a request for one of Endpoints. The error is never nil: *access.Reply,
// a fault, ErrUnknownLogin, or ErrForeignLogout.
func (p *Party) Serve(ctx context.Context, r *access.Request) error {
	switch r.URL.Path {
	case p.o.Callback:
		return p.callback(ctx, r)
	case p.o.Login:
		return p.login(ctx, r)
	case p.o.Backchannel:
		return p.backchannel(ctx, r)
	}
	return p.logout(ctx, r)
}

// login begins a login because a page says so: /login?return_to=/path.
func (p *Party) login(ctx context.Context, r *access.Request) error {
	if r.Method != http.MethodGet {
		return wrongMethod("GET")
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fault.New(fault.Invalid, "invalid_query", "the query cannot be read")
	}
	return p.begin(ctx, r, p.localTarget(q.Get("return_to")), nil, nil)
}

func wrongMethod(allow string) error {
	return &access.Reply{Reason: "method_not_allowed", Response: access.Response{Status: http.StatusMethodNotAllowed,
		Header: http.Header{"Allow": {allow}, "Cache-Control": {"no-store"}, "Content-Type": {"text/plain; charset=utf-8"}}, Body: []byte("Method Not Allowed\n")}}
}

// callback ends a login (OpenID Connect Core 1.0 section 3.1.2.5, RFC 9207).
func (p *Party) callback(ctx context.Context, r *access.Request) error {
	if r.Method != http.MethodGet {
		return wrongMethod("GET") // a form of another site comes without our cookies
	}
	q, err := ParseAnswer(r.URL.RawQuery)
	if err != nil {
		return err
	}
	a, found := p.attemptOf(r, q.Get("state"))
	if !found {
		return ErrUnknownLogin
	}
	gone := setCookie(r, p.attemptName(r, a.State), "", -1)
	s, err := p.complete(ctx, r, a, q)
	if err == nil {
		if d := p.unmet(s.Claims, p.o.Now()); d != DemandNone { // not again and again
			err = &fault.Error{Kind: fault.Forbidden, Reason: "insufficient_authentication",
				Message: "the provider did not authenticate as this rule demands", Err: errors.New(string(d) + " is not met")}
		}
	}
	var cookies []string
	if err == nil {
		if cookies, err = p.write(r, s, p.o.Now()); err != nil {
			err = fault.Wrap(fault.Internal, "session_too_large", "", err)
		}
	}
	if err != nil {
		var e *fault.Error
		if errors.As(err, &e) && !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Timeout) {
			e.Header = http.Header{"Set-Cookie": {gone}}
		}
		return err
	}
	return &access.Reply{Reason: "login_completed", Response: redirect(http.StatusSeeOther, origin(r)+a.Target, append(cookies, gone))}
}

// complete makes a session of what the provider answered.
func (p *Party) complete(ctx context.Context, r *access.Request, a attempt, q url.Values) (*Session, error) {
	who, err := p.client.Redeem(ctx, a.Asked, p.redirectURI(r), q)
	if err != nil {
		return nil, err
	}
	s := &Session{Claims: p.keep(who.Claims), RefreshToken: who.tokens.RefreshToken, Began: p.o.Now().Unix(), Issued: who.IssuedAt.Unix()}
	s.Subject = who.Subject
	p.take(s, who.tokens, who.Claims)
	switch over, err := p.loggedOut(ctx, s); {
	case err != nil:
		return nil, err
	case over: // while the code was on its way
		return nil, loginFailed("the provider has ended the session", nil)
	}
	return s, nil
}

// logout ends the session here and, where the provider can, there too (OpenID Connect
// RP-Initiated Logout 1.0).
func (p *Party) logout(ctx context.Context, r *access.Request) error {
	post := r.Method == http.MethodPost
	if !post && r.Method != http.MethodGet {
		return wrongMethod("GET, POST")
	}
	if !sameOrigin(r) {
		if post {
			return fault.New(fault.Forbidden, "cross_site_logout", "another site may not end the session")
		}
		return &access.Reply{Reason: "logout_confirmation", Response: page(http.StatusOK, "Log out?",
			`<form method="post" action="`+html.EscapeString(p.o.Logout)+`"><button>Log out</button></form>`, nil)}
	}
	cookies, err := p.setSession(r, "", 0)
	if err != nil {
		return err
	}
	for _, c := range r.Cookies {
		if strings.HasPrefix(c.Name, p.cookieName(r, "l")+".") && len(cookies) < 4*maxChunks && isPlain(strings.ReplaceAll(c.Name, ".", "_")) {
			cookies = append(cookies, setCookie(r, c.Name, "", -1))
		}
	}
	s, _, err := p.read(r)
	var at *resolved
	var cause error
	if err == nil {
		at, cause = p.client.provider.get(ctx) // without it the session still ends here
	}
	if at != nil && s.RefreshToken != "" && at.Revocation != "" {
		cause = p.revoke(ctx, at.Revocation, s.RefreshToken)
	}
	if at != nil && at.EndSession != "" {
		query := url.Values{"client_id": {p.o.ClientID}}
		if s.IDToken != "" {
			query.Set("id_token_hint", s.IDToken)
		}
		if p.o.AfterLogout != "" {
			query.Set("post_logout_redirect_uri", p.afterLogout(r))
		}
		return loggedOut(redirect(http.StatusSeeOther, withQuery(at.EndSession, query), cookies), cause)
	}
	if p.o.AfterLogout != "" {
		return loggedOut(redirect(http.StatusSeeOther, p.afterLogout(r), cookies), cause)
	}
	return loggedOut(page(http.StatusOK, "Logged out", "<p>You are logged out.</p>", cookies), cause)
}

// loggedOut answers a logout. The browser forgets the pages it has kept of this host,
// so that its back button does not show them.
func loggedOut(r access.Response, cause error) error {
	r.Header["Clear-Site-Data"] = []string{`"cache"`}
	return &access.Reply{Reason: "logout_completed", Err: cause, Response: r}
}

func (p *Party) afterLogout(r *access.Request) string {
	if strings.HasPrefix(p.o.AfterLogout, "/") {
		return origin(r) + p.o.AfterLogout
	}
	return p.o.AfterLogout
}

// revoke gives a refresh token back (RFC 7009), so that a copy of the cookie dies with
// the access token's time.
func (p *Party) revoke(ctx context.Context, address, token string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	a, err := p.client.provider.post(ctx, address, url.Values{"token": {token}, "token_type_hint": {"refresh_token"}})
	if err == nil && a.Status != http.StatusOK {
		err = fmt.Errorf("the provider answered %d", a.Status)
	}
	if err != nil {
		return fmt.Errorf("revocation of the refresh token: %w", err)
	}
	return nil
}

// sameOrigin reports whether a page of this host, or the person alone, made the
// request. A browser that says nothing is not believed.
func sameOrigin(r *access.Request) bool {
	if site := r.Header["Sec-Fetch-Site"]; len(site) > 0 {
		value := strings.Join(site, ",")
		return value == "same-origin" || value == "none"
	}
	if from := r.Header["Origin"]; len(from) > 0 {
		return len(from) == 1 && from[0] == origin(r)
	}
	from, err := url.Parse(strings.Join(r.Header["Referer"], ","))
	return err == nil && from.Scheme+"://"+from.Host == origin(r)
}

// page is a small page of our own, without scripts and in no frame.
func page(status int, title, body string, cookies []string) access.Response {
	h := http.Header{
		"Content-Type": {"text/html; charset=utf-8"}, "Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"},
		"Content-Security-Policy": {"default-src 'none'; base-uri 'none'; frame-ancestors 'none'"}, "Referrer-Policy": {"same-origin"},
	}
	if len(cookies) > 0 {
		h["Set-Cookie"] = cookies
	}
	text := "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>" + title + "</title><h1>" + title + "</h1>" + body + "</html>\n"
	return access.Response{Status: status, Header: h, Body: []byte(text)}
}
