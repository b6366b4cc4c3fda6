package authz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/outbound"
	"github.com/gatewarden/gatewarden/strictjson"
	"github.com/gatewarden/gatewarden/templates"
)

// decisionCall posts JSON questions to a service whose answer has one member that
// decides: keto_engine_acp_ory, openfga, authzen.
type decisionCall struct {
	service *outbound.Service
	url     string
	auth    outbound.Auth
	member  string // of the answer, true or false
}

// ask returns the decision. Only a 200 (RFC 9110) with the member decides; with denies,
// a 403 is a no.
func (c *decisionCall) ask(ctx context.Context, in *access.Input, question any, denies bool) (bool, error) {
	body, err := json.Marshal(question)
	if err != nil {
		return false, fmt.Errorf("question: %w", err)
	}
	answer, err := c.service.Ask(ctx, func(ctx context.Context) (*http.Request, error) {
		q := withBody(body).WithContext(ctx)
		target, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, nil)
		if err != nil {
			return nil, c.service.Unusable(err)
		}
		q.URL, q.Host = target.URL, target.Host
		q.Header.Set("Content-Type", "application/json")
		q.Header.Set("Accept", "application/json")
		if templates.ValidFieldValue(in.Request.ID) && in.Request.ID != "" {
			q.Header.Set("X-Request-Id", in.Request.ID)
		}
		c.auth.Apply(q)
		return q, nil
	})
	if err != nil {
		return false, err
	}
	if denies && answer.Status == http.StatusForbidden {
		return false, nil
	}
	if answer.Status != http.StatusOK {
		return false, c.service.Unusable(fmt.Errorf("answered %d", answer.Status))
	}
	yes, err := decision(answer.Body, c.member)
	if err != nil {
		return false, c.service.Unusable(err)
	}
	return yes, nil
}

// decision reads the member of an answer. A member that is missing, twice there, or
// neither true nor false decides nothing.
func decision(doc []byte, member string) (bool, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(doc, &members); err != nil {
		return false, errors.New("the answer is not a JSON object")
	}
	if err := strictjson.Check(doc, nil); err != nil {
		return false, err
	}
	switch string(members[member]) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("the answer has no %s that is true or false", member)
}

// compiled collects templates and what is wrong with them.
type compiled struct{ errs []error }

func (c *compiled) text(field, text string) *templates.Text {
	if text == "" {
		c.errs = append(c.errs, fmt.Errorf("%s: required", field))
	}
	t, err := templates.Compile(field, text)
	c.errs = append(c.errs, err)
	return t
}

func (c *compiled) name(field, text string) *templates.Name {
	if text == "" {
		c.errs = append(c.errs, fmt.Errorf("%s: required", field))
	}
	t, err := templates.CompileName(field, text)
	c.errs = append(c.errs, err)
	return t
}

// object compiles a template for a JSON object; nil for none.
func (c *compiled) object(field, text string) *templates.JSON {
	if text == "" {
		return nil
	}
	t, err := templates.CompileJSON(field, text)
	c.errs = append(c.errs, err)
	return t
}

// renderObject returns the JSON object that t renders, nil for none.
func renderObject(t *templates.JSON, in *access.Input) (json.RawMessage, error) {
	if t == nil {
		return nil, nil
	}
	doc, err := t.Render(in, nil)
	if err != nil {
		return nil, err
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(doc, &object); err != nil || object == nil {
		return nil, errors.New("the template does not render a JSON object")
	}
	return doc, unambiguous(doc)
}
