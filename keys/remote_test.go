package keys

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
)

// issuer serves a JWK set that tests change, and counts who asks.
type issuer struct {
	*httptest.Server
	asked  atomic.Int32
	answer atomic.Pointer[http.HandlerFunc]
}

func newIssuer(t testing.TB, raw []byte) *issuer {
	i := &issuer{}
	i.serve(raw, "")
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		(*i.answer.Load())(w, r)
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) serve(raw []byte, cacheControl string) {
	i.do(func(w http.ResponseWriter, _ *http.Request) {
		if cacheControl != "" {
			w.Header().Set("Cache-Control", cacheControl)
		}
		w.Write(raw)
	})
}

func (i *issuer) do(h http.HandlerFunc) { i.answer.Store(&h) }

func openRemote(t testing.TB, c *clock, locations ...string) *Remote {
	t.Helper()
	return must(NewRemotes(RemotesOptions{Now: c.Now}).Open(locations, 30*time.Second, 10*time.Second))(t)
}

func wantKeys(t testing.TB, r *Remote, kid string, want ...string) {
	t.Helper()
	got := kidsOf(must(r.Keys(t.Context(), kid))(t))
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		t.Error(diff)
	}
}

func TestAKeyIsFoundInAnyOfSeveralSets(t *testing.T) {
	a, b := newIssuer(t, setOf(t, publicKey(t, "ES256", "a"))), newIssuer(t, setOf(t, publicKey(t, "EdDSA", "b")))
	name := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(name, setOf(t, newKey(t, "ES256", "c")), 0o600); err != nil {
		t.Fatal(err)
	}
	inline := "inline://" + base64.StdEncoding.EncodeToString(setOf(t, publicKey(t, "ES256", "d")))
	r := openRemote(t, newClock(), a.URL, b.URL, "file://"+name, inline)
	for _, kid := range []string{"a", "b", "c", "d"} {
		wantKeys(t, r, kid, kid)
	}
	wantKeys(t, r, "e")
	if keys := must(r.Keys(t.Context(), "c"))(t); !keys[0].IsPublic() {
		t.Error("a private key of a file was handed out")
	}
}

func TestABrokenSetInAFileEndsNothingAndIsReportedOnce(t *testing.T) {
	c, name := newClock(), filepath.Join(t.TempDir(), "jwks.json")
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	var reports []string
	o := RemotesOptions{Now: c.Now, File: func(path string, err error) {
		mu.Lock()
		defer mu.Unlock()
		reports = append(reports, fmt.Sprint(path == name, err != nil))
	}}
	one, two := setOf(t, publicKey(t, "ES256", "a")), setOf(t, publicKey(t, "ES256", "b"))
	write(one)
	r := must(NewRemotes(o).Open([]string{"file://" + name}, 30*time.Second, 10*time.Second))(t)
	state := func() string {
		files := r.Files()
		return fmt.Sprint(len(files), files[0].Path == name, files[0].Err != nil, c.Now().Sub(files[0].ReadAt))
	}
	wantKeys(t, r, "a", "a")
	if got := state(); got != "1 true false 0s" {
		t.Errorf("read: got %s", got)
	}
	write([]byte("{"))
	for range 3 {
		c.Add(24 * time.Hour) // far longer than keys of an issuer that is away would be used
		wantKeys(t, r, "a", "a")
	}
	if got := state(); got != "1 true true 72h0m0s" {
		t.Errorf("broken: got %s", got)
	}
	write(two)
	c.Add(time.Minute)
	wantKeys(t, r, "b", "b")
	wantKeys(t, r, "a")
	if got := state(); got != "1 true false 0s" {
		t.Errorf("mended: got %s", got)
	}
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff([]string{"true true", "true false"}, reports); diff != "" {
		t.Error(diff)
	}
}

