package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/manage/api"
)

func TestEveryRouteIsDescribedAndEveryDescriptionIsARoute(t *testing.T) {
	f := newFixture(t, nil)
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal([]byte(f.call("GET", "/openapi.json", "").body), &doc); err != nil {
		t.Fatal(err)
	}
	var described, routed, operations []string
	for path, item := range doc.Paths {
		if strings.HasPrefix(path, "/decisions") { // served in front of the router
			continue
		}
		var listeners []string
		if raw := item["x-listeners"]; raw != nil && json.Unmarshal(raw, &listeners) != nil {
			t.Errorf("%s: x-listeners is %s", path, raw)
		}
		for method, raw := range item {
			if method == "parameters" || method == "x-listeners" || listeners != nil && !slices.Contains(listeners, "management") {
				continue
			}
			described = append(described, strings.ToUpper(method)+" "+path)
			var o struct {
				ID        string `json:"operationId"`
				Responses map[string]any
			}
			if err := json.Unmarshal(raw, &o); err != nil || o.ID == "" || len(o.Responses) == 0 {
				t.Errorf("%s %s has no operationId or no responses", method, path)
			}
			operations = append(operations, o.ID)
		}
	}
	for _, r := range f.api.Routes() {
		for _, m := range r.Methods {
			routed = append(routed, m+" "+r.Template)
		}
	}
	slices.Sort(described)
	slices.Sort(routed)
	if diff := cmp.Diff(routed, described); diff != "" {
		t.Errorf("-routed +described:\n%s", diff)
	}
	slices.Sort(operations)
	if len(slices.Compact(slices.Clone(operations))) != len(operations) {
		t.Errorf("an operationId occurs twice: %v", operations)
	}
	// Every reference leads somewhere.
	var tree map[string]any
	text := f.call("GET", "/openapi.json", "").body
	if err := json.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatal(err)
	}
	for part := range strings.SplitSeq(text, `"$ref":"#/`) {
		ref, _, _ := strings.Cut(part, `"`)
		if strings.HasPrefix(part, "{") {
			continue
		}
		at := any(tree)
		for name := range strings.SplitSeq(ref, "/") {
			m, _ := at.(map[string]any)
			at = m[name]
		}
		if at == nil {
			t.Errorf("there is no %s", ref)
		}
	}
}

// target fills in path variables and the query that a route needs.
func target(template string) string {
	path := strings.NewReplacer("{id}", "thing", "{set}", "set", "{kid}", "kid").Replace(template)
	for _, name := range []string{"login", "consent", "logout", "device"} {
		if strings.Contains(template, "/requests/"+name) {
			path += "?" + name + "_challenge=good"
		}
	}
	return path
}

// enveloped reports whether a refusal has the form of its path.
func enveloped(a answer, envelope string) bool {
	var v struct {
		Type   string          `json:"type"`
		Status int             `json:"status"`
		Error  json.RawMessage `json:"error"`
		Text   *string         `json:"error_description"`
	}
	if json.Unmarshal([]byte(a.body), &v) != nil {
		return false
	}
	var code string
	var nested struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
	switch envelope {
	case "hydra":
		return a.header.Get("Content-Type") == "application/json" && json.Unmarshal(v.Error, &code) == nil && code != "" && v.Text != nil
	case "ory":
		return a.header.Get("Content-Type") == "application/json" && json.Unmarshal(v.Error, &nested) == nil && nested.Code == a.status && nested.Message != "" && v.Status == a.status
	}
	return a.header.Get("Content-Type") == "application/problem+json" && v.Type == "about:blank" && v.Status == a.status
}

