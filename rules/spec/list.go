package spec

import (
	"iter"
	"reflect"
)

// List is an immutable list of rules. What rules have in common, which in large files
// is nearly everything but ids and URLs, is kept once.
type List struct{ entries []listed }

// listed is a rule: shape with an id, a URL and a line.
type listed struct {
	id, url string
	line    int
	shape   *Rule
}

// recent is how many shapes a new rule is compared with: rules that are alike mostly
// stand together.
const recent = 4

// ListOf returns a List of the rules, whose slices and maps must not be changed any more.
func ListOf(all ...Rule) List {
	l := List{make([]listed, len(all))}
	var shapes [recent]*Rule
	next := 0
	for i := range all {
		shape := all[i]
		shape.ID, shape.Match.URL, shape.Origin.Line = "", "", 0
		e := listed{all[i].ID, all[i].Match.URL, all[i].Origin.Line, nil}
		for _, s := range shapes {
			if s != nil && alike(s, &shape) {
				e.shape = s
			}
		}
		if e.shape == nil {
			own := shape
			e.shape = &own
			shapes[next%recent] = e.shape
			next++
		}
		l.entries[i] = e
	}
	return l
}

// alike compares what differs most first, since the whole is compared by reflection.
func alike(a, b *Rule) bool {
	return a.Upstream.URL == b.Upstream.URL && a.Description == b.Description && a.Priority == b.Priority && a.Origin == b.Origin && reflect.DeepEqual(a, b)
}

// Concat returns the rules of all lists, in order.
func Concat(lists ...List) List {
	size := 0
	for _, l := range lists {
		size += len(l.entries)
	}
	all := make([]listed, 0, size)
	for _, l := range lists {
		all = append(all, l.entries...)
	}
	return List{all}
}

// Len is the number of rules.
func (l List) Len() int { return len(l.entries) }

// At returns the rule number i. The caller must not change what its slices and maps hold.
func (l List) At(i int) Rule {
	e := &l.entries[i]
	r := *e.shape
	r.ID, r.Match.URL, r.Origin.Line = e.id, e.url, e.line
	return r
}

// Shape is the rule number i without id, URL and line; the same for rules that have
// the rest in common. It must not be changed.
func (l List) Shape(i int) *Rule { return l.entries[i].shape }

// All are the rules in order.
func (l List) All() iter.Seq2[int, Rule] {
	return func(yield func(int, Rule) bool) {
		for i := range l.entries {
			if !yield(i, l.At(i)) {
				return
			}
		}
	}
}

// Find returns the place of the first rule with the id, or -1.
func (l List) Find(id string) int {
	for i := range l.entries {
		if l.entries[i].id == id {
			return i
		}
	}
	return -1
}
