package api

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// checkTimeout bounds one readiness check.
const checkTimeout = 2 * time.Second

// The page sizes of Oathkeeper's rules, when not asked for and at most.
const (
	rulesPage = 100
	rulesMost = 500
)

func (a *API) gatewayRoutes() {
	if a.Rules != nil {
		rules := object{scope: "hydra.rules", resource: "rules"}
		one := rules.at("{id}")
		a.route(ory, "/rules", methods{http.MethodGet: rules.to(a.listRules, "get", "list"), http.MethodPost: rules.to(a.createRule, "create")})
		a.route(ory, "/rules/{id}", methods{
			http.MethodGet: one.to(a.getRule, "get"), http.MethodPut: one.to(a.replaceRule, "update"), http.MethodDelete: one.to(a.deleteRule, "delete"),
		})
	}
	if a.Upstreams != nil {
		upstreams := object{scope: "hydra.upstreams", resource: "upstreams"}
		a.route(problem, "/upstreams", methods{http.MethodGet: upstreams.to(func(x *exchange) error {
			return x.json(http.StatusOK, map[string]any{"upstreams": a.Upstreams()})
		}, "get")})
	}
	if a.GatewayKeys != nil {
		a.public("/.well-known/jwks.json", a.jwks)
	}
	for _, path := range []string{"/health/alive", "/healthz"} {
		a.public(path, func(x *exchange) error { return x.json(http.StatusOK, map[string]string{"status": "ok"}) })
	}
	for _, path := range []string{"/health/ready", "/readyz"} {
		a.public(path, a.ready)
	}
	about := object{scope: "hydra.version", resource: "version"}
	a.route(problem, "/version", methods{http.MethodGet: about.to(func(x *exchange) error { return x.json(http.StatusOK, a.Build) }, "get")})
	description := object{scope: "hydra.openapi", resource: "openapi"}
	a.route(problem, "/openapi.json", methods{http.MethodGet: description.to(func(x *exchange) error {
		x.write(http.StatusOK, "application/json", a.doc.json)
		return nil
	}, "get")})
	a.route(problem, "/openapi.yaml", methods{http.MethodGet: description.to(func(x *exchange) error {
		x.write(http.StatusOK, "application/yaml", a.doc.yaml)
		return nil
	}, "get")})
	if a.Reload != nil {
		a.route(problem, "/reload", methods{http.MethodPost: object{scope: "hydra.configuration", resource: "configuration"}.to(a.reload, "reload")})
	}
	if a.Metrics != nil {
		metrics := object{scope: "hydra.metrics", resource: "metrics"}
		for _, path := range []string{"/metrics", "/metrics/prometheus"} {
			a.route(problem, path, methods{http.MethodGet: metrics.to(func(x *exchange) error {
				a.Metrics.ServeHTTP(x.w, x.r)
				return nil
			}, "get")})
		}
	}
}

// reload answers what was put in force.
func (a *API) reload(x *exchange) error {
	done, err := a.Reload(x.r.Context())
	if err != nil {
		return err
	}
	if done.Changed == nil {
		done.Changed = []string{}
	}
	if done.Restart == nil {
		done.Restart = []string{}
	}
	return x.json(http.StatusOK, done)
}

// ready answers 503 with every part that is not ready and, unless Discreet, why.
// When asked with ?verbose it lists the sources of rules, files of credentials, certificates and Redis,
// too.
func (a *API) ready(x *exchange) error {
	failing := make(map[string]string)
	if a.Draining != nil && a.Draining() {
		failing["draining"] = "the program is about to stop"
	}
	for _, c := range a.Checks {
		ctx, cancel := context.WithTimeout(x.r.Context(), checkTimeout)
		if err := c.Check(ctx); err != nil {
			failing[c.Name] = err.Error()
			if a.Discreet {
				a.Log.WarnContext(x.r.Context(), "not ready", "part", c.Name, "error", err)
				failing[c.Name] = "not ready"
			}
		}
		cancel()
	}
	status, answer := http.StatusOK, map[string]any{"status": "ok"}
	if len(failing) > 0 {
		status, answer = http.StatusServiceUnavailable, map[string]any{"errors": failing}
	}
	if x.r.URL.Query().Has("verbose") {
		if a.Sources != nil {
			answer["sources"] = a.Sources()
		}
		if a.CredentialFiles != nil {
			answer["credential_files"] = a.CredentialFiles()
		}
		if a.Certificates != nil {
			answer["certificates"] = a.Certificates()
		}
		if a.Redis != nil {
			if state := a.Redis(); state != nil {
				answer["redis"] = state
			}
		}
	}
	return x.json(status, answer)
}

