package login

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/users"
)

// The purposes of the tickets of ceremonies, which hold what the answer is checked
// against: to log in, and to register.
const (
	passkeyTicket  = "passkey"
	registerTicket = "register passkey"
	// passkeyFor is how long a person may take: as long as a login may.
	passkeyFor = 30 * time.Minute
	// maxPasskeyName is the longest name of a passkey, in bytes.
	maxPasskeyName = 64
)

// relyingParty returns what passkeys are for: the host of the issuer, at its origin
// alone. Whatever a passkey is used for, the authenticator has to verify the person.
func relyingParty(issuer *url.URL, name string) (*webauthn.WebAuthn, error) {
	return webauthn.New(&webauthn.Config{
		RPID: issuer.Hostname(), RPDisplayName: name, RPOrigins: []string{issuer.Scheme + "://" + issuer.Host},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(), UserVerification: protocol.VerificationRequired,
		},
	})
}

// ceremony is what a page's script needs to ask the browser for a passkey: Options are
// those of WebAuthn section 5.4 or 5.5 in JSON, Ticket what the answer is checked against.
type ceremony struct{ Options, Ticket string }

// holder is a user as the library sees one.
type holder struct {
	user     users.User
	passkeys []users.Passkey
}

// WebAuthnID is the user handle: no name, and the same for all passkeys of a user
// (WebAuthn section 14.6.1).
func (h holder) WebAuthnID() []byte {
	sum := sha256.Sum256([]byte("gatewarden user handle\x00" + h.user.ID))
	return sum[:]
}

func (h holder) WebAuthnName() string        { return loginOf(h.user) }
func (h holder) WebAuthnDisplayName() string { return h.user.DisplayName() }

func (h holder) WebAuthnCredentials() (list []webauthn.Credential) {
	for _, p := range h.passkeys {
		var c webauthn.Credential
		if json.Unmarshal(p.Credential, &c) == nil { // what cannot be read opens nothing
			c.Authenticator.SignCount, c.Authenticator.CloneWarning = p.SignCount, false
			list = append(list, c)
		}
	}
	return list
}

// offerPasskey begins a login by any passkey that the browser has for this place.
func (x *exchange) offerPasskey(asked oauth2.LoginRequest) (*ceremony, error) {
	if x.p.o.SecondFactor == NoSecondFactor || x.p.passkeys == nil {
		return nil, nil
	}
	options, session, err := x.p.passkeys.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return nil, err
	}
	return x.ceremony(passkeyTicket, asked.Challenge, options.Response, session)
}

func (x *exchange) ceremony(purpose, about string, options any, session *webauthn.SessionData) (*ceremony, error) {
	text, err := json.Marshal(options)
	if err != nil {
		return nil, err
	}
	sealed, err := x.issueTicket(purpose, about, session, passkeyFor)
	if err != nil {
		return nil, err
	}
	x.allowScript()
	return &ceremony{Options: string(text), Ticket: sealed}, nil
}

// errPasskey is the one answer to a passkey that opens nothing.
var errPasskey = errors.New("the passkey is not known here, was not verified, or is a copy")

// submitPasskey is the answer of a passkey on the login page, or on the page that asks
// for a second factor: there it has to be the person's who showed the first.
func (x *exchange) submitPasskey(asked oauth2.LoginRequest, first progress) error {
	var session webauthn.SessionData
	t, err := x.readTicket(passkeyTicket, asked.Challenge, x.form.Get("passkey_ticket"), &session)
	if err == nil {
		err = x.useTicket(t) // whatever comes of it
	}
	if errors.Is(err, errTicket) {
		x.fault("", "fault.form")
		return x.loginForm(http.StatusForbidden, asked, loginPage{Login: x.hinted(asked)})
	}
	if err != nil {
		return err
	}
	u, amr, err := x.checkPasskey(session, x.form.Get("passkey"))
	if err == nil && first.Subject != "" && first.Subject != u.ID {
		err = errPasskey
	}
	if errors.Is(err, errPasskey) {
		x.fault("", "fault.passkey")
		return x.loginForm(http.StatusForbidden, asked, loginPage{Login: x.hinted(asked)})
	}
	if err != nil {
		return err
	}
	done := progress{Subject: u.ID, AMR: amr, Second: true, Keep: x.form.Get("keep") != ""}
	if first.Subject != "" {
		done.Keep, done.Login, done.AMR = first.Keep, first.Login, append(slices.Clone(first.AMR), amr...)
	}
	return x.proceed(asked, done)
}

