package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/authz"
	"github.com/gatewarden/gatewarden/policies"
)

// The page sizes of early Hydra.
const (
	policiesPage = 500
	policiesMost = 1000
	groupsPage   = 100
	groupsMost   = 500
)

func (a *API) policyRoutes() {
	if a.Policies != nil {
		all := object{scope: "hydra.policies", resource: "policies"}
		one := all.at("{id}")
		a.route(ory, "/policies", methods{http.MethodGet: all.to(a.listPolicies, "get", "list"), http.MethodPost: all.to(a.createPolicy, "create")})
		a.route(ory, "/policies/{id}", methods{
			http.MethodGet: one.to(a.getPolicy, "get"), http.MethodPut: one.to(a.replacePolicy, "update"), http.MethodDelete: one.to(a.deletePolicy, "delete"),
		})
	}
	if a.Warden != nil {
		a.route(ory, "/warden/allowed", methods{http.MethodPost: object{scope: "hydra.warden", resource: "warden:allowed"}.to(a.allowed, "decide")})
		if a.Tokens != nil && a.Tokens.Introspect != nil {
			a.route(ory, "/warden/token/allowed", methods{http.MethodPost: object{scope: "hydra.warden", resource: "warden:token:allowed"}.to(a.tokenAllowed, "decide")})
		}
	}
	if a.Groups != nil {
		groups := object{scope: "hydra.warden.groups", resource: "warden:groups"}
		one := groups.at("{id}")
		a.route(ory, "/warden/groups", methods{http.MethodGet: groups.to(a.listGroups, "get", "list"), http.MethodPost: groups.to(a.createGroup, "create")})
		a.route(ory, "/warden/groups/{id}", methods{http.MethodGet: one.to(a.getGroup, "get"), http.MethodDelete: one.to(a.deleteGroup, "delete")})
		a.route(ory, "/warden/groups/{id}/members", methods{http.MethodPost: one.to(a.addMembers, "members.add"), http.MethodDelete: one.to(a.removeMembers, "members.remove")})
	}
}

func (a *API) listPolicies(x *exchange) error {
	p, err := x.page(policiesPage, policiesMost)
	if err != nil {
		return err
	}
	list, err := a.Policies.List(x.r.Context(), p.limit+1, p.offset)
	if err != nil {
		return err
	}
	return sendPage(x, p, list)
}

// sendPage answers with a list that was asked for with one more than the limit.
func sendPage[T any](x *exchange, p page, list []T) error {
	x.links(p, len(list) > p.limit)
	if list == nil {
		list = []T{}
	}
	return x.json(http.StatusOK, list[:min(len(list), p.limit)])
}

func (a *API) getPolicy(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	p, err := a.Policies.Get(x.r.Context(), id)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, p)
}

func (a *API) createPolicy(x *exchange) error {
	var p policies.Policy
	if err := x.decode(&p); err != nil {
		return err
	}
	p, err := a.Policies.Create(x.r.Context(), p)
	if err != nil {
		return err
	}
	return x.created("/policies", p.ID, p)
}

func (a *API) replacePolicy(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	var p policies.Policy
	if err := x.decode(&p); err != nil {
		return err
	}
	if err := sameID(id, &p.ID, "/id"); err != nil {
		return err
	}
	if p, err = a.Policies.Replace(x.r.Context(), p); err != nil {
		return err
	}
	return x.json(http.StatusOK, p)
}

func (a *API) deletePolicy(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	if err := a.Policies.Delete(x.r.Context(), id); err != nil {
		return err
	}
	return x.none()
}

// allowed answers Hydra's warden question. Denied is an answer: 200 with false.
func (a *API) allowed(x *exchange) error {
	var q struct {
		Subject  string         `json:"subject"`
		Action   string         `json:"action"`
		Resource string         `json:"resource"`
		Context  map[string]any `json:"context"`
	}
	if err := x.decode(&q); err != nil {
		return err
	}
	answer, err := a.Warden.Allowed(x.r.Context(), authz.Question{Subject: q.Subject, Action: q.Action, Resource: q.Resource, Context: q.Context})
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, map[string]bool{"allowed": answer.Allow})
}

