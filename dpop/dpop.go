// Package dpop checks proofs of possession (RFC 9449): that the sender of a request has
// the private key that a token is bound to, or is to be bound to. The gateway and the
// authorization server check them alike.
package dpop

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
)

// Options say which proofs are good. Errors of New name them in the spelling of the
// configuration.
type Options struct {
	// Algorithms of proofs, asymmetric ones.
	Algorithms []string
	// MaxAge is how old a proof may be, by its iat; Leeway the tolerated difference of
	// clocks. Both are at most an hour.
	MaxAge, Leeway time.Duration
	// Nonce is off, or required: proofs must hold a nonce of ours (RFC 9449 section 8).
	Nonce string
	// NonceTTL is how long a nonce is good, 1s to 24h. Halfway clients are given the
	// next one.
	NonceTTL time.Duration
	// NonceKeys make and check nonces: the first makes, all check.
	NonceKeys [][]byte
	// Replays remembers used proofs; without it every proof is refused.
	Replays ReplayStore
	// CanonicalURL returns the form of a URL that a request for it has. Nil: htu must
	// be in that form.
	CanonicalURL func(raw string) (*url.URL, error)
	Now          func() time.Time
}

// DefaultAlgorithms are those of proofs when nothing else is configured.
func DefaultAlgorithms() []string {
	return []string{"ES256", "ES384", "ES512", "EdDSA", "PS256", "RS256"}
}

// maxJTI is the longest jti that is looked at, in bytes.
const maxJTI = 256

// ReplayStore remembers what may be used once, for all nodes.
type ReplayStore interface {
	// UseJTI records (namespace, jti) until expires. It is fault.Conflict when it was
	// used before; any other error means that it could not be found out.
	UseJTI(ctx context.Context, namespace, jti string, expires time.Time) error
}

// Checker checks proofs. It is safe for concurrent use.
type Checker struct {
	o          Options
	algorithms []jose.SignatureAlgorithm
	algs       string  // for challenges
	nonces     *Nonces // nil: none are asked for
}

// New returns a Checker, or an error that names the option that is wrong.
func New(o Options) (*Checker, error) {
	p := &Checker{o: o, algs: strings.Join(o.Algorithms, " ")}
	for _, name := range o.Algorithms {
		alg := jose.SignatureAlgorithm(name)
		if !slices.Contains(keys.Asymmetric(), alg) {
			return nil, fmt.Errorf("algorithms: %q is not a known asymmetric signature algorithm", name)
		}
		p.algorithms = append(p.algorithms, alg)
	}
	switch {
	case len(p.algorithms) == 0:
		return nil, errors.New("algorithms must not be empty")
	case o.MaxAge <= 0 || o.MaxAge > time.Hour:
		return nil, errors.New("max_age must be positive and at most 1h")
	case o.Leeway > time.Hour:
		return nil, errors.New("leeway must be at most 1h")
	case o.Nonce != "off" && o.Nonce != "required":
		return nil, fmt.Errorf("nonce %q is not off or required", o.Nonce)
	case o.Nonce == "required" && (o.NonceTTL < time.Second || o.NonceTTL > 24*time.Hour):
		return nil, errors.New("nonce_ttl must be between 1s and 24h")
	}
	if o.Nonce == "required" {
		p.nonces = &Nonces{Keys: o.NonceKeys, TTL: o.NonceTTL, Leeway: o.Leeway}
	}
	return p, nil
}

// Algorithms lists those of proofs, separated by blanks, as challenges have them.
func (p *Checker) Algorithms() string { return p.algs }

// Refuse answers with one of the errors of RFC 9449 section 7.1. The cause is for the
// log.
func (p *Checker) Refuse(code, message string, cause error) *fault.Error {
	return &fault.Error{Kind: fault.Unauthenticated, Reason: "invalid_credentials", Message: message,
		Challenge: `DPoP error="` + code + `", algs="` + p.algs + `"`, Err: cause}
}

func (p *Checker) invalid(message string, cause error) error {
	e := p.Refuse("invalid_dpop_proof", message, cause)
	e.Reason = "invalid_dpop_proof"
	return e
}

// Request is what a proof is for.
type Request struct {
	Header http.Header // with the field DPoP
	Method string
	URL    *url.URL // query and fragment do not count
	// Token is the access token that came with the proof; empty: none, at a token
	// endpoint.
	Token string
	// JKT is the thumbprint of the key that must have signed; empty: any key.
	JKT string
}

// Check takes the steps of RFC 9449 section 4.3 and returns the thumbprint of the
// proof's key. Using up the jti is the last step, so that only those who have token and
// key can make the replay store grow. The header is for the response, also of some
// errors (fault.Error.Header). Errors are fault.Unauthenticated with the reasons
// invalid_dpop_proof and use_dpop_nonce, or invalid_credentials for another key than
// JKT, and fault.Unavailable and fault.Timeout of the replay store.
func (p *Checker) Check(ctx context.Context, r Request) (jkt string, header http.Header, err error) {
	fields := r.Header["Dpop"]
	if len(fields) != 1 {
		return "", nil, p.invalid("the request must have exactly one DPoP proof", nil)
	}
	claims, jkt, err := p.open(fields[0], r.JKT)
	if err != nil {
		return "", nil, err
	}
	now := p.o.Now()
	if err := p.fresh(claims, now); err != nil {
		return "", nil, err
	}
	if htm, _ := claims["htm"].(string); htm != r.Method {
		return "", nil, p.invalid("the proof is for another method", nil)
	}
	if htu, _ := claims["htu"].(string); !p.isFor(htu, r.URL) {
		return "", nil, p.invalid("the proof is for another URL", nil)
	}
	if r.Token != "" {
		sum := sha256.Sum256([]byte(r.Token))
		ath, _ := claims["ath"].(string)
		if subtle.ConstantTimeCompare([]byte(ath), []byte(base64.RawURLEncoding.EncodeToString(sum[:]))) != 1 {
			return "", nil, p.invalid("the proof is for another token", nil)
		}
	}
	if header, err = p.nonce(claims, now); err != nil {
		return "", nil, err
	}
	return jkt, header, p.use(ctx, claims, jkt)
}

