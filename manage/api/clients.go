package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/oauth2"
)

// The page sizes of Hydra's lists.
const (
	hydraPage = 100
	hydraMost = 500
)

func (a *API) clientRoutes() {
	if a.Clients == nil {
		return
	}
	clients := object{scope: "hydra.clients", resource: "clients"}
	one := clients.at("{id}").about(a.owner)
	a.route(hydra, "/clients", methods{http.MethodGet: clients.to(a.listClients, "get", "list"), http.MethodPost: clients.about(a.newOwner).to(a.createClient, "create")})
	a.route(hydra, "/clients/{id}", methods{
		http.MethodGet: one.to(a.getClient, "get"), http.MethodPut: one.about(a.bothOwners).to(a.replaceClient, "update"),
		http.MethodPatch: one.about(a.patchedOwners).to(a.patchClient, "update"), http.MethodDelete: one.to(a.deleteClient, "delete"),
	})
	a.route(hydra, "/clients/{id}/lifespans", methods{http.MethodPut: one.to(a.setLifespans, "update")})
	a.route(hydra, "/clients/{id}/secrets/rotate", methods{
		http.MethodPost:   one.to(a.changeSecrets(a.Clients.RotateSecret), "update"),
		http.MethodDelete: one.to(a.changeSecrets(a.Clients.EndRotatedSecrets), "update"),
	})
}

// clientBody is a client as somebody may send it: ours, or one that an early or a
// late Hydra printed.
type clientBody struct {
	oauth2.Client
	EarlyID           string          `json:"id"`
	EarlyPublic       bool            `json:"public"`
	RegistrationToken json.RawMessage `json:"registration_access_token"`
	RegistrationURI   json.RawMessage `json:"registration_client_uri"`
}

func (x *exchange) client() (oauth2.Client, error) {
	var body clientBody
	if err := x.decode(&body); err != nil {
		return oauth2.Client{}, err
	}
	c := body.Client
	if c.ID == "" {
		c.ID = body.EarlyID
	}
	if body.EarlyPublic && c.TokenEndpointAuthMethod == "" {
		c.TokenEndpointAuthMethod = "none"
	}
	return c, nil
}

func (a *API) listClients(x *exchange) error {
	p, err := x.page(hydraPage, hydraMost)
	if err != nil {
		return err
	}
	list, total, err := a.Clients.List(x.r.Context(), oauth2.ClientFilter{Name: x.query("client_name"), Owner: x.query("owner"), Limit: p.limit + 1, Offset: p.offset})
	if err != nil {
		return err
	}
	return sendPage(x, p.of(total), list)
}

func (a *API) getClient(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	c, err := a.Clients.Get(x.r.Context(), id)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, c)
}

func (a *API) createClient(x *exchange) error {
	c, err := x.client()
	if err != nil {
		return err
	}
	if c, err = a.Clients.Create(x.r.Context(), c); err != nil {
		return err
	}
	return x.created(x.prefix()+"/clients", c.ID, c)
}

func (a *API) replaceClient(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	c, err := x.client()
	if err != nil {
		return err
	}
	if err := sameID(id, &c.ID, "/client_id"); err != nil {
		return err
	}
	if c, err = a.Clients.Replace(x.r.Context(), c); err != nil {
		return err
	}
	return x.json(http.StatusOK, c)
}

func (a *API) patchClient(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	var operations []manage.Operation
	if err := x.decode(&operations); err != nil {
		return err
	}
	c, err := a.Clients.Patch(x.r.Context(), id, operations)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, c)
}

func (a *API) deleteClient(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	if err := a.Clients.Delete(x.r.Context(), id); err != nil {
		return err
	}
	return x.none()
}

func (a *API) setLifespans(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	var l oauth2.Lifespans
	if err := x.decode(&l); err != nil {
		return err
	}
	c, err := a.Clients.SetLifespans(x.r.Context(), id, l)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, c)
}

func (a *API) changeSecrets(change func(ctx context.Context, id string) (oauth2.Client, error)) action {
	return func(x *exchange) error {
		id, err := x.id("id")
		if err != nil {
			return err
		}
		c, err := change(x.r.Context(), id)
		if err != nil {
			return err
		}
		return x.json(http.StatusOK, c)
	}
}

// contexts are what policies are asked with, all of which must be allowed.
type contexts = []map[string]any

func owned(owner string) map[string]any { return map[string]any{"owner": owner} }

// owner is the context of questions about a client: its owner, as in early Hydra. One
// that is not there has none.
func (a *API) owner(x *exchange) (contexts, error) {
	id, err := x.id("id")
	if err != nil {
		return nil, err
	}
	stored, err := a.Clients.Get(x.r.Context(), id)
	if fault.Is(err, fault.NotFound) {
		return contexts{{}}, nil
	}
	return contexts{owned(stored.Owner)}, err
}

// newOwner is the owner in the body. A body that cannot be read has none: what is wrong
// with it is for those who may create something.
func (a *API) newOwner(x *exchange) (contexts, error) {
	c, err := x.client()
	if err != nil {
		return contexts{{}}, nil
	}
	return contexts{owned(c.Owner)}, nil
}

// bothOwners are the owner of the client and the one that the body gives it to.
func (a *API) bothOwners(x *exchange) (contexts, error) {
	was, err := a.owner(x)
	if err != nil {
		return nil, err
	}
	is, err := a.newOwner(x)
	return append(was, is...), err
}

// patchedOwners are the owner of the client and those that a patch gives it to.
func (a *API) patchedOwners(x *exchange) (contexts, error) {
	all, err := a.owner(x)
	if err != nil {
		return nil, err
	}
	var operations []manage.Operation
	if err := x.decode(&operations); err != nil {
		return append(all, map[string]any{}), nil
	}
	for _, o := range operations {
		taken := o.Op == "move" && (o.From == "" || o.From == "/owner")
		if o.Op != "test" && (o.Path == "" || o.Path == "/owner" || taken) {
			all = append(all, patchedOwner(o))
		}
	}
	return all, nil
}

// patchedOwner is the context of an operation that may change the owner: with the new
// owner if it says it, else without one, so that no policy that names an owner allows it.
func patchedOwner(o manage.Operation) map[string]any {
	var owner string
	if (o.Op == "add" || o.Op == "replace") && o.Path == "/owner" && json.Unmarshal(o.Value, &owner) == nil {
		return map[string]any{"owner": owner}
	}
	return map[string]any{} // what is moved or removed
}
