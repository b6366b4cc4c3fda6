package sql

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/gatewarden/gatewarden/fault"
)

const (
	// maxKey bounds ids, signatures and subjects in bytes: the longest that every
	// database can index. The signature of an RS512 token with a 4096-bit key has 683.
	maxKey = 767
	// maxDocument bounds one stored document in bytes.
	maxDocument = 4 << 20
)

// checkKeys refuses what not every database could store or compare.
func checkKeys(what string, keys ...string) error {
	for _, key := range keys {
		if !isKey(key) {
			return fault.New(fault.Invalid, reason("invalid", what),
				fmt.Sprintf("an id of the %s is not UTF-8 text of at most %d bytes without NUL", what, maxKey))
		}
	}
	return nil
}

// checkID is checkKeys for an id that must not be empty.
func checkID(what, id string) error {
	if id == "" {
		return fault.New(fault.Invalid, reason("invalid", what), "the "+what+" needs an id")
	}
	return checkKeys(what, id)
}

func isKey(key string) bool {
	if len(key) > maxKey || !utf8.ValidString(key) {
		return false
	}
	for i := range len(key) {
		if key[i] == 0 {
			return false
		}
	}
	return true
}

// encode returns v as JSON, without the escapes that are for HTML: a document comes
// back as it went in.
func encode(what string, v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, fault.Wrap(fault.Invalid, reason("invalid", what), "the "+what+" is not valid JSON", err)
	}
	if b.Len() > maxDocument {
		return nil, fault.New(fault.TooLarge, reason(what, "too_large"), fmt.Sprintf("the %s is larger than %d bytes", what, maxDocument))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func decode(what string, doc []byte, v any) error {
	if err := json.Unmarshal(doc, v); err != nil {
		return fmt.Errorf("stored %s: %w", what, err)
	}
	return nil
}

// page bounds limit and offset; a limit of 0 or less selects nothing.
func page(limit, offset int) []any { return []any{max(limit, 0), max(offset, 0)} }
