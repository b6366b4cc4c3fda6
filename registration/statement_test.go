package registration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/keys"
)

type object = map[string]any

// publisher signs software statements.
type publisher struct {
	t   *testing.T
	key jose.JSONWebKey
}

func newPublisher(t *testing.T, kid string) publisher {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return publisher{t, jose.JSONWebKey{KeyID: kid, Algorithm: "ES256", Use: "sig", Key: k}}
}

func (p publisher) sign(typ string, claims object) string {
	p.t.Helper()
	o := &jose.SignerOptions{}
	if typ != "" {
		o.WithType(jose.ContentType(typ))
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.key}, o)
	if err != nil {
		p.t.Fatal(err)
	}
	payload, _ := json.Marshal(claims)
	signed, err := s.Sign(payload)
	if err != nil {
		p.t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

func (p publisher) set(t *testing.T) *keys.Remote {
	t.Helper()
	text, _ := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{p.key.Public()}})
	set, err := keys.NewRemotes(keys.RemotesOptions{}).Open([]string{"inline://" + base64.RawURLEncoding.EncodeToString(text)}, time.Minute, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestASoftwareStatementCountsBeforeWhatAClientSays(t *testing.T) {
	p, other := newPublisher(t, "k"), newPublisher(t, "k")
	r := start(t, func(o *Options) {
		o.Statements = Statements{Keys: p.set(t), Issuers: []string{"https://publisher.example"}, Required: true}
	})
	claims := func(more object) object {
		c := object{"iss": "https://publisher.example", "software_id": "app", "client_name": "The App", "redirect_uris": []string{"https://app.example/cb"}, "exp": time.Now().Add(time.Hour).Unix()}
		for name, value := range more {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		}
		return c
	}
	body := func(statement string) string {
		text, _ := json.Marshal(object{"client_name": "Another App", "redirect_uris": []string{"https://evil.example/cb"}, "software_statement": statement})
		return string(text)
	}
	good := p.sign("", claims(nil))
	a := r.register(body(good))
	if c := r.stored(a.str("client_id")); c.Name != "The App" || len(c.RedirectURIs) != 1 || c.RedirectURIs[0] != "https://app.example/cb" || a.str("software_statement") != good {
		t.Errorf("got %+v, %s", c, a.raw)
	}
	r.register(body(p.sign("JWT", claims(object{"exp": nil, "sub": "x", "aud": "y"}))))
	for _, c := range []struct{ name, statement, code, text string }{
		{"none", "", invalidStatement, "is not"},
		{"no JWT", "x", invalidStatement, "compact JWS"},
		{"somebody else's key", other.sign("", claims(nil)), unapprovedSoftware, "not signed"},
		{"no signature", "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString([]byte(`{}`)) + ".", invalidStatement, "algorithm"},
		{"another issuer", p.sign("", claims(object{"iss": "https://other.example"})), unapprovedSoftware, "issuer"},
		{"no issuer", p.sign("", claims(object{"iss": nil})), unapprovedSoftware, "issuer"},
		{"expired", p.sign("", claims(object{"exp": time.Now().Add(-time.Minute).Unix()})), invalidStatement, "expired"},
		{"expired since the beginning", p.sign("", claims(object{"exp": 0})), invalidStatement, "expired"},
		{"of tomorrow", p.sign("", claims(object{"nbf": time.Now().Add(time.Hour).Unix()})), invalidStatement, "not valid yet"},
		{"a token for something else", p.sign("", claims(object{"software_id": nil})), invalidStatement, "software_id"},
		{"an access token", p.sign("at+jwt", claims(nil)), invalidStatement, "type at+jwt"},
		{"what policy refuses", p.sign("", claims(object{"scope": "admin"})), invalidMetadata, "/scope"},
		{"what operators reserve", p.sign("", claims(object{"skip_consent": true})), invalidMetadata, "/skip_consent"},
	} {
		r.wants(c.name, r.call("POST", Path, "", body(c.statement)), 400, c.code, c.text)
	}
	r.wants("no member", r.call("POST", Path, "", minimal), 400, invalidStatement, "is required")
}
