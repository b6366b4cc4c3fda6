package api

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"github.com/gatewarden/gatewarden/authz"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/oauth2"
)

// object is what a route is about, as early Hydra named it in scopes and policies. The
// zero value is nobody's: an endpoint without an object is refused to everybody.
type object struct {
	// scope is what an access token must have to touch it, hydra.clients.
	scope string
	// resource is its name in policies below Own.Prefix, with the variables of the
	// path in braces: clients:{id}.
	resource string
	// context returns the contexts that policies are asked with, all of which must be
	// allowed; nil: one that is empty.
	context func(x *exchange) (contexts, error)
}

// endpoint is an action and what a caller must be allowed for it. Only object.to makes
// one, so that no route is without.
type endpoint struct {
	do      action
	object  object
	actions []string
}

// at is the object below o that the path names.
func (o object) at(variables string) object {
	o.resource += ":" + variables
	return o
}

// about has policies be asked with a context.
func (o object) about(context func(x *exchange) (contexts, error)) object {
	o.context = context
	return o
}

// to returns the endpoint at which a caller who may do one of the actions to o does
// it. Of several one is enough, because generations of Hydra name lists differently; a
// policy that denies any of them denies all.
func (o object) to(do action, actions ...string) endpoint {
	return endpoint{do: do, object: o, actions: actions}
}

// complete reports whether somebody can be allowed.
func (e endpoint) complete() bool {
	return e.object.scope != "" && e.object.resource != "" && len(e.actions) > 0 && !slices.Contains(e.actions, "")
}

// variable is a part of a resource that the path fills in.
const variable = "{"

// resource fills the variables of the object in.
func (o object) in(x *exchange, prefix string) (string, error) {
	name := prefix + ":" + o.resource
	if !strings.Contains(name, variable) {
		return name, nil
	}
	var pairs []string
	for key, escaped := range mux.Vars(x.r) {
		value, err := url.PathUnescape(escaped)
		if err != nil {
			return "", fault.New(fault.Invalid, "invalid_path", "the path has a broken escape")
		}
		pairs = append(pairs, "{"+key+"}", value)
	}
	// One pass: a value that looks like a variable stays what it is.
	return strings.NewReplacer(pairs...).Replace(name), nil
}

// Own admits holders of access tokens of this very server, as early Hydra did: the token
// needs the scope of the route, and its subject a policy that allows the action.
type Own struct {
	// Introspect returns what a token stands for.
	Introspect manage.Introspector
	// Warden decides by policies.
	Warden authz.Warden
	// Prefix begins the names of resources; empty: rn:hydra.
	Prefix string
	// Client reports whether an OAuth 2.0 client has the id.
	Client func(ctx context.Context, id string) (bool, error)
}

const ownPrefix = "rn:hydra"

// may returns nil when the holder of t may come through the endpoint.
func (o *Own) may(x *exchange, t token, e endpoint) error {
	if !t.has(e.object.scope) {
		x.w.Header().Set("WWW-Authenticate", `Bearer realm="management", error="insufficient_scope", scope="`+e.object.scope+`"`)
		return fault.New(fault.Forbidden, "insufficient_scope", "the access token needs the scope "+e.object.scope)
	}
	prefix := o.Prefix
	if prefix == "" {
		prefix = ownPrefix
	}
	resource, err := e.object.in(x, prefix)
	if err != nil {
		return err
	}
	asked := contexts{{}}
	if e.object.context != nil {
		if asked, err = e.object.context(x); err != nil {
			return err
		}
	}
	for _, c := range asked {
		if err := o.decide(x.r.Context(), authz.Question{Subject: t.Subject, Resource: resource, Context: c}, e.actions); err != nil {
			return err
		}
	}
	return nil
}

// decide asks about every action: one must be allowed, and none denied.
func (o *Own) decide(ctx context.Context, q authz.Question, actions []string) error {
	allowed := false
	for _, action := range actions {
		q.Action = action
		answer, err := o.Warden.Allowed(ctx, q)
		if err != nil {
			return err
		}
		if !answer.Allow && answer.Reason == "policy_denied" {
			return fault.New(fault.Forbidden, "policy_denied", "a policy denies "+action+" on "+q.Resource)
		}
		allowed = allowed || answer.Allow
	}
	if !allowed {
		return fault.New(fault.Forbidden, "no_policy_match", "no policy allows "+strings.Join(actions, " or ")+" on "+q.Resource)
	}
	return nil
}

// subject refuses a person whose id is that of a client: a policy for the client would
// be one for the person, who may have chosen the name.
func (o *Own) subject(ctx context.Context, t token) error {
	if t.Subject == t.ClientID || o.Client == nil {
		return nil
	}
	taken, err := o.Client(ctx, t.Subject)
	if err != nil {
		return err
	}
	if taken {
		return fault.New(fault.Forbidden, "ambiguous_subject", "the subject of the access token is the id of a client, which it was not issued to")
	}
	return nil
}

// covers reports whether a granted scope stands for a required one: hydra and hydra.*
// for hydra.clients.
func covers(granted, required string) bool {
	if strings.HasSuffix(granted, ".*") {
		granted = strings.TrimSuffix(granted, "*")
		return len(required) > len(granted) && strings.HasPrefix(required, granted)
	}
	rest, ok := strings.CutPrefix(required, granted)
	return ok && granted != "" && (rest == "" || rest[0] == '.')
}

// token is an access token that was introspected.
type token struct{ oauth2.Introspection }

// has reports whether the token has a scope that covers the required one.
func (t token) has(required string) bool {
	return slices.ContainsFunc(strings.Fields(t.Scope), func(granted string) bool { return covers(granted, required) })
}

// usable reports whether the token is one that its mere bearer may use here: an access
// token that is for nobody else, and is not bound to a key that nobody has proved.
func (t token) usable() bool {
	meant := len(t.Audience) == 0 || slices.Contains(t.Audience, t.Issuer)
	return t.Active && (t.TokenUse == "" || t.TokenUse == "access_token") && t.Bound == nil && meant
}

// bearer returns the token of the Authorization field; shown reports whether there is
// such a field at all.
func bearer(h http.Header) (text string, shown, ok bool) {
	fields := h["Authorization"]
	if len(fields) == 0 {
		return "", false, false
	}
	scheme, text, _ := strings.Cut(fields[0], " ")
	text = strings.TrimSpace(text)
	return text, true, len(fields) == 1 && strings.EqualFold(scheme, "Bearer") && text != ""
}
