package users

import (
	"regexp"
	"strings"
	"testing"
)

func TestARecoveryCodeIsReadAsPeopleTypeIt(t *testing.T) {
	codes, hashes := NewRecoveryCodes("ada")
	if len(codes) != RecoveryCodes || len(hashes) != RecoveryCodes {
		t.Fatalf("%d codes with %d hashes", len(codes), len(hashes))
	}
	seen := map[string]bool{}
	for i, code := range codes {
		if !regexp.MustCompile(`^[A-Z2-7]{4}(-[A-Z2-7]{4}){3}$`).MatchString(code) || seen[code] {
			t.Errorf("code %q", code)
		}
		seen[code] = true
		bare := strings.ReplaceAll(code, "-", "")
		for _, typed := range []string{code, strings.ToLower(code), bare, " " + bare[:8] + " " + bare[8:] + " ",
			strings.NewReplacer("O", "0", "I", "1", "B", "8").Replace(code)} {
			if RecoveryHash("ada", typed) != hashes[i] {
				t.Errorf("%q is not read as %q", typed, code)
			}
		}
		if RecoveryHash("eve", code) == hashes[i] {
			t.Error("two users' codes have one hash")
		}
		for _, wrong := range []string{code[1:], code + "A", "", strings.Repeat("A", 1000), "!" + code[1:]} {
			if got := RecoveryHash("ada", wrong); got != "" {
				t.Errorf("%q is read as a code", wrong)
			}
		}
	}
}
