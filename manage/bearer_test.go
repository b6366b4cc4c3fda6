package manage_test

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/passwords"
)

func TestABearerTokenIsKnownByItsHash(t *testing.T) {
	const random, chosen, plain = "a random token of 260 bits", "correct horse battery", "stands as it is and is long"
	sum := sha256.Sum256([]byte(random))
	hash := "sha256:" + hex.EncodeToString(sum[:])
	argon := passwords.Hash(chosen)
	b, err := manage.ParseBearerTokens([]string{hash, plain, argon}, passwords.New(passwords.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]bool{
		random: true, chosen: true, plain: true,
		"": false, hash: false, hash[7:]: false, argon: false, random + " ": false, strings.ToUpper(plain): false, plain[:len(plain)-1]: false,
	} {
		if got, err := b.Knows(t.Context(), token); got != want || err != nil {
			t.Errorf("%q: %t, %v", token, got, err)
		}
	}
	none, err := manage.ParseBearerTokens(nil, passwords.New(passwords.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	if known, err := none.Knows(t.Context(), ""); known || err != nil {
		t.Errorf("without tokens: %t, %v", known, err)
	}
}

func TestABearerTokenThatCannotBeCheckedIsAFaultThatDoesNotHoldIt(t *testing.T) {
	for _, bad := range []string{"short", "sha256:00", "sha256:" + strings.Repeat("zz", 32), "sha256:" + strings.Repeat("00", 33), "$argon2id$nonsense", ""} {
		_, err := manage.ParseBearerTokens([]string{bad}, nil)
		if err == nil || !strings.HasPrefix(err.Error(), "[0] ") || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
