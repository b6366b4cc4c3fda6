package authn

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/dpop"
	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/fault"
)

// replays is a ReplayStore in memory.
type replays struct {
	mu   sync.Mutex
	used map[[2]string]time.Time
	err  error
}

func (s *replays) UseJTI(_ context.Context, namespace, jti string, expires time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	key := [2]string{namespace, jti}
	if _, ok := s.used[key]; ok {
		return fault.New(fault.Conflict, "already_used", "already used")
	}
	if s.used == nil {
		s.used = map[[2]string]time.Time{}
	}
	s.used[key] = expires
	return nil
}

// holder is a client with a key that its tokens are bound to.
type holder struct {
	key crypto.Signer
	alg jose.SignatureAlgorithm
	jkt string
}

func newHolder(t testing.TB, key crypto.Signer, alg jose.SignatureAlgorithm) holder {
	t.Helper()
	public := jose.JSONWebKey{Key: key.Public()}
	return holder{key, alg, base64.RawURLEncoding.EncodeToString(must(public.Thumbprint(crypto.SHA256))(t))}
}

func ecHolder(t testing.TB) holder {
	return newHolder(t, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t), jose.ES256)
}

const resource = "https://api.example/orders"

// proofClaims are good claims for GET of resource with changes; nil removes a claim.
func proofClaims(token string, change map[string]any) map[string]any {
	sum := sha256.Sum256([]byte(token))
	c := map[string]any{"jti": rand.Text(), "htm": "GET", "htu": resource, "iat": start.Unix(), "ath": base64.RawURLEncoding.EncodeToString(sum[:])}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// proof signs claims; header replaces members, nil removes one.
func (h holder) proof(t testing.TB, header, claims map[string]any) string {
	t.Helper()
	return h.sign(t, header, must(json.Marshal(claims))(t))
}

func (h holder) sign(t testing.TB, change map[string]any, payload []byte) string {
	t.Helper()
	header := map[jose.HeaderKey]any{"typ": "dpop+jwt", "jwk": jose.JSONWebKey{Key: h.key.Public()}}
	for k, v := range change {
		if header[jose.HeaderKey(k)] = v; v == nil {
			delete(header, jose.HeaderKey(k))
		}
	}
	return signRaw(t, h.key, h.alg, header, string(payload))
}

// presented is a request with a token and proofs.
func presented(scheme, token string, proofs ...string) *access.Request {
	r := request(resource+"?page=1", "Authorization", scheme+" "+token)
	for _, p := range proofs {
		r.Header.Add("DPoP", p)
	}
	return r
}

// protected are a jwt and an oauth2_introspection that know a token which is bound to
// the holder's key.
type protected struct {
	authenticator Authenticator
	token         string
}

func protect(t testing.TB, d Deps, bound map[string]any, config string) map[string]protected {
	t.Helper()
	i := newIssuer(t)
	confirmed := map[string]any(nil)
	known := access.Token{Active: true, Subject: "alice"}
	if bound != nil {
		confirmed = map[string]any{"cnf": bound}
		known.Bound = must(confirmation(bound))(t)
	}
	d.Introspector = server{"opaque": known}
	d.CanonicalURL = edge.CanonicalURL
	join := func(a string) string {
		return "{" + strings.Trim(a+","+config, ",") + "}"
	}
	return map[string]protected{
		"jwt":                  {build(t, d, "jwt", join(`"jwks_urls":["`+i.location(t)+`"],"allowed_algorithms":["EdDSA"]`)), i.sign(t, "EdDSA", nil, claims(confirmed))},
		"oauth2_introspection": {build(t, d, "oauth2_introspection", join("")), "opaque"},
	}
}

// reason is the outcome with the reason of a refusal and the error of its challenge.
func reason(s access.Subject, err error) string {
	var f *fault.Error
	if !errors.As(err, &f) {
		return outcome(s, err)
	}
	_, code, _ := strings.Cut(f.Challenge, `error="`)
	code, _, _ = strings.Cut(code, `"`)
	return strings.TrimSpace(f.Kind.String() + " " + code)
}

func TestAProofOpensWhatATokenIsBoundTo(t *testing.T) {
	for name, h := range map[string]holder{
		"ES256": ecHolder(t),
		"ES384": newHolder(t, must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(t), jose.ES384),
		"EdDSA": newHolder(t, must2(ed25519.GenerateKey(rand.Reader))(t), jose.EdDSA),
		"PS256": newHolder(t, must(rsa.GenerateKey(rand.Reader, 2048))(t), jose.PS256),
	} {
		for kind, p := range protect(t, Deps{Now: newClock().Now, Replays: &replays{}}, map[string]any{"jkt": h.jkt}, "") {
			for range 3 { // with and without the cache
				proof := h.proof(t, nil, proofClaims(p.token, nil))
				if got := reason(p.authenticator.Authenticate(t.Context(), presented("DPoP", p.token, proof))); got != "subject alice" {
					t.Errorf("%s, %s: got %s", name, kind, got)
				}
				if got := reason(p.authenticator.Authenticate(t.Context(), presented("dpop", p.token, proof))); got != "unauthenticated invalid_dpop_proof" {
					t.Errorf("%s, %s, again: got %s", name, kind, got)
				}
			}
		}
	}
}

func must2[P, T any](_ P, v T, err error) func(testing.TB) T { return must(v, err) }

func TestEveryBrokenProofIsRefused(t *testing.T) {
	h, other := ecHolder(t), ecHolder(t)
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	private := jose.JSONWebKey{Key: h.key}
	at := func(d time.Duration) map[string]any { return map[string]any{"iat": start.Add(d).Unix()} }
	const bad, token = "unauthenticated invalid_dpop_proof", "unauthenticated invalid_token"
	// raw replaces header and payload in a proof whose signature is then made anew.
	raw := func(header string) func(string) string {
		return func(tok string) string {
			payload := must(json.Marshal(proofClaims(tok, nil)))(t)
			input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(payload)
			sum := sha256.Sum256([]byte(input))
			r, s, err := ecdsa.Sign(rand.Reader, h.key.(*ecdsa.PrivateKey), sum[:])
			if err != nil {
				t.Fatal(err)
			}
			signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
			return input + "." + base64.RawURLEncoding.EncodeToString(signature)
		}
	}
	jwk := string(must(json.Marshal(jose.JSONWebKey{Key: h.key.Public()}))(t))
	claim := func(change map[string]any) func(string) string {
		return func(tok string) string { return h.proof(t, nil, proofClaims(tok, change)) }
	}
	payload := func(text string) func(string) string {
		return func(string) string { return h.sign(t, nil, []byte(text)) }
	}
	for name, c := range map[string]struct {
		proof func(token string) string
		want  string
	}{
		"the control":                       {claim(nil), "subject alice"},
		"the control, header by hand":       {raw(`{"typ":"dpop+jwt","alg":"ES256","jwk":` + jwk + `}`), "subject alice"},
		"typ in full":                       {raw(`{"typ":"application/dpop+jwt","alg":"ES256","jwk":` + jwk + `}`), "subject alice"},
		"not a JWT":                         {func(string) string { return "x" }, bad},
		"empty":                             {func(string) string { return "" }, bad},
		"two in one field":                  {func(tok string) string { p := claim(nil)(tok); return p + ", " + p }, bad},
		"too long":                          {func(tok string) string { return claim(map[string]any{"x": strings.Repeat("x", 17<<10)})(tok) }, bad},
		"no typ":                            {raw(`{"alg":"ES256","jwk":` + jwk + `}`), bad},
		"typ JWT":                           {raw(`{"typ":"JWT","alg":"ES256","jwk":` + jwk + `}`), bad},
		"typ at+jwt":                        {raw(`{"typ":"at+jwt","alg":"ES256","jwk":` + jwk + `}`), bad},
		"alg none":                          {raw(`{"typ":"dpop+jwt","alg":"none","jwk":` + jwk + `}`), bad},
		"alg missing":                       {raw(`{"typ":"dpop+jwt","jwk":` + jwk + `}`), bad},
		"alg HS256":                         {raw(`{"typ":"dpop+jwt","alg":"HS256","jwk":` + jwk + `}`), bad},
		"alg of another curve":              {raw(`{"typ":"dpop+jwt","alg":"ES384","jwk":` + jwk + `}`), bad},
		"alg that is not allowed":           {func(tok string) string { return newHolder(t, rsaKey, jose.PS512).proof(t, nil, proofClaims(tok, nil)) }, bad},
		"crit":                              {raw(`{"typ":"dpop+jwt","alg":"ES256","crit":["exp"],"exp":1,"jwk":` + jwk + `}`), bad},
		"crit, empty":                       {raw(`{"typ":"dpop+jwt","alg":"ES256","crit":[],"jwk":` + jwk + `}`), bad},
		"b64 false":                         {raw(`{"typ":"dpop+jwt","alg":"ES256","b64":false,"jwk":` + jwk + `}`), bad},
		"a header member twice":             {raw(`{"typ":"dpop+jwt","alg":"ES256","alg":"ES256","jwk":` + jwk + `}`), bad},
		"no jwk":                            {raw(`{"typ":"dpop+jwt","alg":"ES256"}`), bad},
		"jwk null":                          {raw(`{"typ":"dpop+jwt","alg":"ES256","jwk":null}`), bad},
		"jwk a string":                      {raw(`{"typ":"dpop+jwt","alg":"ES256","jwk":"x"}`), bad},
		"jwk private":                       {raw(`{"typ":"dpop+jwt","alg":"ES256","jwk":` + string(must(private.MarshalJSON())(t)) + `}`), bad},
		"jwk with a private member":         {raw(`{"typ":"dpop+jwt","alg":"ES256","jwk":` + strings.Replace(jwk, "{", `{"p":"AQAB",`, 1) + `}`), bad},
		"jwk with a secret":                 {raw(`{"typ":"dpop+jwt","alg":"ES256","jwk":` + strings.Replace(jwk, "{", `{"k":"AQAB",`, 1) + `}`), bad},
		"jwk symmetric":                     {raw(`{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"oct","k":"` + strings.Repeat("A", 43) + `"}}`), bad},
		"jwk with a member twice":           {raw(`{"typ":"dpop+jwt","alg":"ES256","jwk":` + strings.Replace(jwk, "{", `{"kty":"EC",`, 1) + `}`), bad},
		"jwk for encryption":                {raw(`{"typ":"dpop+jwt","alg":"ES256","jwk":` + strings.Replace(jwk, "{", `{"use":"enc",`, 1) + `}`), bad},
		"jwk whose key_ops do not verify":   {raw(`{"typ":"dpop+jwt","alg":"ES256","jwk":` + strings.Replace(jwk, "{", `{"key_ops":["sign"],`, 1) + `}`), bad},
		"jwk for another algorithm":         {raw(`{"typ":"dpop+jwt","alg":"ES256","jwk":` + strings.Replace(jwk, "{", `{"alg":"ES384",`, 1) + `}`), bad},
		"jwk that is on no curve":           {raw(`{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}}`), bad},
		"an RSA key that is too short":      {raw(`{"typ":"dpop+jwt","alg":"RS256","jwk":{"kty":"RSA","e":"AQAB","n":"` + strings.Repeat("_", 170) + `w"}}`), bad},
		"signed with another key":           {func(tok string) string { return other.proof(t, nil, proofClaims(tok, nil)) }, token},
		"another key's signature":           {func(tok string) string { return swapSignature(h, other, t, tok) }, bad},
		"no signature":                      {func(tok string) string { p := claim(nil)(tok); return p[:strings.LastIndex(p, ".")+1] }, bad},
		"jti missing":                       {claim(map[string]any{"jti": nil}), bad},
		"jti empty":                         {claim(map[string]any{"jti": ""}), bad},
		"jti a number":                      {claim(map[string]any{"jti": 1}), bad},
		"jti too long":                      {claim(map[string]any{"jti": strings.Repeat("j", 257)}), bad},
		"htm missing":                       {claim(map[string]any{"htm": nil}), bad},
		"htm of another method":             {claim(map[string]any{"htm": "POST"}), bad},
		"htm in lower case":                 {claim(map[string]any{"htm": "get"}), bad},
		"htu missing":                       {claim(map[string]any{"htu": nil}), bad},
		"htu empty":                         {claim(map[string]any{"htu": ""}), bad},
		"htu of another path":               {claim(map[string]any{"htu": "https://api.example/order"}), bad},
		"htu with a slash more":             {claim(map[string]any{"htu": resource + "/"}), bad},
		"htu of another host":               {claim(map[string]any{"htu": "https://api.example.org/orders"}), bad},
		"htu of another scheme":             {claim(map[string]any{"htu": "http://api.example/orders"}), bad},
		"htu of another port":               {claim(map[string]any{"htu": "https://api.example:8443/orders"}), bad},
		"htu with a user":                   {claim(map[string]any{"htu": "https://a@api.example/orders"}), bad},
		"htu without a scheme":              {claim(map[string]any{"htu": "//api.example/orders"}), bad},
		"htu that is opaque":                {claim(map[string]any{"htu": "https:api.example/orders"}), bad},
		"htu that is ambiguous":             {claim(map[string]any{"htu": "https://api.example/a/%2e%2e/orders"}), bad},
		"htu a list":                        {claim(map[string]any{"htu": []string{resource}}), bad},
		"htu with query and fragment":       {claim(map[string]any{"htu": resource + "?other#x"}), "subject alice"},
		"htu in another spelling":           {claim(map[string]any{"htu": "HTTPS://API.example:443/a/../%6frders"}), "subject alice"},
		"iat missing":                       {claim(map[string]any{"iat": nil}), bad},
		"iat zero":                          {claim(map[string]any{"iat": 0}), bad},
		"iat a string":                      {claim(map[string]any{"iat": "1"}), bad},
		"iat too old":                       {claim(at(-66 * time.Second)), bad},
		"iat old":                           {claim(at(-65 * time.Second)), "subject alice"},
		"iat in the future":                 {claim(at(6 * time.Second)), bad},
		"iat in the future, in the leeway":  {claim(at(5 * time.Second)), "subject alice"},
		"expired":                           {claim(map[string]any{"exp": start.Add(-5 * time.Second).Unix()}), bad},
		"exp zero":                          {claim(map[string]any{"exp": 0}), bad},
		"not yet valid":                     {claim(map[string]any{"nbf": start.Add(time.Minute).Unix()}), bad},
		"ath missing":                       {claim(map[string]any{"ath": nil}), bad},
		"ath of another token":              {claim(map[string]any{"ath": base64.RawURLEncoding.EncodeToString(make([]byte, 32))}), bad},
		"ath a number":                      {claim(map[string]any{"ath": 1}), bad},
		"a nonce that nobody asked for":     {claim(map[string]any{"nonce": "x"}), "subject alice"},
		"claims that are a list":            {payload(`[]`), bad},
		"claims that are null":              {payload(`null`), bad},
		"no claims":                         {payload(``), bad},
		"a claim twice":                     {payload(`{"htm":"GET","htm":"GET"}`), bad},
		"claims with something after them":  {payload(`{}{}`), bad},
		"a token in the place of the proof": {func(tok string) string { return newIssuer(t).sign(t, "EdDSA", nil, claims(nil)) }, bad},
	} {
		t.Run(name, func(t *testing.T) {
			for kind, p := range protect(t, Deps{Now: newClock().Now, Replays: &replays{}}, map[string]any{"jkt": h.jkt}, "") {
				if got := reason(p.authenticator.Authenticate(t.Context(), presented("DPoP", p.token, c.proof(p.token)))); got != c.want {
					t.Errorf("%s: got %s, want %s", kind, got, c.want)
				}
			}
		})
	}
}

// swapSignature is a proof of h's key that another key signed.
func swapSignature(h, other holder, t testing.TB, token string) string {
	c := must(json.Marshal(proofClaims(token, nil)))(t)
	return other.sign(t, map[string]any{"jwk": jose.JSONWebKey{Key: h.key.Public()}}, c)
}

func TestABindingCannotBeLeftOut(t *testing.T) {
	h := ecHolder(t)
	const bad, token = "unauthenticated invalid_dpop_proof", "unauthenticated invalid_token"
	bound, free := map[string]any{"jkt": h.jkt}, map[string]any(nil)
	certificate := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	for name, c := range map[string]struct {
		cnf     map[string]any
		config  string
		scheme  string
		proofs  int
		want    string
		holding bool
	}{
		"a bound token without a proof":             {bound, "", "DPoP", 0, bad, false},
		"with two proofs":                           {bound, "", "DPoP", 2, bad, false},
		"as a bearer token":                         {bound, "", "Bearer", 0, token, false},
		"as a bearer token with a proof":            {bound, "", "Bearer", 1, token, false},
		"an unbound token by the scheme DPoP":       {free, "", "DPoP", 0, token, false},
		"an unbound token with a proof":             {free, "", "DPoP", 1, token, false},
		"an unbound bearer token with a proof":      {free, "", "Bearer", 1, token, false},
		"an unbound bearer token":                   {free, "", "Bearer", 0, "subject alice", false},
		"a binding is required, none is there":      {free, `"require_binding":"any"`, "Bearer", 0, token, false},
		"a binding is required and there":           {bound, `"require_binding":"any"`, "DPoP", 1, "subject alice", false},
		"a key is required, none is there":          {free, `"require_binding":"dpop"`, "Bearer", 0, token, false},
		"a key is required and there":               {bound, `"require_binding":"dpop"`, "DPoP", 1, "subject alice", false},
		"a key is required, a certificate is there": {map[string]any{"x5t#S256": certificate}, `"require_binding":"dpop"`, "Bearer", 0, token, true},
		"a certificate is required, a key is there": {bound, `"require_binding":"mtls"`, "DPoP", 1, token, false},
		"a certificate is required and there":       {map[string]any{"x5t#S256": certificate}, `"require_binding":"mtls"`, "Bearer", 0, "subject alice", true},
		"bound to a certificate, without it":        {map[string]any{"x5t#S256": certificate}, "", "Bearer", 0, token, false},
		"bound to a certificate, with another":      {map[string]any{"x5t#S256": certificate[:42] + "B"}, "", "Bearer", 0, token, true},
		"bound to a prefix of it":                   {map[string]any{"x5t#S256": certificate[:42]}, "", "Bearer", 0, token, true},
		"bound to both, with both":                  {map[string]any{"x5t#S256": certificate, "jkt": h.jkt}, `"require_binding":"any"`, "DPoP", 1, "subject alice", true},
		"bound to both, with the key alone":         {map[string]any{"x5t#S256": certificate, "jkt": h.jkt}, "", "DPoP", 1, token, false},
		"bound to both, with the certificate alone": {map[string]any{"x5t#S256": certificate, "jkt": h.jkt}, "", "Bearer", 0, token, true},
		"bound in a way that nobody knows":          {map[string]any{"kid": "x"}, "", "Bearer", 0, token, true},
		"and to a key":                              {map[string]any{"kid": "x", "jkt": h.jkt}, "", "DPoP", 1, token, true},
		"bound to nothing":                          {map[string]any{}, "", "Bearer", 0, token, true},
	} {
		t.Run(name, func(t *testing.T) {
			for kind, p := range protect(t, Deps{Now: newClock().Now, Replays: &replays{}}, c.cnf, c.config) {
				for range 3 { // with and without the cache
					var proofs []string
					for range c.proofs {
						proofs = append(proofs, h.proof(t, nil, proofClaims(p.token, nil)))
					}
					r := presented(c.scheme, p.token, proofs...)
					if c.holding {
						r.Certificate = &access.ClientCertificate{} // whose digest is all zeros
					}
					if got := reason(p.authenticator.Authenticate(t.Context(), r)); got != c.want {
						t.Errorf("%s: got %s, want %s", kind, got, c.want)
					}
				}
			}
		})
	}
}

func TestAConfirmationThatIsMalformedIsRefused(t *testing.T) {
	i := newIssuer(t)
	a := build(t, Deps{Now: newClock().Now, OwnKeys: i}, "jwt", `{}`)
	for _, cnf := range []any{nil, "x", []string{"jkt"}, map[string]any{"jkt": 1}, map[string]any{"jkt": ""}, map[string]any{"x5t#S256": nil}} {
		c := claims(nil)
		c["cnf"] = cnf
		if got := reason(a.Authenticate(t.Context(), bearerRequest(i.sign(t, "ES256", nil, c)))); got != "unauthenticated invalid_token" {
			t.Errorf("%v: got %s", cnf, got)
		}
	}
}

func TestOfParallelReplaysOneWins(t *testing.T) {
	h := ecHolder(t)
	store := &replays{}
	for kind, p := range protect(t, Deps{Now: newClock().Now, Replays: store}, map[string]any{"jkt": h.jkt}, "") {
		r := presented("DPoP", p.token, h.proof(t, nil, proofClaims(p.token, nil)))
		var won atomic.Int64
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				if _, err := p.authenticator.Authenticate(t.Context(), r); err == nil {
					won.Add(1)
				} else if fault.ReasonOf(err) != "invalid_dpop_proof" {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%s: %d won", kind, won.Load())
		}
	}
	for _, until := range store.used { // for as long as the proof would be good
		if want := start.Add(65 * time.Second); !until.Equal(want) {
			t.Errorf("remembered until %v, want %v", until, want)
		}
	}
}

func TestABadProofUsesNothingUp(t *testing.T) {
	h := ecHolder(t)
	store := &replays{}
	for kind, p := range protect(t, Deps{Now: newClock().Now, Replays: store}, map[string]any{"jkt": h.jkt}, "") {
		for _, change := range []map[string]any{{"htm": "POST"}, {"htu": "x"}, {"ath": "x"}, {"iat": 1}} {
			_, _ = p.authenticator.Authenticate(t.Context(), presented("DPoP", p.token, h.proof(t, nil, proofClaims(p.token, change))))
		}
		if len(store.used) > 0 {
			t.Errorf("%s: %d values were recorded", kind, len(store.used))
		}
	}
}

func TestAReplayStoreThatIsAwayRefusesAsUnavailable(t *testing.T) {
	h := ecHolder(t)
	for name, c := range map[string]struct {
		store ReplayStore
		want  string
	}{
		"away": {&replays{err: errors.New("no connection")}, "unavailable"}, "slow": {&replays{err: context.DeadlineExceeded}, "timeout"}, "none": {nil, "unavailable"},
	} {
		for kind, p := range protect(t, Deps{Now: newClock().Now, Replays: c.store}, map[string]any{"jkt": h.jkt}, "") {
			s, err := p.authenticator.Authenticate(t.Context(), presented("DPoP", p.token, h.proof(t, nil, proofClaims(p.token, nil))))
			if got := outcome(s, err); got != c.want || strings.Contains(fault.MessageOf(err), "connection") {
				t.Errorf("%s, %s: got %s, %v", name, kind, got, err)
			}
		}
	}
}

func TestNoncesAreAskedForAndRenewed(t *testing.T) {
	h, c := ecHolder(t), newClock()
	keys := [][]byte{[]byte("the key in use"), []byte("the one before")}
	for kind, p := range protect(t, Deps{Now: c.Now, Replays: &replays{}, NonceKeys: keys}, map[string]any{"jkt": h.jkt}, `"dpop":{"nonce":"required","nonce_ttl":"2m"}`) {
		// ask sends a proof and returns the outcome and the nonce that was handed out.
		ask := func(nonce any) (string, string) {
			proof := h.proof(t, nil, proofClaims(p.token, map[string]any{"nonce": nonce, "iat": c.Now().Unix()}))
			s, err := p.authenticator.Authenticate(t.Context(), presented("DPoP", p.token, proof))
			header := s.ResponseHeader
			if err != nil {
				header = fault.HeaderOf(err)
			}
			return reason(s, err), http.Header.Get(header, "DPoP-Nonce")
		}
		const challenged = "unauthenticated use_dpop_nonce"
		before := c.Now()
		got, first := ask(nil)
		if got != challenged || first == "" {
			t.Fatalf("%s, no nonce: got %s, %q", kind, got, first)
		}
		if got, again := ask(first); got != "subject alice" || again != "" {
			t.Errorf("%s: got %s, %q", kind, got, again)
		}
		old := (&dpop.Nonces{Keys: keys[1:]}).Make(c.Now())
		if got, _ := ask(old); got != "subject alice" {
			t.Errorf("%s, a nonce of the secret before: got %s", kind, got)
		}
		c.Add(time.Minute)
		got, second := ask(first)
		if got != "subject alice" || second == "" || second == first {
			t.Errorf("%s, halfway: got %s, %q", kind, got, second)
		}
		c.Add(61 * time.Second)
		if got, third := ask(first); got != challenged || third == "" {
			t.Errorf("%s, expired: got %s, %q", kind, got, third)
		}
		for _, bad := range []any{"", "x", 1, first + "=", first[:31] + "!", strings.Map(func(r rune) rune { return r ^ 1 }, first[:1]) + first[1:], (&dpop.Nonces{Keys: [][]byte{[]byte("another system")}}).Make(c.Now()), (&dpop.Nonces{Keys: keys}).Make(c.Now().Add(time.Hour))} {
			if got, _ := ask(bad); got != challenged {
				t.Errorf("%s, nonce %v: got %s", kind, bad, got)
			}
		}
		c.Add(before.Sub(c.Now()))
	}
}

func TestChallengesForProofsNameTheAlgorithms(t *testing.T) {
	h := ecHolder(t)
	for kind, p := range protect(t, Deps{Now: newClock().Now}, map[string]any{"jkt": h.jkt}, `"dpop":{"algorithms":["ES256","EdDSA"]}`) {
		_, err := p.authenticator.Authenticate(t.Context(), presented("DPoP", p.token))
		var f *fault.Error
		if !errors.As(err, &f) {
			t.Fatal(err)
		}
		want := fault.Error{Kind: fault.Unauthenticated, Reason: "invalid_dpop_proof", Message: "the request must have exactly one DPoP proof",
			Challenge: `DPoP error="invalid_dpop_proof", algs="ES256 EdDSA"`}
		if diff := cmp.Diff(want, *f); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
}

func TestARefusedTokenIsChallengedInItsScheme(t *testing.T) {
	for kind, p := range protect(t, Deps{Now: newClock().Now}, nil, `"dpop":{"algorithms":["ES256"]},"target_audience":["nobody"]`) {
		for scheme, want := range map[string]string{"DPoP": `DPoP error="invalid_token", algs="ES256"`, "Bearer": `Bearer error="invalid_token"`} {
			for _, token := range []string{p.token, "a.b.c"} {
				_, err := p.authenticator.Authenticate(t.Context(), presented(scheme, token))
				var f *fault.Error
				if errors.As(err, &f) && f.Challenge != want && f.Kind != fault.Forbidden {
					t.Errorf("%s, %s: challenged with %q", kind, scheme, f.Challenge)
				}
				if err == nil {
					t.Errorf("%s, %s: accepted", kind, scheme)
				}
			}
		}
	}
}

func TestABoundTokenElsewhereStillNeedsItsProof(t *testing.T) {
	h := ecHolder(t)
	for kind, p := range protect(t, Deps{Now: newClock().Now, Replays: &replays{}}, map[string]any{"jkt": h.jkt}, `"token_from":{"header":"X-Token"}`) {
		r := request(resource, "X-Token", p.token)
		if got := reason(p.authenticator.Authenticate(t.Context(), r)); got != "unauthenticated invalid_dpop_proof" {
			t.Errorf("%s: got %s", kind, got)
		}
		r.Header.Set("DPoP", h.proof(t, nil, proofClaims(p.token, nil)))
		if got := reason(p.authenticator.Authenticate(t.Context(), r)); got != "subject alice" {
			t.Errorf("%s: got %s", kind, got)
		}
	}
}

func TestABadBindingConfigNamesTheField(t *testing.T) {
	for config, want := range map[string]string{
		`{"require_binding":"both"}`:                        "require_binding",
		`{"dpop":{"algorithms":["HS256"]}}`:                 "dpop.algorithms",
		`{"dpop":{"algorithms":["none"]}}`:                  "dpop.algorithms",
		`{"dpop":{"algorithms":[]}}`:                        "dpop.algorithms",
		`{"dpop":{"max_age":"0s"}}`:                         "dpop.max_age",
		`{"dpop":{"max_age":"2h"}}`:                         "dpop.max_age",
		`{"dpop":{"leeway":"2h"}}`:                          "dpop.leeway",
		`{"dpop":{"nonce":"on"}}`:                           "dpop.nonce",
		`{"dpop":{"nonce":"required","nonce_ttl":"500ms"}}`: "dpop.nonce_ttl",
		`{"dpop":{"no_such_field":1}}`:                      "no_such_field",
	} {
		for _, name := range []string{"jwt", "oauth2_introspection"} {
			_, err := Catalog(Deps{OwnKeys: newIssuer(t), Introspector: server{}}).Build(name, nil, []byte(config))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %s: got %v, want it to name %s", name, config, err, want)
			}
		}
	}
}

func TestABoundStreamIsRenewedWithoutAnotherProof(t *testing.T) {
	h := ecHolder(t)
	for kind, p := range protect(t, Deps{Now: newClock().Now, Replays: &replays{}}, map[string]any{"jkt": h.jkt}, `"dpop":{"nonce":"required"}`) {
		r := presented("DPoP", p.token, "a proof that was used")
		if _, err := p.authenticator.(access.Lease).Renew(t.Context(), r); err != nil {
			t.Errorf("%s: got %v", kind, err)
		}
	}
}

// The example of RFC 9449 sections 7.1 and 6.1.
func TestTheExampleOfRFC9449IsGood(t *testing.T) {
	const (
		token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
		proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
		jkt   = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
	)
	now := time.Unix(1562262618, 0)
	a := build(t, Deps{Now: func() time.Time { return now }, Replays: &replays{}, CanonicalURL: edge.CanonicalURL,
		Introspector: server{token: {Active: true, Subject: "alice", TokenType: "DPoP", Bound: access.Confirmation{JKT: jkt}}}}, "oauth2_introspection", `{}`)
	r := request("https://resource.example.org/protectedresource", "Authorization", "DPoP "+token, "DPoP", proof)
	if got := reason(a.Authenticate(t.Context(), r)); got != "subject alice" {
		t.Errorf("got %s", got)
	}
	if got := reason(a.Authenticate(t.Context(), r)); got != "unauthenticated invalid_dpop_proof" {
		t.Errorf("again: got %s", got)
	}
}

// FuzzDPoPProof: whatever comes as a proof, only one that the holder's key signed for
// this token and request opens, and only once.
func FuzzDPoPProof(f *testing.F) {
	h := ecHolder(f)
	p := protect(f, Deps{Now: newClock().Now, Replays: &replays{}}, map[string]any{"jkt": h.jkt}, "")["oauth2_introspection"]
	good := h.proof(f, nil, proofClaims(p.token, nil))
	if got := reason(p.authenticator.Authenticate(f.Context(), presented("DPoP", p.token, good))); got != "subject alice" {
		f.Fatal(got)
	}
	for _, seed := range []string{good, strings.TrimSuffix(good, "A"), "..", "e30.e30.", "eyJhbGciOiJub25lIn0..", ecHolder(f).proof(f, nil, proofClaims(p.token, nil))} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, proof string) {
		if got := outcome(p.authenticator.Authenticate(t.Context(), presented("DPoP", p.token, proof))); got != "unauthenticated" {
			t.Errorf("%q: got %s", proof, got)
		}
	})
}

func BenchmarkDPoP(b *testing.B) {
	h := ecHolder(b)
	for kind, p := range protect(b, Deps{Now: newClock().Now, Replays: fresh{}}, map[string]any{"jkt": h.jkt}, "") {
		r := presented("DPoP", p.token, h.proof(b, nil, proofClaims(p.token, nil)))
		b.Run(kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.authenticator.Authenticate(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// fresh is a ReplayStore that has seen nothing.
type fresh struct{}

func (fresh) UseJTI(context.Context, string, string, time.Time) error { return nil }
