package config

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestARunningProgramAdoptsWhatCanBeSwappedAndNamesTheRest(t *testing.T) {
	was := Default()
	was.Serve.Proxy.TLS.Cert.Path = "old.crt"
	next := was
	next.DSN, next.Serve.Proxy.Port, next.Serve.Proxy.TLS.ClientAuth = "sqlite://x", 1, "require"
	next.Serve.Proxy.TLS.Cert.Path, next.Log.Level, next.Serve.API.CORS.Enabled = "new.crt", "debug", true
	next.Serve.Proxy.TrustedProxies = []Peer{{Network: netip.MustParsePrefix("10.0.0.0/8")}}
	next.Authenticators = map[string]Handler{"jwt": {Config: json.RawMessage(`{}`)}}
	adopted, changed, restart := was.Adopt(&next)
	slices.Sort(changed)
	slices.Sort(restart)
	if diff := cmp.Diff([]string{"authenticators", "log.level", "serve.api.cors.enabled", "serve.proxy.tls.cert.path", "serve.proxy.trusted_proxies"}, changed); diff != "" {
		t.Errorf("changed (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"dsn", "serve.proxy.port", "serve.proxy.tls.client_auth"}, restart); diff != "" {
		t.Errorf("restart (-want +got)\n%s", diff)
	}
	want := next
	want.DSN, want.Serve.Proxy.Port, want.Serve.Proxy.TLS.ClientAuth = was.DSN, was.Serve.Proxy.Port, was.Serve.Proxy.TLS.ClientAuth
	if diff := cmp.Diff(want, *adopted, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("adopted (-want +got)\n%s", diff)
	}
	if was.Log.Level != "info" || was.Authenticators != nil {
		t.Error("the old configuration was changed")
	}
}

func TestSeveralCertificates(t *testing.T) {
	file := write(t, "c.yaml", "serve:\n  proxy:\n    tls:\n      certificates:\n        - {cert: {path: a.crt}, key: {path: a.key}}\n        - {cert: {base64: eA==}, key: {base64: eA==}}\n")
	cfg := load(t, Sources{Files: []string{file}, Environ: []string{`SERVE_API_TLS_CERTIFICATES=[{"cert": {"path": "c.crt"}, "key": {"path": "c.key"}}]`}})
	want := []Certificate{{Key: PEM{Path: "a.key"}, Cert: PEM{Path: "a.crt"}}, {Key: PEM{Base64: "eA=="}, Cert: PEM{Base64: "eA=="}}}
	if diff := cmp.Diff(want, cfg.Serve.Proxy.TLS.All()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]Certificate{{Key: PEM{Path: "c.key"}, Cert: PEM{Path: "c.crt"}}}, cfg.Serve.API.TLS.All()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
