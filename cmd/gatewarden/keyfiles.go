package main

import (
	"fmt"
	"os"

	"github.com/go-jose/go-jose/v4"
	"github.com/spf13/cobra"

	"github.com/gatewarden/gatewarden/manage"
)

// placedKey is a key and the file that it is of.
type placedKey struct {
	place string
	jose.JSONWebKey
}

// readKeys reads files of JSON Web Keys, of sets or of PEM, all before the first one is
// used. alg is that of keys that name none.
func readKeys(c *cobra.Command, names []string, alg string) ([]placedKey, error) {
	var all []placedKey
	for _, name := range names {
		found, err := keysOfFile(c, name, alg)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	seen := map[string]string{}
	for _, k := range all {
		if k.KeyID == "" {
			return nil, fmt.Errorf("%s: a key has no kid", k.place)
		}
		if k.Algorithm == "" {
			return nil, fmt.Errorf("%s: key %s has no alg; name one with --alg", k.place, k.KeyID)
		}
		if first, twice := seen[k.KeyID]; twice {
			return nil, fmt.Errorf("%s: kid %s occurs twice, first in %s", k.place, k.KeyID, first)
		}
		seen[k.KeyID] = k.place
	}
	return all, nil
}

func keysOfFile(c *cobra.Command, name, alg string) (all []placedKey, err error) {
	if name != "-" {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if manage.IsPEM(data) {
			found, err := manage.ParsePEM(data, alg)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			for _, k := range found {
				all = append(all, placedKey{name, k})
			}
			return all, nil
		}
	}
	found, err := documents(c, []string{name})
	if err != nil {
		return nil, err
	}
	for _, d := range found {
		keys, err := keysOf(d)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			if k.Algorithm == "" {
				k.Algorithm = alg
			}
			all = append(all, placedKey{d.place, k})
		}
	}
	return all, nil
}

// keysOf returns the keys of a document, which is one key or a set.
func keysOf(d document) ([]jose.JSONWebKey, error) {
	set, err := manage.ParseKeys(d.body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.place, err)
	}
	if len(set.Keys) == 0 {
		key, err := manage.ParseKey(d.body)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.place, err)
		}
		set.Keys = append(set.Keys, key)
	}
	return set.Keys, nil
}
