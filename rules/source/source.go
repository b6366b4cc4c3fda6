// Package source says where rule definitions come from and keeps them in force.
//
// Definitions come from repositories (files and folders, which are watched, and
// inline text) and from the database behind the management API. A Loader combines
// them, compiles them and swaps the Set of an Engine. A source that cannot be read
// keeps the definitions it had last, and the Loader's Status says so; the Set in
// force is never a partial one without a word.
package source

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// repository is one place that holds definitions.
type repository interface {
	// read returns the repository's units in order. The error means that the units
	// are not known.
	read(ctx context.Context) ([]unit, error)
}

// unit is what is decoded as one: a file, or the text of an inline repository.
type unit struct {
	name string
	data []byte
	err  error // the unit exists and cannot be read
}

// open returns the repository for a member of access_rules.repositories: file://
// and a path, a path alone, or inline:// and base64. Position counts from 1.
func open(text string, position int) (repository, error) {
	scheme, rest, found := strings.Cut(text, "://")
	switch {
	case text == "":
		return nil, errors.New("is empty")
	case !found:
		return openFiles(text)
	case scheme == "file":
		if path, err := url.PathUnescape(rest); err == nil {
			rest = path
		}
		return openFiles(rest)
	case scheme == "inline":
		data, err := decodeBase64(rest)
		if err != nil {
			return nil, errors.New("inline:// is not followed by valid base64")
		}
		return inline{unit{name: fmt.Sprintf("inline:#%d", position), data: data}}, nil
	}
	return nil, fmt.Errorf("%s: scheme %s:// is not supported, use file:// or inline://", redact(text), scheme)
}

// redact returns a URL without user information and query, which hold secrets.
func redact(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "a URL"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// decodeBase64 accepts both alphabets of RFC 4648, padded or not.
func decodeBase64(text string) ([]byte, error) {
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	return base64.RawStdEncoding.DecodeString(text)
}

// inline is a repository that is its own text.
type inline struct{ unit }

func (i inline) read(context.Context) ([]unit, error) { return []unit{i.unit}, nil }

func openFiles(path string) (repository, error) {
	if path == "" {
		return nil, errors.New("names no file")
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	return &files{name: filepath.Clean(path), path: absolute}, nil
}
