package api

import (
	"net/http"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/users"
)

// The page sizes of lists of users.
const (
	usersPage = 100
	usersMost = 500
)

func (a *API) userRoutes() {
	if a.Users == nil {
		return
	}
	all := object{scope: "hydra.users", resource: "users"}
	one := all.at("{id}")
	a.route(problem, "/users", methods{http.MethodGet: all.to(a.listUsers, "get", "list"), http.MethodPost: all.to(a.createUser, "create")})
	a.route(problem, "/users/{id}", methods{
		http.MethodGet: one.to(a.getUser, "get"), http.MethodPut: one.to(a.replaceUser, "update"), http.MethodDelete: one.to(a.deleteUser, "delete"),
	})
	a.route(problem, "/users/{id}/second-factor", methods{http.MethodDelete: one.to(a.resetSecondFactor, "update")})
	a.route(problem, "/users/{id}/password", methods{http.MethodPut: one.to(a.setPassword, "update")})
}

func (a *API) listUsers(x *exchange) error {
	p, err := x.page(usersPage, usersMost)
	if err != nil {
		return err
	}
	list, err := a.Users.List(x.r.Context(), x.query("login"), p.limit+1, p.offset)
	if err != nil {
		return err
	}
	return sendPage(x, p, list)
}

func (a *API) getUser(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	u, etag, err := a.Users.Get(x.r.Context(), id)
	if err != nil {
		return err
	}
	return x.tagged(etag, u)
}

func (a *API) createUser(x *exchange) error {
	var u users.User
	if err := x.decode(&u); err != nil {
		return err
	}
	u, err := a.Users.Create(x.r.Context(), u)
	if err != nil {
		return err
	}
	return x.created("/users", u.ID, u)
}

func (a *API) replaceUser(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	etag, err := x.ifMatch()
	if err != nil {
		return err
	}
	var u users.User
	if err := x.decode(&u); err != nil {
		return err
	}
	if err := sameID(id, &u.ID, "/id"); err != nil {
		return err
	}
	u, err = a.Users.Replace(x.r.Context(), u, etag)
	if fault.ReasonOf(err) == "user_changed" {
		return changed(err, etag)
	}
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, u)
}

func (a *API) deleteUser(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	if err := a.Users.Delete(x.r.Context(), id); err != nil {
		return err
	}
	return x.none()
}

func (a *API) setPassword(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	var body struct {
		Password string `json:"password"`
	}
	if err := x.decode(&body); err != nil {
		return err
	}
	if err := a.Users.SetPassword(x.r.Context(), id, body.Password, ""); err != nil {
		return err
	}
	return x.none()
}

func (a *API) resetSecondFactor(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	if err := a.Users.ResetSecondFactor(x.r.Context(), id); err != nil {
		return err
	}
	return x.none()
}
