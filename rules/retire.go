package rules

import (
	"errors"
	"io"
)

// Retire closes the handlers of old that are not in next, which may be nil, and that
// can be closed (io.Closer). Call it once, after next was put in force: requests that
// are still decided with old go on, so a handler's Close ends what it does in the
// background and nothing that a request needs.
func Retire(old, next *Set) error {
	if old == nil {
		return nil
	}
	var errs []error
	for key, h := range old.shared {
		if next != nil {
			if _, kept := next.shared[key]; kept {
				continue
			}
		}
		if c, ok := h.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}
