package mutators

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/outbound"
	"github.com/gatewarden/gatewarden/templates"
)

// TokenRequest is what token_exchange and oauth2_client_credentials have in common.
type TokenRequest struct {
	// TokenURL is the token endpoint (RFC 6749 section 3.2); empty: that of the embedded
	// server, asked in process.
	TokenURL string `json:"token_url"`
	outbound.Client
	// Scope, Audience and Resource (RFC 8707) are what is asked for.
	Scope    []string `json:"scope"`
	Audience []string `json:"audience"`
	Resource []string `json:"resource"`
	// Header is the field that carries the token upstream; default Authorization, with
	// Bearer in front. In any other field it stands alone.
	Header  string           `json:"header"`
	Timeout handler.Duration `json:"timeout"` // of an attempt; default 5s
	Retry   outbound.Retry   `json:"retry"`
}

// ownTokenURL is the embedded server's endpoint. Nothing resolves the name (RFC 6761).
const ownTokenURL = "http://embedded.invalid/oauth2/token"

func defaultTokenRequest() TokenRequest {
	return TokenRequest{Header: "Authorization", Timeout: outbound.DefaultTimeout, Retry: outbound.DefaultRetry()}
}

// foreignToken gets tokens from a token endpoint and sends them upstream.
type foreignToken struct {
	name     string // of the mutator
	endpoint *outbound.TokenEndpoint
	tokens   *TokenCache // nil: none are kept
	observe  func(cache string, hit bool)
	now      func() time.Time
	header   string // canonical
	prefix   string
	form     url.Values // what is always asked
	identity string
}

// newForeignToken checks c; config is all that shapes a token, for the cache.
func newForeignToken(d Deps, name string, c TokenRequest, config any) (*foreignToken, error) {
	f := &foreignToken{name: name, tokens: d.Tokens, observe: d.Observe, now: d.Now, form: url.Values{}}
	if f.now == nil {
		f.now = time.Now
	}
	if f.observe == nil {
		f.observe = func(string, bool) {}
	}
	client := d.HTTP
	if c.TokenURL == "" && d.OwnServer != nil {
		c.TokenURL, client = ownTokenURL, d.OwnServer
	}
	var errs [3]error
	f.endpoint, errs[0] = outbound.NewTokenEndpoint(outbound.Options{Name: name, HTTP: client, Timeout: c.Timeout, Retry: c.Retry}, c.TokenURL, c.Client)
	if f.header, errs[1] = templates.FieldName(c.Header); errs[1] != nil {
		errs[1] = fmt.Errorf("header: %q: %w", c.Header, errs[1])
	}
	if f.header == "Authorization" {
		f.prefix = "Bearer "
	}
	for i, scope := range c.Scope {
		if !isScope(scope) {
			errs[2] = fmt.Errorf("scope.%d: %q is not a scope token", i, scope)
		}
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	for name, values := range map[string][]string{"audience": c.Audience, "resource": c.Resource} {
		if len(values) > 0 {
			f.form[name] = values
		}
	}
	if len(c.Scope) > 0 {
		f.form.Set("scope", joinScope(c.Scope))
	}
	raw, err := json.Marshal([]any{name, config})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	f.identity = string(sum[:])
	return f, nil
}

// set asks for a token with the parameters, which with the configuration are all that
// it depends on, and sets it in p.
func (f *foreignToken) set(ctx context.Context, p *access.Pass, parameters ...string) error {
	get := func(ctx context.Context) (minted, error) { return f.get(ctx, parameters) }
	value, err := "", error(nil)
	if f.tokens == nil {
		var m minted
		m, err = get(ctx)
		value = m.header
	} else {
		var hit bool
		value, hit, err = f.tokens.load(ctx, f.tokens.prints.Of(f.identity, parameters...), f.now(), f.endpoint.Longest(), get)
		f.observe(f.name, hit)
	}
	if err != nil {
		return f.failed(err)
	}
	if p.Set == nil {
		p.Set = make(http.Header, 1)
	}
	p.Set[f.header] = []string{value}
	return nil
}

// get asks the endpoint. A token is kept until a fifth of its life is left, at most
// half a minute; one that does not say how long it lives is not kept.
func (f *foreignToken) get(ctx context.Context, parameters []string) (minted, error) {
	form := url.Values{}
	for name, values := range f.form {
		form[name] = values
	}
	for i := 0; i+1 < len(parameters); i += 2 {
		form.Set(parameters[i], parameters[i+1])
	}
	asked := f.now() // before the answer: the token is older than it seems
	t, err := f.endpoint.Grant(ctx, form)
	if err != nil {
		return minted{}, err
	}
	if form.Get("grant_type") == exchangeGrant && !issuedAs(form.Get("requested_token_type"), t.IssuedType) {
		return minted{}, f.endpoint.Unusable(errors.New("the token endpoint issued a token of another type"))
	}
	fresh := t.ExpiresIn - min(30*time.Second, t.ExpiresIn/5)
	return minted{header: f.prefix + t.Value, freshUntil: asked.Add(fresh), freshFor: fresh}, nil
}

// issuedAs reports whether a token of the issued type is the one that was requested:
// any that an upstream takes as a bearer token when nothing was.
func issuedAs(requested, issued string) bool {
	if requested == "" {
		return issued == accessTokenType || issued == jwtType
	}
	return issued == requested
}

// failed classifies errors: one about the request denies it, everything else is about
// the gateway and what it depends on.
func (f *foreignToken) failed(err error) error {
	var refused *outbound.RefusedError
	switch {
	case errors.As(err, &refused):
		err = fault.Wrap(fault.Forbidden, f.name+"_refused", "the request is not allowed", err)
	case errors.Is(err, context.Canceled):
		err = fault.Wrap(fault.Unavailable, "cancelled", "the request was given up", err)
	}
	return fmt.Errorf("%s: %w", f.name, err)
}

// OwnedHeaders returns the field of the token unless clients send it for reasons of
// their own.
func (f *foreignToken) OwnedHeaders() []string { return templates.Owned([]string{f.header}) }

// isScope reports whether s is a scope-token of RFC 6749 section 3.3.
func isScope(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}
