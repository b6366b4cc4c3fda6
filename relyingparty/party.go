// Package relyingparty logs people in at an OpenID provider, and keeps the gateway's
// sessions of them in encrypted cookies.
//
// A Client is one client at one provider: it makes authorization requests
// (authorization code with PKCE S256, OpenID Connect Core 1.0 section 3.1) and judges
// what comes back. It keeps nothing. The built-in login pages use it as it is.
//
// A Party keeps sessions on top of a Client, for the gateway. Serve answers the paths
// that belong to the Party: the callback, a login and a logout. Session reads the
// session of a request and renews it with its refresh token.
//
// What a Party knows of a person is in the cookie, which nobody else can read, and
// which no other Party and no other host accepts. On the server are the successors of
// refresh tokens, for minutes, and under hashes what providers have ended (Logouts).
package relyingparty

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
)

// Options of a Party. Issuer, ClientID and Secrets are required.
type Options struct {
	// ClientOptions are the client that it is.
	ClientOptions
	// Claims are the members of the ID token that the session keeps.
	Claims []string
	// KeepAccessToken puts the access token into the session.
	KeepAccessToken bool
	// ACR are the accepted values of acr; empty: any.
	ACR []string
	// MaxAge is how long ago the person may have been authenticated; 0: any time.
	MaxAge time.Duration

	CookieName              string
	Callback, Login, Logout string // paths; Login and Logout may be empty
	// Backchannel is the path where the provider tells of logouts; empty: none.
	Backchannel                 string
	Idle, Lifetime, RenewBefore time.Duration
	// AfterLogout is an absolute URL or a path; empty: a page of our own.
	AfterLogout string

	// Secrets seal the cookies: the first seals, all open.
	Secrets [][]byte
	// Once reports whether this is the first call for an id, on any node, until a time.
	// Nil: only this process is asked.
	Once func(ctx context.Context, id string, until time.Time) (first bool, err error)
	// Logouts are the sessions that providers have ended. Nil: there is no Backchannel.
	Logouts *Logouts
}

// Party keeps the sessions of one client at one provider. Use New.
type Party struct {
	o       Options
	id      string // of what shapes a session; part of cookie names
	seal    *sealer
	client  *Client
	flights singleflight.Group
	renewed *successors
}

// New returns a Party, or an error that names what is wrong. Nothing is fetched yet.
func New(o Options) (*Party, error) {
	client, err := NewClient(o.ClientOptions)
	if err != nil {
		return nil, err
	}
	o.ClientOptions = client.o
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Logouts == nil {
		o.Backchannel = ""
	}
	seal, err := newSealer(o.Secrets)
	if err != nil {
		return nil, err
	}
	shape, err := json.Marshal([]any{o.Issuer, o.ClientID, o.Endpoints, o.Scope, o.Parameters, o.Claims, o.KeepAccessToken, o.Algorithms})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(shape)
	return &Party{o: o, id: base64.RawURLEncoding.EncodeToString(sum[:6]), seal: seal, client: client, renewed: newSuccessors(o.Now)}, nil
}

// check names what is wrong with the sessions.
func (o *Options) check() error {
	switch {
	case len(o.Secrets) == 0:
		return errors.New("secrets.system is required: sessions are sealed with it")
	case o.Idle <= 0 || o.Lifetime <= 0:
		return errors.New("idle_timeout and lifetime must be positive")
	case o.Backchannel != "" && o.Lifetime > MaxLifetime:
		return fmt.Errorf("lifetime must be at most %s, as long as a logout of the provider is remembered; or leave backchannel_logout_path empty", MaxLifetime)
	case !isPlain(o.CookieName) || len(o.CookieName) > 64:
		return fmt.Errorf("cookie_name: %q is not a name of at most 64 letters, digits, - and _", o.CookieName)
	}
	if err := o.checkPaths(); err != nil {
		return err
	}
	if u, err := url.Parse(o.AfterLogout); err != nil || o.AfterLogout != "" && !isLocalTarget(o.AfterLogout) && (u.Scheme != "https" && u.Scheme != "http" || u.Host == "") {
		return errors.New("post_logout_redirect must be an http or https URL, or a path that begins with one slash")
	}
	return nil
}

func (o *Options) checkPaths() error {
	used := map[string]string{}
	for _, p := range []struct{ key, path string }{{"callback_path", o.Callback}, {"login_path", o.Login}, {"logout_path", o.Logout}, {"backchannel_logout_path", o.Backchannel}} {
		if p.path == "" && p.key != "callback_path" {
			continue
		}
		if !strings.HasPrefix(p.path, "/") || path.Clean(p.path) != p.path || p.path == "/" ||
			strings.ContainsFunc(p.path, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`%?#\;"<>{}|^`+"`", c) }) {
			return fmt.Errorf("%s: %q is not a plain path such as /.gatewarden/callback", p.key, p.path)
		}
		if other := used[p.path]; other != "" {
			return fmt.Errorf("%s and %s are the same path", other, p.key)
		}
		used[p.path] = p.key
	}
	return nil
}

// Endpoints returns what the Party's paths are for, by path.
func (p *Party) Endpoints() map[string]string {
	out := map[string]string{p.o.Callback: "callback"}
	for path, purpose := range map[string]string{p.o.Login: "login", p.o.Logout: "logout", p.o.Backchannel: "back-channel logout"} {
		if path != "" {
			out[path] = purpose
		}
	}
	return out
}

// binding is the associated data of what is sealed: whose it is, what for, and at
// which host. Parts are written with their lengths, so that none can run into the
// next.
func (p *Party) binding(purpose, scheme, host string) []byte {
	var b []byte
	for _, part := range []string{"gatewarden/relyingparty/v1", purpose, p.o.Issuer, p.o.ClientID, p.id, scheme, host} {
		b = append(fmt.Appendf(b, "%d:", len(part)), part...)
	}
	return b
}

// isPlain reports whether s is a name of letters, digits, - and _ alone.
func isPlain(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
	})
}
