package relyingparty

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

const (
	// logoutEvent is the event that a logout token is about (OpenID Connect Back-Channel
	// Logout 1.0 section 2.4).
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
	// maxLogoutBody bounds the request that brings a logout token.
	maxLogoutBody = 64 << 10
	// logoutTokenFor is how long a logout token without exp is good: providers that
	// follow drafts of the specification, such as Hydra, send none.
	logoutTokenFor = 2 * time.Minute
	// maxClaim bounds sub, sid and jti, in bytes.
	maxClaim = 255
)

// ErrForeignLogout means that a logout token is for another client or of another
// provider.
var ErrForeignLogout = errors.New("the logout token is not of this provider for this client")

// backchannel ends sessions because the provider says so (OpenID Connect Back-Channel
// Logout 1.0 section 2.5). It answers 200 when the logout is in force on all nodes.
func (p *Party) backchannel(ctx context.Context, r *access.Request) error {
	if r.Method != http.MethodPost {
		return wrongMethod("POST")
	}
	raw, err := logoutToken(r)
	if err != nil {
		return err
	}
	at, err := p.client.provider.get(ctx)
	if err != nil {
		return err
	}
	now := p.o.Now()
	out, err := p.readLogout(ctx, at.keys, raw, now)
	switch {
	case errors.Is(err, ErrForeignLogout), fault.Is(err, fault.Unavailable), fault.Is(err, fault.Timeout):
		return err
	case err != nil:
		return refusedLogout("the logout token is not valid", err)
	}
	err = p.o.Logouts.record(ctx, out)
	switch {
	case fault.Is(err, fault.Conflict):
		return refusedLogout("the logout token was used before", err)
	case err != nil:
		return unknownLogouts("the logout could not be recorded", err)
	}
	return &access.Reply{Reason: "backchannel_logout", Response: access.Response{Status: http.StatusOK, Header: http.Header{"Cache-Control": {"no-store"}}}}
}

// refusedLogout answers a request that ends nothing (section 2.8).
func refusedLogout(description string, cause error) error {
	body, err := json.Marshal(map[string]string{"error": "invalid_request", "error_description": description})
	if err != nil {
		return err
	}
	return &access.Reply{Reason: "logout_token_refused", Err: cause, Response: access.Response{Status: http.StatusBadRequest,
		Header: http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}}, Body: append(body, '\n')}}
}

// logoutToken reads the one parameter of the request.
func logoutToken(r *access.Request) (string, error) {
	if kind, _, err := mime.ParseMediaType(first(r.Header["Content-Type"])); err != nil || kind != "application/x-www-form-urlencoded" {
		return "", refusedLogout("the body must be application/x-www-form-urlencoded", nil)
	}
	if r.Body == nil {
		return "", refusedLogout("there is no body", nil)
	}
	body, err := r.Body(maxLogoutBody)
	if err != nil {
		return "", err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form["logout_token"]) != 1 || form.Get("logout_token") == "" {
		return "", refusedLogout("the body must have logout_token once", err)
	}
	return form.Get("logout_token"), nil
}

func first(list []string) string {
	if len(list) == 1 {
		return list[0]
	}
	return ""
}