func TestManyWaitersMakeOneFetch(t *testing.T) {
	c := newClock()
	i := newIssuer(t, setOf(t, publicKey(t, "ES256", "a")))
	r := openRemote(t, c, i.URL)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if k, err := r.Keys(t.Context(), "a"); err != nil || len(k) != 1 {
				t.Errorf("got %v, %v", k, err)
			}
		})
	}
	wg.Wait()
	if n := i.asked.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestUnknownKidsCannotMakeTheIssuerBeFlooded(t *testing.T) {
	c := newClock()
	i := newIssuer(t, setOf(t, publicKey(t, "ES256", "a")))
	r := openRemote(t, c, i.URL)
	for n := range 100 {
		wantKeys(t, r, fmt.Sprint("random", n))
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
	i.serve(setOf(t, publicKey(t, "ES256", "b")), "")
	c.Add(11 * time.Second)
	wantKeys(t, r, "b", "b")
	wantKeys(t, r, "a")
	if n := i.asked.Load(); n != 2 {
		t.Errorf("%d fetches, want 2: a rotation is noticed after the cool-down", n)
	}
}

func TestTheTTLAndAShorterMaxAgeBoundFreshness(t *testing.T) {
	for _, c := range []struct {
		cacheControl string
		fresh        time.Duration
	}{{"", 30 * time.Second}, {"max-age=3600", 30 * time.Second}, {"public, max-age=8", 8 * time.Second}, {"max-age=0", 5 * time.Second}, {"no-store", 5 * time.Second}, {"max-age=-1", 30 * time.Second}} {
		clock := newClock()
		i := newIssuer(t, nil)
		i.serve(setOf(t, publicKey(t, "ES256", "a")), c.cacheControl)
		r := openRemote(t, clock, i.URL)
		wantKeys(t, r, "a", "a")
		i.serve(setOf(t, publicKey(t, "ES256", "b")), c.cacheControl)
		clock.Add(c.fresh - time.Second)
		wantKeys(t, r, "a", "a")
		clock.Add(time.Second)
		wantKeys(t, r, "a")
	}
}

func TestAStaleSetIsUsedWhileItsIssuerIsDownButNotForEver(t *testing.T) {
	c := newClock()
	i := newIssuer(t, setOf(t, publicKey(t, "ES256", "a")))
	r := openRemote(t, c, i.URL)
	wantKeys(t, r, "a", "a")
	generation := r.Generation()
	i.do(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	c.Add(time.Hour)
	wantKeys(t, r, "a", "a")
	if r.Generation() != generation {
		t.Error("the generation changed though the keys did not")
	}
	if _, err := r.Keys(t.Context(), "other"); err != nil {
		t.Errorf("an unknown kid of a stale set: %v", err)
	}
	c.Add(31 * time.Second)
	if k, err := r.Keys(t.Context(), "a"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v, %v, want unavailable", kidsOf(k), err)
	}
	if r.Generation() != 0 {
		t.Error("what was verified with the lost set is still trusted")
	}
	i.serve(setOf(t, publicKey(t, "ES256", "a")), "")
	c.Add(11 * time.Second)
	wantKeys(t, r, "a", "a")
}

func TestTheGenerationFollowsTheKeysAndIsRefreshedAheadOfTime(t *testing.T) {
	c := newClock()
	i := newIssuer(t, setOf(t, publicKey(t, "ES256", "a")))
	r := openRemote(t, c, i.URL)
	if r.Generation() != 0 {
		t.Error("a set that was never fetched has a generation")
	}
	wantKeys(t, r, "a", "a")
	before := r.Generation()
	i.serve(setOf(t, publicKey(t, "ES256", "b")), "")
	c.Add(25 * time.Second)
	deadline := time.Now().Add(5 * time.Second)
	for r.Generation() == before {
		if time.Now().After(deadline) {
			t.Fatal("no refresh ahead of time")
		}
		time.Sleep(time.Millisecond)
	}
	if r.Generation() == 0 {
		t.Error("the set was lost")
	}
}

func TestOneLookUpWaitsNoLongerThanMaxWaitOrItsCaller(t *testing.T) {
	release := make(chan struct{})
	i := newIssuer(t, nil)
	i.do(func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	remotes := NewRemotes(RemotesOptions{})
	impatient := must(remotes.Open([]string{i.URL}, time.Minute, 20*time.Millisecond))(t)
	if _, err := impatient.Keys(t.Context(), "a"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
	patient := must(remotes.Open([]string{i.URL}, time.Minute, time.Hour))(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := patient.Keys(ctx, "a"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
	if n := i.asked.Load(); n > 1 {
		t.Errorf("%d fetches of one location", n)
	}
}

func TestKeysThatMustNotVerifyAreLeftOut(t *testing.T) {
	enc := publicKey(t, "ES256", "enc")
	enc.Use = "enc"
	set := string(setOf(t, enc, publicKey(t, "ES256", "good"),
		jose.JSONWebKey{KeyID: "oct", Key: []byte(strings.Repeat("x", 32))}))
	set = strings.Replace(set, `{"keys":[`, `{"keys":[{"kty":"XYZ","kid":"new"},{"kty":"RSA","kid":"weak","n":"`+strings.Repeat("_", 171)+`","e":"AQAB"},`, 1)
	r := openRemote(t, newClock(), newIssuer(t, []byte(set)).URL)
	for _, kid := range []string{"new", "weak", "enc", "oct"} {
		wantKeys(t, r, kid)
	}
	wantKeys(t, r, "good", "good")

	local := openRemote(t, newClock(), "inline://"+base64.RawURLEncoding.EncodeToString([]byte(set)))
	wantKeys(t, local, "oct", "oct")
}

func TestBadAnswersAreUnavailableAndNeverKeys(t *testing.T) {
	good := setOf(t, publicKey(t, "ES256", "a"))
	target := newIssuer(t, good)
	for name, answer := range map[string]http.HandlerFunc{
		"status":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404); w.Write(good) },
		"not JSON":  func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) },
		"no keys":   func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{}`)) },
		"empty set": func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"keys":[]}`)) },
		"too long": func(w http.ResponseWriter, _ *http.Request) {
			w.Write(append(good, strings.Repeat(" ", maxSetBytes)...))
		},
		"other kind": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "ftp://127.0.0.1/", 302) },
	} {
		i := newIssuer(t, nil)
		i.do(answer)
		if k, err := openRemote(t, newClock(), i.URL).Keys(t.Context(), "a"); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: got %v, %v, want unavailable", name, kidsOf(k), err)
		}
	}
	secure := httptest.NewTLSServer(http.RedirectHandler(target.URL, 302))
	defer secure.Close()
	r := must(NewRemotes(RemotesOptions{HTTP: secure.Client()}).Open([]string{secure.URL}, time.Minute, 5*time.Second))(t)
	if _, err := r.Keys(t.Context(), "a"); err == nil || target.asked.Load() != 0 {
		t.Errorf("a redirect from https to http was followed: %v", err)
	}
}

