package authn

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/dpop"
	"github.com/gatewarden/gatewarden/fault"
)

// binding checks of every request, after the cache, that the sender of a token holds
// what the token is bound to.
type binding struct {
	token   *tokenReader
	require string
	proofs  *dpop.Checker
	// challenges are the Challenges of Challengeable: the schemes in which a token that
	// is good here may come (RFC 9449 section 7.1, RFC 8705 section 3).
	challenges []string
}

// newBinding makes token accept the scheme DPoP. Require is none, or refuses tokens
// that are not bound: any, dpop (RFC 9449) or mtls (RFC 8705).
func newBinding(require string, c dpopConfig, token *tokenReader, d Deps) (binding, error) {
	switch require {
	case "none", "any", "dpop", "mtls":
	default:
		return binding{}, fmt.Errorf("require_binding %q is not none, any, dpop or mtls", require)
	}
	p, err := newProofs(c, d)
	if err != nil {
		return binding{}, fmt.Errorf("dpop.%w", err)
	}
	token.dpop = true
	b := binding{token: token, require: require, proofs: p, challenges: token.challenges()}
	switch require {
	case "dpop": // also where the token is elsewhere: a proof is what is missing
		b.challenges = []string{`DPoP algs="` + p.Algorithms() + `"`}
	case "any":
		b.challenges = append([]string{`DPoP algs="` + p.Algorithms() + `"`}, b.challenges...)
	}
	return b, nil
}

// prove returns the subject of a verified token when the request proves what the token
// demands.
func (b *binding) prove(ctx context.Context, r *access.Request, token string, known *facts) (access.Subject, error) {
	bound := &known.bound
	scheme := b.token.bearer && hasDPoPScheme(r)
	shown := scheme || r.Header["Dpop"] != nil
	if *bound == (access.Confirmation{}) && b.require == "none" && !shown {
		return withToken(known.subject, token), nil
	}
	if err := b.acceptable(bound); err != nil {
		return access.Subject{}, err
	}
	if bound.X5TS256 != "" && !holds(r.Certificate, bound.X5TS256) {
		return access.Subject{}, invalidToken("the token is bound to another certificate than the client's", nil)
	}
	switch {
	case bound.JKT == "" && !shown:
		return withToken(known.subject, token), nil
	case bound.JKT == "":
		return access.Subject{}, b.proofs.Refuse("invalid_token", "a proof came with a token that is not bound to a key", nil)
	case b.token.bearer && !scheme:
		return access.Subject{}, b.proofs.Refuse("invalid_token", "the token is bound to a key, it is no bearer token", nil)
	}
	_, header, err := b.proofs.Check(ctx, dpop.Request{Header: r.Header, Method: r.Method, URL: r.URL, Token: token, JKT: bound.JKT})
	if err != nil {
		return access.Subject{}, err
	}
	subject := known.subject
	subject.ResponseHeader = header
	return subject, nil
}

// withToken returns a subject with the token that established it, which the cache does
// not keep.
func withToken(s access.Subject, token string) access.Subject {
	s.Token = token
	return s
}

// refused words the challenge of a token that was refused for the scheme in which it
// came (RFC 9449 section 7.1).
func (b *binding) refused(r *access.Request, err error) error {
	var e *fault.Error
	if !b.token.bearer || !hasDPoPScheme(r) || !errors.As(err, &e) {
		return err
	}
	rest, ok := strings.CutPrefix(e.Challenge, "Bearer ")
	if !ok {
		return err
	}
	worded := *e
	worded.Challenge = "DPoP " + rest + `, algs="` + b.proofs.Algorithms() + `"`
	return &worded
}

// acceptable decides whether tokens that are bound like this may be used at all.
func (b *binding) acceptable(bound *access.Confirmation) error {
	if bound.Other {
		return invalidToken("the token is bound in a way that cannot be checked here", nil)
	}
	switch {
	case b.require == "dpop" && bound.JKT == "":
		return b.proofs.Refuse("invalid_token", "the token is not bound to a key", nil)
	case b.require == "mtls" && bound.X5TS256 == "":
		return invalidToken("the token is not bound to a certificate", nil)
	case b.require == "any" && bound.JKT == "" && bound.X5TS256 == "":
		return b.proofs.Refuse("invalid_token", "the token is not bound to its sender", nil)
	}
	return nil
}

// holds reports whether the client's certificate has the digest (RFC 8705 section 3).
func holds(c *access.ClientCertificate, digest string) bool {
	if c == nil {
		return false
	}
	var text [43]byte
	base64.RawURLEncoding.Encode(text[:], c.SHA256[:])
	return subtle.ConstantTimeCompare(text[:], []byte(digest)) == 1
}

// hasDPoPScheme reports whether the Authorization field has the scheme DPoP.
func hasDPoPScheme(r *access.Request) bool {
	fields := r.Header["Authorization"]
	return len(fields) == 1 && len(fields[0]) > len("DPoP") && fields[0][len("DPoP")] == ' ' && strings.EqualFold(fields[0][:len("DPoP")], "DPoP")
}

// confirmation reads cnf (RFC 7800 section 3.1). A binding that is not known is one
// all the same.
func confirmation(v any) (c access.Confirmation, err error) {
	members, ok := v.(map[string]any)
	if !ok {
		return c, errors.New("cnf is not an object")
	}
	c.Other = len(members) == 0
	for name, v := range members {
		into := map[string]*string{"jkt": &c.JKT, "x5t#S256": &c.X5TS256}[name]
		if into == nil {
			c.Other = true
			continue
		}
		if *into, ok = v.(string); !ok || *into == "" {
			return access.Confirmation{}, fmt.Errorf("cnf: %s is not a string", name)
		}
	}
	return c, nil
}
