package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
)

const testSet = "gateway.id-token"

func openRing(t testing.TB, m *memory, c *clock, change ...func(*RingOptions)) *Ring {
	t.Helper()
	o := RingOptions{Set: testSet, Store: m, Now: c.Now, PublishAhead: 10 * time.Minute, KeepFor: time.Hour}
	for _, f := range change {
		f(&o)
	}
	return must(OpenRing(t.Context(), o))(t)
}

func TestWhatARingSignsItVerifiesWithEveryAlgorithm(t *testing.T) {
	m := &memory{}
	r := openRing(t, m, newClock())
	for _, alg := range []string{"ES256", "EdDSA", "RS256", "PS256"} {
		token := must(r.Sign(t.Context(), alg, "at+jwt", []byte(`{"sub":"a"}`), time.Time{}))(t)
		payload := must(r.Verify(t.Context(), token, "at+jwt"))(t)
		if string(payload) != `{"sub":"a"}` {
			t.Errorf("%s: got %s", alg, payload)
		}
		header := must(ParseJWS(token, Asymmetric()))(t)
		if string(header.Algorithm) != alg || header.KeyID == "" || header.Type != "at+jwt" {
			t.Errorf("%s: header is %+v", alg, header)
		}
	}
	if len(m.keys) != 4 {
		t.Errorf("%d keys were stored, want one per algorithm", len(m.keys))
	}
	if diff := cmp.Diff([]string{"ES256", "EdDSA", "PS256", "RS256"}, r.Algorithms()); diff != "" {
		t.Error(diff)
	}
	if _, err := r.Sign(t.Context(), "HS256", "JWT", nil, time.Time{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("HS256: got %v, want unavailable", err)
	}
	if _, err := r.SignWith(t.Context(), "", map[string]any{"kid": "x"}, nil, time.Time{}); err == nil {
		t.Error("a caller could set kid")
	}
}

func TestVerifyRefusesForeignTypesForeignKeysAndChangedTokens(t *testing.T) {
	r, other := openRing(t, &memory{}, newClock()), openRing(t, &memory{}, newClock())
	good := must(r.Sign(t.Context(), "", "JWT", []byte(`{"sub":"a"}`), time.Time{}))(t)
	foreign := must(other.Sign(t.Context(), "", "JWT", []byte(`{"sub":"a"}`), time.Time{}))(t)
	parts := strings.Split(good, ".")
	for name, token := range map[string]string{
		"foreign key":       foreign,
		"changed payload":   parts[0] + ".eyJzdWIiOiJiIn0." + parts[2],
		"no signature":      parts[0] + "." + parts[1] + ".",
		"foreign signature": parts[0] + "." + parts[1] + "." + strings.Split(foreign, ".")[2],
		"empty":             "",
	} {
		if _, err := r.Verify(t.Context(), token, "JWT"); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: got %v, want unauthenticated", name, err)
		}
	}
	for _, allowed := range [][]string{nil, {"at+jwt"}, {""}} {
		if _, err := r.Verify(t.Context(), good, allowed...); err == nil {
			t.Errorf("typ JWT was accepted where %q is allowed", allowed)
		}
	}
}

func TestNodesThatStartAtOnceEndWithTheSameKeys(t *testing.T) {
	m, c := &memory{}, newClock()
	var wg sync.WaitGroup
	rings := make([]*Ring, 8)
	for i := range rings {
		wg.Go(func() {
			rings[i], _ = OpenRing(t.Context(), RingOptions{Set: testSet, Store: m, Now: c.Now, Algorithms: []string{"ES256", "EdDSA"}})
		})
	}
	wg.Wait()
	for i, r := range rings {
		if r == nil {
			t.Fatal("a node could not open the ring")
		}
		if diff := cmp.Diff(kidsOf(rings[0].Public().Keys), kidsOf(r.Public().Keys)); diff != "" || r.Generation() != rings[0].Generation() {
			t.Errorf("node %d differs: %s", i, diff)
		}
	}
	if len(m.keys) != 2 {
		t.Errorf("%d keys were stored, want 2", len(m.keys))
	}
}

