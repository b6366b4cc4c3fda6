package manage

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/gatewarden/gatewarden/policies"
)

// PolicyEngine puts policies and groups in force; *policies.Engine is one.
type PolicyEngine interface {
	Refresh(ctx context.Context, id string) error
	RefreshGroups(ctx context.Context) error
}

// Policies manages Ladon policies.
type Policies struct {
	Store  policies.Store
	Engine PolicyEngine
}

// List returns up to limit policies by id, from offset on.
func (s *Policies) List(ctx context.Context, limit, offset int) ([]policies.Policy, error) {
	list, err := s.Store.Policies(ctx, limit, offset)
	for i := range list {
		list[i] = complete(list[i])
	}
	return list, err
}

// Get returns one policy.
func (s *Policies) Get(ctx context.Context, id string) (policies.Policy, error) {
	p, err := s.Store.Policy(ctx, id)
	return complete(p), err
}

// Create stores a new policy; an empty id is replaced by a random one.
func (s *Policies) Create(ctx context.Context, p policies.Policy) (policies.Policy, error) {
	if p.ID == "" {
		p.ID = newID()
	}
	p = complete(p)
	if err := policies.Validate(p); err != nil {
		return p, err
	}
	if err := s.Store.CreatePolicy(ctx, p); err != nil {
		return p, err
	}
	return p, notInForce(s.Engine.Refresh(ctx, p.ID))
}

// Replace changes a policy.
func (s *Policies) Replace(ctx context.Context, p policies.Policy) (policies.Policy, error) {
	p = complete(p)
	if err := policies.Validate(p); err != nil {
		return p, err
	}
	if err := s.Store.UpdatePolicy(ctx, p); err != nil {
		return p, err
	}
	return p, notInForce(s.Engine.Refresh(ctx, p.ID))
}

// Delete removes a policy.
func (s *Policies) Delete(ctx context.Context, id string) error {
	if err := s.Store.DeletePolicy(ctx, id); err != nil {
		return err
	}
	return notInForce(s.Engine.Refresh(ctx, id))
}

// complete writes no null where Hydra writes an empty object.
func complete(p policies.Policy) policies.Policy {
	if p.Conditions == nil {
		p.Conditions = map[string]json.RawMessage{}
	}
	return p
}

// Groups manages warden groups.
type Groups struct {
	Store  policies.GroupStore
	Engine PolicyEngine
}

// List returns up to limit groups by id; a non-empty member selects its groups.
func (s *Groups) List(ctx context.Context, member string, limit, offset int) ([]policies.Group, error) {
	return s.Store.Groups(ctx, member, limit, offset)
}

// Get returns one group.
func (s *Groups) Get(ctx context.Context, id string) (policies.Group, error) {
	return s.Store.Group(ctx, id)
}

// Create stores a new group; an empty id is replaced by a random one.
func (s *Groups) Create(ctx context.Context, g policies.Group) (policies.Group, error) {
	if g.ID == "" {
		g.ID = newID()
	}
	if g.Members == nil {
		g.Members = []string{}
	}
	if err := policies.CheckID(g.ID); err != nil {
		return g, invalid("/id", err.Error())
	}
	if err := checkMembers(g.Members); err != nil {
		return g, err
	}
	if err := s.Store.CreateGroup(ctx, g); err != nil {
		return g, err
	}
	return g, notInForce(s.Engine.RefreshGroups(ctx))
}

// Delete removes a group.
func (s *Groups) Delete(ctx context.Context, id string) error {
	if err := s.Store.DeleteGroup(ctx, id); err != nil {
		return err
	}
	return notInForce(s.Engine.RefreshGroups(ctx))
}

// AddMembers adds members; those that are in the group already stay.
func (s *Groups) AddMembers(ctx context.Context, id string, members []string) error {
	if err := checkMembers(members); err != nil {
		return err
	}
	if err := s.Store.AddMembers(ctx, id, members); err != nil {
		return err
	}
	return notInForce(s.Engine.RefreshGroups(ctx))
}

// RemoveMembers removes members; those that are not in the group are ignored.
func (s *Groups) RemoveMembers(ctx context.Context, id string, members []string) error {
	if err := s.Store.RemoveMembers(ctx, id, members); err != nil {
		return err
	}
	return notInForce(s.Engine.RefreshGroups(ctx))
}

func checkMembers(members []string) error {
	for i, m := range members {
		if err := policies.CheckID(m); err != nil {
			return invalid(fmt.Sprintf("/members/%d", i), err.Error())
		}
	}
	return nil
}
