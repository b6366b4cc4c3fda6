package login_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/login"
)

// authenticator is a passkey and what holds it (WebAuthn section 6), as a browser on this
// machine would answer with it. Zero fields are those of a good one.
type authenticator struct {
	t      *testing.T
	key    *ecdsa.PrivateKey
	id     []byte
	handle []byte
	count  uint32
	backup bool
	// What hostile answers change.
	unverified       bool
	origin, rp, kind string
	challenge        string
	forged           bool
}

func newAuthenticator(t *testing.T) *authenticator {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &authenticator{t: t, key: key, id: []byte(rand.Text())}
}

var optionsShown = regexp.MustCompile(`data-passkey="(\w+)" data-options="([^"]*)"`)

// options are what the page's script would give to the browser.
func (a *authenticator) options(b *browser, kind string) (options struct {
	Challenge        string
	UserVerification string
	RPID             string
	RP               struct{ ID string }
	User             struct{ ID, Name string }
}) {
	a.t.Helper()
	m := optionsShown.FindStringSubmatch(b.body)
	if m == nil || m[1] != kind {
		a.t.Fatalf("the page does not ask for a passkey (%s): %s", kind, b.body)
	}
	if err := json.Unmarshal([]byte(html.UnescapeString(m[2])), &options); err != nil {
		a.t.Fatal(err)
	}
	return options
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (a *authenticator) clientData(b *browser, kind, challenge string) []byte {
	data, err := json.Marshal(map[string]any{"type": or(a.kind, kind), "challenge": or(a.challenge, challenge), "origin": or(a.origin, b.r.url), "crossOrigin": false})
	if err != nil {
		a.t.Fatal(err)
	}
	return data
}

func (a *authenticator) data(more []byte) []byte {
	sum := sha256.Sum256([]byte(or(a.rp, "localhost")))
	flags := byte(0x01)
	if !a.unverified {
		flags |= 0x04
	}
	if a.backup {
		flags |= 0x08
	}
	if more != nil {
		flags |= 0x40
	}
	return append(binary.BigEndian.AppendUint32(append(sum[:], flags), a.count), more...)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// create answers the page that registers a passkey.
func (a *authenticator) create(b *browser) string {
	o := a.options(b, "create")
	if a.handle == nil {
		a.handle, _ = base64.RawURLEncoding.DecodeString(o.User.ID)
	}
	point, err := a.key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		a.t.Fatal(err)
	}
	attested := append(make([]byte, 16), byte(len(a.id)>>8), byte(len(a.id)))
	attested = append(attested, a.id...)
	attested = append(attested, 0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32) // COSE: EC2, ES256, P-256
	attested = append(append(append(attested, point[1:33]...), 0x22, 0x58, 32), point[33:]...)
	data := a.data(attested)
	object := append([]byte("\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58"), byte(len(data)))
	return a.answer(map[string]string{"clientDataJSON": b64(a.clientData(b, "webauthn.create", o.Challenge)), "attestationObject": b64(append(object, data...))})
}

// get answers a page that asks for a passkey.
func (a *authenticator) get(b *browser) string {
	o := a.options(b, "get")
	client, data := a.clientData(b, "webauthn.get", o.Challenge), a.data(nil)
	sum := sha256.Sum256(client)
	digest := sha256.Sum256(append(append([]byte(nil), data...), sum[:]...))
	if a.forged {
		digest[0] ^= 1
	}
	signature, err := ecdsa.SignASN1(rand.Reader, a.key, digest[:])
	if err != nil {
		a.t.Fatal(err)
	}
	return a.answer(map[string]string{"clientDataJSON": b64(client), "authenticatorData": b64(data), "signature": b64(signature), "userHandle": b64(a.handle)})
}

func (a *authenticator) answer(response map[string]string) string {
	text, err := json.Marshal(map[string]any{"id": b64(a.id), "rawId": b64(a.id), "type": "public-key", "clientExtensionResults": map[string]any{}, "response": response})
	if err != nil {
		a.t.Fatal(err)
	}
	return string(text)
}

// passkeyForm is the form of the page that a passkey answers.
func (b *browser) passkeyForm() url.Values {
	b.r.t.Helper()
	page := *b
	i := strings.Index(b.body, "data-passkey=")
	if i < 0 {
		b.r.t.Fatalf("no form for passkeys: %s", b.body)
	}
	page.body = b.body[i:]
	return page.fields()
}

// show sends the answer of a passkey with the form of the page.
func (b *browser) show(action, answer string, pairs ...string) *browser {
	b.r.t.Helper()
	form := b.passkeyForm()
	form.Set("passkey", answer)
	form.Set("action", action)
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return b.send(http.MethodPost, b.r.url+b.at.Path, form.Encode(), "Origin", b.r.url)
}

// register gives the person at the browser a passkey.
func (b *browser) register(a *authenticator) *browser {
	b.r.t.Helper()
	b.account("action", "add-passkey", "password", "correct horse").shows(http.StatusOK, "Add a passkey")
	return b.show("confirm-passkey", a.create(b), "name", "My <b>phone</b>")
}

func (b *browser) home() *browser {
	return b.open(login.AccountPath).submit("login", "ada", "password", "correct horse", "action", "login")
}

func TestAPasskeyLogsInAlone(t *testing.T) {
	r := startAt(t, "localhost", func(*login.Options) {})
	own, a := r.browser(), newAuthenticator(t)
	own.home()
	own.account("action", "add-passkey", "password", "wrong horse").shows(http.StatusForbidden, "The current password is wrong.")
	if codes := recoveryCodes(own.register(a).shows(http.StatusOK, "Your recovery codes")); len(codes) != 10 {
		t.Errorf("%d recovery codes", len(codes))
	}
	own.open(login.AccountPath).shows(http.StatusOK, "My &lt;b&gt;phone&lt;/b&gt;")

	b := r.browser().authorize().shows(http.StatusOK, "Sign in with a passkey", " hidden>")
	script := regexp.MustCompile(`<script src="([^"]+)" defer></script>`).FindStringSubmatch(b.body)
	if script == nil || strings.Count(b.body, "<script") != 1 || !strings.HasSuffix(b.header.Get("Content-Security-Policy"), "; script-src "+script[1]) {
		t.Fatalf("the policy is %q: %s", b.header.Get("Content-Security-Policy"), b.body)
	}
	a.count = 1
	b.show("passkey", a.get(b)).shows(http.StatusOK, "Allow access?").submit("action", "allow")
	claims, _ := b.claims()
	got := map[string]any{"acr": claims["acr"], "amr": claims["amr"], "sub": claims["sub"]}
	if diff := cmp.Diff(map[string]any{"acr": "aal2", "amr": []any{"hwk", "user", "mfa"}, "sub": "ada"}, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	asset := b.send(http.MethodGet, script[1], "").shows(http.StatusOK, "navigator.credentials")
	if asset.header.Get("Content-Type") != "text/javascript; charset=utf-8" {
		t.Errorf("type %s", asset.header.Get("Content-Type"))
	}
	if c := r.browser().signIn(); strings.Contains(c.body, "Allow access?") {
		t.Error("a password suffices for who has a passkey")
	} else {
		a.count = 2
		c.show("passkey", a.get(c)).shows(http.StatusOK, "Allow access?").submit("action", "allow")
		if claims, _ := c.claims(); cmp.Diff([]any{"pwd", "hwk", "user", "mfa"}, claims["amr"]) != "" {
			t.Errorf("amr %v", claims["amr"])
		}
	}

	own.open(login.AccountPath)
	key := regexp.MustCompile(`name="remove_passkey" value="([^"]+)"`).FindStringSubmatch(own.body)
	own.account("remove_passkey", key[1]).shows(http.StatusForbidden)
	own.account("remove_passkey", "another", "password", "correct horse").shows(http.StatusNotFound)
	own.account("remove_passkey", key[1], "password", "correct horse").shows(http.StatusOK, "The passkey was removed.")
	a.count = 3
	b = r.browser().authorize()
	b.show("passkey", a.get(b)).shows(http.StatusForbidden, "The passkey is not known here")
}

func TestHostileAnswersOfPasskeysLogNobodyIn(t *testing.T) {
	r := startAt(t, "localhost", func(*login.Options) {})
	own, good := r.browser(), newAuthenticator(t)
	own.home()
	good.count = 10
	own.register(good).shows(http.StatusOK)
	for name, change := range map[string]func(a *authenticator, b *browser){
		"without verifying the person": func(a *authenticator, _ *browser) { a.unverified = true },
		"of another origin":            func(a *authenticator, _ *browser) { a.origin = "http://localhost:1" },
		"for another place":            func(a *authenticator, _ *browser) { a.rp = "example.com" },
		"of a registration":            func(a *authenticator, _ *browser) { a.kind = "webauthn.create" },
		"to another challenge":         func(a *authenticator, b *browser) { a.challenge = a.options(r.browser().authorize(), "get").Challenge },
		"with a forged signature":      func(a *authenticator, _ *browser) { a.forged = true },
		"with another key":             func(a *authenticator, _ *browser) { a.key = newAuthenticator(t).key },
		"of an unknown passkey":        func(a *authenticator, _ *browser) { a.id = []byte("unknown") },
		"for another person":           func(a *authenticator, _ *browser) { a.handle = []byte("somebody") },
		"of nobody":                    func(a *authenticator, _ *browser) { a.handle = nil },
		"of a copy":                    func(a *authenticator, _ *browser) { a.count = 10 },
		"of an old copy":               func(a *authenticator, _ *browser) { a.count = 0 },
		"with a key of another kind":   func(a *authenticator, _ *browser) { a.backup = true },
	} {
		a, b := *good, r.browser().authorize()
		a.count = 11
		change(&a, b)
		if b.show("passkey", a.get(b)); b.status != http.StatusForbidden || strings.Contains(b.body, "Allow access?") {
			t.Errorf("%s: %d %s", name, b.status, b.body)
		}
	}
	b := r.browser().authorize()
	for _, garbage := range []string{"", "null", "{}", `{"id":"AA","rawId":"AA","type":"public-key","response":{}}`, strings.Repeat("[", 1000)} {
		if b.authorize().show("passkey", garbage); b.status != http.StatusForbidden {
			t.Errorf("%q: %d", garbage, b.status)
		}
	}
	// A ticket is spent by the first answer, whatever comes of it.
	b.authorize()
	page := *b
	b.show("passkey", "{}").shows(http.StatusForbidden)
	good.count = 12
	page.show("passkey", good.get(&page)).shows(http.StatusForbidden, "open for too long")
	// The ticket of another browser or page.
	other := r.browser().authorize().passkeyForm().Get("passkey_ticket")
	b.authorize().show("passkey", good.get(b), "passkey_ticket", other).shows(http.StatusForbidden)
	b.authorize()
	b.show("passkey", good.get(b)).shows(http.StatusOK, "Allow access?") // all that has used nothing up

	// As a second factor it has to be of the person who showed the first.
	u, err := r.store.User(t.Context(), "none")
	if err == nil {
		u.PasswordHash = "h:correct horse"
		err = r.store.UpdateUser(t.Context(), u)
	}
	if err != nil {
		t.Fatal(err)
	}
	second, eve := r.browser(), newAuthenticator(t)
	second.open(login.AccountPath).submit("login", "none", "password", "correct horse", "action", "login").shows(http.StatusOK, "Your account")
	second.register(eve).shows(http.StatusOK)
	b = r.browser().signIn() // ada
	b.show("passkey", eve.get(b)).shows(http.StatusForbidden, "The passkey is not known here")
	// A passkey is registered once, for one person.
	second.account("action", "add-passkey", "password", "correct horse")
	good.handle = nil
	second.show("confirm-passkey", good.create(second)).shows(http.StatusConflict)
	unverified := newAuthenticator(t)
	unverified.unverified = true
	second.register(unverified).shows(http.StatusForbidden, "could not be checked")
}

func TestThereAreNoPasskeysAtAnAddress(t *testing.T) {
	r := start(t, login.Theme{})
	b := r.browser()
	if b.authorize(); strings.Contains(b.body, "data-passkey") || strings.Contains(b.body, "<script") {
		t.Errorf("a passkey is asked for: %s", b.body)
	}
	form := b.fields()
	form.Set("action", "passkey")
	b.send(http.MethodPost, r.url+login.LoginPath, form.Encode()).shows(http.StatusBadRequest)
	b.home()
	b.account("action", "add-passkey", "password", "correct horse").shows(http.StatusBadRequest)
}
