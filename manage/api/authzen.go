package api

import (
	"context"
	"maps"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/authz"
	"github.com/gatewarden/gatewarden/fault"
)

// RouteDecider decides requests by the access rules, for AuthZEN resources of type route.
type RouteDecider interface {
	Decide(ctx context.Context, method, target string, header http.Header, client netip.Addr) access.Decision
}

// maxEvaluations bounds the questions of one call.
const maxEvaluations = 1000

// The paths of AuthZEN Authorization API 1.0, sections 9 and 10.
const (
	evaluationPath  = "/access/v1/evaluation"
	evaluationsPath = "/access/v1/evaluations"
)

func (a *API) authzenRoutes() {
	if a.Warden == nil {
		return
	}
	question := object{scope: "hydra.warden", resource: "warden:allowed"}
	a.route(problem, evaluationPath, methods{http.MethodPost: question.to(identified(a.evaluation), "decide")})
	a.route(problem, evaluationsPath, methods{http.MethodPost: question.to(identified(a.evaluations), "decide")})
	a.public("/.well-known/authzen-configuration", func(x *exchange) error {
		base := "http://" + x.r.Host
		if x.r.TLS != nil {
			base = "https://" + x.r.Host
		}
		return x.json(http.StatusOK, map[string]string{
			"policy_decision_point":       base,
			"access_evaluation_endpoint":  base + evaluationPath,
			"access_evaluations_endpoint": base + evaluationsPath,
		})
	})
}

// maxRequestID bounds the id of a question.
const maxRequestID = 256

// identified has the answer, an error too, carry the X-Request-ID of the question
// (section 10.1). One that is long, or there twice, names nothing and is left out.
func identified(next func(*exchange) error) func(*exchange) error {
	return func(x *exchange) error {
		if id := x.r.Header["X-Request-Id"]; len(id) == 1 && len(id[0]) <= maxRequestID {
			x.w.Header()["X-Request-Id"] = id
		}
		return next(x)
	}
}

// entity is a subject or a resource (sections 5.1 and 5.2).
type entity struct {
	Type       string         `json:"type"`
	ID         string         `json:"id"`
	Properties map[string]any `json:"properties"`
}

// authzenAction is section 5.3.
type authzenAction struct {
	Name       string         `json:"name"`
	Properties map[string]any `json:"properties"`
}

// evaluation is one question; a nil part of an item of evaluations is that of the call.
type evaluation struct {
	Subject  *entity        `json:"subject"`
	Action   *authzenAction `json:"action"`
	Resource *entity        `json:"resource"`
	Context  map[string]any `json:"context"`
}

// verdict is an answer (section 6).
type verdict struct {
	Decision bool           `json:"decision"`
	Context  map[string]any `json:"context,omitempty"`
}

func (a *API) evaluation(x *exchange) error {
	var q evaluation
	if err := x.decode(&q); err != nil {
		return err
	}
	v, err := a.evaluate(x.r.Context(), q, "")
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, v)
}

// evaluations answers several questions in order. What cannot be decided is a denial
// with the error in its context, because the others are answered.
func (a *API) evaluations(x *exchange) error {
	var q struct {
		evaluation
		Evaluations []evaluation `json:"evaluations"`
		Options     struct {
			Semantic string `json:"evaluations_semantic"`
		} `json:"options"`
	}
	if err := x.decode(&q); err != nil {
		return err
	}
	if len(q.Evaluations) == 0 { // section 7.1: the call is one question then
		v, err := a.evaluate(x.r.Context(), q.evaluation, "")
		if err != nil {
			return err
		}
		return x.json(http.StatusOK, v)
	}
	if len(q.Evaluations) > maxEvaluations {
		return &fault.Error{Kind: fault.Invalid, Reason: "invalid_value", Pointer: "/evaluations", Message: "must have at most " + strconv.Itoa(maxEvaluations) + " items"}
	}
	stop, err := stopper(q.Options.Semantic)
	if err != nil {
		return err
	}
	list := make([]verdict, 0, len(q.Evaluations))
	for i, item := range q.Evaluations {
		v, err := a.evaluate(x.r.Context(), item.over(q.evaluation), "/evaluations/"+strconv.Itoa(i))
		if err != nil {
			t := explain(err)
			v = verdict{Context: map[string]any{"reason": t.reason, "error": map[string]any{"status": t.status, "message": t.detail}}}
		}
		if list = append(list, v); stop(v.Decision) {
			break
		}
	}
	return x.json(http.StatusOK, map[string]any{"evaluations": list})
}

// stopper says after which answer the rest is left out (section 7.1.2.1).
func stopper(semantic string) (func(allowed bool) bool, error) {
	switch semantic {
	case "", "execute_all":
		return func(bool) bool { return false }, nil
	case "deny_on_first_deny":
		return func(allowed bool) bool { return !allowed }, nil
	case "permit_on_first_permit":
		return func(allowed bool) bool { return allowed }, nil
	}
	return nil, &fault.Error{Kind: fault.Invalid, Reason: "invalid_value", Pointer: "/options/evaluations_semantic",
		Message: "must be execute_all, deny_on_first_deny or permit_on_first_permit"}
}

