package policies

import (
	"slices"
	"sort"
	"strings"
)

// index finds the policies that may apply to a question. Every policy is filed
// once, in the field that tells it best from the others, under each of the values
// or prefixes that it names there; the other fields are left to Ladon.
type index struct {
	policies []*compiled // by id
	fields   [fields]files
}

// files are the policies that are filed in one field, as positions in
// index.policies.
type files struct {
	exact map[string][]int32
	// prefixes are in order. All prefixes of a value are on the parent chain of
	// the last one that is not greater than the value.
	prefixes []prefix
}

type prefix struct {
	text   string
	parent int32 // the longest other prefix that text begins with; -1 for none
	at     []int32
}

// key is what a policy is filed under.
type key struct {
	text   string
	prefix bool
}

// keys returns what one field of a policy can be filed under.
func (c *compiled) keys(field int) []key {
	var keys []key
	for _, p := range c.patterns[field] {
		switch {
		case p.broken != nil && c.AllowAccess(): // never matches
		case p.broken != nil:
			keys = append(keys, key{prefix: true})
		case p.literals != nil:
			for _, l := range p.literals {
				keys = append(keys, key{text: l})
			}
		default:
			keys = append(keys, key{text: p.prefix, prefix: true})
		}
	}
	return keys
}

// newIndex files policies, which must have distinct ids.
func newIndex(policies []*compiled) *index {
	slices.SortFunc(policies, func(a, b *compiled) int { return strings.Compare(a.source.ID, b.source.ID) })
	x := &index{policies: policies}
	var users [fields]map[key]int
	all := make([][fields][]key, len(policies))
	for f := range fields {
		users[f] = make(map[key]int)
		for i, c := range policies {
			all[i][f] = c.keys(f)
			for _, k := range all[i][f] {
				users[f][k]++
			}
		}
	}
	var prefixes [fields]map[string][]int32
	for f := range fields {
		x.fields[f].exact = make(map[string][]int32)
		prefixes[f] = make(map[string][]int32)
	}
	for i := range policies {
		best, least := 0, -1
		for f := range fields {
			// How many policies share the keys; what begins with anything, all.
			cost := 0
			for _, k := range all[i][f] {
				if k.prefix && k.text == "" {
					cost += len(policies)
				}
				cost += users[f][k]
			}
			if least < 0 || cost < least {
				best, least = f, cost
			}
		}
		for _, k := range all[i][best] {
			to := x.fields[best].exact
			if k.prefix {
				to = prefixes[best]
			}
			to[k.text] = append(to[k.text], int32(i))
		}
	}
	for f := range fields {
		x.fields[f].prefixes = chain(prefixes[f])
	}
	return x
}

func chain(byText map[string][]int32) []prefix {
	list := make([]prefix, 0, len(byText))
	for text, at := range byText {
		list = append(list, prefix{text: text, at: at})
	}
	slices.SortFunc(list, func(a, b prefix) int { return strings.Compare(a.text, b.text) })
	for i := range list {
		parent := int32(i) - 1
		for parent >= 0 && !strings.HasPrefix(list[i].text, list[parent].text) {
			parent = list[parent].parent
		}
		list[i].parent = parent
	}
	return list
}

// find appends the positions of the policies filed under the value.
func (x *files) find(value string, to []int32) []int32 {
	to = append(to, x.exact[value]...)
	last := sort.Search(len(x.prefixes), func(i int) bool { return x.prefixes[i].text > value })
	for i := int32(last) - 1; i >= 0; i = x.prefixes[i].parent {
		if strings.HasPrefix(value, x.prefixes[i].text) {
			to = append(to, x.prefixes[i].at...)
		}
	}
	return to
}

// candidates appends the positions of all policies that may apply, in order of
// their ids, each once.
func (x *index) candidates(subject, action, resource string, to []int32) []int32 {
	to = x.fields[actions].find(action, to)
	to = x.fields[subjects].find(subject, to)
	to = x.fields[resources].find(resource, to)
	if len(to) > 1 {
		slices.Sort(to)
		to = slices.Compact(to)
	}
	return to
}

// has reports whether a policy is in the index.
func (x *index) has(id string) bool {
	_, found := slices.BinarySearchFunc(x.policies, id, func(c *compiled, id string) int { return strings.Compare(c.source.ID, id) })
	return found
}