func (a *API) jwks(x *exchange) error {
	set, err := a.GatewayKeys(x.r.Context())
	if err != nil {
		return err
	}
	x.w.Header().Set("Cache-Control", "public, max-age=60")
	return x.json(http.StatusOK, set)
}

func (a *API) listRules(x *exchange) error {
	p, err := x.page(rulesPage, rulesMost)
	if err != nil {
		return err
	}
	list, err := a.Rules.List(x.r.Context(), p.limit+1, p.offset)
	if err != nil {
		return err
	}
	return sendPage(x, p, list)
}

func (a *API) getRule(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	r, etag, err := a.Rules.Get(x.r.Context(), id)
	if err != nil {
		return err
	}
	return x.tagged(etag, r)
}

// tagged answers v and its tag, or 304 when the client has it (RFC 9110 section 13.1.2).
func (x *exchange) tagged(etag string, v any) error {
	x.w.Header().Set("ETag", `"`+etag+`"`)
	if tags(x.r.Header.Get("If-None-Match"), etag) {
		x.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return x.json(http.StatusOK, v)
}

func (a *API) createRule(x *exchange) error {
	r, err := x.rule()
	if err != nil {
		return err
	}
	stored, err := a.Rules.Create(x.r.Context(), r)
	if err != nil {
		return err
	}
	x.w.Header().Set("ETag", `"`+stored.ETag+`"`)
	return x.created("/rules", stored.Rule.ID, stored.Rule)
}

func (a *API) replaceRule(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	etag, err := x.ifMatch()
	if err != nil {
		return err
	}
	r, err := x.rule()
	if err != nil {
		return err
	}
	if err := sameID(id, &r.ID, "/id"); err != nil {
		return err
	}
	stored, err := a.Rules.Replace(x.r.Context(), r, etag)
	if err != nil {
		return changed(err, etag)
	}
	x.w.Header().Set("ETag", `"`+stored.ETag+`"`)
	return x.json(http.StatusOK, stored.Rule)
}

func (a *API) deleteRule(x *exchange) error {
	id, err := x.id("id")
	if err != nil {
		return err
	}
	etag, err := x.ifMatch()
	if err != nil {
		return err
	}
	if err := a.Rules.Delete(x.r.Context(), id, etag); err != nil {
		return changed(err, etag)
	}
	return x.none()
}

// rule reads one rule, of today's or the early format. What is wrong with it is in
// its Faults.
func (x *exchange) rule() (spec.Rule, error) {
	body, err := x.read()
	if err != nil {
		return spec.Rule{}, err
	}
	if _, err := newLayout(body, nil); err != nil {
		return spec.Rule{}, err
	}
	if bytes.TrimSpace(body)[0] != '{' {
		return spec.Rule{}, fault.New(fault.Invalid, "invalid_value", "the body must be one rule")
	}
	list, err := spec.Decode("body.json", body)
	if err != nil {
		return spec.Rule{}, err
	}
	r := list[0]
	r.Origin = spec.Origin{Source: "database"}
	return r, nil
}

// sameID lets the path name what the body leaves out, and nothing else.
func sameID(path string, body *string, pointer string) error {
	if *body != "" && *body != path {
		return &fault.Error{Kind: fault.Invalid, Reason: "id_mismatch", Pointer: pointer, Message: "is not the one of the path"}
	}
	*body = path
	return nil
}

// ifMatch returns the entity tag of If-Match (RFC 9110 section 13.1.1); empty for
// none and for *, which any rule matches.
func (x *exchange) ifMatch() (string, error) {
	text := strings.TrimSpace(x.r.Header.Get("If-Match"))
	if text == "" || text == "*" {
		return "", nil
	}
	if len(text) < 3 || text[0] != '"' || strings.IndexByte(text[1:], '"') != len(text)-2 {
		return "", fault.New(fault.Invalid, "invalid_request", "If-Match must be one strong entity tag or *")
	}
	return text[1 : len(text)-1], nil
}

// tags reports whether an If-None-Match header names the tag.
func tags(header, etag string) bool {
	for text := range strings.SplitSeq(header, ",") {
		text = strings.TrimPrefix(strings.TrimSpace(text), "W/")
		if text == "*" || text == `"`+etag+`"` {
			return true
		}
	}
	return false
}

// changed is a conflict with If-Match as HTTP says it.
func changed(err error, etag string) error {
	if etag != "" && fault.Is(err, fault.Conflict) {
		return &statusError{status: http.StatusPreconditionFailed, reason: "precondition_failed", message: fault.MessageOf(err)}
	}
	return err
}
