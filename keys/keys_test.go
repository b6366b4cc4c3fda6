package keys

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/fault"
)

// memory is a Store for tests: the contract, without a database.
type memory struct {
	mu    sync.Mutex
	keys  []Stored
	reads int
	err   error // answers every call when set
	// held are reads that answer when all of them were made.
	held    int
	release chan struct{}
}

// hold makes the next n reads answer together.
func (m *memory) hold(n int) { m.held, m.release = n, make(chan struct{}) }

func (m *memory) AddKeys(_ context.Context, add []Stored) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.add(add)
}

func (m *memory) add(add []Stored) error {
	if m.err != nil {
		return m.err
	}
	for _, k := range add {
		if slices.ContainsFunc(m.keys, func(o Stored) bool { return o.Set == k.Set && o.ID == k.ID }) {
			return fault.New(fault.Conflict, "key_exists", "key exists")
		}
	}
	m.keys = append(m.keys, add...)
	return nil
}

func (m *memory) Keys(_ context.Context, set string) ([]Stored, error) {
	found, wait, err := m.find(set)
	if wait != nil {
		<-wait
	}
	return found, err
}

func (m *memory) find(set string) (found []Stored, wait chan struct{}, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	if m.held > 0 {
		wait = m.release
		if m.held--; m.held == 0 {
			close(m.release)
		}
	}
	for _, k := range m.keys {
		if k.Set == set {
			found = append(found, k)
		}
	}
	slices.SortFunc(found, func(a, b Stored) int {
		return -cmp.Or(a.NotBefore.Compare(b.NotBefore), a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return found, wait, m.err
}

func (m *memory) DeleteKey(_ context.Context, set, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys = slices.DeleteFunc(m.keys, func(k Stored) bool { return k.Set == set && k.ID == id })
	return nil
}

func (m *memory) DeleteSet(_ context.Context, set string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys = slices.DeleteFunc(m.keys, func(k Stored) bool { return k.Set == set })
	return nil
}

func (m *memory) ReplaceSet(ctx context.Context, set string, keys []Stored) error {
	if err := m.DeleteSet(ctx, set); err != nil {
		return err
	}
	return m.AddKeys(ctx, keys)
}

func (m *memory) Succeed(_ context.Context, set string, known []string, add []Stored) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []string
	for _, k := range m.keys {
		if k.Set == set {
			ids = append(ids, k.ID)
		}
	}
	slices.Sort(ids)
	if !slices.Equal(ids, slices.Sorted(slices.Values(known))) {
		return fault.New(fault.Conflict, "key_set_changed", "changed")
	}
	return m.add(add)
}

func (m *memory) KeepKey(_ context.Context, set, id string, d time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	for i, k := range m.keys {
		if k.Set == set && k.ID == id {
			m.keys[i].KeepFor = max(k.KeepFor, d)
			return nil
		}
	}
	return fault.New(fault.NotFound, "unknown_key", "unknown")
}

func (m *memory) PutKey(ctx context.Context, k Stored) error {
	if err := m.DeleteKey(ctx, k.Set, k.ID); err != nil {
		return err
	}
	return m.AddKeys(ctx, []Stored{k})
}

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newKey(t testing.TB, alg, kid string) jose.JSONWebKey {
	return must(generate(alg, kid))(t)
}

func setOf(t testing.TB, keys ...jose.JSONWebKey) []byte {
	return must(json.Marshal(jose.JSONWebKeySet{Keys: keys}))(t)
}

func kidsOf(keys []jose.JSONWebKey) []string {
	ids := []string{}
	for _, k := range keys {
		ids = append(ids, k.KeyID)
	}
	return ids
}

// signedBy is the kid of a token that the ring signs now.
func signedBy(t testing.TB, r *Ring) string {
	t.Helper()
	token := must(r.Sign(t.Context(), "", "JWT", []byte(`{}`), time.Time{}))(t)
	return must(ParseJWS(token, Asymmetric()))(t).KeyID
}

func publicKey(t testing.TB, alg, kid string) jose.JSONWebKey {
	k := newKey(t, alg, kid)
	return k.Public()
}
