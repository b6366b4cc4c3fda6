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

func keysSucceed(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, s.Succeed(c, "set", nil, []keys.Stored{key("set", "first", now())}))
	kind(t, "a key of another set", s.Succeed(c, "set", []string{"first"}, []keys.Stored{key("other", "x", now())}), fault.Invalid)
	kind(t, "an id that is taken", s.Succeed(c, "set", []string{"first"}, []keys.Stored{key("set", "first", now())}), fault.Conflict)
	kind(t, "a set that is not empty", s.Succeed(c, "set", nil, []keys.Stored{key("set", "x", now())}), fault.Conflict)
	kind(t, "a set that holds less", s.Succeed(c, "set", []string{"first", "second"}, []keys.Stored{key("set", "x", now())}), fault.Conflict)
	won := 0
	for i, err := range race(parallel, func(i int) error {
		return s.Succeed(c, "set", []string{"first"}, []keys.Stored{key("set", numbered("successor", i), now())})
	}) {
		if err == nil {
			won++
		} else if !fault.Is(err, fault.Conflict) {
			t.Errorf("caller %d: %v", i, err)
		}
	}
	equal(t, "winners", won, 1)
	equal(t, "keys", len(must(s.Keys(c, "set"))(t)), 2)
}

func keysKept(t *testing.T, s store.Store) {
	c := ctx(t)
	k := key("set", "k", now())
	k.KeepFor = time.Hour
	check(t, s.AddKeys(c, []keys.Stored{k, key("set", "idle", now().Add(-time.Hour))}))
	kept := func() []time.Duration {
		var all []time.Duration
		for _, k := range must(s.Keys(c, "set"))(t) {
			all = append(all, k.KeepFor)
		}
		return all
	}
	check(t, s.KeepKey(c, "set", "k", 30*time.Minute))
	equal(t, "after a shorter life", kept(), []time.Duration{time.Hour, 0})
	check(t, errors.Join(race(parallel, func(i int) error { return s.KeepKey(c, "set", "k", time.Duration(i+1)*time.Hour) })...))
	equal(t, "after parallel longer lives", kept(), []time.Duration{parallel * time.Hour, 0})
	k.KeepFor = 0
	check(t, s.PutKey(c, k))
	equal(t, "after the key was put again", kept(), []time.Duration{parallel * time.Hour, 0})
	kind(t, "a key that is not there", s.KeepKey(c, "set", "unknown", time.Hour), fault.NotFound)
	check(t, s.DeleteKey(c, "set", "k"))
	kind(t, "a key that was deleted", s.KeepKey(c, "set", "k", time.Hour), fault.NotFound)
	k.KeepFor = time.Minute
	check(t, s.AddKeys(c, []keys.Stored{k}))
	equal(t, "another key of that id", kept(), []time.Duration{time.Minute, 0})
}
