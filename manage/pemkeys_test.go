package manage_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/manage"
)

func pemOf(t *testing.T, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pkcs8(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pemOf(t, "PRIVATE KEY", der, err)
}

func TestKeysOfPEMFilesHaveTheirUsualAlgorithmAndTheirThumbprint(t *testing.T) {
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	ec, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	r, _ := rsa.GenerateKey(rand.Reader, 2048)
	sec1, err := x509.MarshalECPrivateKey(ec)
	public, perr := x509.MarshalPKIXPublicKey(&ec.PublicKey)
	file := pkcs8(t, ed) + pemOf(t, "EC PARAMETERS", []byte{6, 5, 43, 129, 4, 0, 34}, nil) + pemOf(t, "EC PRIVATE KEY", sec1, err) +
		pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(r), nil) + pemOf(t, "PUBLIC KEY", public, perr)
	all, err := manage.ParsePEM([]byte(file), "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range all {
		got = append(got, k.Algorithm+" "+k.Use+" "+map[bool]string{true: "public", false: "private"}[k.IsPublic()])
		if len(k.KeyID) != 43 {
			t.Errorf("kid %q", k.KeyID)
		}
	}
	if d := cmp.Diff([]string{"EdDSA sig private", "ES384 sig private", "RS256 sig private", "ES384 sig public"}, got); d != "" {
		t.Error(d)
	}
	if all[1].KeyID != all[3].KeyID || all[0].KeyID == all[1].KeyID {
		t.Error("an id is not the thumbprint of the public key")
	}
	if ps, err := manage.ParsePEM([]byte(pkcs8(t, r)), "PS256"); err != nil || ps[0].Algorithm != "PS256" {
		t.Errorf("PS256: %v", err)
	}
}

func TestKeysThatMustNotSignAreRefusedByTheirBlock(t *testing.T) {
	weak, _ := rsa.GenerateKey(rand.Reader, 1024)
	curve, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	good, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	for name, c := range map[string]struct{ file, alg, want string }{
		"a short RSA key":   {pkcs8(t, good) + pkcs8(t, weak), "", "block 2 (PRIVATE KEY): jwk: RSA key has 1024 bits"},
		"another curve":     {pkcs8(t, curve), "", "block 1 (PRIVATE KEY): "},
		"another algorithm": {pkcs8(t, good), "ES384", "does not fit"},
		"an encrypted key":  {"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "", "is encrypted"},
		"a certificate":     {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "", "is not a key"},
		"a broken key":      {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "", "cannot be read"},
		"no key":            {"-----BEGIN ", "", "has no key"},
	} {
		if _, err := manage.ParsePEM([]byte(c.file), c.alg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to say %q", name, err, c.want)
		}
	}
}

func FuzzParsePEM(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "RS256")
	f.Fuzz(func(t *testing.T, data []byte, alg string) {
		all, err := manage.ParsePEM(data, alg)
		if err == nil && len(all) == 0 {
			t.Error("neither keys nor an error")
		}
		for _, k := range all {
			if !k.Valid() || k.KeyID == "" || k.Algorithm == "" {
				t.Errorf("%+v was accepted", k)
			}
		}
	})
}
