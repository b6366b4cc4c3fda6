package authn

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/net/http/httpguts"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
)

// minAPIKey is the shortest key that is accepted, in bytes: a hash without salt keeps
// only keys that nobody can guess.
const minAPIKey = 16

// apiKeyConfig configures the authenticator api_key.
type apiKeyConfig struct {
	// TokenFrom says where the key is; default the header field X-Api-Key.
	TokenFrom *TokenFrom `json:"token_from"`
	// Scheme reads the key from the Authorization field with this scheme instead.
	Scheme string `json:"scheme"`
	// Prefix is what a key must start with to be looked at; it belongs to the key.
	Prefix string `json:"prefix"`
	// Keys are listed here, or in File, or in both.
	Keys []apiKeyEntry `json:"keys"`
	// File is a JSON or YAML list of keys. It is read again when it changes.
	File string `json:"file"`
	// RequiredScope must all be granted to the key, by the scope strategy.
	RequiredScope []string `json:"required_scope"`
	// ScopeStrategy is exact, hierarchic or wildcard.
	ScopeStrategy string `json:"scope_strategy"`
	// Forward sends the key upstream.
	Forward bool `json:"forward"`
}

// apiKeyEntry is a key as it is configured.
type apiKeyEntry struct {
	// ID names the key in .Extra.key_id.
	ID string `json:"id"`
	// Hash is sha256: and the SHA-256 of the key in hexadecimal.
	Hash string `json:"hash"`
	// Subject is the subject; empty: the ID.
	Subject string `json:"subject"`
	// Scope is what the key is good for.
	Scope []string `json:"scope"`
	// Extra are attributes of the subject.
	Extra map[string]any `json:"extra"`
	// NotAfter is when the key ends, in RFC 3339; absent: never.
	NotAfter *time.Time `json:"not_after"`
}

// apiKey authenticates by keys of which only hashes are kept.
type apiKey struct {
	token     tokenReader
	scheme    string // of Authorization; empty: token reads it
	session   string // cookie of the gateway's own; empty: token reads it
	listed    apiKeys
	file      *file[apiKeys] // nil: none
	required  []string
	strategy  scopeStrategy
	challenge string
	forward   bool
	now       func() time.Time
}

// apiKeys are keys by the first bytes of their hashes.
type apiKeys map[[8]byte][]*knownKey

type knownKey struct {
	hash     [sha256.Size]byte
	scope    []string
	notAfter time.Time // zero: never
	subject  access.Subject
}

var (
	_ CredentialReader = (*apiKey)(nil)
	_ SessionOwner     = (*apiKey)(nil)
	_ Withholder       = (*apiKey)(nil)
	_ SchemeReader     = (*apiKey)(nil)
	_ Challengeable    = (*apiKey)(nil)
	_ access.Lease     = (*apiKey)(nil)
	_ FileReader       = (*apiKey)(nil)
)

func apiKeyDefaults() apiKeyConfig { return apiKeyConfig{ScopeStrategy: "exact"} }

