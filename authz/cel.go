package authz

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// CELConfig says which expressions must be true.
type CELConfig struct {
	// Expressions are evaluated in order; the first that is not true denies. Required.
	Expressions []CELExpression `json:"expressions"`
}

// CELExpression is one condition.
type CELExpression struct {
	// Name is for errors and the log; default is its place in the list.
	Name string `json:"name"`
	// Expression is the text in the Common Expression Language. Required.
	Expression string `json:"expression"`
	// Reason is the id of a denial, in snake_case; default expression_false.
	Reason string `json:"reason"`
	// Message is what a denied client is told.
	Message string `json:"message"`
}

// maxExpressions bounds the list.
const maxExpressions = 64

type celAuthorizer struct {
	variables  map[string]inputVariable
	conditions []condition
	now        func() time.Time
}

type condition struct {
	*expression
	reason, message string
}

var _ Authorizer = (*celAuthorizer)(nil)

func newCEL(d Deps, c CELConfig) (Authorizer, error) {
	if len(c.Expressions) == 0 || len(c.Expressions) > maxExpressions {
		return nil, fmt.Errorf("expressions: must be from 1 to %d", maxExpressions)
	}
	a := &celAuthorizer{variables: inputVariables(), now: d.Now}
	if a.now == nil {
		a.now = time.Now
	}
	var errs []error
	for i, e := range c.Expressions {
		place := fmt.Sprintf("expressions.%d", i)
		if e.Name != "" {
			place += " (" + e.Name + ")"
		}
		if e.Reason == "" {
			e.Reason = "expression_false"
		}
		if !isReason(e.Reason) {
			errs = append(errs, fmt.Errorf("%s: reason: %q is not in snake_case", place, e.Reason))
		}
		compiled, err := compileExpression(place, e.Expression, d.inputWords)
		errs = append(errs, err)
		a.conditions = append(a.conditions, condition{compiled, e.Reason, e.Message})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return a, nil
}

// Authorize evaluates the expressions. One without a value denies as one that is
// false does, with the cause for the log; one that cannot be finished is an error.
func (a *celAuthorizer) Authorize(ctx context.Context, in access.Input) (access.Verdict, error) {
	if err := begun(ctx, &in); err != nil {
		return access.Verdict{}, fmt.Errorf("cel: %w", err)
	}
	var data cel.Activation = &inputActivation{variables: a.variables, in: &in, now: a.now}
	for _, c := range a.conditions {
		yes, err := c.holds(ctx, data)
		switch {
		case fault.Is(err, fault.Forbidden):
			return access.Verdict{}, fmt.Errorf("cel: %w", fault.Wrap(fault.Forbidden, c.reason, c.message, err))
		case err != nil:
			return access.Verdict{}, fmt.Errorf("cel: %w", err)
		case !yes:
			return access.Verdict{Reason: c.reason, Message: c.message}, nil
		}
	}
	return access.Verdict{Allow: true, Reason: "expressions_true"}, nil
}

func isReason(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && c != '_' && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}
