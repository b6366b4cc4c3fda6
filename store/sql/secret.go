package sql

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"

	"github.com/gatewarden/gatewarden/fault"
)

// Root is 32 random bytes that belong to this database: keys that must outlive the
// system secrets are derived from it. It is kept sealed like everything else.
func (s *Store) Root() []byte { return s.root }

// openRoot reads or makes the root. It is the last thing that Reseal seals anew, so a
// secret that is dropped before everything is under another one is found at the start.
func (s *Store) openRoot(ctx context.Context) error {
	const name = "root"
	fresh := make([]byte, 32)
	_, _ = rand.Read(fresh) // never fails
	sealed, err := s.meta(ctx, name, fresh)
	if err != nil {
		return err
	}
	if s.root, err = s.ring.open(sealMeta, name, sealed); err != nil {
		return fault.Wrap(fault.Invalid, "system_secret_in_use",
			"secrets.system: the database is still sealed with a secret that is no longer listed; put it back, last, and run `gatewarden migrate secrets`", err)
	}
	return nil
}

// meta returns a sealed value of the database's own, made of first when there is none.
func (s *Store) meta(ctx context.Context, name string, first []byte) (sealed []byte, err error) {
	for {
		err = s.one(ctx, "SELECT value FROM gw_meta WHERE name = ?", []any{name}, &sealed)
		if !errors.Is(err, sql.ErrNoRows) {
			return sealed, err
		}
		_, err = s.exec(ctx, "INSERT INTO gw_meta (name, value) VALUES (?, ?)", name, s.ring.seal(sealMeta, name, first))
		if err != nil && !errors.Is(err, errDuplicate) { // another node was first
			return nil, err
		}
	}
}

// checkSecret compares the system secrets with the first one of the node that began
// last, so that one that is missing is found at the start and not at the first read.
func (s *Store) checkSecret(ctx context.Context) error {
	const name, plain = "secret", "gatewarden"
	sealed, err := s.meta(ctx, name, []byte(plain))
	if err != nil {
		return err
	}
	if _, err := s.ring.open(sealMeta, name, sealed); err != nil {
		return fault.Wrap(fault.Invalid, "wrong_system_secret",
			"secrets.system: the database was written with another system secret", err)
	}
	if s.ring.current(sealed) {
		return nil
	}
	_, err = s.exec(ctx, "UPDATE gw_meta SET value = ? WHERE name = ?", s.ring.seal(sealMeta, name, []byte(plain)), name)
	return err
}