func newAPIKey(c apiKeyConfig, d Deps) (Authenticator, error) {
	if c.File == "" && len(c.Keys) == 0 {
		return nil, errors.New("keys or file is required")
	}
	a := &apiKey{required: c.RequiredScope, forward: c.Forward, now: d.Now}
	if err := a.place(c); err != nil {
		return nil, err
	}
	var err error
	if a.strategy, err = newScopeStrategy(c.ScopeStrategy); err != nil {
		return nil, err
	}
	if a.strategy == nil && len(c.RequiredScope) > 0 {
		return nil, errors.New("required_scope needs scope_strategy exact, hierarchic or wildcard")
	}
	if err := checkScopes("required_scope", c.RequiredScope); err != nil {
		return nil, err
	}
	if a.listed, err = newAPIKeys(c.Keys); err != nil {
		return nil, fmt.Errorf("keys%w", err)
	}
	if c.File != "" {
		if a.file, err = openFile(c.File, parseAPIKeys, d); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// place finds out where the key is.
func (a *apiKey) place(c apiKeyConfig) (err error) {
	if c.Scheme != "" {
		switch {
		case c.TokenFrom != nil:
			return errors.New("scheme reads from Authorization and cannot be combined with token_from")
		case !httpguts.ValidHeaderFieldName(c.Scheme) || strings.EqualFold(c.Scheme, "Basic"): // a token, as a scheme is
			return fmt.Errorf("scheme: %q is no scheme of keys", c.Scheme)
		}
		a.scheme, a.challenge = c.Scheme, c.Scheme
		a.token.prefix = c.Prefix
		return nil
	}
	if c.TokenFrom == nil {
		c.TokenFrom = &TokenFrom{Header: "X-Api-Key"}
	}
	if a.token, err = newTokenReader(c.TokenFrom, c.Prefix); err != nil {
		return err
	}
	switch {
	case a.token.bearer:
		a.scheme, a.challenge = "Bearer", "Bearer"
	case a.token.from.QueryParameter != "" && !c.Forward:
		return errors.New("token_from.query_parameter needs forward: true, the query goes upstream as it is")
	case a.token.from.Cookie != "" && !c.Forward:
		a.session = a.token.from.Cookie
	}
	return nil
}

// newAPIKeys compiles keys. Errors begin with the number of the key.
func newAPIKeys(list []apiKeyEntry) (apiKeys, error) {
	keys := make(apiKeys, len(list))
	ids := make(map[string]bool, len(list))
	for i, e := range list {
		k := &knownKey{scope: e.Scope}
		text, isSHA256 := strings.CutPrefix(e.Hash, "sha256:")
		sum, err := hex.DecodeString(text)
		switch {
		case e.ID == "":
			return nil, fmt.Errorf("[%d]: id must not be empty", i)
		case ids[e.ID]:
			return nil, fmt.Errorf("[%d]: the id %q is there already", i, e.ID)
		case !isSHA256 || err != nil || len(sum) != sha256.Size:
			return nil, fmt.Errorf("[%d]: hash must be sha256: and 64 hexadecimal digits", i) // without it: it may be a key
		}
		ids[e.ID] = true
		copy(k.hash[:], sum)
		if keys.find(k.hash) != nil {
			return nil, fmt.Errorf("[%d]: the key of %q is there already", i, e.ID)
		}
		if err := checkScopes("scope", e.Scope); err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		if e.NotAfter != nil {
			k.notAfter = *e.NotAfter
		}
		extra := map[string]any{}
		maps.Copy(extra, e.Extra)
		extra["key_id"] = e.ID
		if e.Scope != nil {
			extra["scp"] = e.Scope
		}
		k.subject = access.Subject{ID: e.Subject, Via: "api_key", Extra: extra}
		if e.Subject == "" {
			k.subject.ID = e.ID
		}
		prefix := [8]byte(k.hash[:8])
		keys[prefix] = append(keys[prefix], k)
	}
	return keys, nil
}

// parseAPIKeys reads a JSON or YAML list of keys.
func parseAPIKeys(text []byte) (apiKeys, error) {
	var list []apiKeyEntry
	raw := bytes.TrimSpace(text)
	if !json.Valid(raw) {
		var tree any
		if err := yaml.Unmarshal(text, &tree); err != nil {
			return nil, errors.New("is neither JSON nor YAML") // the cause would quote from it
		}
		var err error
		if raw, err = json.Marshal(tree); err != nil {
			return nil, errors.New("has a member that JSON cannot have")
		}
	}
	if err := handler.Decode(raw, &list); err != nil {
		return nil, err
	}
	return newAPIKeys(list)
}

// find compares in constant time among the few keys whose hashes begin alike.
func (k apiKeys) find(hash [sha256.Size]byte) (found *knownKey) {
	for _, candidate := range k[[8]byte(hash[:8])] {
		if subtle.ConstantTimeCompare(candidate.hash[:], hash[:]) == 1 {
			found = candidate
		}
	}
	return found
}

// CredentialPlaces implements CredentialReader.
func (a *apiKey) CredentialPlaces() (headers, cookies []string) {
	if a.session != "" {
		return nil, nil
	}
	return a.token.places()
}

// SessionCookies implements SessionOwner: a key in a cookie reaches no upstream.
func (a *apiKey) SessionCookies() []string {
	if a.session == "" {
		return nil
	}
	return []string{a.session}
}

// Schemes implements SchemeReader.
func (a *apiKey) Schemes() []string {
	if a.scheme == "" {
		return nil
	}
	return []string{a.scheme}
}

// Challenges implements Challengeable.
func (a *apiKey) Challenges() []string {
	if a.scheme == "" {
		return nil
	}
	return []string{a.challenge}
}

// Files implements FileReader.
func (a *apiKey) Files() []FileState { return a.file.state() }

// WithheldHeaders implements Withholder.
func (a *apiKey) WithheldHeaders() []string {
	switch {
	case a.forward:
		return nil
	case a.scheme != "":
		return []string{"Authorization"}
	}
	headers, _ := a.token.places()
	return headers
}

// Renew implements access.Lease: a key ends with its time or when it is taken out.
func (a *apiKey) Renew(_ context.Context, r *access.Request) (time.Time, error) {
	k, err := a.accept(r)
	if err != nil {
		return time.Time{}, err
	}
	return k.notAfter, nil
}

// Authenticate returns ErrNoCredentials when there is no key with the prefix.
func (a *apiKey) Authenticate(_ context.Context, r *access.Request) (access.Subject, error) {
	k, err := a.accept(r)
	if err != nil {
		return access.Subject{}, err
	}
	return k.subject, nil
}

func (a *apiKey) accept(r *access.Request) (*knownKey, error) {
	text, err := a.read(r)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256([]byte(text))
	k := a.listed.find(hash)
	if k == nil && a.file != nil {
		k = a.file.get().find(hash)
	}
	switch {
	case k == nil || len(text) < minAPIKey:
		return nil, badCredentials("the key is unknown", a.challenge)
	case !k.notAfter.IsZero() && !a.now().Before(k.notAfter):
		return nil, badCredentials("the key is no longer valid", a.challenge)
	}
	for _, scope := range a.required {
		if !a.strategy(k.scope, scope) {
			return nil, fault.New(fault.Forbidden, "insufficient_scope", "the key lacks a required scope")
		}
	}
	return k, nil
}

// read returns the text of the key.
func (a *apiKey) read(r *access.Request) (text string, err error) {
	found := 0
	switch {
	case a.session != "":
		for _, c := range r.Cookies {
			if c.Name == a.session && c.Value != "" {
				text, found = c.Value, found+1
			}
		}
	case a.scheme != "":
		text, found = withScheme(r.Header["Authorization"], a.scheme)
	default:
		if text, err = a.token.read(r); fault.Is(err, fault.Unauthenticated) {
			err = badCredentials("the key is malformed", a.challenge)
		}
		return text, err
	}
	switch {
	case found == 0:
		return "", ErrNoCredentials
	case found > 1:
		return "", &fault.Error{Kind: fault.Invalid, Reason: "ambiguous_credentials", Message: "the request carries more than one key"}
	case len(text) > maxToken || !isVisible(text):
		return "", badCredentials("the key is malformed", a.challenge)
	case !strings.HasPrefix(text, a.token.prefix):
		return "", ErrNoCredentials
	}
	return text, nil
}
