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
}

// Routes walks the router.
func (a *API) Routes() []Route {
	var routes []Route
	_ = a.router.Walk(func(r *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		template, _ := r.GetPathTemplate()
		s := r.GetHandler().(*resource)
		route := Route{Template: template, Envelope: []string{"problem", "ory", "hydra"}[s.family]}
		for m := range s.methods {
			route.Methods = append(route.Methods, m)
		}
		slices.Sort(route.Methods)
		routes = append(routes, route)
		return nil
	})
	return routes
}
