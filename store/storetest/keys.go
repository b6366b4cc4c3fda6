package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/store"
)

func key(set, id string, notBefore time.Time) keys.Stored {
	return keys.Stored{Set: set, ID: id, JWK: []byte(`{"kid":"` + id + `","d":"private-part"}`), CreatedAt: notBefore, NotBefore: notBefore, Expires: notBefore.Add(time.Hour)}
}

func keysCRUD(t *testing.T, s store.Store) {
	c := ctx(t)
	first, second, third := key("set", "x", now()), key("set", "a", now().Add(time.Second)), key("set", "b", now())
	third.NotBefore, third.Expires = second.NotBefore, time.Time{}
	check(t, s.AddKeys(c, []keys.Stored{first, second, third}))
	check(t, s.AddKeys(c, []keys.Stored{key("other", "x", now())}))
	equal(t, "set", must(s.Keys(c, "set"))(t), []keys.Stored{second, third, first})
	equal(t, "unknown set", must(s.Keys(c, "unknown"))(t), []keys.Stored(nil))

	kind(t, "adding a key twice", s.AddKeys(c, []keys.Stored{key("set", "new", now()), first}), fault.Conflict)
	equal(t, "set after a refused addition", must(s.Keys(c, "set"))(t), []keys.Stored{second, third, first})

	first.JWK, first.Expires = []byte(`{}`), time.Time{}
	check(t, s.PutKey(c, first))
	fourth := key("set", "c", now().Add(time.Hour))
	check(t, s.PutKey(c, fourth))
	equal(t, "set after two puts", must(s.Keys(c, "set"))(t), []keys.Stored{fourth, second, third, first})

	check(t, s.DeleteKey(c, "set", "c"))
	kind(t, "deleting a key twice", s.DeleteKey(c, "set", "c"), fault.NotFound)
	check(t, s.DeleteSet(c, "set"))
	kind(t, "deleting a set twice", s.DeleteSet(c, "set"), fault.NotFound)
	equal(t, "other set's size", len(must(s.Keys(c, "other"))(t)), 1)
}

func keysReplace(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, s.AddKeys(c, []keys.Stored{key("set", "old", now())}))
	kind(t, "a key of another set", s.ReplaceSet(c, "set", []keys.Stored{key("other", "x", now())}), fault.Invalid)
	twice := key("set", "new", now())
	kind(t, "a key twice", s.ReplaceSet(c, "set", []keys.Stored{twice, twice}), fault.Conflict)
	equal(t, "size after refusals", len(must(s.Keys(c, "set"))(t)), 1)

	// Readers see one set or the other, never a mixture.
	sets := [][]keys.Stored{{}, {}}
	for i, name := range []string{"even", "odd"} {
		for k := range 5 {
			sets[i] = append(sets[i], key("set", numbered(name, k), now()))
		}
	}
	check(t, s.ReplaceSet(c, "set", sets[0]))
	check(t, errors.Join(race(parallel, func(i int) error {
		if i%2 == 0 {
			return s.ReplaceSet(c, "set", sets[i/2%2])
		}
		got, err := s.Keys(c, "set")
		if err == nil && (len(got) != 5 || got[0].ID[0] != got[4].ID[0]) {
			err = errors.New("a mixture of two sets was read")
		}
		return err
	})...))
	check(t, s.ReplaceSet(c, "set", nil))
	equal(t, "emptied set", must(s.Keys(c, "set"))(t), []keys.Stored(nil))
}
