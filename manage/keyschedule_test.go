package manage_test

import (
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/store/sql"
)

// signingSet is a set "own" of a ring for ES256 whose clock now is.
func signingSet(t *testing.T, now *time.Time) (*manage.Keys, *keys.Ring) {
	t.Helper()
	clock := func() time.Time { return *now }
	st, err := sql.Open(t.Context(), sql.Options{DSN: "memory"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	ring, err := keys.OpenRing(t.Context(), keys.RingOptions{Set: "own", Store: st, Now: clock, KeepFor: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return &manage.Keys{Store: st, Own: map[string]*keys.Ring{"own": ring}, Reload: ring, Now: clock}, ring
}

func states(s manage.KeySchedule) []string {
	var all []string
	for _, k := range s.Keys {
		all = append(all, k.Alg+" "+k.State)
	}
	return all
}

func TestAKeyThatIsImportedOrMadeIsPublishedBeforeItSigns(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s, ring := signingSet(t, &now)
	first := ring.Public().Keys[0].KeyID
	if _, err := s.Generate(t.Context(), "own", manage.NewKey{Alg: "ES256", ID: "made"}); err != nil {
		t.Fatal(err)
	}
	expect := func(what string, want ...string) {
		t.Helper()
		got, err := s.Schedule(t.Context(), "own")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, states(got)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", what, d)
		}
	}
	expect("made", "ES256 next", "ES256 signs")
	if ring.Public().Keys[0].KeyID != first {
		t.Error("the new key signs at once")
	}
	now = now.Add(11 * time.Minute)
	expect("later", "ES256 signs", "ES256 past")
	for range 2 {
		if _, err := s.Rotate(t.Context(), "own"); err != nil {
			t.Fatal(err)
		}
	}
	expect("rotated twice at once", "ES256 next", "ES256 signs", "ES256 past")
	now = now.Add(3 * time.Hour)
	expect("when everything of the others has ended", "ES256 signs")
	if _, err := s.Schedule(t.Context(), "unknown"); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown set: %v", err)
	}
}

func TestASetThatTheProgramSignsWithTakesNoKeyThatWouldStopIt(t *testing.T) {
	now := time.Now()
	s, ring := signingSet(t, &now)
	other, err := s.Generate(t.Context(), "other", manage.NewKey{Alg: "ES256", ID: "k"})
	if err != nil {
		t.Fatal(err)
	}
	enc, noAlg, wrong := other.Keys[0], other.Keys[0], other.Keys[0]
	enc.Use, noAlg.Algorithm, wrong.Algorithm = "enc", "", "ES384"
	for name, k := range map[string]jose.JSONWebKey{"for encryption": enc, "without alg": noAlg, "another alg": wrong} {
		if err := s.Put(t.Context(), "own", k); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want invalid", name, err)
		}
	}
	if _, err := s.Generate(t.Context(), "own", manage.NewKey{Alg: "RS256", Use: "enc"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("made for encryption: got %v, want invalid", err)
	}
	if err := s.Put(t.Context(), "own", other.Keys[0]); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "own", other.Keys[0]); err != nil {
		t.Errorf("the same key again: %v", err)
	}
	again, err := s.Generate(t.Context(), "third", manage.NewKey{Alg: "ES256", ID: "k"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "own", again.Keys[0]); !fault.Is(err, fault.Conflict) {
		t.Errorf("another key of the same id: got %v, want a conflict", err)
	}
	if err := ring.Reload(t.Context()); err != nil || len(ring.Public().Keys) != 2 {
		t.Errorf("the ring holds %d keys, %v", len(ring.Public().Keys), err)
	}
}

func TestAnotherSetIsRotatedByAKeyLikeItsNewest(t *testing.T) {
	now := time.Now()
	s, _ := signingSet(t, &now)
	if _, err := s.Generate(t.Context(), "other", manage.NewKey{Alg: "EdDSA", ID: "k"}); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	got, err := s.Rotate(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"EdDSA ", "EdDSA "}, states(got)); d != "" || got.Keys[1].ID != "k" {
		t.Errorf("%+v\n%s", got, d)
	}
	if _, err := s.Rotate(t.Context(), "unknown"); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown set: %v", err)
	}
}