func TestEveryRouteRefusesBadInput(t *testing.T) {
	f := newFixture(t, nil)
	bodiless := []string{"/reload", "logout/accept", "logout/reject", "/rotate"}
	for _, r := range f.api.Routes() {
		at := target(r.Template)
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "GET", "TRACE", "BREW"} {
			if slices.Contains(r.Methods, method) {
				continue
			}
			a := f.call(method, at, "")
			if a.status != http.StatusMethodNotAllowed || !enveloped(a, r.Envelope) || !strings.Contains(a.header.Get("Allow"), r.Methods[0]) {
				t.Errorf("%s %s: %d, Allow %q, %s", method, at, a.status, a.header.Get("Allow"), a.body)
			}
		}
		for _, method := range r.Methods {
			reads := method == "POST" || method == "PUT" || method == "PATCH" || strings.HasSuffix(r.Template, "/members")
			if !reads || slices.ContainsFunc(bodiless, func(s string) bool { return strings.HasSuffix(r.Template, s) }) {
				continue
			}
			form := strings.HasSuffix(r.Template, "/introspect")
			for name, c := range map[string]struct {
				body, contentType string
				want              int
			}{
				"empty":               {" ", "application/json", 400},
				"truncated":           {`{"id":`, "application/json", 400},
				"no JSON":             {`<xml/>`, "application/json", 400},
				"a string":            {`"x"`, "application/json", 400},
				"null bytes":          {"\x00", "application/json", 400},
				"null":                {`null`, "application/json", 400},
				"two values":          {`{}{}`, "application/json", 400},
				"unknown member":      {`{"no such member":1}`, "application/json", 400},
				"repeated member":     {`{"id":"a","id":"b"}`, "application/json", 400},
				"another spelling":    {`{"ID":"a","SUBJECT":"a","Keys":[],"Member":"x"}`, "application/json", 400},
				"not UTF-8":           {"{\"id\":\"\xff\"}", "application/json", 400},
				"deep":                {strings.Repeat(`{"context":`, 5000), "application/json", 400},
				"deep list":           {strings.Repeat(`[`, 100000), "application/json", 400},
				"too large":           {`{"id":"` + strings.Repeat("x", 1<<20) + `"}`, "application/json", 413},
				"another media type":  {`{}`, "text/plain", 415},
				"a broken media type": {`{}`, "application/", 415},
			} {
				if form {
					c.contentType = strings.ReplaceAll(c.contentType, "application/json", "application/x-www-form-urlencoded")
				}
				a := f.call(method, at, c.body, "Content-Type", c.contentType)
				if a.status != c.want || !enveloped(a, r.Envelope) {
					t.Errorf("%s %s, %s: %d, want %d: %.200s", method, at, name, a.status, c.want, a.body)
				}
			}
		}
	}
}

func TestAnUnknownPathIsAProblem(t *testing.T) {
	f := newFixture(t, nil)
	for _, path := range []string{"/nothing", "/clients/a/b/c", "//rules", "/%zz", "/admin"} {
		if path == "/%zz" { // not a request that net/http hands on
			continue
		}
		if a := f.call("GET", path, ""); a.status != http.StatusNotFound || !enveloped(a, "problem") {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

func TestPartsThatAreNotThereHaveNoRoutes(t *testing.T) {
	f := newFixture(t, func(d *api.Deps) {
		*d = api.Deps{Build: d.Build, Rules: d.Rules, Guard: d.Guard}
	})
	for _, path := range []string{"/clients", "/policies", "/keys/x", "/oauth2/introspect", "/metrics", "/.well-known/jwks.json", "/warden/groups", "/decisions"} {
		f.call("GET", path, "").want(http.StatusNotFound)
	}
	f.call("GET", "/rules", "").want(http.StatusOK)
	f.call("GET", "/health/ready", "").want(http.StatusOK)
}

func TestReadinessListsTheSourcesOfRulesToOperatorsWhoAsk(t *testing.T) {
	failing := error(nil)
	f := newFixture(t, func(d *api.Deps) {
		d.Sources = func() any { return []string{"one"} }
		d.Checks = []api.Check{{Name: "x", Check: func(context.Context) error { return failing }}}
	})
	for query, want := range map[string]string{"": `{"status":"ok"}`, "?verbose": `{"sources":["one"],"status":"ok"}`} {
		if a := f.call("GET", "/health/ready"+query, ""); a.status != http.StatusOK || a.body != want {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
	failing = errors.New("broken")
	if a := f.call("GET", "/health/ready?verbose=1", ""); a.status != http.StatusServiceUnavailable || a.body != `{"errors":{"x":"broken"},"sources":["one"]}` {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestATrailingSlashIsTrimmed(t *testing.T) {
	newFixture(t, nil).call("GET", "/clients/", "").want(http.StatusOK)
}

func TestDecisionsAreServedAsTheyWereSent(t *testing.T) {
	f := newFixture(t, func(d *api.Deps) { d.Guard = api.Guard{Tokens: bearers(t, "the token of an operator")} })
	a := f.call("DELETE", "/decisions/a/../b%2F//c/", "", "Host", "shop.example.org", "Sec-Fetch-Site", "cross-site")
	if a.status != http.StatusForbidden || a.header.Get("X-Path") != "/decisions/a/../b%2F//c/" {
		t.Errorf("got %d, %q", a.status, a.header.Get("X-Path"))
	}
}
