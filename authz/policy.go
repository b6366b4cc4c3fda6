package authz

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/templates"
)

// PolicyConfig says which question the policy authorizer asks. Every field is a template.
type PolicyConfig struct {
	// Subject is who asks; default {{ print .Subject }}.
	Subject string `json:"subject"`
	// Action is what is asked for; default {{ print .MatchContext.Method }}.
	Action string `json:"action"`
	// Resource is what it is done to; default {{ print .MatchContext.URL.Path }}.
	Resource string `json:"resource"`
	// Context is what conditions look at, by name. It adds to and overrides
	// remoteIpAddress (the client's address) and requestedAt (RFC 3339, UTC).
	Context map[string]string `json:"context"`
}

func defaultPolicy() PolicyConfig {
	return PolicyConfig{
		Subject:  "{{ print .Subject }}",
		Action:   "{{ print .MatchContext.Method }}",
		Resource: "{{ print .MatchContext.URL.Path }}",
	}
}

type policy struct {
	warden                    Warden
	now                       func() time.Time
	subject, action, resource *templates.Text
	context                   []contextField
}

type contextField struct {
	name  string
	value *templates.Text
}

var _ Authorizer = (*policy)(nil)

func newPolicy(d Deps, c PolicyConfig) (Authorizer, error) {
	if d.Warden == nil {
		return nil, errors.New("there are no policies to decide by")
	}
	p := &policy{warden: d.Warden, now: d.Now}
	if p.now == nil {
		p.now = time.Now
	}
	var errs []error
	compile := func(field, text string) *templates.Text {
		if text == "" {
			errs = append(errs, fmt.Errorf("%s: must not be empty", field))
			return nil
		}
		t, err := templates.Compile(field, text)
		errs = append(errs, err)
		return t
	}
	p.subject = compile("subject", c.Subject)
	p.action = compile("action", c.Action)
	p.resource = compile("resource", c.Resource)
	for _, name := range slices.Sorted(maps.Keys(c.Context)) {
		p.context = append(p.context, contextField{name, compile("context."+name, c.Context[name])})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return p, nil
}

// Authorize asks the Warden. A question that cannot be put and a Warden that
// cannot answer are errors, never a yes.
func (p *policy) Authorize(ctx context.Context, in access.Input) (access.Verdict, error) {
	if err := ctx.Err(); err != nil {
		return access.Verdict{}, fmt.Errorf("policy: %w", err)
	}
	q, err := p.question(&in)
	if err != nil {
		return access.Verdict{}, fmt.Errorf("policy: %w", err)
	}
	a, err := p.warden.Allowed(ctx, q)
	if err != nil {
		return access.Verdict{}, fmt.Errorf("policy: %w", err)
	}
	if a.Reason == "" {
		a.Reason = "policy_denied"
		if a.Allow {
			a.Reason = "policy_allowed"
		}
	}
	return access.Verdict{Allow: a.Allow, Reason: a.Reason}, nil
}

func (p *policy) question(in *access.Input) (q Question, err error) {
	if in.Request == nil {
		return q, errors.New("no request")
	}
	if q.Subject, err = p.subject.Render(in, nil); err != nil {
		return q, err
	}
	if q.Action, err = p.action.Render(in, nil); err != nil {
		return q, err
	}
	if q.Resource, err = p.resource.Render(in, nil); err != nil {
		return q, err
	}
	q.Context = make(map[string]any, 2+len(p.context))
	q.Context["remoteIpAddress"] = address(in.Request)
	q.Context["requestedAt"] = p.now().UTC().Format(time.RFC3339)
	for _, f := range p.context {
		text, err := f.value.Render(in, nil)
		if err != nil {
			return q, err
		}
		q.Context[f.name] = text
	}
	return q, nil
}

// address is empty when the client's address is not known.
func address(r *access.Request) string {
	if !r.Client.IsValid() {
		return ""
	}
	return r.Client.Unmap().WithZone("").String()
}
