package relyingparty

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
)

// Keys holds the keys that ID tokens are verified with.
type Keys interface {
	// Keys returns the keys with an id; none when it is unknown. An error means that
	// it could not be found out (fault.Unavailable, fault.Timeout).
	Keys(ctx context.Context, kid string) ([]jose.JSONWebKey, error)
}

// Local is an OpenID provider in this process.
type Local struct {
	Issuer string
	// Handler answers the provider's endpoints, at paths below the issuer's.
	Handler http.Handler
	Keys    Keys
}

// ClientOptions of a Client. Issuer and ClientID are required.
type ClientOptions struct {
	// Issuer is the provider's, exactly as in its ID tokens. Empty: Local's.
	Issuer string
	// Endpoints are used in place of those that the issuer publishes, when
	// Authorization is set.
	Endpoints Endpoints
	ClientID  string
	// ClientSecret is empty for a public client.
	ClientSecret string
	// PostSecret sends the secret in the body and not in the Authorization header.
	PostSecret bool
	Scope      []string // openid is required
	// Parameters are added to the authorization request.
	Parameters map[string]string
	// Algorithms are those that ID tokens may be signed with.
	Algorithms []string
	// Leeway is the tolerated difference of clocks.
	Leeway  time.Duration
	Local   *Local
	HTTP    *http.Client
	Remotes *keys.Remotes
	Now     func() time.Time
}

// Client is one client at one provider. It keeps nothing but the provider's metadata
// and keys. It is safe for concurrent use. Use NewClient.
type Client struct {
	o        ClientOptions
	provider *provider
}

// Asked is an authorization request that was made: what its answer is judged by. It is
// for nobody else to see, and good for one answer.
type Asked struct {
	// State names the request, in the answer too.
	State string `json:"s"`
	Nonce string `json:"n"`
	// Verifier is the one of PKCE (RFC 7636).
	Verifier string `json:"v"`
}

// Person is who logged in, as a verified ID token says.
type Person struct {
	Subject string
	// IssuedAt is the time of the ID token by the provider's clock, AuthenticatedAt of
	// the login there; zero when the provider does not say.
	IssuedAt, AuthenticatedAt time.Time
	// Claims are all of the ID token.
	Claims map[string]any

	tokens *tokens
}

// reservedParameters belong to the Client.
var reservedParameters = []string{"response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", "nonce",
	"code_challenge", "code_challenge_method", "acr_values", "max_age", "request", "request_uri", "client_secret"}

// NewClient returns a Client, or an error that names what is wrong. Nothing is fetched
// yet.
func NewClient(o ClientOptions) (*Client, error) {
	if o.Issuer == "" && o.Local != nil {
		o.Issuer = o.Local.Issuer
	}
	if o.Local != nil && o.Issuer != o.Local.Issuer {
		o.Local = nil
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	c := &Client{o: o}
	var err error
	c.provider, err = newProvider(&c.o)
	return c, err
}

// check fills in defaults and names what is wrong.
func (o *ClientOptions) check() error {
	switch u, err := url.Parse(o.Issuer); {
	case o.Issuer == "":
		return errors.New("issuer is required: no authorization server runs in this process")
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return errors.New("issuer must be an http or https URL without query, fragment and user")
	case o.ClientID == "":
		return errors.New("client_id is required")
	case !slices.Contains(o.Scope, "openid"):
		return errors.New("scope must contain openid")
	}
	for _, s := range o.Scope {
		if s == "" || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c == '"' || c == '\\' || c > '~' }) {
			return fmt.Errorf("scope: %q is not a scope", s)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.Parameters)) {
		if slices.Contains(reservedParameters, name) {
			return fmt.Errorf("authorization_parameters: %s is set by the gateway", name)
		}
	}
	known := keys.Asymmetric()
	for _, name := range o.Algorithms {
		if !slices.Contains(known, jose.SignatureAlgorithm(name)) {
			return fmt.Errorf("allowed_algorithms: %q is not a known signature algorithm with a public key", name)
		}
	}
	if len(o.Algorithms) == 0 {
		return errors.New("allowed_algorithms must not be empty")
	}
	if o.HTTP == nil {
		o.HTTP = &http.Client{Timeout: 10 * time.Second}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Remotes == nil {
		o.Remotes = keys.NewRemotes(keys.RemotesOptions{HTTP: o.HTTP, Now: o.Now})
	}
	return nil
}

// Issuer returns the provider's.
func (c *Client) Issuer() string { return c.o.Issuer }

// Ask makes an authorization request whose answer comes to redirectURI: the address to
// send the browser to, and what the answer is judged by. Extra are parameters of this
// request, such as prompt and max_age; they count before those of the options, and
// nothing that protects the request can be replaced. Errors: fault.Unavailable and
// fault.Timeout when the provider's metadata cannot be had.
func (c *Client) Ask(ctx context.Context, redirectURI string, extra url.Values) (address string, asked Asked, err error) {
	at, err := c.provider.get(ctx)
	if err != nil {
		return "", Asked{}, err
	}
	asked = Asked{State: random(), Nonce: random(), Verifier: random()}
	query := url.Values{}
	for name, value := range c.o.Parameters {
		query.Set(name, value)
	}
	maps.Copy(query, extra)
	challenge := sha256.Sum256([]byte(asked.Verifier))
	for name, value := range map[string]string{
		"response_type": "code", "client_id": c.o.ClientID, "redirect_uri": redirectURI, "scope": strings.Join(c.o.Scope, " "),
		"state": asked.State, "nonce": asked.Nonce, "code_challenge_method": "S256",
		"code_challenge": base64.RawURLEncoding.EncodeToString(challenge[:]),
	} {
		query.Set(name, value)
	}
	return withQuery(at.Authorization, query), asked, nil
}

