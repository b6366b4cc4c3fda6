//go:build !cloudblob

package source

import (
	"errors"
	"fmt"
)

// openBlob says what to do instead: the clients of three clouds would more than
// double the program.
func openBlob(text string) (repository, error) {
	return nil, fmt.Errorf("%s: %w", redact(text), errNoBlob)
}

var errNoBlob = errors.New("this program was built without clients of object stores; name a presigned https:// URL, or build with -tags cloudblob")
