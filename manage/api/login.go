package api

import (
	"context"
	"net/http"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/oauth2"
)

func (a *API) loginRoutes() {
	const requests = "/oauth2/auth/requests/"
	if app := a.LoginApp; app != nil {
		a.route(hydra, requests+"login", methods{http.MethodGet: asked("login").to(ask("login", app.LoginRequest), "get")})
		a.route(hydra, requests+"login/accept", methods{http.MethodPut: asked("login").to(answer("login", app.AcceptLogin), "accept")})
		a.route(hydra, requests+"login/reject", methods{http.MethodPut: asked("login").to(answer("login", app.RejectLogin), "reject")})
		a.route(hydra, requests+"consent", methods{http.MethodGet: asked("consent").to(ask("consent", app.ConsentRequest), "get")})
		a.route(hydra, requests+"consent/accept", methods{http.MethodPut: asked("consent").to(answer("consent", app.AcceptConsent), "accept")})
		a.route(hydra, requests+"consent/reject", methods{http.MethodPut: asked("consent").to(answer("consent", app.RejectConsent), "reject")})
	}
	if app := a.LogoutApp; app != nil {
		a.route(hydra, requests+"logout", methods{http.MethodGet: asked("logout").to(ask("logout", app.LogoutRequest), "get")})
		a.route(hydra, requests+"logout/accept", methods{http.MethodPut: asked("logout").to(func(x *exchange) error {
			challenge, err := x.challenge("logout")
			if err != nil {
				return err
			}
			return x.redirect(app.AcceptLogout(x.r.Context(), challenge))
		}, "accept")})
		a.route(hydra, requests+"logout/reject", methods{http.MethodPut: asked("logout").to(func(x *exchange) error {
			challenge, err := x.challenge("logout")
			if err != nil {
				return err
			}
			if err := app.RejectLogout(x.r.Context(), challenge); err != nil {
				return err
			}
			return x.none()
		}, "reject")})
	}
	if app := a.DeviceApp; app != nil {
		a.route(hydra, requests+"device/accept", methods{http.MethodPut: asked("device").to(answer("device", app.AcceptUserCode), "accept")})
	}
	if a.BackchannelApp != nil {
		a.route(hydra, requests+"backchannel", methods{http.MethodGet: asked("backchannel").to(a.listBackchannel, "get")})
		a.route(hydra, requests+"backchannel/accept", methods{http.MethodPut: asked("backchannel").to(a.acceptBackchannel, "accept")})
		a.route(hydra, requests+"backchannel/reject", methods{http.MethodPut: asked("backchannel").to(a.rejectBackchannel, "reject")})
	}
	if a.Sessions != nil {
		consents := object{scope: "hydra.sessions", resource: "oauth2:auth:sessions:consent"}
		a.route(hydra, "/oauth2/auth/sessions/consent", methods{http.MethodGet: consents.to(a.listConsents, "get"), http.MethodDelete: consents.to(a.revokeConsents, "delete")})
		a.route(hydra, "/oauth2/auth/sessions/login", methods{http.MethodDelete: object{scope: "hydra.sessions", resource: "oauth2:auth:sessions:login"}.to(a.revokeLogins, "delete")})
	}
}

// asked names the requests of one kind that an app answers.
func asked(kind string) object {
	return object{scope: "hydra.consent", resource: "oauth2:auth:requests:" + kind}
}

// challenge reads login_challenge and so on; plain challenge is Hydra 1.0's name.
func (x *exchange) challenge(of string) (string, error) {
	for _, name := range []string{of + "_challenge", "challenge"} {
		if c := x.query(name); c != "" {
			return c, nil
		}
	}
	return "", fault.New(fault.Invalid, "invalid_request", "the query parameter "+of+"_challenge is missing")
}

func (x *exchange) redirect(to string, err error) error {
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, map[string]string{"redirect_to": to})
}

// ask is GET of a request that an app is to answer.
func ask[T any](of string, read func(context.Context, string) (T, error)) action {
	return func(x *exchange) error {
		challenge, err := x.challenge(of)
		if err != nil {
			return err
		}
		request, err := read(x.r.Context(), challenge)
		if err != nil {
			return err
		}
		return x.json(http.StatusOK, withClient(request))
	}
}

// withClient shows the client of a request as /clients does.
func withClient(request any) any {
	switch r := request.(type) {
	case oauth2.LoginRequest:
		r.Client = manage.Shown(r.Client)
		return r
	case oauth2.ConsentRequest:
		r.Client = manage.Shown(r.Client)
		return r
	case oauth2.LogoutRequest:
		if r.Client != nil {
			c := manage.Shown(*r.Client)
			r.Client = &c
		}
		return r
	}
	return request
}

// answer is PUT of an app's answer.
func answer[T any](of string, give func(context.Context, string, T) (string, error)) action {
	return func(x *exchange) error {
		challenge, err := x.challenge(of)
		if err != nil {
			return err
		}
		var body T
		if err := x.decode(&body); err != nil {
			return err
		}
		return x.redirect(give(x.r.Context(), challenge, body))
	}
}

func (a *API) listConsents(x *exchange) error {
	p, err := x.page(hydraPage, hydraMost)
	if err != nil {
		return err
	}
	f := oauth2.ConsentFilter{Subject: x.query("subject"), LoginSessionID: x.query("login_session_id")}
	list, total, err := a.Sessions.List(x.r.Context(), f, p.limit+1, p.offset)
	if err != nil {
		return err
	}
	return sendPage(x, p.of(total), list)
}

func (a *API) revokeConsents(x *exchange) error {
	if id := x.query("consent_request_id"); id != "" {
		if q := x.r.URL.Query(); q.Has("subject") || q.Has("client") || q.Has("all") {
			return fault.New(fault.Invalid, "invalid_request", "the query parameter consent_request_id excludes subject, client and all")
		}
		if err := a.Sessions.RevokeConsent(x.r.Context(), id); err != nil {
			return err
		}
		return x.none()
	}
	if err := a.Sessions.RevokeConsents(x.r.Context(), x.query("subject"), x.query("client"), x.query("all") == "true"); err != nil {
		return err
	}
	return x.none()
}

func (a *API) revokeLogins(x *exchange) error {
	if err := a.Sessions.RevokeLogins(x.r.Context(), x.query("subject"), x.query("sid")); err != nil {
		return err
	}
	return x.none()
}