func TestASuccessorIsPublishedBeforeItSignsAndThePredecessorOutlivesItsTokens(t *testing.T) {
	m, c := &memory{}, newClock()
	r := openRing(t, m, c)
	first, generation := signedBy(t, r), r.Generation()
	token := must(r.Sign(t.Context(), "", "JWT", []byte(`{}`), time.Time{}))(t)
	c.Add(time.Hour)
	for range 2 { // a waiting successor is not given a second one
		if err := r.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	published := kidsOf(r.Public().Keys)
	if len(published) != 2 || published[0] != first || signedBy(t, r) != first {
		t.Fatalf("published %v, signs %s, want the first key %s to sign and its successor to be published", published, signedBy(t, r), first)
	}
	second := published[1]

	c.Add(10 * time.Minute)
	if signedBy(t, r) != second || r.Generation() == generation {
		t.Error("the successor did not take over in time, or the generation stayed")
	}
	if _, err := r.Verify(t.Context(), token, "JWT"); err != nil {
		t.Errorf("a token of the predecessor: %v", err)
	}
	c.Add(time.Hour + overlap)
	if diff := cmp.Diff([]string{second}, kidsOf(r.Public().Keys)); diff != "" {
		t.Error(diff)
	}
	if _, err := r.Verify(t.Context(), token, "JWT"); err == nil {
		t.Error("the predecessor was trusted for ever")
	}
}

func TestKeysRotateByThemselvesOnceForAllNodes(t *testing.T) {
	m, c := &memory{}, newClock()
	daily := func(o *RingOptions) { o.Period = 24 * time.Hour }
	a, b := openRing(t, m, c, daily), openRing(t, m, c, daily)
	first := signedBy(t, a)
	c.Add(24*time.Hour - 10*time.Minute)
	for _, r := range []*Ring{a, b, a, b} {
		if err := r.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(m.keys) != 2 || signedBy(t, a) != first {
		t.Fatalf("%d keys, want the old one signing and one successor", len(m.keys))
	}
	c.Add(10 * time.Minute)
	if k := signedBy(t, a); k == first || k != signedBy(t, b) {
		t.Error("the nodes do not sign with the successor")
	}
}

func TestAKeyIsKeptForTheLongestLifeOfWhatItSigned(t *testing.T) {
	m, c := &memory{}, newClock()
	r, other := openRing(t, m, c), openRing(t, m, c)
	signed := func(life time.Duration) string {
		return must(r.Sign(t.Context(), "", "JWT", []byte(`{}`), c.Now().Add(life)))(t)
	}
	long := signed(30 * time.Hour)
	reads := m.reads
	for _, life := range []time.Duration{time.Minute, time.Hour, 30 * time.Hour} {
		signed(life) // bounded by what was noted
	}
	if m.reads != reads {
		t.Error("signing what lives no longer asks the store")
	}
	if err := errors.Join(r.Rotate(t.Context()), other.Reload(t.Context())); err != nil {
		t.Fatal(err)
	}
	c.Add(30 * time.Hour)
	late := openRing(t, m, c, func(o *RingOptions) { o.KeepFor = time.Minute }) // lowered since
	for name, node := range map[string]*Ring{"the signer": r, "another": other, "one that started later": late} {
		if _, err := node.Verify(t.Context(), long, "JWT"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.Add(10*time.Minute + overlap)
	for name, node := range map[string]*Ring{"the signer": r, "another": other, "one that started later": late} {
		if _, err := node.Verify(t.Context(), long, "JWT"); err == nil {
			t.Errorf("%s trusts the key for ever", name)
		}
	}
}

func TestALifeThatCannotBeNotedIsNotSigned(t *testing.T) {
	m, c := &memory{}, newClock()
	r := openRing(t, m, c)
	m.err = fault.New(fault.Unavailable, "store_down", "down")
	if _, err := r.Sign(t.Context(), "", "JWT", nil, c.Now().Add(2*time.Hour)); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
	if _, err := r.Sign(t.Context(), "", "JWT", nil, c.Now().Add(time.Hour)); err != nil {
		t.Errorf("what lives as long as usual: %v", err)
	}
	m.err = nil
	if _, err := r.Sign(t.Context(), "", "JWT", nil, time.Unix(1<<40, 0)); err != nil {
		t.Errorf("what lives for thousands of years: %v", err)
	}
}

func TestLoweringKeepForEndsNoTokenThatWasSignedBefore(t *testing.T) {
	m, c := &memory{}, newClock()
	before := openRing(t, m, c, func(o *RingOptions) { o.KeepFor = 24 * time.Hour })
	token := must(before.Sign(t.Context(), "", "JWT", []byte(`{}`), c.Now().Add(24*time.Hour)))(t)
	after := openRing(t, m, c)
	if err := after.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Add(24 * time.Hour)
	if _, err := after.Verify(t.Context(), token, "JWT"); err != nil {
		t.Error(err)
	}
}

func TestOfNodesThatRotateAtOnceOneMakesTheKeyWhateverTheirClocksSay(t *testing.T) {
	m, c := &memory{}, newClock()
	openRing(t, m, c)
	rings := make([]*Ring, 16)
	for i := range rings {
		rings[i] = openRing(t, m, c, func(o *RingOptions) {
			o.Now = func() time.Time { return c.Now().Add(time.Duration(i) * 50 * time.Second) } // up to 12 minutes apart
		})
	}
	m.hold(len(rings)) // all have read the set before the first one writes
	var wg sync.WaitGroup
	for _, r := range rings {
		wg.Go(func() {
			if err := r.Rotate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(m.keys) != 2 {
		t.Errorf("%d keys, want the first and one successor", len(m.keys))
	}
}

func TestADeletedKeyIsNoLongerTrustedAndItsSuccessorStepsIn(t *testing.T) {
	m, c := &memory{}, newClock()
	r := openRing(t, m, c)
	first := signedBy(t, r)
	if err := r.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.DeleteKey(t.Context(), testSet, first); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if kids := kidsOf(r.Public().Keys); slices.Contains(kids, first) || signedBy(t, r) == first {
		t.Errorf("the deleted key is still in use: %v", kids)
	}
	if err := m.DeleteSet(t.Context(), testSet); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k := signedBy(t, r); k == first {
		t.Error("the id of a deleted key was used again")
	}
}

func TestSigningNeverTouchesTheStoreAndSurvivesItsOutage(t *testing.T) {
	m, c := &memory{}, newClock()
	r := openRing(t, m, c)
	m.err, m.reads = errors.New("database is down"), 0
	if err := r.Reload(t.Context()); err == nil {
		t.Error("Reload hid the outage")
	}
	reads := m.reads
	first := signedBy(t, r)
	if _, err := r.Verify(t.Context(), must(r.Sign(t.Context(), "", "", nil, time.Time{}))(t), ""); err != nil {
		t.Error(err)
	}
	if m.reads != reads || first == "" {
		t.Errorf("signing and verifying read the store %d times", m.reads-reads)
	}
	if _, err := OpenRing(t.Context(), RingOptions{Set: testSet, Store: m}); err == nil {
		t.Error("a ring without a reachable store was opened")
	}
}

func TestARingThatMayBeOutOfDateNeitherSignsNorVerifies(t *testing.T) {
	fresh := true
	r := openRing(t, &memory{}, newClock(), func(o *RingOptions) { o.Fresh = func() bool { return fresh } })
	signed := must(r.Sign(t.Context(), "", "JWT", []byte(`{}`), time.Time{}))(t)
	kid := r.Public().Keys[0].KeyID
	fresh = false
	_, sign := r.Sign(t.Context(), "", "JWT", []byte(`{}`), time.Time{})
	_, verify := r.Verify(t.Context(), signed, "JWT")
	_, find := r.Keys(t.Context(), kid)
	for what, err := range map[string]error{"signing": sign, "verifying": verify, "finding a key": find} {
		if !fault.Is(err, fault.Unavailable) || fault.ReasonOf(err) != "keys_stale" {
			t.Errorf("%s: got %v", what, err)
		}
	}
	fresh = true
	if _, err := r.Verify(t.Context(), signed, "JWT"); err != nil {
		t.Errorf("fresh again: %v", err)
	}
}

func TestPrivateKeysNeverLeaveTheRing(t *testing.T) {
	m := &memory{}
	r := openRing(t, m, newClock(), func(o *RingOptions) { o.Algorithms = []string{"ES256", "RS256", "EdDSA"} })
	fixed := must(FixedRing("keys.json", setOf(t, newKey(t, "ES256", "e"), newKey(t, "RS256", "r"), newKey(t, "EdDSA", "o"))))(t)
	for _, ring := range []*Ring{r, fixed} {
		var set struct{ Keys []map[string]any }
		raw := must(json.Marshal(ring.Public()))(t)
		if err := json.Unmarshal(raw, &set); err != nil || len(set.Keys) != 3 {
			t.Fatalf("%s: %v", raw, err)
		}
		for _, k := range set.Keys {
			for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
				if _, ok := k[private]; ok {
					t.Errorf("%v is published with %s", k["kid"], private)
				}
			}
			found := must(ring.Keys(t.Context(), k["kid"].(string)))(t)
			if len(found) != 1 || !found[0].IsPublic() {
				t.Errorf("Keys gives away %v", k["kid"])
			}
		}
		if text := fmt.Sprintf("%#v", ring.Public()); strings.Contains(text, "PrivateKey") {
			t.Error("the public set prints private keys")
		}
	}
}

func TestSymmetricKeysOfASetAreIgnored(t *testing.T) {
	m := &memory{keys: []Stored{{Set: testSet, ID: "hs", JWK: []byte(`{"kty":"oct","kid":"hs","alg":"HS256","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`)}}}
	r := openRing(t, m, newClock())
	if kids := kidsOf(r.Public().Keys); len(kids) != 1 || kids[0] == "hs" {
		t.Errorf("published %v", kids)
	}
}

func TestAnOperatorsSetSignsWithItsFirstPrivateKeyPerAlgorithm(t *testing.T) {
	a, b, c := newKey(t, "RS256", "a"), newKey(t, "RS256", "b"), newKey(t, "ES256", "c")
	a.Algorithm = "" // filled in
	r := must(FixedRing("keys.json", setOf(t, a, a.Public(), b, c)))(t)
	if k := signedBy(t, r); k != "a" {
		t.Errorf("%s signs, want a", k)
	}
	token := must(r.Sign(t.Context(), "ES256", "JWT", []byte("{}"), time.Time{}))(t)
	if _, err := r.Verify(t.Context(), token, "JWT"); err != nil {
		t.Error(err)
	}
	kids := kidsOf(r.Public().Keys)
	slices.Sort(kids)
	if diff := cmp.Diff([]string{"a", "b", "c"}, kids); diff != "" {
		t.Error(diff)
	}
	if err := errors.Join(r.Reload(t.Context()), r.Rotate(t.Context())); err != nil {
		t.Error(err)
	}
	other := must(FixedRing("keys.json", setOf(t, newKey(t, "RS256", "a"), b, c)))(t)
	if other.Generation() == r.Generation() {
		t.Error("another key under the same id has the same generation")
	}
}

func TestABadOperatorsSetIsRefusedWithFileAndKey(t *testing.T) {
	good := newKey(t, "ES256", "a")
	weak := `{"keys":[{"kty":"RSA","kid":"w","n":"` + strings.Repeat("_", 171) + `","e":"AQAB"}]}`
	enc := newKey(t, "ES256", "e")
	enc.Use = "enc"
	for name, c := range map[string]struct{ raw, want string }{
		"not JSON":      {`{`, "not a JWK set"},
		"no keys":       {`{"keys":[]}`, "no private key"},
		"public only":   {string(setOf(t, good.Public())), "no private key"},
		"twice":         {string(setOf(t, good, good)), `keys/1: kid "a" occurs twice`},
		"symmetric":     {`{"keys":[{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`, "keys/0: a symmetric key"},
		"short RSA":     {weak, "keys/0: jwk: RSA key has"},
		"encryption":    {string(setOf(t, enc)), `use is "enc"`},
		"unknown type":  {`{"keys":[{"kty":"XYZ"}]}`, "keys/0"},
		"alg not fit":   {strings.Replace(string(setOf(t, good)), "ES256", "RS256", 1), "does not fit"},
		"key_ops":       {strings.Replace(string(setOf(t, good)), `"kty"`, `"key_ops":["deriveKey"],"kty"`, 1), "key_ops"},
		"member twice":  {`{"keys":[],"keys":[]}`, "duplicate"},
		"not an object": {`[]`, "not a JWK set"},
	} {
		_, err := FixedRing("/etc/keys.json", []byte(c.raw))
		if err == nil || !strings.HasPrefix(err.Error(), "/etc/keys.json: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to say %q", name, err, c.want)
		}
	}
}

func BenchmarkRingSignES256(b *testing.B) {
	r := openRing(b, &memory{}, newClock())
	payload := []byte(`{"sub":"alice","iss":"https://gateway.example","exp":1893456000}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Sign(b.Context(), "ES256", "JWT", payload, time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
}

func TestSigningGoesOnWhileKeysRotate(t *testing.T) {
	m, c := &memory{}, newClock()
	r := openRing(t, m, c, func(o *RingOptions) { o.KeepFor = 1000 * time.Hour }) // no token outlives its key
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				token, err := r.Sign(t.Context(), "", "JWT", []byte(`{}`), time.Time{})
				if err == nil {
					_, err = r.Verify(t.Context(), token, "JWT")
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 20 {
		if err := r.Rotate(t.Context()); err != nil {
			t.Error(err)
		}
		c.Add(10 * time.Minute)
	}
	close(stop)
	wg.Wait()
	if len(m.keys) != 21 {
		t.Errorf("%d keys, want the first and 20 successors", len(m.keys))
	}
}
