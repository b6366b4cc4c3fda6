package policies_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gatewarden/gatewarden/authz"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/policies"
)

// memory keeps policies and groups in maps, so that a test can store what the
// management API would refuse and can take the store away.
type memory struct {
	mu       sync.Mutex
	policies map[string]policies.Policy
	groups   map[string]policies.Group
	down     error
}

func newMemory(list ...policies.Policy) *memory {
	m := &memory{policies: map[string]policies.Policy{}, groups: map[string]policies.Group{}}
	for _, p := range list {
		m.policies[p.ID] = p
	}
	return m
}

func sorted[T any](m map[string]T) []T {
	var ids []string
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	list := make([]T, 0, len(m))
	for _, id := range ids {
		list = append(list, m[id])
	}
	return list
}

func (m *memory) put(p policies.Policy) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.policies[p.ID] = p
}

func (m *memory) CreatePolicy(_ context.Context, p policies.Policy) error { m.put(p); return nil }
func (m *memory) UpdatePolicy(_ context.Context, p policies.Policy) error { m.put(p); return nil }
func (m *memory) Policy(_ context.Context, id string) (policies.Policy, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.policies[id]
	if !ok {
		return p, fault.New(fault.NotFound, "", "no such policy")
	}
	return p, m.down
}
func (m *memory) DeletePolicy(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.policies, id)
	return nil
}
func (m *memory) Policies(context.Context, int, int) ([]policies.Policy, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return sorted(m.policies), m.down
}
func (m *memory) CreateGroup(_ context.Context, g policies.Group) error {
	m.groups[g.ID] = g
	return nil
}
func (m *memory) Group(_ context.Context, id string) (policies.Group, error) {
	return m.groups[id], nil
}
func (m *memory) DeleteGroup(_ context.Context, id string) error { delete(m.groups, id); return nil }
func (m *memory) AddMembers(context.Context, string, []string) error {
	panic("not called by the engine")
}
func (m *memory) RemoveMembers(context.Context, string, []string) error {
	panic("not called by the engine")
}
func (m *memory) Groups(context.Context, string, int, int) ([]policies.Group, error) {
	return sorted(m.groups), m.down
}

// written parses a policy as it is written, one line for each.
func written(t testing.TB, text string) []policies.Policy {
	t.Helper()
	var list []policies.Policy
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		var p policies.Policy
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		list = append(list, p)
	}
	return list
}

func loaded(t testing.TB, m *memory) *policies.Engine {
	t.Helper()
	e := policies.New(m, m, nil)
	if err := e.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	return e
}

func ask(t testing.TB, e *policies.Engine, q authz.Question) authz.Answer {
	t.Helper()
	a, err := e.Allowed(t.Context(), q)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	return a
}

// ask1 asks with a subject alone; a timeout is an answer too.
func ask1(t testing.TB, e *policies.Engine, subject string) authz.Answer {
	t.Helper()
	a, err := e.Allowed(t.Context(), authz.Question{Subject: subject, Action: "a", Resource: "r"})
	if err != nil && !fault.Is(err, fault.Timeout) {
		t.Fatal(err)
	}
	return a
}
