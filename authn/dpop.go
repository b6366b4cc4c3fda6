package authn

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/keys"
)

// dpopConfig says which DPoP proofs are good (RFC 9449).
type dpopConfig struct {
	// Algorithms of proofs, asymmetric ones. Default: ES256, ES384, ES512, EdDSA, PS256
	// and RS256.
	Algorithms []string `json:"algorithms"`
	// MaxAge is how old a proof may be, by its iat.
	MaxAge handler.Duration `json:"max_age"`
	// Leeway is the tolerated difference of clocks.
	Leeway handler.Duration `json:"leeway"`
	// Nonce is off, or required: proofs must hold a nonce of ours (RFC 9449 section 9).
	Nonce string `json:"nonce"`
	// NonceTTL is how long a nonce is good. Halfway clients are given the next one.
	NonceTTL handler.Duration `json:"nonce_ttl"`
}

func dpopDefaults() dpopConfig {
	return dpopConfig{Algorithms: []string{"ES256", "ES384", "ES512", "EdDSA", "PS256", "RS256"},
		MaxAge: handler.Duration(time.Minute), Leeway: handler.Duration(5 * time.Second), Nonce: "off", NonceTTL: handler.Duration(5 * time.Minute)}
}

// maxJTI is the longest jti that is looked at, in bytes.
const maxJTI = 256

// ReplayStore remembers what may be used once, for all nodes.
type ReplayStore interface {
	// UseJTI records (namespace, jti) until expires. It is fault.Conflict when it was
	// used before; any other error means that it could not be found out.
	UseJTI(ctx context.Context, namespace, jti string, expires time.Time) error
}

// proofs checks DPoP proofs.
type proofs struct {
	algorithms     []jose.SignatureAlgorithm
	algs           string // for challenges
	maxAge, leeway time.Duration
	nonces         *nonces // nil: none are asked for
	d              Deps
}

func newProofs(c dpopConfig, d Deps) (*proofs, error) {
	p := &proofs{algs: strings.Join(c.Algorithms, " "), maxAge: time.Duration(c.MaxAge), leeway: time.Duration(c.Leeway), d: d}
	for _, name := range c.Algorithms {
		alg := jose.SignatureAlgorithm(name)
		if !slices.Contains(keys.Asymmetric(), alg) {
			return nil, fmt.Errorf("algorithms: %q is not a known asymmetric signature algorithm", name)
		}
		p.algorithms = append(p.algorithms, alg)
	}
	switch {
	case len(p.algorithms) == 0:
		return nil, errors.New("algorithms must not be empty")
	case p.maxAge <= 0 || p.maxAge > time.Hour:
		return nil, errors.New("max_age must be positive and at most 1h")
	case p.leeway > time.Hour:
		return nil, errors.New("leeway must be at most 1h")
	case c.Nonce != "off" && c.Nonce != "required":
		return nil, fmt.Errorf("nonce %q is not off or required", c.Nonce)
	case c.Nonce == "required" && (c.NonceTTL < handler.Duration(time.Second) || c.NonceTTL > handler.Duration(24*time.Hour)):
		return nil, errors.New("nonce_ttl must be between 1s and 24h")
	}
	if c.Nonce == "required" {
		p.nonces = &nonces{keys: d.NonceKeys, ttl: time.Duration(c.NonceTTL), leeway: p.leeway}
	}
	return p, nil
}

// refuse answers with one of the errors of RFC 9449 section 7.1. The cause is for the
// log.
func (p *proofs) refuse(code, message string, cause error) *fault.Error {
	return &fault.Error{Kind: fault.Unauthenticated, Reason: "invalid_credentials", Message: message,
		Challenge: `DPoP error="` + code + `", algs="` + p.algs + `"`, Err: cause}
}

func (p *proofs) invalid(message string, cause error) error {
	e := p.refuse("invalid_dpop_proof", message, cause)
	e.Reason = "invalid_dpop_proof"
	return e
}

// check takes the steps of RFC 9449 section 4.3 for a token that is bound to the key
// with thumbprint jkt. Using up the jti is the last one, so that only those who have
// token and key can make the replay store grow. The header is for the response.
func (p *proofs) check(ctx context.Context, r *access.Request, token, jkt string) (http.Header, error) {
	fields := r.Header["Dpop"]
	if len(fields) != 1 {
		return nil, p.invalid("the request must have exactly one DPoP proof", nil)
	}
	claims, err := p.open(fields[0], jkt)
	if err != nil {
		return nil, err
	}
	now := p.d.Now()
	if err := p.fresh(claims, now); err != nil {
		return nil, err
	}
	if htm, _ := claims["htm"].(string); htm != r.Method {
		return nil, p.invalid("the proof is for another method", nil)
	}
	if htu, _ := claims["htu"].(string); !p.isFor(htu, r.URL) {
		return nil, p.invalid("the proof is for another URL", nil)
	}
	sum := sha256.Sum256([]byte(token))
	ath, _ := claims["ath"].(string)
	if subtle.ConstantTimeCompare([]byte(ath), []byte(base64.RawURLEncoding.EncodeToString(sum[:]))) != 1 {
		return nil, p.invalid("the proof is for another token", nil)
	}
	header, err := p.nonce(claims, now)
	if err != nil {
		return nil, err
	}
	return header, p.use(ctx, claims, jkt)
}

