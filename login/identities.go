package login

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/relyingparty"
	"github.com/gatewarden/gatewarden/users"
)

// freshFor is how long after a login a person without a password may change how to log
// in; one with a password types it again.
const freshFor = 10 * time.Minute

// userOf returns whose identity it is that a provider vouches for. An identity that is
// nobody's becomes a user's as the provider's settings allow. Errors: errRefusedUpstream.
func (x *exchange) userOf(provider *Provider, who *relyingparty.Person) (users.User, error) {
	u, err := x.p.o.Identities.UserByIdentity(x.ctx, provider.Client.Issuer(), who.Subject)
	switch {
	case err == nil && u.Disabled:
		return u, errRefusedUpstream
	case !fault.Is(err, fault.NotFound):
		return u, err
	case !provider.Create && !provider.LinkVerifiedEmail:
		return u, errRefusedUpstream
	}
	if err := provider.Client.Userinfo(x.ctx, who); err != nil {
		return u, err
	}
	email := provider.email(who.Claims)
	if !provider.admits(email) {
		return u, errRefusedUpstream
	}
	if provider.LinkVerifiedEmail && email != "" {
		if u, err = x.linkByEmail(provider, who, email); !fault.Is(err, fault.NotFound) {
			return u, err
		}
	}
	if !provider.Create {
		return u, errRefusedUpstream
	}
	return x.createUser(provider, who, email)
}

// linkByEmail gives the identity to the user with the address, which must be verified
// here as well: else whoever entered it first would share the account of its owner.
// Errors: fault.NotFound when there is no such user, errRefusedUpstream.
func (x *exchange) linkByEmail(provider *Provider, who *relyingparty.Person, email string) (users.User, error) {
	u, err := x.p.o.Users.UserByLogin(x.ctx, email)
	if err != nil {
		return u, err
	}
	if u.Disabled || !u.EmailVerified || !sameLogin(u.Email, email) {
		return u, errRefusedUpstream
	}
	err = x.p.o.Identities.LinkIdentity(x.ctx, x.identity(provider, who, u.ID))
	if fault.Is(err, fault.Conflict) || fault.Is(err, fault.Invalid) { // somebody was faster, or nobody can have it
		err = errRefusedUpstream
	}
	if err == nil {
		x.p.o.Log.InfoContext(x.ctx, "an identity was linked by its verified address", "provider", provider.ID, "user", u.ID)
	}
	return u, err
}

func sameLogin(a, b string) bool {
	one, err := users.Key(a)
	other, otherErr := users.Key(b)
	return err == nil && otherErr == nil && one == other
}

// identity is the one that a provider vouches for, of a user.
func (x *exchange) identity(provider *Provider, who *relyingparty.Person, userID string) users.Identity {
	name := provider.text(who.Claims, "email")
	if name == "" {
		name = provider.text(who.Claims, "username")
	}
	return users.Identity{Issuer: provider.Client.Issuer(), Subject: who.Subject, UserID: userID,
		Name: users.IdentityName(name), LinkedAt: x.p.o.Now().UTC().Truncate(time.Second)}
}

// createUser makes a user of an identity that is nobody's. A login that somebody has is
// refused: it is not known whether they are the same person.
func (x *exchange) createUser(provider *Provider, who *relyingparty.Person, email string) (users.User, error) {
	now := x.p.o.Now().UTC().Truncate(time.Second)
	u := users.User{ID: strings.ToLower(rand.Text()), CreatedAt: now, UpdatedAt: now, Claims: map[string]any{}}
	if (users.User{ID: u.ID, Email: email}).Check() == nil {
		u.Email, u.EmailVerified = email, true
	}
	// A name with @ may be somebody's address, which nobody has verified.
	if name := provider.text(who.Claims, "username"); name != "" && !strings.Contains(name, "@") {
		if (users.User{ID: u.ID, Username: name}).Check() == nil {
			u.Username = name
		}
	}
	if u.Username == "" && u.Email == "" {
		u.Username = provider.ID + "-" + strings.ToLower(rand.Text())[:10]
	}
	for _, member := range users.ProfileClaims() {
		if value := provider.text(who.Claims, member); users.IsClaim(member, value) {
			u.Claims[member] = value
		}
	}
	err := x.p.o.Identities.CreateUserWithIdentity(x.ctx, u, x.identity(provider, who, u.ID))
	if fault.Is(err, fault.Conflict) || fault.Is(err, fault.Invalid) {
		x.p.o.Log.WarnContext(x.ctx, "a user could not be created", "provider", provider.ID, "error", err)
		return u, errRefusedUpstream
	}
	if err == nil {
		x.p.o.Log.InfoContext(x.ctx, "a user was created by a login with a provider", "provider", provider.ID, "user", u.ID)
	}
	return u, err
}