// ParseAnswer reads the query of an authorization response, in which nothing that
// counts may be repeated (RFC 6749 section 3.1). Errors are fault.Invalid.
func ParseAnswer(rawQuery string) (url.Values, error) {
	q, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, fault.New(fault.Invalid, "invalid_query", "the query cannot be read")
	}
	for _, name := range []string{"state", "code", "iss", "error"} {
		if len(q[name]) > 1 {
			return nil, fault.New(fault.Invalid, "invalid_query", "the parameter "+name+" is repeated")
		}
	}
	return q, nil
}

// Redeem judges the answer to a request that was made (OpenID Connect Core 1.0 section
// 3.1.2.5, RFC 9207), spends its code and verifies the ID token. Whoever calls it has
// found asked by the answer's state. Errors: fault.Forbidden with the reasons
// login_refused (the provider said no: the message ends with its error code) and
// login_failed; fault.Unavailable and fault.Timeout when nothing was found out.
func (c *Client) Redeem(ctx context.Context, asked Asked, redirectURI string, answer url.Values) (*Person, error) {
	at, err := c.provider.get(ctx)
	if err != nil {
		return nil, err
	}
	// Before anything else: it may be another provider's answer (RFC 9207 section 2.4).
	if iss, sent := answer["iss"]; sent && iss[0] != c.o.Issuer || !sent && at.NamesIssuer {
		return nil, loginFailed("the answer is not the provider's", errors.New("iss is missing or another issuer"))
	}
	if answer.Has("error") {
		return nil, &fault.Error{Kind: fault.Forbidden, Reason: "login_refused", Message: "the provider refused the login: " + ErrorCode(answer)}
	}
	if answer.Get("code") == "" {
		return nil, loginFailed("the answer has no code", nil)
	}
	ctx, cancel := context.WithTimeout(ctx, callFor)
	defer cancel()
	t, err := c.provider.grant(ctx, at.Token, url.Values{
		"grant_type": {"authorization_code"}, "code": {answer.Get("code")}, "redirect_uri": {redirectURI}, "code_verifier": {asked.Verifier},
	})
	var no *grantError
	switch {
	case errors.As(err, &no):
		return nil, loginFailed("the provider did not accept the code", err)
	case err != nil:
		return nil, unavailable("the login could not be completed", err)
	case t.IDToken == "":
		return nil, loginFailed("the provider sent no ID token", nil)
	}
	claims, err := c.idToken(ctx, at.keys, t.IDToken, wanted{nonce: asked.Nonce, accessToken: t.AccessToken})
	switch {
	case fault.Is(err, fault.Unavailable), fault.Is(err, fault.Timeout):
		return nil, err
	case err != nil:
		return nil, loginFailed("the provider's ID token is not valid", err)
	}
	who := &Person{Claims: claims, tokens: t}
	who.Subject, _ = claims["sub"].(string)
	who.IssuedAt, err = date(claims, "iat")
	if err == nil {
		who.AuthenticatedAt, err = date(claims, "auth_time")
	}
	if err != nil {
		return nil, loginFailed("the provider's ID token is not valid", err)
	}
	return who, nil
}

// Userinfo asks the provider for more claims about a person who has just logged in
// (OpenID Connect Core 1.0 section 5.3), and adds those to who.Claims that the ID token
// does not have. How the person was authenticated is for the ID token alone to say.
// Providers without the endpoint have no more. Errors: fault.Unavailable
// and fault.Timeout; fault.Forbidden when the answer is about somebody else.
func (c *Client) Userinfo(ctx context.Context, who *Person) error {
	at, err := c.provider.get(ctx)
	if err != nil || at.Userinfo == "" || who.tokens == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callFor)
	defer cancel()
	claims, err := c.provider.userinfo(ctx, at.Userinfo, who.tokens.AccessToken)
	if err != nil {
		return unavailable("the login could not be completed", err)
	}
	if sub, _ := claims["sub"].(string); sub != who.Subject { // section 5.3.2
		return loginFailed("the provider's userinfo is not about who has logged in", nil)
	}
	for name, value := range claims {
		if _, has := who.Claims[name]; !has && !slices.Contains(always, name) {
			who.Claims[name] = value
		}
	}
	return nil
}

// ErrorCode is the error of an authorization response (RFC 6749 section 4.1.2.1) as it
// may be shown and logged; empty: none.
func ErrorCode(answer url.Values) string { return plainCode(answer.Get("error")) }

// loginFailed refuses a login. It is not the person's fault, but nothing that trying
// again right away would mend.
func loginFailed(message string, cause error) error {
	return &fault.Error{Kind: fault.Forbidden, Reason: "login_failed", Message: message, Err: cause}
}

// random returns 256 random bits in base64url.
func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails; crypto/rand ends the program instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// withQuery adds parameters to a URL that may have some.
func withQuery(address string, query url.Values) string {
	if strings.Contains(address, "?") {
		return address + "&" + query.Encode()
	}
	return address + "?" + query.Encode()
}
