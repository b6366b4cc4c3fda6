package api

import (
	"net/http"

	"github.com/gatewarden/gatewarden/manage"
)

func (a *API) trustRoutes() {
	if a.TrustGrants == nil {
		return
	}
	const at = "/trust/grants/jwt-bearer/issuers"
	issuers := object{scope: "hydra.trust", resource: "trust:issuers"}
	one := issuers.at("{id}")
	a.route(hydra, at, methods{http.MethodGet: issuers.to(a.listTrustGrants, "get", "list"), http.MethodPost: issuers.to(a.createTrustGrant, "create")})
	a.route(hydra, at+"/{id}", methods{http.MethodGet: one.to(a.getTrustGrant, "get"), http.MethodDelete: one.to(a.deleteTrustGrant, "delete")})
}

func (a *API) listTrustGrants(x *exchange) error {
	p, err := x.page(hydraPage, hydraMost)
	if err != nil {
		return err
	}
	list, total, err := a.TrustGrants.List(x.r.Context(), x.query("issuer"), p.limit+1, p.offset)
	if err != nil {
		return err
	}
	return sendPage(x, p.of(total), list)
}

func (a *API) createTrustGrant(x *exchange) error {
	var body manage.NewTrustGrant
	if err := x.decode(&body); err != nil {
		return err
	}
	g, err := a.TrustGrants.Create(x.r.Context(), body)
	if err != nil {
		return err
	}
	return x.created("/trust/grants/jwt-bearer/issuers", g.ID, g)
}

func (a *API) getTrustGrant(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	g, err := a.TrustGrants.Get(x.r.Context(), id)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, g)
}

func (a *API) deleteTrustGrant(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	if err := a.TrustGrants.Delete(x.r.Context(), id); err != nil {
		return err
	}
	return x.none()
}
