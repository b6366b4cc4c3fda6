package api

import (
	"slices"

	"github.com/gorilla/mux"
)

// Route is one path of the router.
type Route struct {
	Template string
	Methods  []string
	// Envelope is problem, ory or hydra.
	Envelope string
	// Open says that nobody needs to authenticate.
	Open bool
	// Scope, Resource and Actions are by method.
	Scope, Resource map[string]string
	Actions         map[string][]string
}

// AddWithoutObject adds a path that nobody has a name for.
func (a *API) AddWithoutObject(path string, do func()) {
	a.route(problem, path, methods{"GET": {do: func(*exchange) error { do(); return nil }}})
}

// Covers is covers.
var Covers = covers

// Routes walks the router.
func (a *API) Routes() []Route {
	var routes []Route
	_ = a.router.Walk(func(r *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		template, _ := r.GetPathTemplate()
		s := r.GetHandler().(*resource)
		route := Route{Template: template, Envelope: []string{"problem", "ory", "hydra"}[s.family]}
		route.Open, route.Scope, route.Resource, route.Actions = s.open, map[string]string{}, map[string]string{}, map[string][]string{}
		for m, e := range s.methods {
			route.Methods = append(route.Methods, m)
			route.Scope[m], route.Resource[m], route.Actions[m] = e.object.scope, e.object.resource, e.actions
		}
		slices.Sort(route.Methods)
		routes = append(routes, route)
		return nil
	})
	return routes
}
