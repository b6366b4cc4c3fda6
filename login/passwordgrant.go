package login

import (
	"context"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/users"
)

// perClientID is how often one OAuth 2.0 client may show a wrong password, whoever's. It
// authenticates, and many people are behind it.
var perClientID = users.Pace{Interval: time.Second, Burst: 100}

// PasswordPerson is a person who logged in with nothing but a password.
type PasswordPerson struct {
	User users.User
	ACR  string
	AMR  []string
}

// CheckPassword is a login without a page: a client shows what a person typed (the
// password grant of OAuth 2.0, RFC 6749 section 4.3). The limits on guessing are those of
// the pages, with the client in the place of the address. Errors: fault.Unauthenticated
// for a wrong login or password, fault.RateLimited for too many.
func (p *Pages) CheckPassword(ctx context.Context, clientID, login, password string) (PasswordPerson, error) {
	account, err := users.Key(login)
	if err != nil {
		account = "\x00" + login // can be nobody's, and is counted all the same
	}
	taken := attempts{store: p.o.Attempts}
	for _, limit := range []struct {
		key  string
		pace users.Pace
	}{
		{"oauth2 client\x00" + clientID, perClientID}, {"oauth2 pair\x00" + clientID + "\x00" + account, perPair}, {"account\x00" + account, perAccount},
	} {
		wait, err := taken.take(ctx, limit.key, limit.pace)
		if err != nil {
			return PasswordPerson{}, err
		}
		if wait > 0 {
			return PasswordPerson{}, fault.New(fault.RateLimited, "too_many_attempts",
				"too many wrong passwords; try again in "+strconv.Itoa(int(math.Ceil(wait.Seconds())))+" s")
		}
	}
	u, err := p.checkPassword(ctx, login, password)
	if errors.Is(err, errRefused) {
		return PasswordPerson{}, fault.New(fault.Unauthenticated, "wrong_login", "the login or the password is wrong")
	}
	if err = errors.Join(err, taken.giveBack(ctx)); err != nil {
		return PasswordPerson{}, err
	}
	p.rehash(ctx, u, password)
	came := progress{Subject: u.ID, AMR: []string{"pwd"}}
	f, err := p.o.Factors.Factors(ctx, u.ID)
	if err != nil {
		return PasswordPerson{}, err
	}
	if next(came, u, f, p.o.SecondFactor) != stepFinish { // the password is not all that the person needs
		return PasswordPerson{}, fault.New(fault.Unauthenticated, "wrong_login", "the login needs more than a password")
	}
	who := PasswordPerson{User: u}
	who.ACR, who.AMR = came.context()
	return who, nil
}

// attempts are those that were counted, to be given back when the password was right.
type attempts struct {
	store users.AttemptStore
	keys  []string
	paces []users.Pace
}

func (a *attempts) take(ctx context.Context, key string, pace users.Pace) (time.Duration, error) {
	wait, err := a.store.TakeAttempt(ctx, key, pace)
	if err == nil && wait == 0 {
		a.keys, a.paces = append(a.keys, key), append(a.paces, pace)
	}
	return wait, err
}

func (a *attempts) giveBack(ctx context.Context) error {
	for i, key := range a.keys {
		if err := a.store.ReturnAttempt(ctx, key, a.paces[i]); err != nil {
			return err
		}
	}
	return nil
}
