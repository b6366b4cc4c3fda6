package keys

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/gatewarden/gatewarden/fault"
)

// RingOptions says where a ring's keys live and how they follow each other.
type RingOptions struct {
	// Set names the JWK set in Store.
	Set   string
	Store Store
	// Algorithms are those that must have a key from the start: ES256, RS256,
	// PS256, EdDSA. The first is the one Sign uses when it is not told. Default: ES256.
	Algorithms []string
	// Period is how long a key signs before it is replaced; 0: only by Rotate.
	Period time.Duration
	// PublishAhead is how long a successor is published before it signs, so that
	// verifiers that cache the set know it in time. Default 10 minutes.
	PublishAhead time.Duration
	// KeepFor is how long a key stays published at least after its successor took over:
	// the usual life of what the ring signs. Signing something that lives longer is noted
	// in the store first (Stored.KeepFor). Default 24 hours.
	KeepFor time.Duration
	// Fresh reports whether changes that other nodes made to the set are heard of in time;
	// while it is false, nothing is signed and nothing verified: a key may have been
	// withdrawn. Nil: always.
	Fresh func() bool
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Ring is one named set of our own signing keys. Signing reads an immutable
// snapshot and never touches the store. Private keys never leave the ring.
type Ring struct {
	o    RingOptions
	mu   sync.Mutex // one change of the set at a time
	view atomic.Pointer[ringView]
}

// ringKey is a key of the set with its times; zero times mean always.
type ringKey struct {
	jwk                         jose.JSONWebKey
	created, notBefore, expires time.Time
	keepFor                     time.Duration
}

// overlap is added to how long a key stays published, for verifiers whose clocks are
// late and those that accept a token a little after its end.
const overlap = time.Minute

// A life is noted in whole steps, so that it is seldom the longest yet. No key is kept
// longer than maxKeep.
const (
	keepStep = time.Hour
	maxKeep  = 100 * 365 * 24 * time.Hour
)

// ringView is what a ring knows at one moment.
type ringView struct {
	keys       []ringKey          // oldest first
	signers    map[string]ringKey // by algorithm; private
	public     []jose.JSONWebKey  // signers first, then newest first
	generation uint64
	until      time.Time // when the view must be made anew; zero: never
}

// OpenRing reads the set and makes the keys that are missing. Nodes that open the
// same ring at once end with the same keys.
func OpenRing(ctx context.Context, o RingOptions) (*Ring, error) {
	if len(o.Algorithms) == 0 {
		o.Algorithms = []string{string(jose.ES256)}
	}
	for _, alg := range o.Algorithms {
		if !canGenerate(alg) {
			return nil, fmt.Errorf("key set %s: algorithm %q is not ES256, RS256, PS256 or EdDSA", o.Set, alg)
		}
	}
	o.PublishAhead = cmp.Or(o.PublishAhead, 10*time.Minute)
	o.KeepFor = cmp.Or(o.KeepFor, 24*time.Hour)
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Algorithms = slices.Clone(o.Algorithms)
	r := &Ring{o: o}
	if err := r.Reload(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// FixedRing returns a ring over an operator's own JWK set, which never rotates.
// For each algorithm the first private key signs. Every error starts with name,
// which says where the set was read, and names the key.
func FixedRing(name string, jwks []byte) (*Ring, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(jwks, &set); err != nil {
		return nil, fmt.Errorf("%s: not a JWK set: %w", name, err)
	}
	r := &Ring{o: RingOptions{Set: name, Now: time.Now}}
	var all []ringKey
	seen := map[string]bool{}
	for i, raw := range set.Keys {
		k, err := ParseKey(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: keys/%d: %w", name, i, err)
		}
		if publicOf(k) == nil {
			return nil, fmt.Errorf("%s: keys/%d: a symmetric key cannot be published", name, i)
		}
		if k.KeyID == "" {
			k.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint(k))
		}
		// A set may hold the public form of a private key under the same id.
		id := fmt.Sprintf("%s %t", k.KeyID, isPrivate(k))
		if seen[id] {
			return nil, fmt.Errorf("%s: keys/%d: kid %q occurs twice", name, i, k.KeyID)
		}
		seen[id] = true
		if isPrivate(k) && !slices.Contains(r.o.Algorithms, k.Algorithm) {
			r.o.Algorithms = append(r.o.Algorithms, k.Algorithm)
		}
		all = append(all, ringKey{jwk: k})
	}
	if len(r.o.Algorithms) == 0 {
		return nil, fmt.Errorf("%s: has no private key to sign with", name)
	}
	slices.Reverse(all) // the last one signs
	r.view.Store(newRingView(all, r.o.Now(), 0))
	return r, nil
}

// newRingView derives what is published and who signs at now. A private key is
// published until the last token that it signed has ended after its successor of the
// same algorithm took over: after keepFor, or the longer time that was noted of it. A
// keepFor of 0 means for ever.
//
// A token is signed before the successor's time and lives at most as long as was noted,
// both by the signer's clock; so by no clock does it outlive its key.
func newRingView(keys []ringKey, now time.Time, keepFor time.Duration) *ringView {
	v := &ringView{keys: keys, signers: map[string]ringKey{}}
	due := func(t time.Time) bool { // has t come? If not, the view ends then.
		if t.After(now) && (v.until.IsZero() || t.Before(v.until)) {
			v.until = t
		}
		return !t.After(now)
	}
	pending := map[string]ringKey{}
	var published []ringKey
	for i, k := range keys {
		if expires := publishedUntil(keys, i, keepFor); !expires.IsZero() && due(expires) {
			continue
		}
		published = append(published, k)
		if alg := k.jwk.Algorithm; isPrivate(k.jwk) {
			if due(k.notBefore) {
				v.signers[alg] = k
			} else if _, ok := pending[alg]; !ok {
				pending[alg] = k
			}
		}
	}
	for alg, k := range pending { // the signing key was deleted: its successor steps in early
		if _, ok := v.signers[alg]; !ok {
			v.signers[alg] = k
		}
	}
	slices.Reverse(published)
	slices.SortStableFunc(published, func(a, b ringKey) int { return v.rank(a.jwk) - v.rank(b.jwk) })
	seen := map[string]bool{}
	for _, k := range published {
		public := k.jwk.Public()
		public.Use = "sig"
		if !seen[public.KeyID] {
			seen[public.KeyID] = true
			v.public = append(v.public, public)
		}
	}
	signers := make([]jose.JSONWebKey, 0, len(v.signers))
	for _, k := range v.signers {
		signers = append(signers, k.jwk.Public())
	}
	slices.SortFunc(signers, func(a, b jose.JSONWebKey) int { return cmp.Compare(a.Algorithm, b.Algorithm) })
	v.generation = fingerprint(append(signers, v.public...))
	return v
}

// rank is 0 for keys that sign.
func (v *ringView) rank(k jose.JSONWebKey) int {
	if s, ok := v.signers[k.Algorithm]; ok && s.jwk.KeyID == k.KeyID {
		return 0
	}
	return 1
}

// successor returns the next private key of the algorithm of keys[i]; nil for none.
func successor(keys []ringKey, i int) *ringKey {
	if !isPrivate(keys[i].jwk) {
		return nil
	}
	for j := i + 1; j < len(keys); j++ {
		if isPrivate(keys[j].jwk) && keys[j].jwk.Algorithm == keys[i].jwk.Algorithm {
			return &keys[j]
		}
	}
	return nil
}

// current returns the view of this moment. Time alone can change it: a successor
// takes over, an old key is no longer published.
func (r *Ring) current() *ringView {
	v := r.view.Load()
	if v.until.IsZero() {
		return v
	}
	if now := r.o.Now(); !now.Before(v.until) {
		next := newRingView(v.keys, now, r.o.KeepFor)
		r.view.CompareAndSwap(v, next)
		return next
	}
	return v
}

// Sign returns a compact JWS over payload, signed with the current key for alg
// (empty: the ring's first algorithm) and with typ and kid in its header. The key is
// published until expires, the end of what payload says; zero: it is looked at at once.
// A key for ES256, RS256, PS256 or EdDSA that the set lacks is made; otherwise the error is
// fault.Unavailable.
func (r *Ring) Sign(ctx context.Context, alg, typ string, payload []byte, expires time.Time) (string, error) {
	return r.SignWith(ctx, alg, map[string]any{"typ": typ}, payload, expires)
}

// SignWith is Sign with any header parameters but alg, kid, crit and b64.
func (r *Ring) SignWith(ctx context.Context, alg string, header map[string]any, payload []byte, expires time.Time) (string, error) {
	if alg == "" {
		alg = r.o.Algorithms[0]
	}
	key, err := r.signerUntil(ctx, alg, expires)
	if err != nil {
		return "", err
	}
	extra := make(map[jose.HeaderKey]any, len(header))
	for name, value := range header {
		switch name {
		case "alg", "kid", "crit", "b64":
			return "", fmt.Errorf("key set %s: header parameter %s is the ring's own", r.o.Set, name)
		}
		extra[jose.HeaderKey(name)] = value
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: key}, &jose.SignerOptions{ExtraHeaders: extra})
	if err != nil {
		return "", fmt.Errorf("key set %s: %w", r.o.Set, err)
	}
	signed, err := s.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("key set %s: sign: %w", r.o.Set, err)
	}
	return signed.CompactSerialize()
}

