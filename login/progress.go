package login

import (
	"net/http"
	"slices"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/users"
)

// progress is how far one login has come. Every way to log in (a password, a second
// factor, a passkey, another provider) makes or extends one, gives it to proceed, and
// knows nothing of what comes next. Between two steps the browser carries it as a ticket
// about the challenge. The zero value is nobody.
type progress struct {
	// Subject is the id of the user who was identified; empty: nobody was.
	Subject string `json:"sub,omitempty"`
	// AMR are the methods by which, in the order in which they were shown (RFC 8176
	// section 2), without mfa, which context adds.
	AMR []string `json:"amr,omitempty"`
	// ACR is the context that another provider told and that clients are told as it is;
	// empty: ours.
	ACR string `json:"acr,omitempty"`
	// At is when the person was authenticated at another provider, in seconds since 1970;
	// 0: here and now.
	At int64 `json:"at,omitempty"`
	// Second says that more than one factor was shown: a second one after the first,
	// or one that is two in one.
	Second bool `json:"second,omitempty"`
	// Login is what the person typed to be found; empty: nothing.
	Login string `json:"login,omitempty"`
	// Keep is "keep me signed in".
	Keep bool `json:"keep,omitempty"`
}

// The authentication contexts of ID tokens: one factor, or more of them.
const (
	oneFactor   = "aal1"
	moreFactors = "aal2"
)

// context is the authentication context class and the methods that an ID token tells.
func (p progress) context() (acr string, amr []string) {
	acr, amr = p.ACR, p.AMR
	if p.Second && !slices.Contains(amr, "mfa") {
		amr = append(slices.Clone(amr), "mfa")
	}
	switch {
	case acr != "":
	case p.Second:
		acr = moreFactors
	default:
		acr = oneFactor
	}
	return acr, amr
}

// step is what a login needs next. The zero value refuses it.
type step int

const (
	stepRefuse step = iota
	stepFinish
	stepCode  // a second factor is to be shown
	stepEnrol // there is none yet, and has to be
)

// next is the one place that decides what a login needs next. The user is read anew for
// every step.
func next(p progress, u users.User, f users.Factors, policy SecondFactor) step {
	switch {
	case p.Subject == "" || p.Subject != u.ID || u.Disabled:
		return stepRefuse
	case p.Second || policy == NoSecondFactor:
		return stepFinish
	case f.Any():
		return stepCode
	case policy == SecondFactorRequired:
		return stepEnrol
	default:
		return stepFinish
	}
}

// proceed takes a login to its next step: it answers the request with a page, or
// finishes the login.
func (x *exchange) proceed(asked oauth2.LoginRequest, p progress) error {
	u, err := x.p.o.Users.User(x.ctx, p.Subject)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	f, err := x.p.o.Factors.Factors(x.ctx, p.Subject)
	if err != nil {
		return err
	}
	switch next(p, u, f, x.p.o.SecondFactor) {
	case stepFinish:
		return x.finish(asked, p)
	case stepCode:
		return x.askCode(http.StatusOK, asked, p, f)
	case stepEnrol:
		e := enrolment{Generator: newGenerator(x.p.o.Now()), Progress: p}
		return x.showEnrolment(http.StatusOK, enrolPage{Where: LoginPath, Challenge: asked.Challenge}, asked.Challenge, e, u)
	default:
		return x.loginRefused(asked, p)
	}
}

// finish is the one place where a login ends: it tells the authorization server who the
// person is and how that was shown, and sends the browser on.
func (x *exchange) finish(asked oauth2.LoginRequest, p progress) error {
	// Of a login that a session would have answered the session learns how it went.
	accept := oauth2.AcceptLogin{Subject: p.Subject, Remember: true, ExtendSessionLifespan: asked.Skip}
	accept.ACR, accept.AMR = p.context()
	if p.At != 0 {
		accept.AuthenticatedAt = time.Unix(p.At, 0)
	}
	if p.Keep {
		accept.RememberFor = int(x.p.o.Keep / time.Second)
	}
	to, err := x.p.o.Requests.AcceptLogin(x.ctx, asked.Challenge, accept)
	if fault.Is(err, fault.Invalid) && asked.Skip { // somebody else than the session's person
		return x.loginRefused(asked, p)
	}
	if err != nil {
		return err
	}
	if account, err := users.Key(p.Login); err == nil {
		x.rememberDevice(account)
	}
	x.leave(to)
	return nil
}
