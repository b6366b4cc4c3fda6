package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/policies"
)

// Compatibility is the generation of Hydra whose answers are imitated at paths without
// /admin; empty: the first one without policies.
type Compatibility string

// The generations before 1.0.
const (
	Hydra09  Compatibility = "hydra-0.9"
	Hydra011 Compatibility = "hydra-0.11"
)

// family is the envelope of a path. Early Hydra answered its own everywhere but at the
// endpoints that OAuth 2.0 describes.
func (c Compatibility) family(f family, template string) family {
	if c != "" && f == hydra && template != "/oauth2/introspect" && !strings.HasPrefix(template, "/oauth2/auth/") {
		return ory
	}
	return f
}

// earlyPaths are what early Hydra had beside the endpoints of OAuth 2.0 at its one port.
var earlyPaths = []string{"/clients", "/policies", "/warden", "/keys", "/oauth2/consent/requests", "/oauth2/flush"}

// Early reports whether r is for the API of early Hydra, which shared a port with the
// endpoints of OAuth 2.0. Introspection is, when a bearer token authenticates the caller.
func Early(r *http.Request) bool {
	path := r.URL.Path
	if path == "/oauth2/introspect" {
		_, shown, bearing := bearer(r.Header)
		return shown && bearing
	}
	return slices.ContainsFunc(earlyPaths, func(p string) bool {
		rest, found := strings.CutPrefix(path, p)
		return found && (rest == "" || rest[0] == '/')
	})
}

func (a *API) earlyRoutes() {
	app := a.ConsentApp
	if app == nil {
		return
	}
	const at = "/oauth2/consent/requests/{id}"
	request := object{scope: "hydra.consent", resource: "oauth2:consent:requests:{id}"}
	a.route(ory, at, methods{http.MethodGet: request.to(func(x *exchange) error {
		id, err := x.id("id")
		if err != nil {
			return err
		}
		asked, err := app.EarlyConsentRequest(x.r.Context(), id)
		if err != nil {
			return err
		}
		return x.json(http.StatusOK, asked)
	}, "get")})
	a.route(ory, at+"/accept", methods{http.MethodPatch: request.to(func(x *exchange) error {
		var body oauth2.EarlyConsent
		id, err := x.answered(&body)
		if err != nil {
			return err
		}
		if err := app.AcceptEarlyConsent(x.r.Context(), id, body); err != nil {
			return err
		}
		return x.none()
	}, "accept")})
	a.route(ory, at+"/reject", methods{http.MethodPatch: request.to(func(x *exchange) error {
		var body oauth2.EarlyRejection
		id, err := x.answered(&body)
		if err != nil {
			return err
		}
		if err := app.RejectEarlyConsent(x.r.Context(), id, body); err != nil {
			return err
		}
		return x.none()
	}, "reject")})
}

// answered reads an answer to the request of the path.
func (x *exchange) answered(body any) (string, error) {
	id, err := x.id("id")
	if err != nil {
		return "", err
	}
	return id, x.decode(body)
}

// early is the generation that x is answered as.
func (x *exchange) early() Compatibility {
	if x.prefix() != "" {
		return ""
	}
	return x.api.Compatibility
}

// earlyClient is a client with the names that it had before 1.0.
type earlyClient struct {
	oauth2.Client
	EarlyID string `json:"id"`
	Public  bool   `json:"public"`
}

// shown is a client as x is answered.
func (x *exchange) shown(c oauth2.Client) any {
	if x.early() == "" {
		return c
	}
	return earlyClient{Client: c, EarlyID: c.ID, Public: c.TokenEndpointAuthMethod == "none"}
}

// shownClients are clients as x is answered: by their ids before 0.10.
func (x *exchange) shownClients(p page, list []oauth2.Client) error {
	if x.early() == "" {
		return sendPage(x, p, list)
	}
	shown := make([]any, len(list))
	for i, c := range list {
		shown[i] = x.shown(c)
	}
	if x.early() == Hydra011 {
		return sendPage(x, p, shown)
	}
	x.links(p, len(list) > p.limit)
	all := map[string]any{}
	for i, c := range list[:min(len(list), p.limit)] {
		all[c.ID] = shown[i]
	}
	return x.json(http.StatusOK, all)
}

// shownGroups are groups as x is answered: their ids before 0.10.
func (x *exchange) shownGroups(p page, list []policies.Group) error {
	if x.early() != Hydra09 {
		return sendPage(x, p, list)
	}
	ids := make([]string, len(list))
	for i, g := range list {
		ids[i] = g.ID
	}
	return sendPage(x, p, ids)
}

// earlyIntrospection has one audience as a text: that of the token, else its client.
type earlyIntrospection struct {
	oauth2.Introspection
	Audience any `json:"aud,omitempty"`
}

// introspected is what a token stands for as x is answered.
func (x *exchange) introspected(t oauth2.Introspection) any {
	if x.early() == "" || !t.Active {
		return t
	}
	answer := earlyIntrospection{Introspection: t, Audience: t.Audience}
	switch len(t.Audience) {
	case 0:
		answer.Audience = t.ClientID
	case 1:
		answer.Audience = t.Audience[0]
	}
	return answer
}
