package api

import (
	"context"
	"encoding/json"
	"net/http"

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
	a.route(hydra, "/clients", methods{http.MethodGet: a.listClients, http.MethodPost: a.createClient})
	a.route(hydra, "/clients/{id}", methods{http.MethodGet: a.getClient, http.MethodPut: a.replaceClient, http.MethodPatch: a.patchClient, http.MethodDelete: a.deleteClient})
	a.route(hydra, "/clients/{id}/lifespans", methods{http.MethodPut: a.setLifespans})
	a.route(hydra, "/clients/{id}/secrets/rotate", methods{http.MethodPost: a.changeSecrets(a.Clients.RotateSecret), http.MethodDelete: a.changeSecrets(a.Clients.EndRotatedSecrets)})
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
	list, err := a.Clients.List(x.r.Context(), oauth2.ClientFilter{Name: x.query("client_name"), Owner: x.query("owner"), Limit: p.limit + 1, Offset: p.offset})
	if err != nil {
		return err
	}
	return sendPage(x, p, list)
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
	return x.created("/clients", c.ID, c)
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
