package sql

import (
	"context"
	"database/sql"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/policies"
	"github.com/gatewarden/gatewarden/store"
)

// CreateGroup returns fault.Conflict when the id is taken. A member that is named
// twice is one member.
func (s *Store) CreateGroup(ctx context.Context, g policies.Group) error {
	if err := checkID("group", g.ID); err != nil {
		return err
	}
	if err := checkKeys("group", g.Members...); err != nil {
		return err
	}
	return conflict(s.write(ctx, func(t *tx) error {
		t.changed(store.Policies, g.ID)
		if _, err := t.exec("INSERT INTO gw_groups (id) VALUES (?)", g.ID); err != nil {
			return err
		}
		return t.addMembers(g.ID, g.Members)
	}), "group")
}

// Group returns fault.NotFound; members are in order.
func (s *Store) Group(ctx context.Context, id string) (policies.Group, error) {
	g := policies.Group{ID: id}
	if !isKey(id) {
		return policies.Group{}, notFound(sql.ErrNoRows, "group")
	}
	exists := false
	err := s.each(ctx, "SELECT m.member FROM gw_groups g LEFT JOIN gw_group_members m ON m.group_id = g.id WHERE g.id = ? ORDER BY m.member", []any{id},
		func(rows *sql.Rows) error {
			exists = true
			var member sql.NullString
			err := rows.Scan(&member)
			if member.Valid {
				g.Members = append(g.Members, member.String)
			}
			return err
		})
	if err == nil && !exists {
		return policies.Group{}, notFound(sql.ErrNoRows, "group")
	}
	return g, err
}

// DeleteGroup returns fault.NotFound. Its memberships go with it.
func (s *Store) DeleteGroup(ctx context.Context, id string) error {
	return s.deleteLogged(ctx, "group", store.Policies, id, "DELETE FROM gw_groups WHERE id = ?", id)
}

// AddMembers is idempotent; fault.NotFound for the group.
func (s *Store) AddMembers(ctx context.Context, id string, members []string) error {
	if err := checkKeys("group", members...); err != nil {
		return err
	}
	return s.changeGroup(ctx, id, func(t *tx) error { return t.addMembers(id, members) })
}

// RemoveMembers is idempotent; fault.NotFound for the group.
func (s *Store) RemoveMembers(ctx context.Context, id string, members []string) error {
	return s.changeGroup(ctx, id, func(t *tx) error {
		for _, member := range members {
			if !isKey(member) {
				continue
			}
			if _, err := t.exec("DELETE FROM gw_group_members WHERE group_id = ? AND member = ?", id, member); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Store) changeGroup(ctx context.Context, id string, do func(*tx) error) error {
	if !isKey(id) {
		return notFound(sql.ErrNoRows, "group")
	}
	return s.write(ctx, func(t *tx) error {
		// Writing the group's row locks it, so changes of one group come one by one.
		rows, err := t.exec("UPDATE gw_groups SET id = id WHERE id = ?", id)
		if err := found(rows, err, "group"); err != nil {
			return err
		}
		t.changed(store.Policies, id)
		return do(t)
	})
}

func (t *tx) addMembers(id string, members []string) error {
	add := t.run.dialect.upsert("gw_group_members", 2, "group_id", "member")
	for _, member := range members {
		if member == "" {
			return fault.New(fault.Invalid, "invalid_group", "a member has no name")
		}
		if _, err := t.exec(add, id, member); err != nil {
			return err
		}
	}
	return nil
}

// Groups lists by id; a non-empty member selects the groups it is in.
func (s *Store) Groups(ctx context.Context, member string, limit, offset int) (groups []policies.Group, err error) {
	if !isKey(member) {
		return nil, nil
	}
	chosen, args := "SELECT id FROM gw_groups ORDER BY id LIMIT ? OFFSET ?", page(limit, offset)
	if member != "" {
		chosen = "SELECT group_id AS id FROM gw_group_members WHERE member = ? ORDER BY group_id LIMIT ? OFFSET ?"
		args = append([]any{member}, args...)
	}
	// One statement, so that groups and members are of one moment.
	query := "SELECT g.id, m.member FROM (" + chosen + ") g LEFT JOIN gw_group_members m ON m.group_id = g.id ORDER BY g.id, m.member"
	err = s.each(ctx, query, args, func(rows *sql.Rows) error {
		var id string
		var name sql.NullString
		if err := rows.Scan(&id, &name); err != nil {
			return err
		}
		if len(groups) == 0 || groups[len(groups)-1].ID != id {
			groups = append(groups, policies.Group{ID: id})
		}
		if name.Valid {
			g := &groups[len(groups)-1]
			g.Members = append(g.Members, name.String)
		}
		return nil
	})
	return groups, err
}
