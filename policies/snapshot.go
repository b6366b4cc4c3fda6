package policies

import (
	"maps"

	"github.com/ory/ladon"
)

// snapshot is all policies and groups at one moment. It is never changed: a write
// makes a new one. Few policies change between two loads, so those are kept in a
// small index of their own until they are worth a rebuild.
type snapshot struct {
	base   *index
	recent *index
	gone   map[string]struct{} // ids of base that were changed or deleted since
	groups map[string][]string // member -> ids of its groups, in order
}

func newSnapshot(policies []*compiled, groups map[string][]string) *snapshot {
	return &snapshot{base: newIndex(policies), recent: newIndex(nil), groups: groups}
}

// all returns the policies in no order.
func (s *snapshot) all() []*compiled {
	list := make([]*compiled, 0, len(s.base.policies)+len(s.recent.policies))
	for _, c := range s.base.policies {
		if _, ok := s.gone[c.source.ID]; !ok {
			list = append(list, c)
		}
	}
	return append(list, s.recent.policies...)
}

// with returns a snapshot in which the policy of that id is c, or is not when c is nil.
func (s *snapshot) with(id string, c *compiled) *snapshot {
	next := &snapshot{base: s.base, gone: maps.Clone(s.gone), groups: s.groups}
	recent := make([]*compiled, 0, len(s.recent.policies)+1)
	for _, old := range s.recent.policies {
		if old.source.ID != id {
			recent = append(recent, old)
		}
	}
	if c != nil {
		recent = append(recent, c)
	}
	next.recent = newIndex(recent)
	if s.base.has(id) {
		if next.gone == nil {
			next.gone = make(map[string]struct{})
		}
		next.gone[id] = struct{}{}
	}
	if len(recent)+len(next.gone) > max(64, len(s.base.policies)/64) {
		return newSnapshot(next.all(), s.groups)
	}
	return next
}

// candidates returns the policies that may apply: what the index finds, without
// those that cheap patterns rule out. Ladon looks at the rest, in full; a denial
// costs it a stack trace and a goroutine, so that it is not asked in vain.
func (s *snapshot) candidates(subject, action, resource string) ladon.Policies {
	var room [64]int32
	var found ladon.Policies
	for _, x := range [...]*index{s.base, s.recent} {
		at := x.candidates(subject, action, resource, room[:0])
		for _, i := range at {
			c := x.policies[i]
			if x == s.base && len(s.gone) > 0 {
				if _, ok := s.gone[c.source.ID]; ok {
					continue
				}
			}
			if c.match(actions, action, nil) != no && c.match(subjects, subject, nil) != no && c.match(resources, resource, nil) != no {
				found = append(found, c)
			}
		}
	}
	return found
}
