package manage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/passwords"
	"github.com/gatewarden/gatewarden/users"
)

// MinPassword is the shortest password that a user may have, in characters (NIST SP
// 800-63B-4 section 3.1.1.2 for passwords beside a second factor).
const MinPassword = 8

// Users manages local users. Passwords are hashed before they are stored, and nothing
// of them is answered.
type Users struct {
	Store users.Store
	// Logins tells clients that logins end, before the store ends them; nil: nobody.
	Logins interface {
		// RevokeOtherLoginSessions ends all logins of a user but one, which may be empty.
		RevokeOtherLoginSessions(ctx context.Context, subject, keep string) error
	}
	// Factors keeps second factors.
	Factors users.FactorStore
	Reload  Reloader
	Now     func() time.Time
}

// List returns users by id; a non-empty login selects the one who has it.
func (s *Users) List(ctx context.Context, login string, limit, offset int) ([]users.User, error) {
	var list []users.User
	var err error
	if login == "" {
		list, err = s.Store.Users(ctx, limit, offset)
	} else if offset == 0 && limit > 0 {
		u, findErr := s.Store.UserByLogin(ctx, login)
		if findErr == nil {
			list = []users.User{u}
		} else if !fault.Is(findErr, fault.NotFound) {
			err = findErr
		}
	}
	for i := range list {
		list[i] = list[i].Shown()
	}
	return list, err
}

// Get returns one user and the entity tag.
func (s *Users) Get(ctx context.Context, id string) (users.User, string, error) {
	u, err := s.Store.User(ctx, id)
	return u.Shown(), u.ETag, err
}

// Create stores a new user; an empty id is replaced by a random one.
func (s *Users) Create(ctx context.Context, u users.User) (users.User, error) {
	if u.ID == "" {
		u.ID = newID()
	}
	u.CreatedAt = s.Now().UTC().Truncate(time.Second)
	u.UpdatedAt = u.CreatedAt
	if err := settleUser(&u); err != nil {
		return u.Shown(), err
	}
	return u.Shown(), s.Store.CreateUser(ctx, u)
}

// Replace changes everything about a user but the id. Without password and
// password_hash the user keeps the password; a new one ends the user's logins. A
// non-empty etag must be the stored one, else fault.Conflict.
func (s *Users) Replace(ctx context.Context, u users.User, etag string) (users.User, error) {
	return s.change(ctx, u.ID, etag, func(old users.User) users.User {
		if u.Password == "" && u.PasswordHash == "" {
			u.PasswordHash = old.PasswordHash
		}
		return u
	})
}

// SetPassword gives a user a new password and ends the user's logins but the session
// named, which may be empty.
func (s *Users) SetPassword(ctx context.Context, id, password, keepSession string) error {
	if password == "" {
		return invalid("/password", "must not be empty")
	}
	_, err := s.changeKeeping(ctx, id, "", keepSession, func(old users.User) users.User {
		old.Password, old.PasswordHash = password, ""
		return old
	})
	return err
}

// ResetSecondFactor takes away what a user has beside the password, such as an app for
// one-time codes that was lost, and ends the user's logins. Errors: fault.NotFound.
func (s *Users) ResetSecondFactor(ctx context.Context, id string) error {
	if err := s.Factors.ResetFactors(ctx, id); err != nil {
		return err
	}
	return s.farewell(ctx, id, "")
}

// Rehash keeps the password of a user, as it was read, under a hash of today's kind. Who
// is logged in stays so. When somebody else changed the user meanwhile, theirs stays.
func (s *Users) Rehash(ctx context.Context, u users.User, password string) error {
	u.PasswordHash = passwords.Hash(password)
	err := s.Store.UpdateUser(ctx, u)
	if fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

func (s *Users) change(ctx context.Context, id, etag string, edit func(old users.User) users.User) (users.User, error) {
	return s.changeKeeping(ctx, id, etag, "", edit)
}

// changeKeeping reads a user and writes what edit makes of it; when somebody else
// writes in between it begins again, unless the caller named what was read.
func (s *Users) changeKeeping(ctx context.Context, id, etag, keepSession string, edit func(old users.User) users.User) (users.User, error) {
	for attempt := 1; ; attempt++ {
		old, err := s.Store.User(ctx, id)
		if err != nil {
			return old.Shown(), err
		}
		u := edit(old)
		u.ID, u.CreatedAt, u.UpdatedAt = old.ID, old.CreatedAt, s.Now().UTC().Truncate(time.Second)
		u.ETag = old.ETag
		if etag != "" {
			u.ETag = etag
		}
		if err := settleUser(&u); err != nil {
			return u.Shown(), err
		}
		if keep := keepSession; u.Disabled && !old.Disabled || u.PasswordHash != old.PasswordHash {
			if u.Disabled {
				keep = ""
			}
			if err := s.farewell(ctx, id, keep); err != nil {
				return u.Shown(), err
			}
		}
		if u.PasswordHash == old.PasswordHash {
			err = s.Store.UpdateUser(ctx, u)
		} else {
			err = s.Store.ChangePassword(ctx, u, keepSession)
		}
		if err == nil {
			return u.Shown(), apply(ctx, s.Reload)
		}
		if etag != "" || attempt == changeAttempts || fault.ReasonOf(err) != "user_changed" {
			return u.Shown(), err
		}
	}
}

// farewell ends the logins of a user but one in the hearing of clients with a
// back-channel.
func (s *Users) farewell(ctx context.Context, id, keepSession string) error {
	if s.Logins == nil {
		return nil
	}
	return s.Logins.RevokeOtherLoginSessions(ctx, id, keepSession)
}

// Delete removes a user with sessions, consents and tokens.
func (s *Users) Delete(ctx context.Context, id string) error {
	if err := s.farewell(ctx, id, ""); err != nil {
		return err
	}
	if err := s.Store.DeleteUser(ctx, id); err != nil {
		return err
	}
	return apply(ctx, s.Reload)
}

// settleUser checks the user and turns a password into its hash.
func settleUser(u *users.User) error {
	errs := []error{u.Check()}
	switch {
	case u.Password != "" && u.PasswordHash != "":
		errs = append(errs, invalid("/password", "password and password_hash exclude each other"))
	case u.Password != "":
		if problem := WeakPassword(*u, u.Password); problem != "" {
			errs = append(errs, invalid("/password", problem))
		}
	case u.PasswordHash != "":
		if err := passwords.Check(u.PasswordHash); err != nil {
			errs = append(errs, invalid("/password_hash", "is "+err.Error()))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if u.Password != "" {
		u.PasswordHash, u.Password = passwords.Hash(u.Password), ""
	}
	return nil
}

// WeakPassword says why a user must not have a password; empty: nothing is wrong.
func WeakPassword(u users.User, password string) string {
	switch n := utf8.RuneCountInString(password); {
	case n < MinPassword:
		return fmt.Sprintf("must have at least %d characters", MinPassword)
	case len(password) > passwords.MaxLength:
		return fmt.Sprintf("must have at most %d bytes", passwords.MaxLength)
	case strings.EqualFold(password, u.Username) || strings.EqualFold(password, u.Email):
		return "must not be the user name or email address"
	case strings.Count(password, password[:1]) == len(password):
		return "must not be one character repeated"
	}
	return ""
}
