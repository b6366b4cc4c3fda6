package relyingparty

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/outbound"
)

const (
	// metadataFor is how long a provider's metadata is used without asking again;
	// retryAfter is the least time between two questions that failed.
	metadataFor = time.Hour
	retryAfter  = 5 * time.Second
	// callFor bounds one call of the provider.
	callFor = 10 * time.Second
	keysFor = 5 * time.Minute
)

// Endpoints are the addresses of a provider (OpenID Connect Discovery 1.0 section 3).
type Endpoints struct {
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	JWKS          string `json:"jwks_uri"`
	// EndSession and Revocation may be empty.
	EndSession string `json:"end_session_endpoint"`
	Revocation string `json:"revocation_endpoint"`
	// Userinfo is the one of OpenID Connect Core 1.0 section 5.3; empty: none.
	Userinfo string `json:"userinfo_endpoint,omitempty"`
	// NamesIssuer says that authorization responses carry iss (RFC 9207).
	NamesIssuer bool `json:"authorization_response_iss_parameter_supported"`
}

// provider is the other side: its endpoints and how to call them.
type provider struct {
	o    *ClientOptions
	http *http.Client
	keys Keys // of Local; nil: those at JWKS

	mu        sync.Mutex
	endpoints *resolved
	until     time.Time
	failed    time.Time // when the last question failed
	failure   error
}

// resolved are endpoints and the keys that belong to them.
type resolved struct {
	Endpoints
	keys Keys
}

func newProvider(o *ClientOptions) (*provider, error) {
	p := &provider{o: o, http: outbound.Direct(o.HTTP)}
	if o.Local != nil {
		base, _ := url.Parse(o.Issuer) // checked
		p.http = outbound.Direct(&http.Client{Transport: inProcess{o.Local.Handler, strings.TrimSuffix(base.Path, "/")}})
		p.keys = o.Local.Keys
	}
	if o.Endpoints.Authorization == "" {
		if o.Endpoints != (Endpoints{}) {
			return nil, errors.New("authorization_endpoint is required when another endpoint is given")
		}
		return p, nil
	}
	r, err := p.resolve(o.Endpoints)
	if err != nil {
		return nil, err
	}
	p.endpoints, p.until = r, time.Unix(1<<40, 0) // for good
	return p, nil
}

// resolve checks endpoints. An issuer that is reached by TLS has no endpoint without.
func (p *provider) resolve(e Endpoints) (*resolved, error) {
	for _, one := range []struct {
		name, address string
		optional      bool
	}{
		{"authorization_endpoint", e.Authorization, false}, {"token_endpoint", e.Token, false}, {"jwks_uri", e.JWKS, p.keys != nil},
		{"end_session_endpoint", e.EndSession, true}, {"revocation_endpoint", e.Revocation, true}, {"userinfo_endpoint", e.Userinfo, true},
	} {
		if one.address == "" && one.optional {
			continue
		}
		u, err := url.Parse(one.address)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Fragment != "" {
			return nil, fmt.Errorf("%s must be an http or https URL", one.name)
		}
		if u.Scheme == "http" && strings.HasPrefix(p.o.Issuer, "https:") {
			return nil, fmt.Errorf("%s must be an https URL, as the issuer is", one.name)
		}
	}
	r := &resolved{Endpoints: e, keys: p.keys}
	if r.keys == nil {
		set, err := p.o.Remotes.Open([]string{e.JWKS}, keysFor, callFor)
		if err != nil {
			return nil, fmt.Errorf("jwks_uri: %w", err)
		}
		r.keys = set
	}
	return r, nil
}

// get returns the endpoints. The first question is asked when somebody logs in; while
// the provider does not answer a later one, the last answer counts.
func (p *provider) get(ctx context.Context) (*resolved, error) {
	p.mu.Lock()
	defer p.mu.Unlock() // who comes second waits for the answer
	now := p.o.Now()
	if p.endpoints != nil && now.Before(p.until) {
		return p.endpoints, nil
	}
	if p.failure == nil || now.Sub(p.failed) >= retryAfter {
		fresh, err := p.discover(ctx)
		if err == nil {
			p.endpoints, p.until, p.failure = fresh, now.Add(metadataFor), nil
			return fresh, nil
		}
		p.failed, p.failure = now, err
	}
	if p.endpoints != nil {
		return p.endpoints, nil
	}
	return nil, unavailable("the login provider is not available", p.failure)
}

func (p *provider) discover(ctx context.Context) (*resolved, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callFor)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(p.o.Issuer, "/")+"/.well-known/openid-configuration", nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	a, _, err := outbound.Do(p.http, r)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	if a.Status != http.StatusOK {
		return nil, fmt.Errorf("metadata: the provider answered %d", a.Status)
	}
	var d struct {
		Issuer string `json:"issuer"`
		Endpoints
	}
	if err := json.Unmarshal(a.Body, &d); err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	if d.Issuer != p.o.Issuer { // section 4.3: exactly
		return nil, fmt.Errorf("metadata: they are of issuer %q, not of %q", d.Issuer, p.o.Issuer)
	}
	found, err := p.resolve(d.Endpoints)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	return found, nil
}

