package sql

import (
	"context"
	"crypto/rand"
	"database/sql"
	"strings"

	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/store"
)

const selectClients = "SELECT doc, secret_hash, auth_method_set, etag FROM gw_clients "

// CreateClient returns fault.Conflict when the id is taken. The plain secret is not
// stored.
func (s *Store) CreateClient(ctx context.Context, c oauth2.Client) error {
	if err := checkID("client", c.ID); err != nil {
		return err
	}
	args, err := clientArgs(c)
	if err != nil {
		return err
	}
	return conflict(s.write(ctx, func(t *tx) error { return t.insertClient(c.ID, args) }), "client")
}

func (t *tx) insertClient(id string, args []any) error {
	t.changed(store.Clients, id)
	_, err := t.exec("INSERT INTO gw_clients (name, owner, secret_hash, auth_method_set, doc, etag, id) VALUES (?, ?, ?, ?, ?, ?, ?)", args...)
	return err
}

// Client returns fault.NotFound.
func (s *Store) Client(ctx context.Context, id string) (oauth2.Client, error) {
	if !isKey(id) {
		return oauth2.Client{}, notFound(sql.ErrNoRows, "client")
	}
	c, err := readClient(func(into ...any) error { return s.one(ctx, selectClients+"WHERE id = ?", []any{id}, into...) })
	return c, notFound(s.fail(ctx, err), "client")
}

// UpdateClient returns fault.NotFound, or fault.Conflict when c.ETag is not empty and
// not the stored one.
func (s *Store) UpdateClient(ctx context.Context, c oauth2.Client) error {
	if !isKey(c.ID) {
		return notFound(sql.ErrNoRows, "client")
	}
	args, err := clientArgs(c)
	if err != nil {
		return err
	}
	return s.write(ctx, func(t *tx) error { return t.updateClient(c, args) })
}

func (t *tx) updateClient(c oauth2.Client, args []any) error {
	t.changed(store.Clients, c.ID)
	query, args := onlyIf(c.ETag, "UPDATE gw_clients SET name = ?, owner = ?, secret_hash = ?, auth_method_set = ?, doc = ?, etag = ? WHERE id = ?", args)
	rows, err := t.exec(query, args...)
	return t.unchanged(rows, err, "client", "gw_clients", c.ID)
}

// DeleteClient returns fault.NotFound. The client's codes, tokens and consents go
// with it.
func (s *Store) DeleteClient(ctx context.Context, id string) error {
	if !isKey(id) {
		return notFound(sql.ErrNoRows, "client")
	}
	return s.write(ctx, func(t *tx) error {
		if _, err := t.exec("DELETE FROM gw_registrations WHERE client_id = ?", id); err != nil {
			return err
		}
		return t.deleteClient(id)
	})
}

// deleteClient deletes all of a client but its registration.
func (t *tx) deleteClient(id string) error {
	rows, err := t.exec("DELETE FROM gw_clients WHERE id = ?", id)
	if err := found(rows, err, "client"); err != nil {
		return err
	}
	t.changed(store.Clients, id)
	t.changed(store.Tokens, "client:"+id)
	if _, err := t.exec("DELETE FROM gw_consents WHERE client_id = ?", id); err != nil {
		return err
	}
	_, err = t.deleteTokens("client_id = ?", id)
	return err
}

// Clients lists by id.
func (s *Store) Clients(ctx context.Context, f oauth2.ClientFilter) (clients []oauth2.Client, err error) {
	if !isKey(f.Name) || !isKey(f.Owner) {
		return nil, nil
	}
	condition, args := ofClients(f)
	err = s.each(ctx, selectClients+"WHERE "+condition+" ORDER BY id LIMIT ? OFFSET ?", append(args, page(f.Limit, f.Offset)...), func(rows *sql.Rows) error {
		c, err := readClient(rows.Scan)
		clients = append(clients, c)
		return err
	})
	return clients, err
}

// CountClients counts what Clients lists.
func (s *Store) CountClients(ctx context.Context, f oauth2.ClientFilter) (n int, err error) {
	if !isKey(f.Name) || !isKey(f.Owner) {
		return 0, nil
	}
	condition, args := ofClients(f)
	err = s.one(ctx, "SELECT COUNT(*) FROM gw_clients WHERE "+condition, args, &n)
	return n, s.fail(ctx, err)
}

func ofClients(f oauth2.ClientFilter) (condition string, args []any) {
	condition = "1 = 1"
	if f.Name != "" {
		condition, args = condition+" AND name = ?", append(args, f.Name)
	}
	if f.Owner != "" {
		condition, args = condition+" AND owner = ?", append(args, f.Owner)
	}
	return condition, args
}

// clientArgs ends with the id.
func clientArgs(c oauth2.Client) ([]any, error) {
	if err := checkKeys("client", c.Name, c.Owner); err != nil {
		return nil, err
	}
	c.Secret = ""
	doc, err := encode("client", c)
	// Hashes have no blanks; the ones after the first are of rotated secrets.
	hashes := strings.Join(append([]string{c.SecretHash}, c.RotatedSecretHashes...), " ")
	return []any{c.Name, c.Owner, hashes, flag(c.AuthMethodSet), doc, rand.Text(), c.ID}, err
}

func readClient(scan func(...any) error) (c oauth2.Client, err error) {
	var doc []byte
	var hash string
	var set int
	if err := scan(&doc, &hash, &set, &c.ETag); err != nil {
		return c, err
	}
	err = decode("client", doc, &c)
	c.AuthMethodSet = set != 0
	if hashes := strings.Fields(hash); len(hashes) > 0 {
		c.SecretHash = hashes[0]
		if len(hashes) > 1 {
			c.RotatedSecretHashes = hashes[1:]
		}
	}
	return c, err
}

// flag is a bool as every database stores it.
func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
