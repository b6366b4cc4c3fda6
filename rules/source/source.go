// Package source says where rule definitions come from and keeps them in force.
//
// Definitions come from repositories (files and folders, which are watched; inline
// text; web servers, object stores and git, which are asked at intervals) and from
// the database behind the management API. A Loader combines them, compiles them and
// swaps the Set of an Engine. A source that cannot be read keeps the definitions it
// had last, and the Loader's Status says so; the Set in force is never a partial one
// without a word.
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
	// are not known. It is not called twice at the same time.
	read(ctx context.Context) ([]unit, error)
	// title names the repository to people, without secrets.
	title() string
}

// remote is a repository that is reached over a network.
type remote interface {
	repository
	// revision identifies what was read last: an entity tag, a commit. It is empty when
	// that is unknown.
	revision() string
}

// unit is what is decoded as one: a file, or the text of an inline repository.
type unit struct {
	name string
	data []byte
	err  error // the unit exists and cannot be read
}

// open returns the repository for a member of access_rules.repositories: a path, or
// a URL whose scheme says what it is. Position counts from 1.
func (o *Options) open(text string, position int) (repository, error) {
	scheme, rest, found := strings.Cut(text, "://")
	switch {
	case text == "":
		return nil, errors.New("is empty")
	case !found:
		return openFiles(text)
	}
	switch scheme {
	case "file":
		if path, err := url.PathUnescape(rest); err == nil {
			rest = path
		}
		return openFiles(rest)
	case "inline":
		data, err := decodeBase64(rest)
		if err != nil {
			return nil, errors.New("inline:// is not followed by valid base64")
		}
		return inline{unit{name: fmt.Sprintf("inline:#%d", position), data: data}}, nil
	case "http", "https":
		return openWeb(text, o.HTTP)
	case "s3", "gs", "azblob":
		return openBlob(text)
	case "git+https", "git+http", "git+ssh", "git+file":
		return openGit(text, o.HTTP, o.Dial)
	}
	return nil, fmt.Errorf("%s: scheme %s:// is not supported; known are file, inline, http, https, s3, gs, azblob, git+https, git+ssh and git+file", redact(text), scheme)
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

func (i inline) title() string { return i.name }

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
