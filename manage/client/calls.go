package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/authz"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/oauth2"
)

// AddMembers adds members to a group.
func (c *Client) AddMembers(ctx context.Context, group string, members []string) error {
	return c.members(ctx, http.MethodPost, group, members)
}

// RemoveMembers removes members from a group.
func (c *Client) RemoveMembers(ctx context.Context, group string, members []string) error {
	return c.members(ctx, http.MethodDelete, group, members)
}

func (c *Client) members(ctx context.Context, method, group string, members []string) error {
	return c.do(ctx, request{method: method, path: c.Groups.at(group, "members"), body: map[string][]string{"members": members}}, nil)
}

// Allowed asks the warden.
func (c *Client) Allowed(ctx context.Context, q authz.Question) (bool, error) {
	var answer struct {
		Allowed bool `json:"allowed"`
	}
	body := map[string]any{"subject": q.Subject, "action": q.Action, "resource": q.Resource, "context": q.Context}
	err := c.do(ctx, request{method: http.MethodPost, path: "/warden/allowed", body: body}, &answer)
	return answer.Allowed, err
}

// PatchClient changes parts of an OAuth 2.0 client.
func (c *Client) PatchClient(ctx context.Context, id string, operations []manage.Operation) (patched oauth2.Client, err error) {
	err = c.do(ctx, request{method: http.MethodPatch, path: c.Clients.at(id), body: operations}, &patched)
	return patched, err
}

// RotateSecret gives a client a new secret, which is answered this once; those before stay
// good until EndRotatedSecrets.
func (c *Client) RotateSecret(ctx context.Context, id string) (changed oauth2.Client, err error) {
	err = c.do(ctx, request{method: http.MethodPost, path: c.Clients.at(id, "secrets", "rotate")}, &changed)
	return changed, err
}

// EndRotatedSecrets leaves a client its newest secret alone.
func (c *Client) EndRotatedSecrets(ctx context.Context, id string) error {
	return c.do(ctx, request{method: http.MethodDelete, path: c.Clients.at(id, "secrets", "rotate")}, nil)
}

// SetLifespans replaces the token lifespans of an OAuth 2.0 client.
func (c *Client) SetLifespans(ctx context.Context, id string, l oauth2.Lifespans) (changed oauth2.Client, err error) {
	err = c.do(ctx, request{method: http.MethodPut, path: c.Clients.at(id, "lifespans"), body: l}, &changed)
	return changed, err
}

// SetPassword gives a user a new password and ends the user's logins.
func (c *Client) SetPassword(ctx context.Context, id, password string) error {
	return c.do(ctx, request{method: http.MethodPut, path: c.Users.at(id, "password"), body: map[string]string{"password": password}}, nil)
}

// ResetSecondFactor takes a user's second factors away and ends the user's logins.
func (c *Client) ResetSecondFactor(ctx context.Context, id string) error {
	return c.do(ctx, request{method: http.MethodDelete, path: c.Users.at(id, "second-factor")}, nil)
}

// Consents returns what a subject has consented to, newest first.
func (c *Client) Consents(ctx context.Context, subject string) ([]oauth2.ConsentGrant, error) {
	return Collection[oauth2.ConsentGrant]{c, "/oauth2/auth/sessions/consent"}.All(ctx, url.Values{"subject": {subject}})
}

// RevokeConsents revokes the consents of a subject, of one client or with an empty id of
// all, and what was issued under them.
func (c *Client) RevokeConsents(ctx context.Context, subject, clientID string) error {
	query := url.Values{"subject": {subject}}
	if clientID != "" {
		query.Set("client", clientID)
	} else {
		query.Set("all", "true")
	}
	return c.do(ctx, request{method: http.MethodDelete, path: "/oauth2/auth/sessions/consent", query: query}, nil)
}

// EndLogins ends all logins of a subject.
func (c *Client) EndLogins(ctx context.Context, subject string) error {
	return c.do(ctx, request{method: http.MethodDelete, path: "/oauth2/auth/sessions/login", query: url.Values{"subject": {subject}}}, nil)
}

// EndLogin ends one login by its sid; its clients are told.
func (c *Client) EndLogin(ctx context.Context, sid string) error {
	return c.do(ctx, request{method: http.MethodDelete, path: "/oauth2/auth/sessions/login", query: url.Values{"sid": {sid}}}, nil)
}

