package authz

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
	"cel.dev/cel-go/interpreter"

	"github.com/gatewarden/gatewarden/fault"
)

// Limits of one expression.
const (
	maxExpression     = 8 << 10 // code points of its text
	maxExpressionCost = 100_000 // units of CEL's cost model in one evaluation, some milliseconds
)

// expression is a compiled CEL expression that says yes or no. It is safe for
// concurrent use.
type expression struct {
	name    string
	ast     *cel.Ast
	program cel.Program
}

// vocabulary makes the environment of expressions over variables when the first one
// is compiled: it takes longer than an expression does.
func vocabulary(variables func() []cel.EnvOption) func() (*cel.Env, error) {
	return sync.OnceValues(func() (*cel.Env, error) {
		return cel.NewEnv(append([]cel.EnvOption{
			ext.Strings(), ext.Lists(), ext.Sets(), ext.Math(), ext.Encoders(), ext.Network(), cel.OptionalTypes(),
			cel.ParserExpressionSizeLimit(maxExpression), cel.ParserRecursionLimit(64),
			cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
		}, variables()...)...)
	})
}

// compileExpression checks text against a vocabulary. Errors name the expression and
// line:column in it.
func compileExpression(name, text string, vocabulary func() (*cel.Env, error)) (*expression, error) {
	if strings.TrimSpace(text) == "" {
		return nil, fmt.Errorf("%s: must not be empty", name)
	}
	env, err := vocabulary()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		var errs []error
		for _, e := range issues.Errors() {
			errs = append(errs, fmt.Errorf("%s: %d:%d: %s", name, e.Location.Line(), e.Location.Column()+1, e.Message))
		}
		return nil, errors.Join(errs...)
	}
	if t := ast.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("%s: 1:1: must be true or false, and is %s", name, cel.FormatCELType(t))
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxExpressionCost), cel.InterruptCheckFrequency(100))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &expression{name: name, ast: ast, program: program}, nil
}

// holds evaluates the expression. Errors: fault.Forbidden when it has no value for
// this data (a claim that is missing, a type that does not fit), which asking again
// does not change; fault.Unavailable when it costs too much; fault.Timeout.
func (e *expression) holds(ctx context.Context, data cel.Activation) (bool, error) {
	value, _, err := e.program.ContextEval(ctx, data)
	var cancelled interpreter.EvalCancelledError
	switch {
	case err == nil:
		yes, isBool := value.(types.Bool)
		if !isBool {
			return false, e.valueless(fmt.Errorf("is %s and not true or false", value.Type().TypeName()))
		}
		return bool(yes), nil
	case ctx.Err() != nil:
		kind := fault.Unavailable
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			kind = fault.Timeout
		}
		return false, fault.Wrap(kind, "expression_interrupted", "the request could not be decided in time", fmt.Errorf("%s: %w", e.name, err))
	case errors.As(err, &cancelled):
		return false, fault.Wrap(fault.Unavailable, "expression_too_costly", "the request could not be decided", fmt.Errorf("%s: %w", e.name, err))
	}
	return false, e.valueless(err)
}

func (e *expression) valueless(cause error) error {
	place := e.name
	var at *types.Err
	if errors.As(cause, &at) && at.NodeID() != 0 {
		l := e.ast.NativeRep().SourceInfo().GetStartLocation(at.NodeID())
		place = fmt.Sprintf("%s: %d:%d", e.name, l.Line(), l.Column()+1)
	}
	return fault.Wrap(fault.Forbidden, "expression_has_no_value", "the request is not allowed", fmt.Errorf("%s: %w", place, cause))
}
