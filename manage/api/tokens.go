package api

import (
	"net/http"
	"time"

	"github.com/gatewarden/gatewarden/fault"
)

func (a *API) tokenRoutes() {
	if a.Tokens == nil {
		return
	}
	if a.Tokens.Introspect != nil {
		a.route(hydra, "/oauth2/introspect", methods{http.MethodPost: tokensTo("hydra.introspect").to(a.introspect, "introspect")})
	}
	if a.Tokens.Store != nil {
		a.route(hydra, "/oauth2/tokens", methods{http.MethodDelete: tokensTo("hydra.oauth2.delete").to(a.revokeTokens, "delete")})
	}
	if a.Tokens.Sweeper != nil {
		a.route(hydra, "/oauth2/flush", methods{http.MethodPost: tokensTo("hydra.oauth2.flush").to(a.flush, "flush")})
	}
}

// tokensTo names all issued tokens.
func tokensTo(scope string) object { return object{scope: scope, resource: "oauth2:tokens"} }

// introspect is RFC 7662 section 2 for callers that the guard admitted.
func (a *API) introspect(x *exchange) error {
	form, err := x.form()
	if err != nil {
		return err
	}
	if form.Get("token") == "" {
		return fault.New(fault.Invalid, "invalid_request", "the parameter token is missing")
	}
	answer, err := a.Tokens.Introspect(x.r.Context(), form.Get("token"), form.Get("scope"))
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, answer)
}

func (a *API) revokeTokens(x *exchange) error {
	if err := a.Tokens.RevokeOfClient(x.r.Context(), x.query("client_id")); err != nil {
		return err
	}
	return x.none()
}

func (a *API) flush(x *exchange) error {
	var body struct {
		NotAfter time.Time `json:"notAfter"`
	}
	if err := x.decode(&body); err != nil {
		return err
	}
	if err := a.Tokens.Flush(x.r.Context(), body.NotAfter); err != nil {
		return err
	}
	return x.none()
}
