package registration

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/strictjson"
)

// Statements say which software statements (RFC 7591 section 2.3) count. The zero value
// refuses them all.
type Statements struct {
	Keys    *keys.Remote // nil: none counts
	Issuers []string     // of the claim iss
	// Required refuses clients without one.
	Required bool
}

// aboutToken are the claims of a statement that say nothing about the client.
var aboutToken = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}

// clockSkew is how far the clock of who signs a statement may be off.
const clockSkew = 30 * time.Second

// apply puts what a statement says in front of what the client says itself (RFC 7591
// section 2.3).
func (s *Statements) apply(ctx context.Context, m *metadata, now time.Time) error {
	if !m.has("software_statement") {
		if s.Required {
			return &fault.Error{Kind: fault.Invalid, Reason: invalidStatement, Pointer: "/software_statement", Message: "is required"}
		}
		return nil
	}
	claims, err := s.verify(ctx, m.text("software_statement"), now)
	if err != nil {
		return err
	}
	for name, raw := range claims {
		if !slices.Contains(aboutToken, name) {
			m.members[name] = raw
		}
	}
	return m.decode()
}

// verify returns the claims of a statement that an issuer of the list has signed.
func (s *Statements) verify(ctx context.Context, compact string, now time.Time) (map[string]json.RawMessage, error) {
	fail := func(reason, message string) error {
		return &fault.Error{Kind: fault.Invalid, Reason: reason, Pointer: "/software_statement", Message: message}
	}
	if s.Keys == nil {
		return nil, fail(unapprovedSoftware, "software statements are not taken here")
	}
	t, err := keys.ParseJWS(compact, keys.Asymmetric())
	if err != nil {
		return nil, fail(invalidStatement, err.Error())
	}
	if t.Type != "" && t.Type != "jwt" { // a token for something else
		return nil, fail(invalidStatement, "has the type "+t.Type)
	}
	payload, err := s.signed(ctx, t)
	if err != nil {
		return nil, err
	}
	if payload == nil {
		return nil, fail(unapprovedSoftware, "is not signed with a key that is known here")
	}
	var claims map[string]json.RawMessage
	if strictjson.CheckTo(maxDepth, payload, nil) != nil || json.Unmarshal(payload, &claims) != nil {
		return nil, fail(invalidStatement, "does not hold a JSON object without duplicates")
	}
	var about struct {
		Issuer   string   `json:"iss"`
		Software string   `json:"software_id"`
		Expires  *float64 `json:"exp"`
		From     float64  `json:"nbf"`
	}
	if err := json.Unmarshal(payload, &about); err != nil {
		return nil, fail(invalidStatement, "has claims of the wrong type")
	}
	seconds := float64(now.UnixMilli()) / 1000
	switch {
	case !slices.Contains(s.Issuers, about.Issuer):
		return nil, fail(unapprovedSoftware, "is not of an issuer that is known here")
	case about.Software == "":
		return nil, fail(invalidStatement, "needs the claim software_id: it may be a token for something else")
	case about.Expires != nil && seconds >= *about.Expires+clockSkew.Seconds():
		return nil, fail(invalidStatement, "has expired")
	case about.From-seconds > clockSkew.Seconds():
		return nil, fail(invalidStatement, "is not valid yet")
	}
	return claims, nil
}

// signed returns the payload if one of the keys has signed it, else nil.
func (s *Statements) signed(ctx context.Context, t *keys.JWS) ([]byte, error) {
	candidates, err := s.Keys.Find(ctx, func(k jose.JSONWebKey) bool { return t.KeyID == "" || k.KeyID == t.KeyID })
	if err != nil {
		return nil, err
	}
	for _, k := range candidates[:min(len(candidates), 8)] {
		if payload, err := t.Verify(k); err == nil {
			return payload, nil
		}
	}
	return nil, nil
}