// checkPasskey checks an assertion (WebAuthn section 7.2) and stores the counter, once
// on all nodes. It returns whose passkey it is and the methods of RFC 8176: a key that
// leaves its device by backups is one in software. Errors: errPasskey, and faults.
func (x *exchange) checkPasskey(session webauthn.SessionData, answer string) (users.User, []string, error) {
	parsed, err := protocol.ParseCredentialRequestResponseBytes([]byte(answer))
	if err != nil {
		return users.User{}, nil, errPasskey
	}
	id, err := x.p.o.Factors.PasskeyOwner(x.ctx, parsed.RawID)
	if fault.Is(err, fault.NotFound) {
		return users.User{}, nil, errPasskey
	}
	if err != nil {
		return users.User{}, nil, err
	}
	u, err := x.p.o.Users.User(x.ctx, id)
	if fault.Is(err, fault.NotFound) || err == nil && u.Disabled {
		return users.User{}, nil, errPasskey
	}
	if err != nil {
		return users.User{}, nil, err
	}
	f, err := x.p.o.Factors.Factors(x.ctx, id)
	if err != nil {
		return users.User{}, nil, err
	}
	h := holder{u, f.Passkeys}
	credential, err := x.p.passkeys.ValidateDiscoverableLogin(func(_, _ []byte) (webauthn.User, error) { return h, nil }, session, parsed)
	if err != nil || !parsed.Response.AuthenticatorData.Flags.HasUserVerified() {
		x.p.o.Log.WarnContext(x.ctx, "a passkey was refused", "user", u.ID, "error", err)
		return users.User{}, nil, errPasskey
	}
	n := slices.IndexFunc(f.Passkeys, func(p users.Passkey) bool { return string(p.ID) == string(credential.ID) })
	if n < 0 || credential.Authenticator.CloneWarning {
		x.p.o.Log.WarnContext(x.ctx, "the counter of a passkey did not rise: there may be a copy of it", "user", u.ID)
		return users.User{}, nil, errPasskey
	}
	p := f.Passkeys[n]
	p.SignCount, p.UsedAt = credential.Authenticator.SignCount, x.p.o.Now().UTC().Truncate(time.Second)
	if p.Credential, err = json.Marshal(credential); err != nil {
		return users.User{}, nil, err
	}
	if err := x.p.o.Factors.UsePasskey(x.ctx, u.ID, p); errors.Is(err, users.ErrUsed) {
		x.p.o.Log.WarnContext(x.ctx, "the counter of a passkey did not rise: there may be a copy of it", "user", u.ID)
		return users.User{}, nil, errPasskey
	} else if err != nil {
		return users.User{}, nil, err
	}
	kind := "hwk"
	if credential.Flags.BackupEligible {
		kind = "swk"
	}
	return u, []string{kind, "user"}, nil
}

// registerPage is what passkey.html shows: a passkey that is to be registered.
type registerPage struct {
	Passkey *ceremony
	Name    string
}

// beginPasskey shows the page on which a passkey is registered.
func (x *exchange) beginPasskey(session *oauth2.LoginSession, u users.User) error {
	f, err := x.p.o.Factors.Factors(x.ctx, u.ID)
	if err != nil {
		return err
	}
	if len(f.Passkeys) >= users.MaxPasskeys {
		x.fault("", "fault.passkeys")
		return x.account(http.StatusConflict, session, u)
	}
	h := holder{u, f.Passkeys}
	options, data, err := x.p.passkeys.BeginRegistration(h, webauthn.WithExclusions(webauthn.Credentials(h.WebAuthnCredentials()).CredentialDescriptors()))
	if err != nil {
		return err
	}
	page := registerPage{Name: strings.TrimSpace(x.form.Get("name"))}
	if page.Passkey, err = x.ceremony(registerTicket, session.ID, options.Response, data); err != nil {
		return err
	}
	x.protect(AccountPath, session.ID)
	x.render(http.StatusOK, "passkey", page)
	return nil
}

