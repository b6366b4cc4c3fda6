package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Names of identity that begin like those of forwarding are the rules' as all others.
func TestAForwardedUserIsTheRulesOnEveryRouteAndAdapter(t *testing.T) {
	api := upstream(t).URL
	p := start(t, settings{
		keys: map[string]string{"serve.api.trusted_proxies": "127.0.0.1", "serve.api.envoy.trusted_proxies": "127.0.0.1", "serve.api.nginx.trusted_proxies": "127.0.0.1", "serve.ext_authz.port": "0", "serve.ext_authz.trusted_proxies": "127.0.0.1"},
		rules: `[
		{"id": "writes", "match": {"url": "http://<.*>/a", "methods": ["GET"]}, "authenticators": [{"handler": "anonymous"}], "authorizer": {"handler": "allow"},
		 "mutators": [{"handler": "header", "config": {"headers": {"X-Forwarded-User": "{{ print .Subject }}"}}}], "upstream": {"url": "` + api + `"}},
		{"id": "does not", "match": {"url": "http://<.*>/b", "methods": ["GET"]}, "authenticators": [{"handler": "anonymous"}], "authorizer": {"handler": "allow"},
		 "mutators": [{"handler": "noop"}], "upstream": {"url": "` + api + `"}}]`})
	forged := []string{"X-Forwarded-User", "admin"}
	fields := func(more ...string) []string { return append(more, forged...) }

	a := send(t, "GET", p.management+"/decisions", "", fields("X-Forwarded-Method", "GET", "X-Forwarded-Proto", "http", "X-Forwarded-Host", "a.example", "X-Forwarded-Uri", "/b")...).want(t, http.StatusOK)
	if got := a.header["X-Forwarded-User"]; !slices.Equal(got, []string{""}) {
		t.Errorf("/decisions: X-Forwarded-User is %q, want it empty", got)
	}
	a = send(t, "GET", p.management+"/decisions/nginx", "", fields("X-Original-Method", "GET", "X-Original-URL", "http://a.example/b")...).want(t, http.StatusOK)
	if got := a.header["X-Forwarded-User"]; !slices.Equal(got, []string{""}) {
		t.Errorf("/decisions/nginx: X-Forwarded-User is %q, want it empty", got)
	}
	a = send(t, "GET", p.management+"/decisions/envoy/b", "", fields("Host", "a.example", "X-Forwarded-Proto", "http")...).want(t, http.StatusOK)
	if got := a.header.Get("X-Envoy-Auth-Headers-To-Remove"); !strings.Contains(got, "x-forwarded-user") {
		t.Errorf("/decisions/envoy removes %q", got)
	}
	conn, err := grpc.NewClient(p.app.Addresses()["ext_authz"], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	checked, err := auth.NewAuthorizationClient(conn).Check(t.Context(), &auth.CheckRequest{Attributes: &auth.AttributeContext{Request: &auth.AttributeContext_Request{
		Http: &auth.AttributeContext_HttpRequest{Method: "GET", Scheme: "http", Host: "a.example", Path: "/b", Headers: map[string]string{"x-forwarded-user": "admin"}},
	}}})
	if err != nil || !slices.Contains(checked.GetOkResponse().GetHeadersToRemove(), "x-forwarded-user") {
		t.Errorf("ext_authz: %v, %v", checked, err)
	}
}