// readLogout verifies a logout token (section 2.6). Errors: ErrForeignLogout, a fault of
// kind Unavailable or Timeout when the keys could not be had; every other says what is
// wrong with the token.
func (p *Party) readLogout(ctx context.Context, from Keys, raw string, now time.Time) (Logout, error) {
	if !p.meant(raw) {
		return Logout{}, ErrForeignLogout
	}
	claims, _, err := p.client.verify(ctx, from, raw, "logout+jwt", "jwt")
	if err != nil {
		return Logout{}, err
	}
	if iss, _ := claims["iss"].(string); iss != p.o.Issuer {
		return Logout{}, errors.New("iss is another issuer")
	}
	if err := p.client.audience(claims); err != nil {
		return Logout{}, err
	}
	if _, has := claims["nonce"]; has {
		return Logout{}, errors.New("nonce marks an ID token")
	}
	events, _ := claims["events"].(map[string]any)
	if _, ok := events[logoutEvent].(map[string]any); !ok {
		return Logout{}, errors.New("events has no logout")
	}
	var text [3]string
	for i, name := range []string{"jti", "sub", "sid"} {
		v, has := claims[name]
		s, ok := v.(string)
		if has && (!ok || s == "" || len(s) > maxClaim) {
			return Logout{}, fmt.Errorf("%s is not a string of at most %d bytes", name, maxClaim)
		}
		text[i] = s
	}
	jti, sub, sid := text[0], text[1], text[2]
	switch {
	case jti == "":
		return Logout{}, errors.New("jti is missing")
	case sub == "" && sid == "":
		return Logout{}, errors.New("both sub and sid are missing")
	}
	iat, exp, err := p.logoutTimes(claims, now)
	if err != nil {
		return Logout{}, err
	}
	out := Logout{Token: p.name("token", jti), Expires: exp, Ended: map[string]time.Time{}, Until: now.Add(MaxLifetime + p.o.Leeway)}
	if sid != "" {
		// A session does not come back: also one ends whose code is redeemed after this.
		out.Ended[p.name("sid", sid)] = out.Until
		if sub != "" { // a provider may leave sid out of its ID tokens
			out.Ended[p.name("sub without sid", sub)] = iat
		}
	} else {
		out.Ended[p.name("sub", sub)] = iat
	}
	return out, nil
}

// meant reports whether a token says that it is of this provider for this client. It is
// no reason to believe it, only for which Party on this host it is.
func (p *Party) meant(raw string) bool {
	_, rest, _ := strings.Cut(raw, ".")
	payload, _, _ := strings.Cut(rest, ".")
	plain, err := base64.RawURLEncoding.DecodeString(payload)
	var claims map[string]any
	if err != nil || json.Unmarshal(plain, &claims) != nil {
		return false
	}
	return claims["iss"] == p.o.Issuer && p.client.audience(claims) == nil
}

// logoutTimes checks the times of a logout token.
func (p *Party) logoutTimes(claims map[string]any, now time.Time) (iat, exp time.Time, err error) {
	if iat, err = date(claims, "iat"); err == nil && iat.IsZero() {
		err = errors.New("iat is missing")
	}
	if err != nil {
		return iat, exp, err
	}
	if _, has := claims["exp"]; !has {
		claims["exp"] = float64(iat.Add(logoutTokenFor).Unix())
	}
	if err := p.client.times(claims); err != nil {
		return iat, exp, err
	}
	exp, err = date(claims, "exp")
	if limit := now.Add(MaxLifetime); exp.After(limit) {
		exp = limit // who uses it again after that ends nothing that was not ended
	}
	return iat, exp.Add(p.o.Leeway), err
}

// name is what sessions are recorded under: a hash, so that the store has no identities,
// of this provider and client, whatever else is configured.
func (p *Party) name(kind, value string) string {
	var b []byte
	for _, part := range []string{"gatewarden/relyingparty/v1/logout", p.o.Issuer, p.o.ClientID, kind, value} {
		b = append(fmt.Appendf(b, "%d:", len(part)), part...)
	}
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func unknownLogouts(message string, cause error) error {
	kind := fault.Unavailable
	if errors.Is(cause, context.DeadlineExceeded) {
		kind = fault.Timeout
	}
	return fault.Wrap(kind, "logouts_unavailable", message, cause)
}

// loggedOut reports whether the provider has ended s. An error means that it could not
// be found out (fault.Unavailable, fault.Timeout).
func (p *Party) loggedOut(ctx context.Context, s *Session) (bool, error) {
	if p.o.Backchannel == "" {
		return false, nil
	}
	names := [2]string{p.name("sub", s.Subject), p.name("sub without sid", s.Subject)}
	if sid, _ := s.Claims["sid"].(string); sid != "" {
		names[1] = p.name("sid", sid)
	}
	upTo, err := p.o.Logouts.ended(ctx, names)
	if err != nil {
		return false, unknownLogouts("it could not be found out whether the session has ended", err)
	}
	return !upTo.IsZero() && s.Issued <= upTo.Unix(), nil
}
