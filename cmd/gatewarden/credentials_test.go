package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/gatewarden/gatewarden/passwords"
)

func TestCredentialsAreMadeAndHashedWithoutAServer(t *testing.T) {
	ask := func(stdin string, args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"credentials"}, args...), nil, strings.NewReader(stdin), &out, &errs)
		return code, out.String(), errs.String()
	}
	code, hash, errs := ask("open sesame\r\n", "hash")
	if code != 0 || passwords.New(passwords.Options{}).Verify(t.Context(), strings.TrimSpace(hash), "open sesame") != nil {
		t.Errorf("hash: %d %q %q", code, hash, errs)
	}
	for _, wrong := range []string{"", "\n", "a\nb\n", strings.Repeat("x", passwords.MaxLength+1)} {
		if code, out, errs := ask(wrong, "hash"); code != 2 || out != "" || errs == "" {
			t.Errorf("%.10q: %d %q %q", wrong, code, out, errs)
		}
	}
	code, made, errs := ask("", "api-key", "--prefix", "shop_")
	key, rest, _ := strings.Cut(strings.TrimPrefix(made, "key: "), "\nhash: sha256:")
	sum := sha256.Sum256([]byte(key))
	if code != 0 || !strings.HasPrefix(key, "shop_") || len(key) < 40 || strings.TrimSpace(rest) != hex.EncodeToString(sum[:]) {
		t.Errorf("api-key: %d %q %q", code, made, errs)
	}
	if _, again, _ := ask("", "api-key"); again == made {
		t.Error("the same key twice")
	}
	if code, _, _ := ask("", "api-key", "--prefix", "a b"); code != 2 {
		t.Errorf("a prefix with a blank: %d", code)
	}
}
