package authz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/outbound"
	"github.com/gatewarden/gatewarden/templates"
)

// OpenFGAConfig says which relation OpenFGA is asked about.
type OpenFGAConfig struct {
	// APIURL is the address of OpenFGA's HTTP API. Required.
	APIURL string `json:"api_url"`
	// StoreID is the store. Required.
	StoreID string `json:"store_id"`
	// AuthorizationModelID pins the model; empty: the latest one.
	AuthorizationModelID string `json:"authorization_model_id"`
	// User, Relation and Object are templates of the tuple that is checked. Relation
	// and Object are required; default of User is user:{{ print .Subject }}.
	User     string `json:"user"`
	Relation string `json:"relation"`
	Object   string `json:"object"`
	// ContextualTuples count as stored for this check.
	ContextualTuples []OpenFGATuple `json:"contextual_tuples"`
	// Context is a template of a JSON object, for the conditions of the model.
	Context string `json:"context"`
	// Consistency is MINIMIZE_LATENCY or HIGHER_CONSISTENCY; empty: OpenFGA's default.
	Consistency string           `json:"consistency"`
	Auth        outbound.Auth    `json:"auth"`
	Timeout     handler.Duration `json:"timeout"`
	Retry       outbound.Retry   `json:"retry"`
}

// OpenFGATuple is a relation; its members are templates.
type OpenFGATuple struct {
	User     string `json:"user"`
	Relation string `json:"relation"`
	Object   string `json:"object"`
}

// maxContextualTuples is OpenFGA's own default.
const maxContextualTuples = 100

func defaultOpenFGA() OpenFGAConfig {
	return OpenFGAConfig{User: "user:{{ print .Subject }}", Timeout: outbound.DefaultTimeout, Retry: outbound.DefaultRetry()}
}

type openFGA struct {
	decisionCall
	model, consistency string
	tuple              tupleTemplate
	contextual         []tupleTemplate
	context            *templates.JSON // nil: none
}

type tupleTemplate struct{ user, relation, object *templates.Name }

var _ Authorizer = (*openFGA)(nil)

func newOpenFGA(d Deps, c OpenFGAConfig) (Authorizer, error) {
	var t compiled
	tuple := func(prefix string, c OpenFGATuple) tupleTemplate {
		return tupleTemplate{t.name(prefix+"user", c.User), t.name(prefix+"relation", c.Relation), t.name(prefix+"object", c.Object)}
	}
	o := &openFGA{model: c.AuthorizationModelID, consistency: c.Consistency, context: t.object("context", c.Context),
		tuple: tuple("", OpenFGATuple{User: c.User, Relation: c.Relation, Object: c.Object})}
	for i, each := range c.ContextualTuples {
		o.contextual = append(o.contextual, tuple(fmt.Sprintf("contextual_tuples.%d.", i), each))
	}
	if len(c.ContextualTuples) > maxContextualTuples {
		t.errs = append(t.errs, fmt.Errorf("contextual_tuples: at most %d", maxContextualTuples))
	}
	if c.StoreID == "" {
		t.errs = append(t.errs, errors.New("store_id: required"))
	}
	if !slices.Contains([]string{"", "MINIMIZE_LATENCY", "HIGHER_CONSISTENCY"}, c.Consistency) {
		t.errs = append(t.errs, fmt.Errorf("consistency: must be MINIMIZE_LATENCY or HIGHER_CONSISTENCY, not %q", c.Consistency))
	}
	service, err := outbound.New(outbound.Options{Name: "openfga", HTTP: d.HTTP, Timeout: c.Timeout, Retry: c.Retry})
	if err := errors.Join(append(t.errs, err, outbound.CheckBase("api_url", c.APIURL), c.Auth.Check("auth"))...); err != nil {
		return nil, err
	}
	o.decisionCall = decisionCall{service: service, url: strings.TrimRight(c.APIURL, "/") + "/stores/" + url.PathEscape(c.StoreID) + "/check", auth: c.Auth, member: "allowed"}
	return o, nil
}

// tupleKey is a relation on the wire.
type tupleKey struct {
	User     string `json:"user"`
	Relation string `json:"relation"`
	Object   string `json:"object"`
}

// checkQuestion is the body of OpenFGA's Check.
type checkQuestion struct {
	TupleKey    tupleKey        `json:"tuple_key"`
	Contextual  *tupleKeys      `json:"contextual_tuples,omitempty"`
	Model       string          `json:"authorization_model_id,omitempty"`
	Context     json.RawMessage `json:"context,omitempty"`
	Consistency string          `json:"consistency,omitempty"`
}

type tupleKeys struct {
	TupleKeys []tupleKey `json:"tuple_keys"`
}

// Authorize checks the relation. A value that no tuple can hold, such as an empty
// subject or one with a colon, has no relation to anything: fault.Forbidden.
func (o *openFGA) Authorize(ctx context.Context, in access.Input) (access.Verdict, error) {
	if err := begun(ctx, &in); err != nil {
		return access.Verdict{}, fmt.Errorf("openfga: %w", err)
	}
	q, err := o.question(&in)
	if fault.Is(err, fault.Invalid) {
		return access.Verdict{}, fault.Wrap(fault.Forbidden, "openfga_value_not_allowed", "the request is not allowed", fmt.Errorf("openfga: %w", err))
	}
	yes := false
	if err == nil {
		yes, err = o.ask(ctx, &in, q, false)
	}
	if err != nil {
		return access.Verdict{}, fmt.Errorf("openfga: %w", err)
	}
	if !yes {
		return access.Verdict{Reason: "openfga_denied"}, nil
	}
	return access.Verdict{Allow: true, Reason: "openfga_allowed"}, nil
}

func (o *openFGA) question(in *access.Input) (q checkQuestion, err error) {
	q = checkQuestion{Model: o.model, Consistency: o.consistency}
	if q.TupleKey, err = o.tuple.render(in); err != nil {
		return q, err
	}
	if len(o.contextual) > 0 {
		q.Contextual = &tupleKeys{}
	}
	for _, t := range o.contextual {
		key, err := t.render(in)
		if err != nil {
			return q, err
		}
		q.Contextual.TupleKeys = append(q.Contextual.TupleKeys, key)
	}
	q.Context, err = renderObject(o.context, in)
	return q, err
}

func (t *tupleTemplate) render(in *access.Input) (k tupleKey, err error) {
	if k.User, err = t.user.Render(in, nil); err != nil {
		return k, err
	}
	if k.Relation, err = t.relation.Render(in, nil); err != nil {
		return k, err
	}
	k.Object, err = t.object.Render(in, nil)
	return k, err
}
