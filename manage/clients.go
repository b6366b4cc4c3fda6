package manage

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/strictjson"
)

// The bounds of a secret that a person chose, in bytes.
const (
	minSecret = 6 // Hydra's
	maxSecret = 1024
)

// changeAttempts bounds how often a change begins again because another one was
// faster; then it is fault.Conflict.
const changeAttempts = 10

// maxRotated is how many rotated secrets of a client stay good, Hydra's number.
const maxRotated = 5

// DefaultScope is what Hydra gives to a client that registered no scope.
const DefaultScope = "offline_access offline openid"

// Clients manages OAuth 2.0 clients with Hydra's defaults. A secret is answered
// once, when it is made or changed; only its hash is stored.
type Clients struct {
	Store  oauth2.ClientStore
	Hasher oauth2.SecretHasher
	Reload Reloader
	Now    func() time.Time
	// DefaultScope is that of clients that name none; empty: the package's.
	DefaultScope string
	// SubjectTypes are those that clients may have; nil: public.
	SubjectTypes []string
	// Sectors is asked about sector_identifier_uri; nil: no client may have one.
	Sectors *Sectors
}

// List returns clients by id, and how many there are.
func (s *Clients) List(ctx context.Context, f oauth2.ClientFilter) ([]oauth2.Client, int, error) {
	list, err := s.Store.Clients(ctx, f)
	if err != nil {
		return nil, 0, err
	}
	for i := range list {
		list[i] = Shown(list[i])
	}
	total, err := s.Store.CountClients(ctx, f)
	return list, total, err
}

// Get returns one client.
func (s *Clients) Get(ctx context.Context, id string) (oauth2.Client, error) {
	c, err := s.Store.Client(ctx, id)
	return Shown(c), err
}

// Shown is a client as it is answered: without secret, and with something where Hydra's
// clients expect a list or an object.
func Shown(c oauth2.Client) oauth2.Client {
	c.Secret, c.SecretHash, c.RotatedSecretHashes, c.ETag = "", "", nil, ""
	for _, object := range []*json.RawMessage{&c.JWKS, &c.Metadata} {
		if len(*object) == 0 {
			*object = json.RawMessage("{}")
		}
	}
	for _, list := range []*[]string{&c.RedirectURIs, &c.GrantTypes, &c.ResponseTypes, &c.Audience, &c.AllowedCORSOrigins, &c.Contacts} {
		if *list == nil {
			*list = []string{}
		}
	}
	return c
}

// Create stores a new client. An empty id is replaced by a random one, and a
// confidential client without secret gets a generated one.
func (s *Clients) Create(ctx context.Context, c oauth2.Client) (oauth2.Client, error) {
	if c.ID == "" {
		c.ID = newID()
	}
	c.AuthMethodSet = c.TokenEndpointAuthMethod != ""
	c.SecretHash, c.RotatedSecretHashes, c.Origin = "", nil, oauth2.ByOperator
	c.CreatedAt = s.Now().UTC().Truncate(time.Second)
	c.UpdatedAt = c.CreatedAt
	secret, err := s.settle(ctx, &c, oauth2.Client{})
	if err != nil {
		return c, err
	}
	if err := s.Store.CreateClient(ctx, c); err != nil {
		return c, err
	}
	return s.changed(ctx, c, secret)
}

// Replace changes everything about a client but its id. An empty secret keeps the
// one that it has.
func (s *Clients) Replace(ctx context.Context, c oauth2.Client) (oauth2.Client, error) {
	return s.change(ctx, c.ID, func(old oauth2.Client) (oauth2.Client, error) { return withSecretsOf(c, old), nil })
}

// withSecretsOf returns c with the secrets that old has. A secret that c brings takes
// the place of all of them: it may be chosen because the others are known to somebody.
func withSecretsOf(c, old oauth2.Client) oauth2.Client {
	c.SecretHash, c.RotatedSecretHashes = old.SecretHash, old.RotatedSecretHashes
	if c.Secret != "" {
		c.RotatedSecretHashes = nil
	}
	return c
}

// RotateSecret gives a client a new secret, which the answer holds. The one that it
// had stays good, with those that were rotated before, five at most, until
// EndRotatedSecrets.
func (s *Clients) RotateSecret(ctx context.Context, id string) (oauth2.Client, error) {
	return s.change(ctx, id, func(c oauth2.Client) (oauth2.Client, error) {
		if c.SecretHash == "" {
			return c, invalid("/token_endpoint_auth_method", "a client that authenticates with "+c.TokenEndpointAuthMethod+" has no secret")
		}
		rotated := append([]string{c.SecretHash}, c.RotatedSecretHashes...)
		c.SecretHash, c.RotatedSecretHashes = "", rotated[:min(len(rotated), maxRotated)]
		return c, nil
	})
}

// EndRotatedSecrets leaves a client its newest secret alone.
func (s *Clients) EndRotatedSecrets(ctx context.Context, id string) (oauth2.Client, error) {
	return s.change(ctx, id, func(c oauth2.Client) (oauth2.Client, error) {
		c.RotatedSecretHashes = nil
		return c, nil
	})
}

// change reads a client and writes what edit makes of it. When somebody else writes
// in between it begins again, so that no change is lost: not a secret that was
// rotated meanwhile, nor a client that was disabled.
func (s *Clients) change(ctx context.Context, id string, edit func(old oauth2.Client) (oauth2.Client, error)) (oauth2.Client, error) {
	for attempt := 1; ; attempt++ {
		old, err := s.Store.Client(ctx, id)
		if err != nil {
			return old, err
		}
		c, err := edit(old)
		if err != nil {
			return old, err
		}
		c, err = s.replace(ctx, old, c)
		if attempt == changeAttempts || !fault.Is(err, fault.Conflict) {
			return c, err
		}
	}
}