// over returns q with the parts that it lacks taken from the call.
func (q evaluation) over(call evaluation) evaluation {
	if q.Subject == nil {
		q.Subject = call.Subject
	}
	if q.Action == nil {
		q.Action = call.Action
	}
	if q.Resource == nil {
		q.Resource = call.Resource
	}
	if q.Context == nil {
		q.Context = call.Context
	}
	return q
}

// evaluate answers one question: by the rules for a resource of type route, by the
// policies for any other.
func (a *API) evaluate(ctx context.Context, q evaluation, at string) (verdict, error) {
	missing := func(pointer string) error {
		return &fault.Error{Kind: fault.Invalid, Reason: "invalid_value", Pointer: at + pointer, Message: "is required"}
	}
	switch {
	case q.Subject == nil || q.Subject.Type == "":
		return verdict{}, missing("/subject/type")
	case q.Subject.ID == "":
		return verdict{}, missing("/subject/id")
	case q.Action == nil || q.Action.Name == "":
		return verdict{}, missing("/action/name")
	case q.Resource == nil || q.Resource.Type == "":
		return verdict{}, missing("/resource/type")
	case q.Resource.ID == "":
		return verdict{}, missing("/resource/id")
	case q.Resource.Type == "route" && a.ByRules != nil:
		return a.evaluateRoute(ctx, q, at)
	}
	facts, err := q.facts(at)
	if err != nil {
		return verdict{}, err
	}
	answer, err := a.Warden.Allowed(ctx, authz.Question{
		Subject: q.Subject.ID, Action: q.Action.Name, Resource: q.Resource.Type + ":" + q.Resource.ID, Context: facts,
	})
	if err != nil {
		return verdict{}, err
	}
	v := verdict{Decision: answer.Allow, Context: map[string]any{"reason": answer.Reason}}
	if len(answer.Policies) > 0 {
		v.Context["policies"] = answer.Policies
	}
	return v, nil
}

// facts is the context that conditions of policies look at: that of the question, and
// types and properties as subject.NAME, action.NAME and resource.NAME.
func (q evaluation) facts(at string) (map[string]any, error) {
	facts := maps.Clone(q.Context)
	if facts == nil {
		facts = map[string]any{}
	}
	add := func(prefix, pointer string, properties map[string]any) error {
		for name, value := range properties {
			if _, taken := facts[prefix+name]; taken {
				return &fault.Error{Kind: fault.Invalid, Reason: "invalid_value", Pointer: at + pointer, Message: prefix + name + " is in the context already"}
			}
			facts[prefix+name] = value
		}
		return nil
	}
	for _, part := range []struct {
		prefix, pointer string
		properties      map[string]any
	}{
		{"subject.", "/subject", map[string]any{"type": q.Subject.Type}}, {"subject.", "/subject/properties", q.Subject.Properties},
		{"action.", "/action/properties", q.Action.Properties},
		{"resource.", "/resource", map[string]any{"type": q.Resource.Type}}, {"resource.", "/resource/properties", q.Resource.Properties},
	} {
		if err := add(part.prefix, part.pointer, part.properties); err != nil {
			return nil, err
		}
	}
	return facts, nil
}

// evaluateRoute decides a request: the action is the method and the resource the URL.
// The request's credentials are in context.headers, its client is context.ip_address.
// The subject must be the one that those credentials stand for; where a rule lets
// anybody in it may be anyone.
func (a *API) evaluateRoute(ctx context.Context, q evaluation, at string) (verdict, error) {
	header, client, err := q.request(at)
	if err != nil {
		return verdict{}, err
	}
	d := a.ByRules.Decide(ctx, q.Action.Name, q.Resource.ID, header, client)
	v := verdict{Decision: d.Allow, Context: map[string]any{"reason": d.Reason}}
	if d.RuleID != "" {
		v.Context["rule"] = d.RuleID
	}
	anybody := d.Subject.ID == "" || d.Subject.Via == "anonymous" || d.Subject.Via == "noop"
	if d.Allow && !anybody && d.Subject.ID != q.Subject.ID {
		v.Decision, v.Context["reason"] = false, "subject_mismatch"
	}
	return v, nil
}

// request reads what the context says of the HTTP request.
func (q evaluation) request(at string) (http.Header, netip.Addr, error) {
	bad := func(pointer, message string) (http.Header, netip.Addr, error) {
		return nil, netip.Addr{}, &fault.Error{Kind: fault.Invalid, Reason: "invalid_value", Pointer: at + "/context/" + pointer, Message: message}
	}
	header := http.Header{}
	if fields, given := q.Context["headers"]; given {
		values, isObject := fields.(map[string]any)
		if !isObject {
			return bad("headers", "must be an object of strings")
		}
		for name, v := range values {
			text, isText := v.(string)
			if !isText {
				return bad("headers", "must be an object of strings")
			}
			header.Add(name, text)
		}
	}
	var client netip.Addr
	if v, given := q.Context["ip_address"]; given {
		text, _ := v.(string)
		parsed, err := netip.ParseAddr(text)
		if err != nil {
			return bad("ip_address", "must be an address")
		}
		client = parsed
	}
	return header, client, nil
}