// post sends a form as the client.
func (p *provider) post(ctx context.Context, address string, form url.Values) (outbound.Answer, error) {
	client := outbound.Client{ClientID: p.o.ClientID, ClientSecret: p.o.ClientSecret}
	if p.o.PostSecret {
		client.ClientAuth = "client_secret_post"
	}
	r, err := client.Request(ctx, address, form)
	if err != nil {
		return outbound.Answer{}, err
	}
	a, _, err := outbound.Do(p.http, r)
	return a, err
}

// userinfo asks with an access token.
func (p *provider) userinfo(ctx context.Context, address, token string) (map[string]any, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "application/json")
	a, _, err := outbound.Do(p.http, r)
	if err != nil {
		return nil, fmt.Errorf("userinfo: %w", err)
	}
	var claims map[string]any
	if a.Status != http.StatusOK {
		err = fmt.Errorf("userinfo: the provider answered %d", a.Status)
	} else if err = json.Unmarshal(a.Body, &claims); err != nil {
		err = fmt.Errorf("userinfo: %w", err)
	}
	return claims, err
}

// tokens are a provider's answer to a grant.
type tokens struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token"`
	ExpiresIn    any    `json:"expires_in"` // a number; some send a string
}

// lifespan is how long the access token is good; 0 when the provider does not say.
func (t *tokens) lifespan() time.Duration {
	var s float64
	switch v := t.ExpiresIn.(type) {
	case float64:
		s = v
	case string:
		if _, err := fmt.Sscanf(v, "%f", &s); err != nil {
			return 0
		}
	}
	if s <= 0 || s > 10*365*24*3600 {
		return 0
	}
	return time.Duration(s) * time.Second
}

// grantError is a provider's no: the code or refresh token is worth nothing.
type grantError struct {
	status int
	code   string // of RFC 6749 section 5.2; empty: none
}

func (e *grantError) Error() string {
	return fmt.Sprintf("the provider answered %d %q", e.status, e.code)
}

// grant asks the token endpoint. Errors: *grantError when the provider said no; any
// other means that it is not known what happened.
func (p *provider) grant(ctx context.Context, address string, form url.Values) (*tokens, error) {
	a, err := p.post(ctx, address, form)
	if err != nil {
		return nil, fmt.Errorf("token endpoint: %w", err)
	}
	if status := a.Status; status != http.StatusOK {
		var e struct {
			Error string `json:"error"`
		}
		_ = json.Unmarshal(a.Body, &e) // no JSON: no code
		if status >= 500 || status == http.StatusTooManyRequests || status < 400 {
			return nil, fmt.Errorf("token endpoint: the provider answered %d", status)
		}
		return nil, &grantError{status, plainCode(e.Error)}
	}
	t := new(tokens)
	if err := json.Unmarshal(a.Body, t); err != nil {
		return nil, fmt.Errorf("token endpoint: %w", err)
	}
	if t.AccessToken == "" || !strings.EqualFold(t.TokenType, "bearer") {
		return nil, errors.New("token endpoint: the answer has no access token of type Bearer")
	}
	return t, nil
}

// plainCode returns an error code that may be shown and logged; others become "other".
func plainCode(code string) string {
	if len(code) > 64 || strings.ContainsFunc(code, func(c rune) bool { return (c < 'a' || c > 'z') && c != '_' }) {
		return "other"
	}
	return code
}

func unavailable(message string, cause error) error {
	kind := fault.Unavailable
	if errors.Is(cause, context.DeadlineExceeded) {
		kind = fault.Timeout
	}
	return fault.Wrap(kind, "login_provider_unavailable", message, cause)
}

// InProcess returns a transport that calls a handler of this process, whatever the
// host of a request is. Base is cut off the front of the paths.
func InProcess(h http.Handler, base string) http.RoundTripper { return inProcess{h, base} }

// inProcess calls a handler of this process.
type inProcess struct {
	handler http.Handler
	base    string // of the paths, which the handler does not know
}

// RoundTrip implements http.RoundTripper.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.URL.Path, in.URL.RawPath = strings.TrimPrefix(in.URL.Path, t.base), ""
	in.Host, in.RequestURI = r.URL.Host, in.URL.RequestURI()
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w := &recorded{header: http.Header{}}
	t.handler.ServeHTTP(w, in)
	_ = in.Body.Close() // it is text in memory
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return &http.Response{StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: w.header,
		Body: io.NopCloser(strings.NewReader(w.body.String())), ContentLength: int64(w.body.Len()), Request: r}, nil
}

// recorded is an answer in memory.
type recorded struct {
	header http.Header
	status int
	body   strings.Builder
}

func (w *recorded) Header() http.Header { return w.header }

func (w *recorded) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorded) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}
