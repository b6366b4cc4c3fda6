package authn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/outbound"
)

// introspectionEndpoint is a token introspection endpoint (RFC 7662) over HTTP.
type introspectionEndpoint struct {
	url        string
	scope      string // what the endpoint must enforce; empty: nothing
	header     http.Header
	authorizer *preAuthorization // nil: none
	retry      outbound.Retry
	timeout    time.Duration
	http       *http.Client
	result     func(string)
}

func newIntrospectionEndpoint(c introspectionConfig, scope string, d Deps) (*introspectionEndpoint, error) {
	if err := checkURL("introspection_url", c.IntrospectionURL); err != nil {
		return nil, err
	}
	if c.Timeout <= 0 {
		return nil, errors.New("timeout must be positive")
	}
	header, err := headerFields("introspection_request_headers", c.IntrospectionRequestHeaders)
	if err != nil {
		return nil, err
	}
	client := outbound.Direct(d.HTTP)
	e := &introspectionEndpoint{url: c.IntrospectionURL, scope: scope, header: header, retry: c.Retry, timeout: time.Duration(c.Timeout), http: client, result: d.Introspection}
	if c.PreAuthorization.Enabled {
		if e.header.Get("Authorization") != "" {
			return nil, errors.New("introspection_request_headers must not have Authorization beside pre_authorization")
		}
		if e.authorizer, err = newPreAuthorization(c.PreAuthorization, client, e.timeout, d.Now); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// longest is the most time that introspect takes.
func (e *introspectionEndpoint) longest() time.Duration { return e.retry.Longest(e.timeout) }

// introspect asks about a token, again while that is promising. Size is that of
// the answer in bytes.
func (e *introspectionEndpoint) introspect(ctx context.Context, token, host string) (t access.Token, size int, err error) {
	err = e.retry.Do(ctx, func(ctx context.Context) (again bool, err error) {
		t, size, again, err = e.once(ctx, token, host)
		return again, err
	})
	switch {
	case err != nil:
		e.result("error")
	case t.Active:
		e.result("active")
	default:
		e.result("inactive")
	}
	return t, size, err
}

// once makes one request and says whether another one is promising.
func (e *introspectionEndpoint) once(ctx context.Context, token, host string) (t access.Token, size int, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	form := url.Values{"token": {token}}
	if e.scope != "" {
		form.Set("scope", e.scope)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, strings.NewReader(form.Encode()))
	if err != nil {
		return t, 0, false, fmt.Errorf("introspection: %w", err)
	}
	req.Header = e.header.Clone()
	req.Host = e.header.Get("Host")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	if host != "" {
		req.Header.Set("X-Forwarded-Host", host)
	}
	authorized := ""
	if e.authorizer != nil {
		if authorized, err = e.authorizer.token(ctx); err != nil {
			return t, 0, false, err
		}
		req.Header.Set("Authorization", "Bearer "+authorized)
	}
	a, again, err := outbound.Do(e.http, req)
	switch {
	case err != nil:
		return t, 0, again, fmt.Errorf("introspection: %w", err)
	case a.Status == http.StatusTooManyRequests:
		return t, 0, false, outbound.RateLimited("introspection_rate_limited", &a)
	case a.Status == http.StatusUnauthorized && e.authorizer != nil:
		e.authorizer.drop(authorized)
		return t, 0, true, errors.New("introspection: the endpoint refused the pre-authorization")
	case a.Status != http.StatusOK:
		return t, 0, a.Status >= 500, fmt.Errorf("introspection: the endpoint answered %d", a.Status)
	}
	t, err = decodeIntrospection(a.Body)
	return t, len(a.Body), false, err
}

// decodeIntrospection reads a response of RFC 7662 section 2.2. Duplicate members,
// in which two readers could see two answers, are refused.
func decodeIntrospection(raw []byte) (access.Token, error) {
	refuse := func(err error) (access.Token, error) {
		return access.Token{}, fmt.Errorf("introspection: the answer is not valid: %w", err)
	}
	var r struct {
		Active    *bool          `json:"active"`
		ID        string         `json:"jti"`
		Subject   string         `json:"sub"`
		ClientID  string         `json:"client_id"`
		Username  string         `json:"username"`
		Issuer    string         `json:"iss"`
		TokenType string         `json:"token_type"`
		TokenUse  string         `json:"token_use"`
		Scope     any            `json:"scope"`
		Audience  any            `json:"aud"`
		Extra     map[string]any `json:"ext"`
		Details   any            `json:"authorization_details"`
		Bound     any            `json:"cnf"`
		IssuedAt  any            `json:"iat"`
		NotBefore any            `json:"nbf"`
		ExpiresAt any            `json:"exp"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return refuse(err)
	}
	if r.Active == nil {
		return refuse(errors.New("active is missing"))
	}
	if !*r.Active {
		return access.Token{}, nil
	}
	t := access.Token{Active: true, ID: r.ID, Subject: r.Subject, ClientID: r.ClientID, Username: r.Username, Issuer: r.Issuer,
		TokenType: r.TokenType, TokenUse: r.TokenUse, Extra: r.Extra}
	if r.Details != nil {
		t.Claims = map[string]any{"authorization_details": r.Details}
	}
	var err error
	if r.Bound != nil {
		if t.Bound, err = confirmation(r.Bound); err != nil {
			return refuse(err)
		}
	}
	if t.Audience, err = stringOrList(r.Audience); err != nil {
		return refuse(fmt.Errorf("aud %w", err))
	}
	if t.Scope, err = stringOrList(r.Scope); err != nil {
		return refuse(fmt.Errorf("scope %w", err))
	}
	if text, ok := r.Scope.(string); ok {
		t.Scope = strings.Fields(text)
	}
	dates := map[string]any{}
	for name, v := range map[string]any{"iat": r.IssuedAt, "nbf": r.NotBefore, "exp": r.ExpiresAt} {
		if v != nil && v != 0.0 { // some servers write 0 for unknown
			dates[name] = v
		}
	}
	for name, into := range map[string]*time.Time{"iat": &t.IssuedAt, "nbf": &t.NotBefore, "exp": &t.ExpiresAt} {
		if *into, err = numericDate(dates, name); err != nil {
			return refuse(err)
		}
	}
	return t, nil
}
