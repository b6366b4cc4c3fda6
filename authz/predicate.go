package authz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tidwall/gjson"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/outbound"
	"github.com/gatewarden/gatewarden/strictjson"
)

// AllowIf is a condition on a JSON answer; one of its members.
type AllowIf struct {
	// GJSON is a path to true.
	GJSON string `json:"gjson"`
	// CEL is an expression over answer, the document, and status.
	CEL string `json:"cel"`
}

// predicate is a compiled AllowIf.
type predicate struct {
	path       string
	expression *expression
}

// newPredicate returns nil for an AllowIf that says nothing.
func newPredicate(d Deps, c AllowIf) (*predicate, error) {
	switch {
	case c.GJSON != "" && c.CEL != "":
		return nil, errors.New("allow_if: gjson and cel cannot be combined")
	case c.GJSON != "":
		return &predicate{path: c.GJSON}, nil
	case c.CEL != "":
		e, err := compileExpression("allow_if.cel", c.CEL, d.answerWords)
		if err != nil {
			return nil, err
		}
		return &predicate{expression: e}, nil
	}
	return nil, nil
}

// holds reports whether the answer's document says yes. A path to nothing says no;
// what is not JSON, has a member twice, or says neither true nor false is an error.
func (p *predicate) holds(ctx context.Context, a *outbound.Answer) (bool, error) {
	if !json.Valid(a.Body) {
		return false, errors.New("the answer is not JSON")
	}
	if err := strictjson.Check(a.Body, nil); err != nil {
		return false, err
	}
	if p.expression != nil {
		var document any
		if err := json.Unmarshal(a.Body, &document); err != nil {
			return false, err
		}
		yes, err := p.expression.holds(ctx, answerActivation{document: document, status: a.Status})
		if fault.Is(err, fault.Forbidden) {
			return false, nil // the document lacks what is asked for
		}
		return yes, err
	}
	switch found := gjson.GetBytes(a.Body, p.path); found.Type {
	case gjson.True:
		return true, nil
	case gjson.False:
		return false, nil
	default:
		if !found.Exists() {
			return false, nil
		}
		return false, fmt.Errorf("%s is neither true nor false", p.path)
	}
}

func duplicateMember(err error) error {
	return fault.Wrap(fault.Invalid, "duplicate_member", "the request holds a value that cannot be passed on", err)
}
