package authz

import (
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/gatewarden/gatewarden/access"
)

// inputVariable is what expressions call one thing about a request. Its value is made
// when an expression asks for it.
type inputVariable struct {
	typ   *cel.Type
	value func(*inputActivation) any
}

// inputVariables are the variables of the authorizer cel by their names; the dots
// are part of them.
func inputVariables() map[string]inputVariable {
	texts := cel.MapType(cel.StringType, cel.StringType)
	return map[string]inputVariable{
		"request.id":        {cel.StringType, func(a *inputActivation) any { return a.in.Request.ID }},
		"request.method":    {cel.StringType, func(a *inputActivation) any { return a.in.Request.Method }},
		"request.url":       {cel.StringType, func(a *inputActivation) any { return a.in.Request.URL.String() }},
		"request.scheme":    {cel.StringType, func(a *inputActivation) any { return a.in.Request.URL.Scheme }},
		"request.host":      {cel.StringType, func(a *inputActivation) any { return a.in.Request.URL.Host }},
		"request.path":      {cel.StringType, func(a *inputActivation) any { return a.in.Request.URL.Path }},
		"request.raw_query": {cel.StringType, func(a *inputActivation) any { return a.in.Request.URL.RawQuery }},
		"request.query":     {cel.MapType(cel.StringType, cel.ListType(cel.StringType)), func(a *inputActivation) any { return query(a.in.Request.URL) }},
		"request.headers":   {texts, func(a *inputActivation) any { return headers(a.in.Request.Header) }},
		"request.client":    {cel.StringType, func(a *inputActivation) any { return clientAddress(a.in.Request.Client) }},
		"request.time":      {cel.TimestampType, func(a *inputActivation) any { return a.now().UTC() }},
		"subject.id":        {cel.StringType, func(a *inputActivation) any { return a.in.Subject.ID }},
		"subject.via":       {cel.StringType, func(a *inputActivation) any { return a.in.Subject.Via }},
		"claims":            {cel.MapType(cel.StringType, cel.DynType), func(a *inputActivation) any { return claims(a.in.Subject.Extra) }},
		"captures":          {cel.ListType(cel.StringType), func(a *inputActivation) any { return append([]string{}, a.in.Captures...) }},
		"rule.id":           {cel.StringType, func(a *inputActivation) any { return a.in.RuleID }},
	}
}

// declareInput returns the declarations of inputVariables.
func declareInput() []cel.EnvOption {
	var options []cel.EnvOption
	variables := inputVariables()
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		options = append(options, cel.Variable(name, variables[name].typ))
	}
	return options
}

// inputActivation is the data of one request.
type inputActivation struct {
	variables map[string]inputVariable
	in        *access.Input
	now       func() time.Time
}

var _ cel.Activation = (*inputActivation)(nil)

// ResolveName implements cel.Activation.
func (a *inputActivation) ResolveName(name string) (any, bool) {
	v, found := a.variables[name]
	if !found {
		return nil, false
	}
	return v.value(a), true
}

// Parent implements cel.Activation.
func (a *inputActivation) Parent() cel.Activation { return nil }

// query returns the parameters, or an error value when they could be read in two ways.
func query(u *url.URL) any {
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return types.NewErr("the query cannot be parsed")
	}
	return map[string][]string(values)
}

// headers returns the fields by lower-case name; several values of one are joined as
// RFC 9110 section 5.3 says.
func headers(h http.Header) map[string]string {
	all := make(map[string]string, len(h))
	for name, values := range h {
		all[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return all
}

func claims(extra map[string]any) map[string]any {
	if extra == nil {
		return map[string]any{}
	}
	return extra
}

func clientAddress(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().WithZone("").String()
}

// declareAnswer returns those of allow_if.
func declareAnswer() []cel.EnvOption {
	return []cel.EnvOption{cel.Variable("answer", cel.DynType), cel.Variable("status", cel.IntType)}
}

// answerActivation is the data of one answer.
type answerActivation struct {
	document any
	status   int
}

// ResolveName implements cel.Activation.
func (a answerActivation) ResolveName(name string) (any, bool) {
	switch name {
	case "answer":
		return a.document, true
	case "status":
		return a.status, true
	}
	return nil, false
}

// Parent implements cel.Activation.
func (a answerActivation) Parent() cel.Activation { return nil }