// Keys returns a key set; with a kid, that key of it.
func (c *Client) Keys(ctx context.Context, set string, kid ...string) (keys jose.JSONWebKeySet, err error) {
	err = c.do(ctx, request{method: http.MethodGet, path: below(below("/keys", set), kid...)}, &keys)
	return keys, err
}

// KeySchedule says what the keys of a set are for, and when.
func (c *Client) KeySchedule(ctx context.Context, set string) (schedule manage.KeySchedule, err error) {
	err = c.do(ctx, request{method: http.MethodGet, path: below("/keys", set) + "/schedule"}, &schedule)
	return schedule, err
}

// RotateKeys gives the keys of a set successors.
func (c *Client) RotateKeys(ctx context.Context, set string) (schedule manage.KeySchedule, err error) {
	err = c.do(ctx, request{method: http.MethodPost, path: below("/keys", set) + "/rotate"}, &schedule)
	return schedule, err
}

// CreateKey makes a key and adds it to a set; it returns the new key.
func (c *Client) CreateKey(ctx context.Context, set string, n manage.NewKey) (keys jose.JSONWebKeySet, err error) {
	err = c.do(ctx, request{method: http.MethodPost, path: below("/keys", set), body: n}, &keys)
	return keys, err
}

// ReplaceKeys stores a whole set.
func (c *Client) ReplaceKeys(ctx context.Context, set string, keys jose.JSONWebKeySet) error {
	return c.do(ctx, request{method: http.MethodPut, path: below("/keys", set), body: keys}, nil)
}

// PutKey stores one key of a set.
func (c *Client) PutKey(ctx context.Context, set string, key jose.JSONWebKey) error {
	return c.do(ctx, request{method: http.MethodPut, path: below("/keys", set, key.KeyID), body: key}, nil)
}

// DeleteKeys removes a set; with a kid, that key of it.
func (c *Client) DeleteKeys(ctx context.Context, set string, kid ...string) error {
	return c.do(ctx, request{method: http.MethodDelete, path: below(below("/keys", set), kid...)}, nil)
}

// Introspect asks what a token stands for; scope is separated by spaces.
func (c *Client) Introspect(ctx context.Context, token, scope string) (answer oauth2.Introspection, err error) {
	form := url.Values{"token": {token}}
	if scope != "" {
		form.Set("scope", scope)
	}
	var read struct {
		oauth2.Introspection
		Audience audience `json:"aud"`
	}
	err = c.do(ctx, request{method: http.MethodPost, path: "/oauth2/introspect", body: form}, &read)
	answer = read.Introspection
	answer.Audience = read.Audience
	return answer, err
}

// audience is one text or several (RFC 7662 section 2.2); Hydra before 1.0 answers one.
type audience []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audience) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		if one != "" {
			*a = audience{one}
		}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(a))
}

// RevokeClientTokens ends every token of an OAuth 2.0 client.
func (c *Client) RevokeClientTokens(ctx context.Context, clientID string) error {
	return c.do(ctx, request{method: http.MethodDelete, path: "/oauth2/tokens", query: url.Values{"client_id": {clientID}}}, nil)
}

// Flush deletes tokens that expired before notAfter.
func (c *Client) Flush(ctx context.Context, notAfter time.Time) error {
	return c.do(ctx, request{method: http.MethodPost, path: "/oauth2/flush", body: map[string]time.Time{"notAfter": notAfter}}, nil)
}

// Alive returns nil when the program runs.
func (c *Client) Alive(ctx context.Context) error {
	return c.do(ctx, request{method: http.MethodGet, path: "/health/alive"}, nil)
}

// Ready returns nil when the program is ready; its error names what is not.
func (c *Client) Ready(ctx context.Context) error {
	return c.do(ctx, request{method: http.MethodGet, path: "/health/ready"}, nil)
}

// Version returns the version of the program.
func (c *Client) Version(ctx context.Context) (string, error) {
	var answer struct {
		Version string `json:"version"`
	}
	err := c.do(ctx, request{method: http.MethodGet, path: "/version"}, &answer)
	return answer.Version, err
}