func TestWhereARedirectOfASetLeadsDoesNotLearnItsURL(t *testing.T) {
	referers := make(chan []string, 4)
	target := newIssuer(t, nil)
	good := setOf(t, publicKey(t, "ES256", "a"))
	target.do(func(w http.ResponseWriter, r *http.Request) {
		referers <- r.Header["Referer"]
		w.Write(good)
	})
	first := httptest.NewServer(http.RedirectHandler(target.URL, http.StatusFound))
	defer first.Close()
	if k, err := openRemote(t, newClock(), first.URL+"/?token=secret").Keys(t.Context(), "a"); err != nil || len(k) != 1 || len(referers) != 1 {
		t.Fatal(k, err, len(referers))
	}
	if got := <-referers; got != nil {
		t.Errorf("the other server learned %q", got)
	}
}

func TestAFileThatIsNotRegularIsNoSet(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, location := range []string{"file://" + pipe, "file:///dev/zero"} { // one would wait for ever, the other never end
		if k, err := openRemote(t, newClock(), location).Keys(t.Context(), "a"); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s: got %v, %v", location, k, err)
		}
	}
}

func TestBadLocationsAreRefusedWhenOpenedWithoutPasswords(t *testing.T) {
	for _, location := range []string{"", "jwks.json", "ftp://a/b", "http://", "s3://bucket/key", "file://", "http://user:hunter2@\x7f/", "inline://%%", "inline://e30", "inline://eyJrZXlzIjpbXX0"} {
		_, err := NewRemotes(RemotesOptions{}).Open([]string{location}, time.Minute, time.Second)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v", location, err)
		}
	}
	for _, ttl := range []time.Duration{0, -1} {
		if _, err := NewRemotes(RemotesOptions{}).Open([]string{"http://a"}, ttl, time.Second); err == nil {
			t.Errorf("a ttl of %v was accepted", ttl)
		}
	}
}

func BenchmarkRemoteGeneration(b *testing.B) {
	r := must(NewRemotes(RemotesOptions{}).Open([]string{newIssuer(b, setOf(b, publicKey(b, "ES256", "a"))).URL}, time.Hour, time.Second))(b)
	wantKeys(b, r, "a", "a")
	b.ReportAllocs()
	for b.Loop() {
		if r.Generation() == 0 {
			b.Fatal("no keys")
		}
	}
}

func FuzzParseSet(f *testing.F) {
	f.Add(setOf(f, newKey(f, "ES256", "a"), publicKey(f, "EdDSA", "b")))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AA"},{"kty":"RSA","n":"AQ","e":"AQAB"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := &source{o: RemotesOptions{Now: time.Now}}
		if s.take(raw, time.Minute) != nil {
			return
		}
		for _, k := range s.state.Load().keys {
			if !k.IsPublic() || !k.Valid() {
				t.Errorf("%v of %q is no public key", k.KeyID, raw)
			}
		}
	})
}