func (s *Clients) replace(ctx context.Context, old, c oauth2.Client) (oauth2.Client, error) {
	// What Get filled in and comes back is no explicit registration.
	c.AuthMethodSet = c.TokenEndpointAuthMethod != "" && (old.AuthMethodSet || c.TokenEndpointAuthMethod != old.TokenEndpointAuthMethod)
	c.ETag, c.Origin = old.ETag, old.Origin
	c.CreatedAt, c.UpdatedAt = old.CreatedAt, s.Now().UTC().Truncate(time.Second)
	secret, err := s.settle(ctx, &c, old)
	if err != nil {
		return c, err
	}
	if err := s.Store.UpdateClient(ctx, c); err != nil {
		return c, err
	}
	return s.changed(ctx, c, secret)
}

// Patch applies a JSON Patch (RFC 6902) to a client. The id cannot be changed.
func (s *Clients) Patch(ctx context.Context, id string, operations []Operation) (oauth2.Client, error) {
	for i, o := range operations {
		for _, pointer := range []string{o.Path, o.From} {
			switch first, _, _ := strings.Cut(strings.TrimPrefix(pointer, "/"), "/"); first {
			case "id", "client_id", "created_at", "updated_at", "origin":
				return oauth2.Client{}, invalid(fmt.Sprintf("/%d/path", i), first+" cannot be changed")
			}
		}
		if o.Path == "" && o.Op != "test" {
			return oauth2.Client{}, invalid(fmt.Sprintf("/%d/path", i), "the client as a whole cannot be changed; use PUT")
		}
	}
	return s.change(ctx, id, func(old oauth2.Client) (oauth2.Client, error) {
		c, err := patched(old, operations)
		return withSecretsOf(c, old), err
	})
}

// patched is a client after a JSON Patch.
func patched(old oauth2.Client, operations []Operation) (oauth2.Client, error) {
	text, err := json.Marshal(Shown(old))
	if err != nil {
		return old, err
	}
	var doc any
	if err := json.Unmarshal(text, &doc); err != nil {
		return old, err
	}
	if doc, err = patch(doc, operations); err != nil {
		return old, err
	}
	if text, err = json.Marshal(doc); err != nil {
		return old, err
	}
	var c oauth2.Client
	if err := strictjson.Unmarshal(text, &c); err != nil {
		return old, fault.New(fault.Invalid, "invalid_patch", "the patched client cannot be read: "+strings.TrimPrefix(err.Error(), "json: "))
	}
	c.ID = old.ID
	return c, nil
}

// SetLifespans replaces all token lifespans of a client.
func (s *Clients) SetLifespans(ctx context.Context, id string, l oauth2.Lifespans) (oauth2.Client, error) {
	return s.change(ctx, id, func(c oauth2.Client) (oauth2.Client, error) {
		c.Lifespans = l
		return c, nil
	})
}

// Delete removes a client; its codes, tokens and consents go with it.
func (s *Clients) Delete(ctx context.Context, id string) error {
	if err := s.Store.DeleteClient(ctx, id); err != nil {
		return err
	}
	return apply(ctx, s.Reload)
}

func (s *Clients) changed(ctx context.Context, c oauth2.Client, secret string) (oauth2.Client, error) {
	c = Shown(c)
	c.Secret = secret
	return c, apply(ctx, s.Reload)
}

// settle completes the client that takes the place of old and turns a secret into its
// hash; it returns the secret for the answer.
func (s *Clients) settle(ctx context.Context, c *oauth2.Client, old oauth2.Client) (secret string, err error) {
	if err := Complete(c, s.DefaultScope, s.SubjectTypes); err != nil {
		return "", err
	}
	if err := s.Sectors.check(ctx, *c, old); err != nil {
		return "", err
	}
	secret, c.Secret = c.Secret, ""
	switch {
	case !slices.Contains(secretMethods, c.TokenEndpointAuthMethod):
		c.SecretHash, c.RotatedSecretHashes = "", nil
	case secret != "":
		c.SecretHash, err = s.Hasher.Hash(secret)
	case c.SecretHash == "":
		secret, c.SecretHash, err = s.Hasher.Generate()
	}
	return secret, err
}

// Complete fills in the defaults and checks the client, whoever wrote it; an empty scope
// stands for DefaultScope, and no subject types for public. Errors are fault.Invalid with the codes of RFC 7591 section
// 3.2.2 as reasons.
func Complete(c *oauth2.Client, scope string, subjects []string) error {
	if len(subjects) == 0 {
		subjects = []string{"public"}
	}
	if c.TokenEndpointAuthMethod == "" {
		c.TokenEndpointAuthMethod = "client_secret_basic"
	}
	if len(c.GrantTypes) == 0 {
		c.GrantTypes = []string{"authorization_code"}
	}
	if len(c.ResponseTypes) == 0 {
		c.ResponseTypes = []string{"code"}
	}
	if strings.TrimSpace(c.Scope) == "" {
		c.Scope = cmp.Or(scope, DefaultScope)
	}
	if c.SubjectType == "" {
		if c.SubjectType = subjects[0]; slices.Contains(subjects, "public") {
			c.SubjectType = "public" // Hydra's default
		}
	}
	if c.UserinfoAlg == "" {
		c.UserinfoAlg = "none"
	}
	for _, raw := range []*json.RawMessage{&c.JWKS, &c.Metadata} {
		if text := string(bytes.TrimSpace(*raw)); text == "null" || text == "{}" {
			*raw = nil
		}
	}
	c.SecretExpiresAt = 0
	return checkClient(*c, subjects)
}