// finishPasskey takes the answer of a new passkey (WebAuthn section 7.1).
func (x *exchange) finishPasskey(session *oauth2.LoginSession, u users.User) error {
	var data webauthn.SessionData
	t, err := x.readTicket(registerTicket, session.ID, x.form.Get("passkey_ticket"), &data)
	if err == nil {
		err = x.useTicket(t)
	}
	if errors.Is(err, errTicket) {
		x.fault("", "fault.form")
		return x.account(http.StatusForbidden, session, u)
	}
	if err != nil {
		return err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes([]byte(x.form.Get("passkey")))
	var credential *webauthn.Credential
	if err == nil {
		credential, err = x.p.passkeys.CreateCredential(holder{user: u}, data, parsed)
	}
	if err != nil || !credential.Flags.UserVerified {
		x.p.o.Log.WarnContext(x.ctx, "a passkey was not registered", "user", u.ID, "error", err)
		x.fault("", "fault.passkey")
		return x.account(http.StatusForbidden, session, u)
	}
	credential.Attestation = webauthn.CredentialAttestation{} // nothing is decided by it
	p := users.Passkey{ID: credential.ID, Name: passkeyName(x.form.Get("name")), SignCount: credential.Authenticator.SignCount, CreatedAt: x.p.o.Now().UTC().Truncate(time.Millisecond)}
	if p.Credential, err = json.Marshal(credential); err != nil {
		return err
	}
	err = x.p.o.Factors.AddPasskey(x.ctx, u.ID, p)
	if fault.Is(err, fault.Conflict) {
		x.fault("", "fault.passkeys")
		return x.account(http.StatusConflict, session, u)
	}
	if err != nil {
		return err
	}
	x.p.o.Log.InfoContext(x.ctx, "a passkey was registered", "user", u.ID)
	return x.afterPasskey(session, u)
}

// afterPasskey shows recovery codes to who has none yet.
func (x *exchange) afterPasskey(session *oauth2.LoginSession, u users.User) error {
	f, err := x.p.o.Factors.Factors(x.ctx, u.ID)
	if err != nil {
		return err
	}
	if f.RecoveryCodes > 0 {
		x.v.Notice = x.v.T("account.passkey.added")
		return x.account(http.StatusOK, session, u)
	}
	codes, hashes := users.NewRecoveryCodes(u.ID)
	if err := x.p.o.Factors.ReplaceRecoveryCodes(x.ctx, u.ID, hashes); err != nil {
		return err
	}
	x.render(http.StatusOK, "codes", codesPage{Codes: codes})
	return nil
}

func passkeyName(typed string) string {
	name := users.IdentityName(strings.TrimSpace(typed))
	if len(name) > maxPasskeyName {
		name = strings.ToValidUTF8(name[:maxPasskeyName], "")
	}
	return name
}

// accountPasskey is a passkey as the account page shows it. Key names it in the form.
type accountPasskey struct{ Key, Name, Since, Used string }

func listPasskeys(f users.Factors) (list []accountPasskey) {
	for _, p := range f.Passkeys {
		shown := accountPasskey{Key: passkeyKey(p), Name: p.Name, Since: minute(p.CreatedAt)}
		if !p.UsedAt.IsZero() {
			shown.Used = minute(p.UsedAt)
		}
		list = append(list, shown)
	}
	return list
}

func passkeyKey(p users.Passkey) string { return mac(nil, []string{"passkey", string(p.ID)})[:22] }

// removePasskey takes one of the person's passkeys away.
func (x *exchange) removePasskey(session *oauth2.LoginSession, u users.User, key string) error {
	f, err := x.p.o.Factors.Factors(x.ctx, u.ID)
	if err != nil {
		return err
	}
	n := slices.IndexFunc(f.Passkeys, func(p users.Passkey) bool { return passkeyKey(p) == key })
	if n < 0 {
		return fault.New(fault.NotFound, "passkey_not_found", "there is no such passkey")
	}
	if err := x.p.o.Factors.RemovePasskey(x.ctx, u.ID, f.Passkeys[n].ID); err != nil {
		return err
	}
	x.p.o.Log.InfoContext(x.ctx, "a passkey was removed", "user", u.ID)
	x.v.Notice = x.v.T("account.passkey.removed")
	return x.account(http.StatusOK, session, u)
}
