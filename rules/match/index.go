package match

import (
	"slices"
	"strings"
)

// Entry is one rule to index.
type Entry struct {
	Pattern  *Pattern
	Priority int
}

// Index finds rules. It is immutable and safe for concurrent use.
type Index struct {
	strict    bool
	hosts     table // keyed by the host as in the URL, port included
	portless  table // keyed by the host without port
	any       *node
	floating  *node // prefixes that may begin at any slash
	floats    bool  // there are such
	conflicts []Conflict
}

// table holds the path trees of hosts and of the domains that hosts are below.
type table struct{ exact, below map[string]*node }

// entry is one target of one rule. What most searches need is copied into it, so
// that they touch no other memory.
type entry struct {
	target  *target
	pattern *Pattern
	// host and rest are the target's; nil where nothing is left to match.
	host, rest *part
	rule, rank int32 // rank is dense; the higher wins, equal ranks tie
	length     int32 // of target.prefix
	methods    uint16
	schemes    uint8
	exact      bool // nothing follows the prefix
	special    bool // the target says how: as a whole, or floating
	inScheme   bool // there are captures in the scheme
	conditions bool
}

func newEntry(t *target, p *Pattern, rule int) entry {
	return entry{target: t, pattern: p, host: t.host.re, rest: t.rest, rule: int32(rule), length: int32(len(t.prefix)),
		methods: p.methods.mask(), schemes: t.schemes.mask(), exact: t.exact, special: t.whole != nil || t.floating,
		inScheme: t.schemes.groups() > 0, conditions: len(p.headers)+len(p.query) > 0}
}

// New returns an index over entries, whose nil patterns are left out; the others are the
// index's own from here on. Strict makes every second match an *AmbiguousError,
// whatever comes first.
func New(entries []Entry, strict bool) *Index {
	x := &Index{strict: strict, any: &node{}, floating: &node{},
		hosts:    table{map[string]*node{}, map[string]*node{}},
		portless: table{map[string]*node{}, map[string]*node{}}}
	ranked := rank(entries)
	for _, e := range ranked {
		tree := x.floating
		if x.floats = x.floats || e.target.floating; !e.target.floating {
			tree = x.tree(e.target.host)
		}
		tree.insert(e.target.prefix, e)
	}
	all := make([]entry, 0, len(ranked))
	for _, t := range []table{x.hosts, x.portless} {
		for _, trees := range []map[string]*node{t.exact, t.below} {
			for _, n := range trees {
				n.pack(&all)
			}
		}
	}
	x.any.pack(&all)
	x.floating.pack(&all)
	x.conflicts = conflicts(ranked, entries, strict)
	for _, e := range ranked { // nobody compares them any more
		e.target.tokens, e.target.literal = nil, ""
	}
	return x
}

// rank returns the entries of all targets, the highest rank first.
func rank(entries []Entry) []entry {
	keyOf := func(e entry) [4]int {
		key := [4]int{entries[e.rule].Priority, len(e.target.literal), e.target.literals}
		if e.target.exact {
			key[3] = 1
		}
		return key
	}
	compare := func(a, b entry) int {
		p, q := keyOf(a), keyOf(b)
		return slices.Compare(q[:], p[:])
	}
	var out []entry
	for i, e := range entries {
		if e.Pattern == nil {
			continue
		}
		for _, t := range e.Pattern.targets {
			out = append(out, newEntry(t, e.Pattern, i))
		}
	}
	slices.SortStableFunc(out, compare)
	next := len(out)
	for i := range out {
		if i > 0 && compare(out[i-1], out[i]) != 0 {
			next--
		}
		out[i].rank = int32(next)
	}
	return out
}

// tree returns the path tree that a host's targets belong to.
func (x *Index) tree(h host) *node {
	t := &x.hosts
	if h.portless {
		t = &x.portless
	}
	switch {
	case h.exact != "":
		return grow(t.exact, h.exact)
	case h.below != "":
		return grow(t.below, h.below)
	}
	return x.any
}

func grow(trees map[string]*node, key string) *node {
	n := trees[key]
	if n == nil {
		n = &node{}
		trees[key] = n
	}
	return n
}

// node is a node of a radix tree over literal path prefixes.
type node struct {
	label    string // text of the edge that leads here
	firsts   string // first bytes of the children's labels, in their order; sorted by finish
	children []node
	entries  []entry // for the prefix that ends here, the highest rank first
	up       *node   // nearest node above that has entries
	best     int32   // highest rank here and above
}

func (n *node) insert(prefix string, e entry) {
	if prefix == "" {
		n.entries = append(n.entries, e)
		return
	}
	i := strings.IndexByte(n.firsts, prefix[0])
	if i < 0 {
		n.firsts += prefix[:1]
		n.children = append(n.children, node{label: prefix, entries: []entry{e}})
		return
	}
	child := &n.children[i]
	same := 0
	for same < len(prefix) && same < len(child.label) && prefix[same] == child.label[same] {
		same++
	}
	if same < len(child.label) {
		lower := *child
		lower.label = child.label[same:]
		*child = node{label: child.label[:same], firsts: lower.label[:1], children: []node{lower}}
	}
	child.insert(prefix[same:], e)
}

// pack makes the tree that n is the root of ready for searches: what one search
// reads of neighbouring nodes is moved together. All has room for the entries.
func (n *node) pack(all *[]entry) {
	n.finish(nil, all)
	var texts strings.Builder
	n.texts(func(text string) string {
		texts.WriteString(text)
		return text
	})
	left := texts.String()
	n.texts(func(text string) (same string) {
		same, left = left[:len(text)], left[len(text):]
		return same
	})
}

// finish links each node to the nearest one above that has entries. Entries came
// in order of rank and stay so.
func (n *node) finish(up *node, all *[]entry) {
	n.up, n.best = up, -1
	if up != nil {
		n.best = up.best
	}
	if len(n.entries) > 0 {
		n.best = max(n.best, n.entries[0].rank)
		up = n
		start := len(*all)
		*all = append(*all, n.entries...)
		n.entries = (*all)[start:]
	}
	n.children = append(make([]node, 0, len(n.children)), n.children...)
	slices.SortFunc(n.children, func(a, b node) int { return int(a.label[0]) - int(b.label[0]) })
	firsts := []byte(n.firsts)
	slices.Sort(firsts)
	n.firsts = string(firsts)
	for i := range n.children {
		n.children[i].finish(up, all)
	}
}

// texts replaces each text of the tree by what move returns for it.
func (n *node) texts(move func(string) string) {
	n.firsts = move(n.firsts)
	for i := range n.children {
		n.children[i].label = move(n.children[i].label)
	}
	for i := range n.children {
		n.children[i].texts(move)
	}
}

// deepest returns the node with entries that has the longest prefix of path.
func (n *node) deepest(path string) *node {
	var last *node
	for {
		if len(n.entries) > 0 {
			last = n
		}
		if path == "" {
			return last
		}
		if n.firsts == "" {
			return last
		}
		i := int(path[0]) - int(n.firsts[0]) // the place if there are no gaps, as with digits
		if i < 0 || i >= len(n.firsts) || n.firsts[i] != path[0] {
			if i = strings.IndexByte(n.firsts, path[0]); i < 0 {
				return last
			}
		}
		n = &n.children[i]
		label := len(n.label) // its first byte is path's
		if label > 1 && (len(path) < label || path[1:label] != n.label[1:]) {
			return last
		}
		path = path[label:]
	}
}
