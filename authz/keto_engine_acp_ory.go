package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/outbound"
	"github.com/gatewarden/gatewarden/templates"
)

// KetoConfig says which question the policy engine of ORY Keto before 0.6 is asked.
type KetoConfig struct {
	// BaseURL is Keto's address. Required.
	BaseURL string `json:"base_url"`
	// RequiredAction and RequiredResource are templates. Required.
	RequiredAction   string `json:"required_action"`
	RequiredResource string `json:"required_resource"`
	// Subject is a template; default the subject's id.
	Subject string `json:"subject"`
	// Flavor is how Keto compares: regex (default), exact or glob.
	Flavor  string           `json:"flavor"`
	Auth    outbound.Auth    `json:"auth"`
	Timeout handler.Duration `json:"timeout"`
	Retry   outbound.Retry   `json:"retry"`
}

func defaultKeto() KetoConfig {
	return KetoConfig{Subject: "{{ print .Subject }}", Flavor: "regex", Timeout: outbound.DefaultTimeout, Retry: outbound.DefaultRetry()}
}

type keto struct {
	decisionCall
	now                       func() time.Time
	subject, action, resource *templates.Text
}

var _ Authorizer = (*keto)(nil)

func newKeto(d Deps, c KetoConfig) (Authorizer, error) {
	var t compiled
	k := &keto{now: d.Now, subject: t.text("subject", c.Subject), action: t.text("required_action", c.RequiredAction), resource: t.text("required_resource", c.RequiredResource)}
	if k.now == nil {
		k.now = time.Now
	}
	if !slices.Contains([]string{"regex", "exact", "glob"}, c.Flavor) {
		t.errs = append(t.errs, fmt.Errorf("flavor: must be regex, exact or glob, not %q", c.Flavor))
	}
	service, err := outbound.New(outbound.Options{Name: "keto", HTTP: d.HTTP, Timeout: c.Timeout, Retry: c.Retry})
	if err := errors.Join(append(t.errs, err, outbound.CheckBase("base_url", c.BaseURL), c.Auth.Check("auth"))...); err != nil {
		return nil, err
	}
	k.decisionCall = decisionCall{service: service, url: strings.TrimRight(c.BaseURL, "/") + "/engines/acp/ory/" + c.Flavor + "/allowed", auth: c.Auth, member: "allowed"}
	return k, nil
}

// ketoQuestion is the body of Keto's question.
type ketoQuestion struct {
	Subject  string         `json:"subject"`
	Action   string         `json:"action"`
	Resource string         `json:"resource"`
	Context  map[string]any `json:"context"`
}

// Authorize asks Keto.
func (k *keto) Authorize(ctx context.Context, in access.Input) (access.Verdict, error) {
	if err := begun(ctx, &in); err != nil {
		return access.Verdict{}, fmt.Errorf("keto_engine_acp_ory: %w", err)
	}
	q := ketoQuestion{Context: map[string]any{"remoteIpAddress": address(in.Request), "requestedAt": k.now().UTC().Format(time.RFC3339Nano)}}
	var errs [3]error
	q.Subject, errs[0] = k.subject.Render(&in, nil)
	q.Action, errs[1] = k.action.Render(&in, nil)
	q.Resource, errs[2] = k.resource.Render(&in, nil)
	yes, err := false, errors.Join(errs[:]...)
	if err == nil {
		yes, err = k.ask(ctx, &in, q, true)
	}
	if err != nil {
		return access.Verdict{}, fmt.Errorf("keto_engine_acp_ory: %w", err)
	}
	if !yes {
		return access.Verdict{Reason: "keto_denied"}, nil
	}
	return access.Verdict{Allow: true, Reason: "keto_allowed"}, nil
}