// open verifies the signature with the key that the proof carries and, when there is
// one, the token names.
func (p *Checker) open(compact, jkt string) (claims map[string]any, thumbprint string, err error) {
	t, err := keys.ParseJWS(compact, p.algorithms)
	if err != nil {
		return nil, "", p.invalid("the proof is malformed or not signed with an allowed algorithm", err)
	}
	if t.Type != "dpop+jwt" {
		return nil, "", p.invalid("the proof is not of type dpop+jwt", nil)
	}
	key, thumbprint, err := t.Embedded()
	if err != nil {
		return nil, "", p.invalid("the proof's key is not usable", err)
	}
	if jkt != "" && subtle.ConstantTimeCompare([]byte(thumbprint), []byte(jkt)) != 1 {
		return nil, "", p.Refuse("invalid_token", "the token is bound to another key than the proof's", nil)
	}
	payload, err := t.Verify(key)
	if err != nil {
		return nil, "", p.invalid("the proof's signature cannot be verified", err)
	}
	if err := json.Unmarshal(payload, &claims); err != nil || claims == nil { // refuses duplicate members
		return nil, "", p.invalid("the proof's claims are not valid", err)
	}
	return claims, thumbprint, nil
}

// fresh checks iat, and exp and nbf when the client went to that length.
func (p *Checker) fresh(claims map[string]any, now time.Time) error {
	dates := map[string]time.Time{}
	for _, name := range []string{"iat", "exp", "nbf"} {
		at, err := date(claims, name)
		if err != nil {
			return p.invalid("the proof's claims are not valid", err)
		}
		dates[name] = at
	}
	_, expires := claims["exp"]
	switch {
	case dates["iat"].IsZero():
		return p.invalid("the proof has no iat", nil)
	case now.Sub(dates["iat"]) > p.o.MaxAge+p.o.Leeway, expires && !now.Before(dates["exp"].Add(p.o.Leeway)):
		return p.invalid("the proof is too old", nil)
	case dates["iat"].Sub(now) > p.o.Leeway, dates["nbf"].Sub(now) > p.o.Leeway:
		return p.invalid("the proof is not valid yet", nil)
	}
	return nil
}

// isFor reports whether htu names the URL of the request, without query and fragment,
// after normalisation (RFC 9449 section 4.3 step 9).
func (p *Checker) isFor(htu string, u *url.URL) bool {
	if i := strings.IndexAny(htu, "?#"); i >= 0 {
		htu = htu[:i]
	}
	asked := u.Scheme + "://" + u.Host + u.EscapedPath()
	if htu == asked || p.o.CanonicalURL == nil || htu == "" {
		return htu == asked
	}
	meant, err := p.o.CanonicalURL(htu)
	return err == nil && meant.Scheme+"://"+meant.Host+meant.EscapedPath() == asked
}

// nonce checks the nonce, when they are asked for, and returns the next one as a field
// of the response when it is time.
func (p *Checker) nonce(claims map[string]any, now time.Time) (http.Header, error) {
	if p.nonces == nil {
		return nil, nil
	}
	text, _ := claims["nonce"].(string)
	left, ok := p.nonces.Check(text, now)
	if ok && left > p.nonces.TTL/2 {
		return nil, nil
	}
	header := http.Header{"Dpop-Nonce": {p.nonces.Make(now)}}
	if ok {
		return header, nil
	}
	e := p.Refuse("use_dpop_nonce", "the proof must hold a nonce of this server", nil)
	e.Reason, e.Header = "use_dpop_nonce", header
	return nil, e
}

// use spends the jti.
func (p *Checker) use(ctx context.Context, claims map[string]any, jkt string) error {
	jti, _ := claims["jti"].(string)
	if jti == "" || len(jti) > maxJTI {
		return p.invalid(fmt.Sprintf("the proof's jti must have 1 to %d characters", maxJTI), nil)
	}
	if p.o.Replays == nil {
		return undecided(errors.New("no store of used proofs is there"))
	}
	issued, err := date(claims, "iat")
	if err != nil {
		return p.invalid("the proof's claims are not valid", err)
	}
	switch err := p.o.Replays.UseJTI(ctx, "dpop "+jkt, jti, issued.Add(p.o.MaxAge+p.o.Leeway)); {
	case fault.Is(err, fault.Conflict):
		return p.invalid("the proof was used before", nil)
	case err != nil:
		return undecided(err)
	}
	return nil
}

// undecided makes an error of the replay store one of the request's.
func undecided(err error) error {
	kind := fault.Unavailable
	if fault.Is(err, fault.Timeout) {
		kind = fault.Timeout
	}
	return fault.Wrap(kind, "replay_check_failed", "the proof could not be checked", err)
}

// date reads a NumericDate (RFC 7519 section 2); the zero time when absent.
func date(claims map[string]any, name string) (time.Time, error) {
	v, ok := claims[name]
	if !ok {
		return time.Time{}, nil
	}
	seconds, ok := v.(float64)
	if !ok || seconds < 0 || seconds > 253402300799 { // the end of the year 9999
		return time.Time{}, fmt.Errorf("%s is not a date", name)
	}
	whole := math.Floor(seconds)
	return time.Unix(int64(whole), int64((seconds-whole)*1e9)), nil
}