// tokenAnswer is the answer of both early generations: 0.9's names and 0.11's.
type tokenAnswer struct {
	Allowed       bool           `json:"allowed"`
	Sub           string         `json:"sub"`
	Subject       string         `json:"subject"`
	Scopes        []string       `json:"scopes"`
	GrantedScopes []string       `json:"grantedScopes"`
	Iss           string         `json:"iss"`
	Issuer        string         `json:"issuer"`
	Aud           string         `json:"aud"`
	ClientID      string         `json:"clientId"`
	Iat           time.Time      `json:"iat"`
	IssuedAt      time.Time      `json:"issuedAt"`
	Exp           time.Time      `json:"exp"`
	ExpiresAt     time.Time      `json:"expiresAt"`
	Ext           map[string]any `json:"ext,omitempty"`
	Extra         map[string]any `json:"accessTokenExtra,omitempty"`
}

// tokenAllowed asks with the subject of an access token, which must be active and
// have the scopes.
func (a *API) tokenAllowed(x *exchange) error {
	var q struct {
		Token    string         `json:"token"`
		Scopes   []string       `json:"scopes"`
		Action   string         `json:"action"`
		Resource string         `json:"resource"`
		Context  map[string]any `json:"context"`
	}
	if err := x.decode(&q); err != nil {
		return err
	}
	denied := map[string]bool{"allowed": false}
	t, err := a.Tokens.Introspect(x.r.Context(), q.Token, strings.Join(q.Scopes, " "))
	if err != nil {
		return err
	}
	if !t.Active || t.TokenUse != "" && t.TokenUse != "access_token" {
		return x.json(http.StatusOK, denied)
	}
	answer, err := a.Warden.Allowed(x.r.Context(), authz.Question{Subject: t.Subject, Action: q.Action, Resource: q.Resource, Context: q.Context})
	if err != nil {
		return err
	}
	if !answer.Allow {
		return x.json(http.StatusOK, denied)
	}
	scopes, issued, expires := strings.Fields(t.Scope), time.Unix(t.IssuedAt, 0).UTC(), time.Unix(t.ExpiresAt, 0).UTC()
	return x.json(http.StatusOK, tokenAnswer{
		Allowed: true, Sub: t.Subject, Subject: t.Subject, Scopes: scopes, GrantedScopes: scopes, Iss: t.Issuer, Issuer: t.Issuer,
		Aud: t.ClientID, ClientID: t.ClientID, Iat: issued, IssuedAt: issued, Exp: expires, ExpiresAt: expires, Ext: t.Extra, Extra: t.Extra,
	})
}

func (a *API) listGroups(x *exchange) error {
	p, err := x.page(groupsPage, groupsMost)
	if err != nil {
		return err
	}
	list, err := a.Groups.List(x.r.Context(), x.query("member"), p.limit+1, p.offset)
	if err != nil {
		return err
	}
	return sendPage(x, p, list)
}

func (a *API) getGroup(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	g, err := a.Groups.Get(x.r.Context(), id)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, g)
}

func (a *API) createGroup(x *exchange) error {
	var g policies.Group
	if err := x.decode(&g); err != nil {
		return err
	}
	g, err := a.Groups.Create(x.r.Context(), g)
	if err != nil {
		return err
	}
	return x.created("/warden/groups", g.ID, g)
}

func (a *API) deleteGroup(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	if err := a.Groups.Delete(x.r.Context(), id); err != nil {
		return err
	}
	return x.none()
}

type members struct {
	Members []string `json:"members"`
}

func (a *API) addMembers(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	var m members
	if err := x.decode(&m); err != nil {
		return err
	}
	if err := a.Groups.AddMembers(x.r.Context(), id, m.Members); err != nil {
		return err
	}
	return x.none()
}

func (a *API) removeMembers(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	var m members
	if err := x.decode(&m); err != nil {
		return err
	}
	if err := a.Groups.RemoveMembers(x.r.Context(), id, m.Members); err != nil {
		return err
	}
	return x.none()
}
