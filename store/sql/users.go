package sql

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/users"
)

const selectUsers = "SELECT u.id, u.etag, u.data FROM gw_users u "

var errUserExists = fault.New(fault.Conflict, "user_exists", "another user has this id, user name or email address")

// CreateUser returns fault.Conflict when the id or a login is taken.
func (s *Store) CreateUser(ctx context.Context, u users.User) error {
	return s.createUser(ctx, u, func(*tx) error { return nil })
}

func (s *Store) createUser(ctx context.Context, u users.User, also func(*tx) error) error {
	if err := checkID("user", u.ID); err != nil {
		return err
	}
	keys, data, err := s.userData(u)
	if err != nil {
		return err
	}
	return taken(s.write(ctx, func(t *tx) error {
		if _, err := t.exec("INSERT INTO gw_users (id, etag, data) VALUES (?, ?, ?)", u.ID, rand.Text(), data); err != nil {
			return err
		}
		if err := t.addLogins(u.ID, keys); err != nil {
			return err
		}
		return also(t)
	}))
}

// User returns fault.NotFound.
func (s *Store) User(ctx context.Context, id string) (users.User, error) {
	return s.user(ctx, "WHERE u.id = ?", id)
}

// UserByLogin returns fault.NotFound also for what can be nobody's login.
func (s *Store) UserByLogin(ctx context.Context, login string) (users.User, error) {
	key, err := users.Key(login)
	if err != nil {
		return users.User{}, notFound(sql.ErrNoRows, "user")
	}
	return s.user(ctx, "JOIN gw_user_logins l ON l.user_id = u.id WHERE l.login = ?", key)
}

func (s *Store) user(ctx context.Context, where, key string) (users.User, error) {
	if !isKey(key) {
		return users.User{}, notFound(sql.ErrNoRows, "user")
	}
	u, err := s.readUser(func(into ...any) error { return s.one(ctx, selectUsers+where, []any{key}, into...) })
	return u, notFound(s.fail(ctx, err), "user")
}

// UpdateUser returns fault.NotFound, or fault.Conflict when a login is taken or the
// user is not the one that was read. A disabled user loses sessions and tokens.
func (s *Store) UpdateUser(ctx context.Context, u users.User) error {
	return s.updateUser(ctx, u, func(*tx) error { return nil })
}

// ChangePassword is UpdateUser that ends the user's login sessions but one.
func (s *Store) ChangePassword(ctx context.Context, u users.User, keepSession string) error {
	if !isKey(keepSession) {
		keepSession = ""
	}
	return s.updateUser(ctx, u, func(t *tx) error {
		_, err := t.exec("DELETE FROM gw_login_sessions WHERE subject = ? AND id <> ?", u.ID, keepSession)
		return err
	})
}

func (s *Store) updateUser(ctx context.Context, u users.User, also func(*tx) error) error {
	if !isKey(u.ID) {
		return notFound(sql.ErrNoRows, "user")
	}
	keys, data, err := s.userData(u)
	if err != nil {
		return err
	}
	return taken(s.write(ctx, func(t *tx) error {
		query, args := onlyIf(u.ETag, "UPDATE gw_users SET etag = ?, data = ? WHERE id = ?", []any{rand.Text(), data, u.ID})
		rows, err := t.exec(query, args...)
		if err := t.unchanged(rows, err, "user", "gw_users", u.ID); err != nil {
			return err
		}
		if _, err := t.exec("DELETE FROM gw_user_logins WHERE user_id = ?", u.ID); err != nil {
			return err
		}
		if err := t.addLogins(u.ID, keys); err != nil {
			return err
		}
		if u.Disabled {
			if err := t.endSubject(u.ID); err != nil {
				return err
			}
		}
		return also(t)
	}))
}

// DeleteUser returns fault.NotFound. The user's sessions, consents and tokens go too.
func (s *Store) DeleteUser(ctx context.Context, id string) error {
	if !isKey(id) {
		return notFound(sql.ErrNoRows, "user")
	}
	return s.write(ctx, func(t *tx) error {
		rows, err := t.exec("DELETE FROM gw_users WHERE id = ?", id)
		if err := found(rows, err, "user"); err != nil {
			return err
		}
		return t.endSubject(id)
	})
}

// Users lists by id.
func (s *Store) Users(ctx context.Context, limit, offset int) (all []users.User, err error) {
	err = s.each(ctx, selectUsers+"ORDER BY u.id LIMIT ? OFFSET ?", page(limit, offset), func(rows *sql.Rows) error {
		u, err := s.readUser(rows.Scan)
		all = append(all, u)
		return err
	})
	return all, err
}

// endSubject deletes what a person holds: login sessions, and consents with the codes
// and tokens under them.
func (t *tx) endSubject(subject string) error {
	if _, err := t.exec("DELETE FROM gw_login_sessions WHERE subject = ?", subject); err != nil {
		return err
	}
	ids, err := t.strings("SELECT id FROM gw_consents WHERE subject = ?", subject)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := t.revokeConsent(id); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) addLogins(id string, keys []string) error {
	for _, key := range keys {
		if _, err := t.exec("INSERT INTO gw_user_logins (login, user_id) VALUES (?, ?)", key, id); err != nil {
			return err
		}
	}
	return nil
}

// userData returns the logins and the sealed document. A plain password is not stored.
func (s *Store) userData(u users.User) (keys []string, sealed []byte, err error) {
	if keys, err = u.Keys(); err != nil {
		return nil, nil, err
	}
	u.Password = ""
	doc, err := encode("user", u)
	if err != nil {
		return nil, nil, err
	}
	return keys, s.ring.seal(sealUsers, u.ID, doc), nil
}

func (s *Store) readUser(scan func(...any) error) (u users.User, err error) {
	var id, etag string
	var sealed []byte
	if err := scan(&id, &etag, &sealed); err != nil {
		return u, err
	}
	doc, err := s.ring.open(sealUsers, id, sealed)
	if err == nil {
		err = decode("user", doc, &u)
	}
	u.ETag = etag
	return u, err
}

// taken is conflict with what may be taken of a user.
func taken(err error) error {
	if errors.Is(err, errDuplicate) {
		return errUserExists
	}
	return err
}
