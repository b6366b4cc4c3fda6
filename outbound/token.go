package outbound

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json"
)

// Client is how the gateway authenticates itself to a token endpoint (RFC 6749
// section 2.3.1).
type Client struct {
	// ClientID is required; an empty ClientSecret is that of a public client.
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	// ClientAuth is client_secret_basic (default) or client_secret_post.
	ClientAuth string `json:"client_auth"`
}

// Check returns an error that names the key.
func (c Client) Check() error {
	var errs []error
	if c.ClientID == "" {
		errs = append(errs, errors.New("client_id: required"))
	}
	switch c.ClientAuth {
	case "", "client_secret_basic", "client_secret_post":
	default:
		errs = append(errs, fmt.Errorf("client_auth: must be client_secret_basic or client_secret_post, not %q", c.ClientAuth))
	}
	return errors.Join(errs...)
}

// Request returns a POST of form to an endpoint that c authenticates itself to; with
// client_secret_post, or as a public client, c is put into form.
func (c Client) Request(ctx context.Context, endpoint string, form url.Values) (*http.Request, error) {
	basic := c.ClientAuth != "client_secret_post" && c.ClientSecret != ""
	if !basic {
		form.Set("client_id", c.ClientID)
		if c.ClientSecret != "" {
			form.Set("client_secret", c.ClientSecret)
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	if basic {
		r.SetBasicAuth(url.QueryEscape(c.ClientID), url.QueryEscape(c.ClientSecret))
	}
	return r, nil
}

// TokenEndpoint gets tokens from a token endpoint (RFC 6749 section 3.2). It is safe
// for concurrent use.
type TokenEndpoint struct {
	service *Service
	url     string
	client  Client
}

// NewTokenEndpoint returns a TokenEndpoint; errors name the configuration key.
func NewTokenEndpoint(o Options, tokenURL string, c Client) (*TokenEndpoint, error) {
	service, err := New(o)
	if err := errors.Join(err, CheckURL("token_url", tokenURL), c.Check()); err != nil {
		return nil, err
	}
	return &TokenEndpoint{service: service, url: tokenURL, client: c}, nil
}

// Token is a bearer token that was issued (RFC 6749 section 5.1).
type Token struct {
	// Value is one word of visible ASCII.
	Value string
	// IssuedType is issued_token_type (RFC 8693 section 2.2.1); empty: not said.
	IssuedType string
	// ExpiresIn is the token's life; zero: not said.
	ExpiresIn time.Duration
}

// RefusedError is an error of the endpoint about the request (RFC 6749 section 5.2),
// other than about the client's own credentials.
type RefusedError struct{ Code string }

// Error names the code, never the description: it may repeat a token.
func (e *RefusedError) Error() string { return "the token endpoint answered " + e.Code }

const maxToken = 16 << 10

// Grant asks for a token with the parameters in form, to which it adds the client's
// credentials. Errors: *RefusedError, and those of Service.Ask, also when the client's
// credentials are refused or the answer is not a bearer token.
func (e *TokenEndpoint) Grant(ctx context.Context, form url.Values) (Token, error) {
	a, err := e.service.Ask(ctx, func(ctx context.Context) (*http.Request, error) {
		r, err := e.client.Request(ctx, e.url, form)
		if err != nil {
			return nil, e.service.Unusable(err)
		}
		return r, nil
	})
	if err != nil {
		return Token{}, err
	}
	if a.Status == http.StatusBadRequest {
		if code := errorCode(a.Body); code != "" && code != "invalid_client" && code != "unauthorized_client" {
			return Token{}, &RefusedError{Code: code}
		}
	}
	if a.Status != http.StatusOK {
		return Token{}, e.service.Unusable(fmt.Errorf("the token endpoint answered %d %s", a.Status, errorCode(a.Body)))
	}
	t, err := readToken(a.Body)
	if err != nil {
		return Token{}, e.service.Unusable(fmt.Errorf("the token endpoint's answer is not valid: %w", err))
	}
	return t, nil
}

// Unusable is the fault for a token that decides nothing.
func (e *TokenEndpoint) Unusable(cause error) error { return e.service.Unusable(cause) }

// Longest is the most time that Grant takes.
func (e *TokenEndpoint) Longest() time.Duration {
	return e.service.retry.Longest(e.service.timeout)
}

// errorCode returns the code of an error answer when it is one.
func errorCode(body []byte) string {
	var answer struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &answer) != nil || len(answer.Error) > 64 || strings.Trim(answer.Error, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return ""
	}
	return answer.Error
}

// readToken reads a successful answer. The decoder refuses members that occur twice.
func readToken(body []byte) (Token, error) {
	var answer struct {
		AccessToken string   `json:"access_token"`
		TokenType   string   `json:"token_type"`
		IssuedType  string   `json:"issued_token_type"`
		ExpiresIn   *float64 `json:"expires_in"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return Token{}, errors.New("not the JSON of a token")
	}
	switch {
	case answer.AccessToken == "" || len(answer.AccessToken) > maxToken || strings.ContainsFunc(answer.AccessToken, func(c rune) bool { return c <= ' ' || c > '~' }):
		return Token{}, errors.New("access_token is missing, too long or not one word")
	case !strings.EqualFold(answer.TokenType, "Bearer"):
		return Token{}, errors.New("token_type is not Bearer")
	}
	t := Token{Value: answer.AccessToken, IssuedType: answer.IssuedType}
	if answer.ExpiresIn != nil {
		const most = 10 * 365 * 24 * 3600
		if *answer.ExpiresIn <= 0 {
			return Token{}, errors.New("expires_in is not positive")
		}
		t.ExpiresIn = time.Duration(min(*answer.ExpiresIn, most) * float64(time.Second))
	}
	return t, nil
}
