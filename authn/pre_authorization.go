package authn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/sync/singleflight"
)

// preAuthorizationConfig is a client credentials grant (RFC 6749 section 4.4).
type preAuthorizationConfig struct {
	Enabled      bool   `json:"enabled"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	TokenURL     string `json:"token_url"`
	// Audience is sent as the parameter audience when it is not empty.
	Audience string   `json:"audience"`
	Scope    []string `json:"scope"`
}

// preAuthorization keeps one access token of our own and renews it in time.
type preAuthorization struct {
	grant   clientcredentials.Config
	http    *http.Client
	timeout time.Duration
	now     func() time.Time
	flight  singleflight.Group

	mu      sync.Mutex
	current *oauth2.Token
}

func newPreAuthorization(c preAuthorizationConfig, client *http.Client, timeout time.Duration, now func() time.Time) (*preAuthorization, error) {
	if c.ClientID == "" || c.ClientSecret == "" {
		return nil, errors.New("pre_authorization needs client_id and client_secret")
	}
	if err := checkURL("pre_authorization.token_url", c.TokenURL); err != nil {
		return nil, err
	}
	p := &preAuthorization{http: client, timeout: timeout, now: now,
		grant: clientcredentials.Config{ClientID: c.ClientID, ClientSecret: c.ClientSecret, TokenURL: c.TokenURL, Scopes: c.Scope}}
	if c.Audience != "" {
		p.grant.EndpointParams = url.Values{"audience": {c.Audience}}
	}
	return p, nil
}

// token returns a token that is good for some seconds more.
func (p *preAuthorization) token(ctx context.Context) (string, error) {
	p.mu.Lock()
	t := p.current
	p.mu.Unlock()
	if t != nil && (t.Expiry.IsZero() || p.now().Add(10*time.Second).Before(t.Expiry)) {
		return t.AccessToken, nil
	}
	answer := p.flight.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, p.http), p.timeout)
		defer cancel()
		t, err := p.grant.Token(ctx)
		if err != nil {
			var answered *oauth2.RetrieveError
			if errors.As(err, &answered) { // its text would repeat the whole answer
				err = fmt.Errorf("token endpoint answered %d %s", answered.Response.StatusCode, answered.ErrorCode)
			}
			return nil, fmt.Errorf("pre_authorization: %w", err)
		}
		p.mu.Lock()
		p.current = t
		p.mu.Unlock()
		return t.AccessToken, nil
	})
	select {
	case result := <-answer:
		if result.Err != nil {
			return "", result.Err
		}
		return result.Val.(string), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// drop forgets a token that was refused.
func (p *preAuthorization) drop(refused string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil && p.current.AccessToken == refused {
		p.current = nil
	}
}
