package secrets_test

import (
	"strings"
	"testing"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2/secrets"
)

func TestARegistrationTokenMatchesItsHashAlone(t *testing.T) {
	old := hasher(t, secrets.Options{Keys: [][]byte{keyB}})
	h := hasher(t, secrets.Options{Keys: [][]byte{keyA, keyB}})
	token, hash := h.GenerateToken()
	other, _ := h.GenerateToken()
	earlier, earlierHash := old.GenerateToken()
	if strings.Contains(hash, token) || token == other {
		t.Fatalf("%s %s %s", token, hash, other)
	}
	secret, secretHash, err := h.Generate()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, hash, token string
		want              bool
	}{
		{"itself", hash, token, true}, {"one of before the secret was rotated", earlierHash, earlier, true},
		{"another", hash, other, false}, {"none", hash, "", false}, {"of a client that does not exist", "", token, false},
		{"the hash itself", hash, hash, false}, {"cut", hash, token[:len(token)-1], false}, {"longer", hash, token + "A", false},
		{"a client secret", secretHash, secret, false}, {"no hash", "$argon2id$x", token, false},
	} {
		if got := h.MatchToken(c.hash, c.token); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
	if old.MatchToken(hash, token) {
		t.Error("a token of another system secret matches")
	}
	if err := h.Verify(t.Context(), hash, secret); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a client secret for the hash of a registration token: %v", err)
	}
}
