package api

import (
	"net/http"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/oauth2"
)

// needed reads a query parameter that must be there.
func (x *exchange) needed(name string) (string, error) {
	if value := x.query(name); value != "" {
		return value, nil
	}
	return "", fault.New(fault.Invalid, "invalid_request", "the query parameter "+name+" is missing")
}

// listBackchannel is what waits for a person (OpenID CIBA Core).
func (a *API) listBackchannel(x *exchange) error {
	subject, err := x.needed("subject")
	if err != nil {
		return err
	}
	list, err := a.BackchannelApp.BackchannelRequests(x.r.Context(), subject)
	if err != nil {
		return err
	}
	for i := range list {
		list[i].Client = manage.Shown(list[i].Client)
	}
	return x.json(http.StatusOK, list)
}

func (a *API) acceptBackchannel(x *exchange) error {
	var body oauth2.AcceptBackchannel
	if err := x.decode(&body); err != nil {
		return err
	}
	id, err := x.needed("id")
	if err != nil {
		return err
	}
	if err := a.BackchannelApp.AcceptBackchannel(x.r.Context(), id, body); err != nil {
		return err
	}
	return x.none()
}

func (a *API) rejectBackchannel(x *exchange) error {
	var body struct {
		Subject string `json:"subject"`
	}
	if err := x.decode(&body); err != nil {
		return err
	}
	id, err := x.needed("id")
	if err != nil {
		return err
	}
	if err := a.BackchannelApp.RejectBackchannel(x.r.Context(), id, body.Subject); err != nil {
		return err
	}
	return x.none()
}