// accountIdentity is an identity as the account page shows it. Key names it in the form.
type accountIdentity struct{ Key, Provider, Name, Since string }

// listIdentities puts a person's identities on the page.
func (x *exchange) listIdentities(page *accountPage, u users.User) error {
	if len(x.p.o.Providers) == 0 {
		return nil
	}
	list, err := x.p.o.Identities.Identities(x.ctx, u.ID)
	for _, i := range list {
		name := i.Issuer
		for _, p := range x.p.o.Providers {
			if p.Client.Issuer() == i.Issuer {
				name = p.Name
			}
		}
		page.Identities = append(page.Identities, accountIdentity{Key: identityKey(i), Provider: name, Name: i.Name, Since: minute(i.LinkedAt)})
	}
	page.Providers = x.p.providerChoices()
	return err
}

// sure reports whether it is the person who changes how to log in: by the password, else
// by a login a short time ago. If not, the page says what is wrong, or the browser was
// sent to log in.
func (x *exchange) sure(session *oauth2.LoginSession, u users.User, field string) (bool, error) {
	if u.PasswordHash == "" {
		if x.p.o.Now().Sub(session.AuthenticatedAt) < freshFor {
			return true, nil
		}
		x.p.o.Sessions.SignIn(x.w, x.r, AccountPath, true)
		return false, nil
	}
	status, err := x.confirm(u, field)
	if status != 0 {
		return false, x.account(status, session, u)
	}
	return err == nil, err
}

// beginLink sends a person to a provider to link an identity there.
func (x *exchange) beginLink(session *oauth2.LoginSession, u users.User, id string) error {
	provider := x.p.provider(id)
	if provider == nil {
		return fault.New(fault.Invalid, "invalid_form", "there is no such provider")
	}
	if ok, err := x.sure(session, u, "link_password"); !ok {
		return err
	}
	err := x.beginUpstream(provider, url.Values{"prompt": {"select_account"}}, upstreamAttempt{Session: session.ID, MaxAge: -1})
	if status := x.upstreamRefused(provider, err); status != 0 {
		return x.account(status, session, u)
	}
	return err
}

// finishLink links the identity that a provider vouches for to the person who began it,
// in the same login session.
func (x *exchange) finishLink(provider *Provider, a upstreamAttempt, answer url.Values) error {
	session, u, ok, err := x.person()
	if !ok {
		return err
	}
	if a.Session == "" || session.ID != a.Session {
		return errAnotherSession
	}
	who, err := x.redeem(provider, a, answer)
	if status := x.upstreamRefused(provider, err); status != 0 {
		return x.account(status, session, u)
	}
	if err != nil {
		return err
	}
	err = x.p.o.Identities.LinkIdentity(x.ctx, x.identity(provider, who, u.ID))
	status := http.StatusOK
	switch {
	case fault.Is(err, fault.Conflict):
		status = http.StatusConflict
		x.fault("", "fault.provider.linked", "provider", provider.Name)
	case fault.Is(err, fault.Invalid):
		return x.account(x.upstreamRefused(provider, errRefusedUpstream), session, u)
	case err != nil:
		return err
	default:
		x.v.Notice = x.v.T("account.identity.linked", "provider", provider.Name)
	}
	return x.account(status, session, u)
}

// identityKey names an identity in a form.
func identityKey(i users.Identity) string {
	return attemptID(string(lengthed(i.Issuer, i.Subject)))
}

// unlink takes an identity away, but not the last thing that the person can log in with.
func (x *exchange) unlink(session *oauth2.LoginSession, u users.User, key string) error {
	if len(x.p.o.Providers) == 0 {
		return fault.New(fault.Invalid, "invalid_form", "there is no such action")
	}
	own, err := x.p.o.Identities.Identities(x.ctx, u.ID)
	if err != nil {
		return err
	}
	n := slices.IndexFunc(own, func(i users.Identity) bool { return identityKey(i) == key })
	if n < 0 {
		return fault.New(fault.NotFound, "identity_not_found", "there is no such identity")
	}
	if ok, err := x.sure(session, u, "link_password"); !ok {
		return err
	}
	err = x.p.o.Identities.UnlinkIdentity(x.ctx, own[n], x.p.issuers())
	if errors.Is(err, users.ErrLastWay) {
		x.fault("", "fault.identity.last")
		return x.account(http.StatusConflict, session, u)
	}
	if err != nil {
		return err
	}
	x.v.Notice = x.v.T("account.identity.ended")
	return x.account(http.StatusOK, session, u)
}
