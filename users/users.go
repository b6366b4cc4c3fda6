// Package users is the vocabulary of local users: who can log in at the built-in
// pages, what is said about them, and where they are kept.
//
// A user has an id that never changes (the subject of tokens) and up to two logins, a
// user name and an email address. Logins are compared after folding (Key), and no two
// users share one, so that one person can never be taken for another.
package users

import (
	"context"
	"strings"
	"time"

	"golang.org/x/text/secure/precis"

	"github.com/gatewarden/gatewarden/fault"
)

// User is one person, in the JSON of the management API.
type User struct {
	// ID is the subject (OpenID Connect Core section 2): 1 to 255 printable ASCII
	// characters. It never changes.
	ID string `json:"id"`
	// Username and Email are what the person may type to log in; one of them is needed.
	Username      string `json:"username,omitempty"`
	Email         string `json:"email,omitempty"`
	EmailVerified bool   `json:"email_verified,omitempty"`
	// Claims are standard claims (OpenID Connect Core section 5.1), such as name.
	Claims map[string]any `json:"claims,omitempty"`
	// Disabled users cannot log in, and have neither sessions nor tokens.
	Disabled bool `json:"disabled,omitempty"`
	// Password is plain text on its way in. It is never stored and never answered.
	Password string `json:"password,omitempty"`
	// PasswordHash is what is stored of it: argon2id, bcrypt or PBKDF2, see package
	// passwords. It is never answered. Empty: the person cannot log in with a password.
	PasswordHash string    `json:"password_hash,omitempty"`
	CreatedAt    time.Time `json:"created_at,omitzero"`
	UpdatedAt    time.Time `json:"updated_at,omitzero"`
	// ETag changes with every write; a user that was read carries it.
	ETag string `json:"-"`
}

// Store keeps users.
type Store interface {
	// CreateUser returns fault.Conflict when the id or a login is taken.
	CreateUser(ctx context.Context, u User) error
	User(ctx context.Context, id string) (User, error) // fault.NotFound
	// UserByLogin finds a user by what the person typed; fault.NotFound also for what
	// can be nobody's login.
	UserByLogin(ctx context.Context, login string) (User, error)
	// UpdateUser returns fault.NotFound, or fault.Conflict when a login is taken or
	// u.ETag is not empty and not the stored one. A user that becomes disabled loses
	// login sessions, consents, codes and tokens in the same transaction.
	UpdateUser(ctx context.Context, u User) error
	// ChangePassword is UpdateUser that also ends the user's login sessions but the one
	// named, which may be empty.
	ChangePassword(ctx context.Context, u User, keepSession string) error
	// DeleteUser returns fault.NotFound. What a disabled user loses goes too.
	DeleteUser(ctx context.Context, id string) error
	Users(ctx context.Context, limit, offset int) ([]User, error) // ordered by id
}

// maxLogin is the longest login, in bytes (RFC 5321 section 4.5.3.1.3).
const maxLogin = 254

// Key folds a login: two logins with the same key are the same (RFC 8265 section
// 3.3, UsernameCaseMapped). Errors are fault.Invalid.
func Key(login string) (string, error) {
	if login == "" || len(login) > maxLogin {
		return "", fault.New(fault.Invalid, "invalid_login", "a login has 1 to 254 bytes")
	}
	key, err := precis.UsernameCaseMapped.CompareKey(login)
	if err != nil || key == "" || len(key) > maxLogin {
		return "", fault.New(fault.Invalid, "invalid_login", "a login holds letters, digits and punctuation, without spaces (RFC 8265)")
	}
	return key, nil
}

// Keys returns the folded logins of a user, each once. Errors name the member.
func (u User) Keys() ([]string, error) {
	var keys []string
	for _, l := range []struct{ pointer, login string }{{"/username", u.Username}, {"/email", u.Email}} {
		if l.login == "" {
			continue
		}
		key, err := Key(l.login)
		if err != nil {
			return nil, &fault.Error{Kind: fault.Invalid, Reason: "invalid_login", Pointer: l.pointer, Message: fault.MessageOf(err)}
		}
		if len(keys) == 0 || keys[0] != key {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Shown is a user as it is answered: without anything of the password.
func (u User) Shown() User {
	u.Password, u.PasswordHash, u.ETag = "", "", ""
	return u
}

// DisplayName is what the pages call the person.
func (u User) DisplayName() string {
	if name, _ := u.Claims["name"].(string); strings.TrimSpace(name) != "" {
		return name
	}
	if u.Username != "" {
		return u.Username
	}
	return u.Email
}
