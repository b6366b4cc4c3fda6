package client

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// pageSize is what All asks for at a time.
const pageSize = 500

// Collection is a kind of thing with ids.
type Collection[T any] struct {
	client *Client
	path   string
}

func (c Collection[T]) at(id ...string) string { return below(c.path, id...) }

// List returns up to limit things from offset on. Filter holds further query
// parameters: member of groups, client_name and owner of clients; nil: none.
func (c Collection[T]) List(ctx context.Context, limit, offset int, filter url.Values) ([]T, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}, "offset": {strconv.Itoa(offset)}}
	for name, values := range filter {
		query[name] = values
	}
	var answer listed[T]
	err := c.client.do(ctx, request{method: http.MethodGet, path: c.at(), query: query}, &answer)
	return answer, err
}

// listed is a list, or an object of things by their ids, as Hydra 0.9 answers.
type listed[T any] []T

// UnmarshalJSON implements json.Unmarshaler.
func (l *listed[T]) UnmarshalJSON(text []byte) error {
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		return json.Unmarshal(text, (*[]T)(l))
	}
	var byID map[string]T
	if err := json.Unmarshal(text, &byID); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		*l = append(*l, byID[id])
	}
	return nil
}

// All returns everything.
func (c Collection[T]) All(ctx context.Context, filter url.Values) ([]T, error) {
	var all []T
	for {
		page, err := c.List(ctx, pageSize, len(all), filter)
		if err != nil {
			return nil, err
		}
		if all = append(all, page...); len(page) < pageSize {
			return all, nil
		}
	}
}

// Get returns one thing.
func (c Collection[T]) Get(ctx context.Context, id string) (v T, err error) {
	err = c.client.do(ctx, request{method: http.MethodGet, path: c.at(id)}, &v)
	return v, err
}

// Create stores a new thing and returns it as stored; body is a T or its JSON as
// json.RawMessage, so that files are checked by the server and not here.
func (c Collection[T]) Create(ctx context.Context, body any) (v T, err error) {
	err = c.client.do(ctx, request{method: http.MethodPost, path: c.at(), body: body}, &v)
	return v, err
}

// Replace changes the thing of that id; body as for Create.
func (c Collection[T]) Replace(ctx context.Context, id string, body any) (v T, err error) {
	err = c.client.do(ctx, request{method: http.MethodPut, path: c.at(id), body: body}, &v)
	return v, err
}

// Delete removes the thing of that id.
func (c Collection[T]) Delete(ctx context.Context, id string) error {
	return c.client.do(ctx, request{method: http.MethodDelete, path: c.at(id)}, nil)
}
