package login

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/passwords"
	"github.com/gatewarden/gatewarden/users"
)

// errRefused is the one answer to a wrong password, an unknown login, a user without a
// password and a disabled one.
var errRefused = errors.New("wrong login or password")

// errSlow says how long to wait.
type errSlow struct{ wait time.Duration }

func (e *errSlow) Error() string { return fmt.Sprintf("too many attempts: wait %s", e.wait) }

// authenticate returns who has the login and the password. Whoever it is or is not
// costs one hash and gets one answer. Errors: errRefused, *errSlow, and faults.
func (x *exchange) authenticate(login, password string) (users.User, error) {
	account, err := users.Key(login)
	if err != nil {
		account = "\x00" + login // can be nobody's, and is counted all the same
	}
	attempt, wait, err := x.attempt(account)
	if err != nil {
		return users.User{}, err
	}
	if wait > 0 {
		return users.User{}, &errSlow{wait}
	}
	u, err := x.p.checkPassword(x.ctx, login, password)
	switch {
	case errors.Is(err, errRefused):
		return users.User{}, err
	case err != nil: // nothing was found out about the password
		return users.User{}, errors.Join(err, attempt.succeeded())
	}
	if err := attempt.succeeded(); err != nil {
		return users.User{}, err
	}
	x.p.rehash(x.ctx, u, password)
	return u, nil
}

// checkPassword returns who has the login and the password, or errRefused, at the cost of
// one hash in either case.
func (p *Pages) checkPassword(ctx context.Context, login, password string) (users.User, error) {
	u, err := p.o.Users.UserByLogin(ctx, login)
	switch {
	case fault.Is(err, fault.NotFound) || err == nil && (u.Disabled || u.PasswordHash == ""):
		err = p.o.Passwords.Fail(ctx, p.o.DummyHash, password)
	case err == nil:
		err = p.o.Passwords.Verify(ctx, u.PasswordHash, password)
	}
	switch {
	case errors.Is(err, passwords.ErrWrong):
		return users.User{}, errRefused
	case err != nil:
		return users.User{}, err
	}
	return u, nil
}

// rehash keeps the password under a hash of today's kind. The login does not depend on
// it: the next one tries again.
func (p *Pages) rehash(ctx context.Context, u users.User, password string) {
	if !passwords.Outdated(u.PasswordHash) {
		return
	}
	if err := p.o.Accounts.Rehash(ctx, u, password); err != nil {
		p.o.Log.WarnContext(ctx, "a password could not be hashed anew", "user", u.ID, "error", err)
	}
}
