package sql

import (
	"bytes"
	"testing"
)

func TestASealedValueOpensOnlyInItsRow(t *testing.T) {
	r, err := newRing([]string{testSecret}, false)
	if err != nil {
		t.Fatal(err)
	}
	plain := []byte("plain")
	blob := r.seal(sealTokens, "id", plain)
	if got, err := r.open(sealTokens, "id", blob); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("got %q, %v", got, err)
	}
	if bytes.Equal(blob, r.seal(sealTokens, "id", plain)) {
		t.Error("sealing twice gives the same value")
	}
	if got, err := r.open(sealTokens, "other", blob); err == nil {
		t.Errorf("opened in another row: %q", got)
	}
	if got, err := r.open(sealKeys, "id", blob); err == nil {
		t.Errorf("opened in another table: %q", got)
	}
	for i := range blob {
		broken := bytes.Clone(blob)
		broken[i] ^= 1
		if got, err := r.open(sealTokens, "id", broken); err == nil {
			t.Errorf("opened with byte %d changed: %q", i, got)
		}
		if got, err := r.open(sealTokens, "id", blob[:i]); err == nil {
			t.Errorf("opened the first %d bytes: %q", i, got)
		}
	}
}

func TestTheFirstSecretSealsAndAllOpen(t *testing.T) {
	old, err := newRing([]string{testSecret}, false)
	if err != nil {
		t.Fatal(err)
	}
	rotated, err := newRing([]string{"the new system secret", testSecret}, false)
	if err != nil {
		t.Fatal(err)
	}
	before := old.seal(sealKeys, "id", []byte("x"))
	if _, err := rotated.open(sealKeys, "id", before); err != nil {
		t.Error(err)
	}
	after := rotated.seal(sealKeys, "id", []byte("x"))
	if _, err := old.open(sealKeys, "id", after); err == nil {
		t.Error("the new secret was not used")
	}
	if rotated.current(before) || !rotated.current(after) {
		t.Error("values under the old and the new secret are not told apart")
	}
}