// open verifies the signature with the key that the proof carries and the token names.
func (p *proofs) open(compact, jkt string) (map[string]any, error) {
	t, err := keys.ParseJWS(compact, p.algorithms)
	if err != nil {
		return nil, p.invalid("the proof is malformed or not signed with an allowed algorithm", err)
	}
	if t.Type != "dpop+jwt" {
		return nil, p.invalid("the proof is not of type dpop+jwt", nil)
	}
	key, thumbprint, err := t.Embedded()
	if err != nil {
		return nil, p.invalid("the proof's key is not usable", err)
	}
	if subtle.ConstantTimeCompare([]byte(thumbprint), []byte(jkt)) != 1 {
		return nil, p.refuse("invalid_token", "the token is bound to another key than the proof's", nil)
	}
	payload, err := t.Verify(key)
	if err != nil {
		return nil, p.invalid("the proof's signature cannot be verified", err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil || claims == nil { // refuses duplicate members
		return nil, p.invalid("the proof's claims are not valid", err)
	}
	return claims, nil
}

// fresh checks iat, and exp and nbf when the client went to that length.
func (p *proofs) fresh(claims map[string]any, now time.Time) error {
	dates := map[string]time.Time{}
	for _, name := range []string{"iat", "exp", "nbf"} {
		at, err := numericDate(claims, name)
		if err != nil {
			return p.invalid("the proof's claims are not valid", err)
		}
		dates[name] = at
	}
	_, expires := claims["exp"]
	switch {
	case dates["iat"].IsZero():
		return p.invalid("the proof has no iat", nil)
	case now.Sub(dates["iat"]) > p.maxAge+p.leeway, expires && !now.Before(dates["exp"].Add(p.leeway)):
		return p.invalid("the proof is too old", nil)
	case dates["iat"].Sub(now) > p.leeway, dates["nbf"].Sub(now) > p.leeway:
		return p.invalid("the proof is not valid yet", nil)
	}
	return nil
}

// isFor reports whether htu names the URL of the request, without query and fragment,
// after normalisation (RFC 9449 section 4.3 step 9).
func (p *proofs) isFor(htu string, u *url.URL) bool {
	if i := strings.IndexAny(htu, "?#"); i >= 0 {
		htu = htu[:i]
	}
	asked := u.Scheme + "://" + u.Host + u.EscapedPath()
	if htu == asked || p.d.CanonicalURL == nil || htu == "" {
		return htu == asked
	}
	meant, err := p.d.CanonicalURL(htu)
	return err == nil && meant.Scheme+"://"+meant.Host+meant.EscapedPath() == asked
}

// nonce checks the nonce, when they are asked for, and returns the next one as a field
// of the response when it is time.
func (p *proofs) nonce(claims map[string]any, now time.Time) (http.Header, error) {
	if p.nonces == nil {
		return nil, nil
	}
	text, _ := claims["nonce"].(string)
	left, ok := p.nonces.check(text, now)
	if ok && left > p.nonces.ttl/2 {
		return nil, nil
	}
	header := http.Header{"Dpop-Nonce": {p.nonces.make(now)}}
	if ok {
		return header, nil
	}
	e := p.refuse("use_dpop_nonce", "the proof must hold a nonce of this server", nil)
	e.Reason, e.Header = "use_dpop_nonce", header
	return nil, e
}

// use spends the jti.
func (p *proofs) use(ctx context.Context, claims map[string]any, jkt string) error {
	jti, _ := claims["jti"].(string)
	if jti == "" || len(jti) > maxJTI {
		return p.invalid(fmt.Sprintf("the proof's jti must have 1 to %d characters", maxJTI), nil)
	}
	if p.d.Replays == nil {
		return undecidedReplay(errors.New("no store of used proofs is there"))
	}
	issued, err := numericDate(claims, "iat")
	if err != nil {
		return p.invalid("the proof's claims are not valid", err)
	}
	switch err := p.d.Replays.UseJTI(ctx, "dpop "+jkt, jti, issued.Add(p.maxAge+p.leeway)); {
	case fault.Is(err, fault.Conflict):
		return p.invalid("the proof was used before", nil)
	case err != nil:
		return undecidedReplay(err)
	}
	return nil
}