// signerUntil returns the key that signs with alg now, and has it published until
// expires. What was noted once is enough for everything that lives no longer, so this
// writes when a life is the longest yet and never again.
func (r *Ring) signerUntil(ctx context.Context, alg string, expires time.Time) (jose.JSONWebKey, error) {
	for range 3 {
		k, err := r.signer(ctx, alg)
		if err != nil || r.o.Store == nil || expires.IsZero() {
			return k.jwk, err
		}
		life := min(expires.Sub(r.o.Now()), maxKeep)
		if life <= max(r.o.KeepFor, k.keepFor) {
			return k.jwk, nil
		}
		err = r.o.Store.KeepKey(ctx, r.o.Set, k.jwk.KeyID, (life + keepStep - 1).Truncate(keepStep))
		if err == nil || fault.Is(err, fault.NotFound) { // deleted just now: another one signs
			err = r.Reload(ctx)
		}
		if err != nil {
			return jose.JSONWebKey{}, fmt.Errorf("key set %s: %w", r.o.Set, err)
		}
	}
	return jose.JSONWebKey{}, fault.New(fault.Unavailable, "signing_key_unavailable", fmt.Sprintf("key set %s changes all the time", r.o.Set))
}

func (r *Ring) signer(ctx context.Context, alg string) (ringKey, error) {
	if err := r.fresh(); err != nil {
		return ringKey{}, err
	}
	if k, ok := r.current().signers[alg]; ok {
		return k, nil
	}
	if r.o.Store != nil && canGenerate(alg) {
		if err := r.need(ctx, alg); err != nil {
			return ringKey{}, err
		}
		if k, ok := r.current().signers[alg]; ok {
			return k, nil
		}
	}
	return ringKey{}, fault.New(fault.Unavailable, "signing_key_unavailable", fmt.Sprintf("key set %s has no key for %s", r.o.Set, alg))
}

