package authz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/outbound"
	"github.com/gatewarden/gatewarden/templates"
)

// AuthZENConfig says which question a policy decision point is asked (OpenID AuthZEN
// Authorization API 1.0, access evaluation).
type AuthZENConfig struct {
	// PDPURL is the policy decision point; /access/v1/evaluation is added. Required.
	PDPURL string `json:"pdp_url"`
	// Subject and Resource have an id that is a template.
	Subject  AuthZENEntity `json:"subject"`
	Action   AuthZENAction `json:"action"`
	Resource AuthZENEntity `json:"resource"`
	// Context is a template of a JSON object.
	Context string           `json:"context"`
	Auth    outbound.Auth    `json:"auth"`
	Timeout handler.Duration `json:"timeout"`
	Retry   outbound.Retry   `json:"retry"`
}

// AuthZENEntity is a subject or a resource; its members are templates.
type AuthZENEntity struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	// Properties renders a JSON object.
	Properties string `json:"properties"`
}

// AuthZENAction is what is done; its members are templates.
type AuthZENAction struct {
	Name       string `json:"name"`
	Properties string `json:"properties"`
}

func defaultAuthZEN() AuthZENConfig {
	return AuthZENConfig{
		Subject:  AuthZENEntity{Type: "user", ID: "{{ print .Subject }}"},
		Action:   AuthZENAction{Name: "{{ print .MatchContext.Method }}"},
		Resource: AuthZENEntity{Type: "route", ID: "{{ print .MatchContext.URL.Path }}"},
		Timeout:  outbound.DefaultTimeout, Retry: outbound.DefaultRetry(),
	}
}

type authZEN struct {
	decisionCall
	subject, action, resource entityTemplate
	context                   *templates.JSON // nil: none
}

// entityTemplate is a subject, a resource, or an action, which has no type.
type entityTemplate struct {
	kind, id   *templates.Text
	properties *templates.JSON
}

var _ Authorizer = (*authZEN)(nil)

func newAuthZEN(d Deps, c AuthZENConfig) (Authorizer, error) {
	var t compiled
	entity := func(field string, c AuthZENEntity) entityTemplate {
		return entityTemplate{t.text(field+".type", c.Type), t.text(field+".id", c.ID), t.object(field+".properties", c.Properties)}
	}
	a := &authZEN{
		subject: entity("subject", c.Subject), resource: entity("resource", c.Resource),
		action:  entityTemplate{nil, t.text("action.name", c.Action.Name), t.object("action.properties", c.Action.Properties)},
		context: t.object("context", c.Context),
	}
	service, err := outbound.New(outbound.Options{Name: "authzen", HTTP: d.HTTP, Timeout: c.Timeout, Retry: c.Retry})
	if err := errors.Join(append(t.errs, err, outbound.CheckBase("pdp_url", c.PDPURL), c.Auth.Check("auth"))...); err != nil {
		return nil, err
	}
	a.decisionCall = decisionCall{service: service, url: strings.TrimRight(c.PDPURL, "/") + "/access/v1/evaluation", auth: c.Auth, member: "decision"}
	return a, nil
}

// evaluationQuestion is the body of an access evaluation.
type evaluationQuestion struct {
	Subject  entity          `json:"subject"`
	Action   entity          `json:"action"`
	Resource entity          `json:"resource"`
	Context  json.RawMessage `json:"context,omitempty"`
}

// entity is a subject or resource (type and id) or an action (name).
type entity struct {
	Type       string          `json:"type,omitempty"`
	ID         *string         `json:"id,omitempty"`
	Name       *string         `json:"name,omitempty"`
	Properties json.RawMessage `json:"properties,omitempty"`
}

// Authorize asks the decision point.
func (a *authZEN) Authorize(ctx context.Context, in access.Input) (access.Verdict, error) {
	if err := begun(ctx, &in); err != nil {
		return access.Verdict{}, fmt.Errorf("authzen: %w", err)
	}
	var q evaluationQuestion
	var errs [4]error
	q.Subject, errs[0] = a.subject.render(&in)
	q.Action, errs[1] = a.action.render(&in)
	q.Resource, errs[2] = a.resource.render(&in)
	q.Context, errs[3] = renderObject(a.context, &in)
	yes, err := false, errors.Join(errs[:]...)
	if err == nil {
		yes, err = a.ask(ctx, &in, q, false)
	}
	if err != nil {
		return access.Verdict{}, fmt.Errorf("authzen: %w", err)
	}
	if !yes {
		return access.Verdict{Reason: "authzen_denied"}, nil
	}
	return access.Verdict{Allow: true, Reason: "authzen_allowed"}, nil
}

func (t *entityTemplate) render(in *access.Input) (e entity, err error) {
	id, err := t.id.Render(in, nil)
	if err != nil {
		return e, err
	}
	if t.kind == nil {
		e.Name = &id
	} else {
		e.ID = &id
		if e.Type, err = t.kind.Render(in, nil); err != nil {
			return e, err
		}
	}
	e.Properties, err = renderObject(t.properties, in)
	return e, err
}
