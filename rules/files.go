package rules

import (
	"cmp"
	"slices"

	"github.com/gatewarden/gatewarden/authn"
)

// Files returns the states of the files that the rules' authenticators read while they
// run, by path. Of one that several read, the first that fails counts. A nil Set has
// none.
func (s *Set) Files() []authn.FileState {
	if s == nil {
		return nil
	}
	var all []authn.FileState
	for _, h := range s.shared {
		if reader, ok := h.(authn.FileReader); ok {
			all = append(all, reader.Files()...)
		}
	}
	slices.SortFunc(all, func(a, b authn.FileState) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), order(a.Err == nil, b.Err == nil), a.ReadAt.Compare(b.ReadAt))
	})
	return slices.CompactFunc(all, func(a, b authn.FileState) bool { return a.Path == b.Path })
}

// order puts false before true.
func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