// Verify checks that the ring signed compact and that its typ is one of the
// allowed ones ("" allows an absent typ), and returns the payload. It does not
// look at claims. Errors are fault.Unauthenticated, or fault.Unavailable while the ring
// is not fresh.
func (r *Ring) Verify(_ context.Context, compact string, allowed ...string) ([]byte, error) {
	refuse := func(err error) ([]byte, error) {
		return nil, fault.Wrap(fault.Unauthenticated, "invalid_token", "the token is not valid", err)
	}
	t, err := ParseJWS(compact, Asymmetric())
	if err != nil {
		return refuse(err)
	}
	if !slices.ContainsFunc(allowed, func(typ string) bool { return MediaType(typ) == t.Type }) {
		return refuse(fmt.Errorf("typ %q is not allowed", t.Type))
	}
	if err := r.fresh(); err != nil {
		return nil, err
	}
	for _, k := range r.current().public {
		if k.KeyID == t.KeyID {
			payload, err := t.Verify(k)
			if err != nil {
				return refuse(err)
			}
			return payload, nil
		}
	}
	return refuse(errors.New("kid is not in key set " + r.o.Set))
}

// fresh returns fault.Unavailable while changes of the set are not heard of.
func (r *Ring) fresh() error {
	if r.o.Fresh == nil || r.o.Fresh() {
		return nil
	}
	return fault.New(fault.Unavailable, "keys_stale", "the keys may be out of date")
}

// Keys returns the published keys with an id; none when it is unknown. The error is
// fault.Unavailable while the ring is not fresh.
func (r *Ring) Keys(_ context.Context, kid string) ([]jose.JSONWebKey, error) {
	if err := r.fresh(); err != nil {
		return nil, err
	}
	var found []jose.JSONWebKey
	for _, k := range r.current().public {
		if k.KeyID == kid {
			found = append(found, k)
		}
	}
	return found, nil
}

// Public returns what is published: public keys only, those that sign first.
func (r *Ring) Public() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: slices.Clone(r.current().public)}
}

// Algorithms returns those that Sign has a key for, or makes one for, in alphabetical
// order.
func (r *Ring) Algorithms() []string {
	var all []string
	if r.o.Store != nil {
		all = slices.Clone(generated)
	}
	for alg := range r.current().signers {
		all = append(all, alg)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Generation identifies the signing keys and the published keys: it is equal as
// long as they are, on every node.
func (r *Ring) Generation() uint64 { return r.current().generation }
