package decision

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/fault"
)

// dial serves gRPC over HTTP/2 without TLS, as the program does, to peers of network.
func dial(t testing.TB, network string, d edge.Decider) (*grpc.ClientConn, *ExtAuthz) {
	t.Helper()
	peers, err := edge.ParseTrusted([]string{network}, false)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewExtAuthz(edge.Options{Decider: d, Trusted: peers})
	if err != nil {
		t.Fatal(err)
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	server := httptest.NewUnstartedServer(s)
	server.Config.Protocols = &protocols
	server.Start()
	t.Cleanup(server.Close)
	conn, err := grpc.NewClient(server.Listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, s
}

// checkOf is a whole check; change takes parts away.
func checkOf(change func(h *auth.AttributeContext_HttpRequest)) *auth.CheckRequest {
	h := &auth.AttributeContext_HttpRequest{Method: "POST", Path: "/api/x?a=%zz;b", Host: "API.example.com:443", Scheme: "https", Headers: map[string]string{
		":path": "/public", ":method": "GET", ":authority": "evil", "accept": "text/plain", "x-forwarded-proto": "http", "x-forwarded-host": "evil", "x-original-url": "/public",
	}}
	if change != nil {
		change(h)
	}
	return &auth.CheckRequest{Attributes: &auth.AttributeContext{
		Source:  &auth.AttributeContext_Peer{Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{Address: "198.51.100.7", PortSpecifier: &core.SocketAddress_PortValue{PortValue: 1234}}}}},
		Request: &auth.AttributeContext_Request{Http: h},
	}}
}

func check(t testing.TB, conn *grpc.ClientConn, c *auth.CheckRequest) *auth.CheckResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	answer, err := auth.NewAuthorizationClient(conn).Check(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestACheckIsJudgedByItsAttributes(t *testing.T) {
	type judged struct{ Request, Accept, Body string }
	var got judged
	conn, _ := dial(t, "127.0.0.0/8", decide(func(r *access.Request) access.Decision {
		got = judged{Request: r.Method + " " + r.URL.String() + " " + r.Client.String(), Accept: strings.Join(r.Header["Accept"], "|")}
		if r.Body != nil {
			b, err := r.Body(1000)
			if err != nil {
				t.Error(err)
			}
			got.Body = string(b)
		}
		return access.Decision{Allow: true}
	}))
	const whole = "POST https://api.example.com/api/x?a=%zz;b 198.51.100.7"
	for name, c := range map[string]struct {
		check *auth.CheckRequest
		want  judged // zero: refused
		code  int
	}{
		"whole":         {checkOf(nil), judged{whole, "text/plain", ""}, 200},
		"with a body":   {checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Body = "text" }), judged{whole, "text/plain", "text"}, 200},
		"bytes as body": {checkOf(func(h *auth.AttributeContext_HttpRequest) { h.RawBody = []byte("\xff") }), judged{whole, "text/plain", "\xff"}, 200},
		"raw header fields": {checkOf(func(h *auth.AttributeContext_HttpRequest) {
			h.Headers, h.HeaderMap = nil, &core.HeaderMap{Headers: []*core.HeaderValue{{Key: ":path", RawValue: []byte("/public")}, {Key: "accept", RawValue: []byte("text/a")}, {Key: "accept", Value: "text/b"}}}
		}), judged{whole, "text/a|text/b", ""}, 200},
		"no header fields": {checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Headers = nil }), judged{whole, "", ""}, 200},
		"empty":            {&auth.CheckRequest{}, judged{}, 400},
		"no request":       {&auth.CheckRequest{Attributes: &auth.AttributeContext{}}, judged{}, 400},
		"no http":          {&auth.CheckRequest{Attributes: &auth.AttributeContext{Request: &auth.AttributeContext_Request{}}}, judged{}, 400},
		"no method":        {checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Method = "" }), judged{}, 400},
		"no path":          {checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Path = "" }), judged{}, 400},
		"no host":          {checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Host = "" }), judged{}, 400},
		"no scheme":        {checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Scheme = "" }), judged{}, 400},
		"odd scheme":       {checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Scheme = "ftp" }), judged{}, 400},
		"a query beside":   {checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Query = "a=b" }), judged{}, 400},
		"a fragment":       {checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Fragment = "x" }), judged{}, 400},
		"fields twice": {checkOf(func(h *auth.AttributeContext_HttpRequest) {
			h.HeaderMap = &core.HeaderMap{Headers: []*core.HeaderValue{{Key: "a", Value: "b"}}}
		}), judged{}, 400},
		"encoded dots":     {checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Path = "/public/%2e%2e/admin" }), judged{}, 400},
		"dots":             {checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Path = "/public/../admin" }), judged{}, 400},
		"absolute":         {checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Path = "http://evil/public" }), judged{}, 400},
		"asterisk":         {checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Path = "*" }), judged{}, 400},
		"a host of two":    {checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Host = "a@b" }), judged{}, 400},
		"a name with LF":   {checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Headers["a\nb"] = "x" }), judged{}, 400},
		"a value with LF":  {checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Headers["a"] = "x\ny" }), judged{}, 400},
		"a large header":   {checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Headers["a"] = strings.Repeat("x", maxCheckHeader) }), judged{}, 413},
		"a malformed verb": {checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Method = "G T" }), judged{}, 400},
	} {
		got = judged{}
		answer := check(t, conn, c.check)
		code := 200
		if d := answer.GetDeniedResponse(); d != nil {
			code = int(d.GetStatus().GetCode())
		}
		if diff := cmp.Diff(c.want, got); diff != "" || code != c.code || (code == 200) != (answer.GetStatus().GetCode() == 0) {
			t.Errorf("%s: got %d %s (-want +got):\n%s", name, code, answer, diff)
		}
	}
}

func TestABodyThatEnvoyDidNotSendWholeIsNotJudged(t *testing.T) {
	judge := decide(func(r *access.Request) access.Decision {
		if r.Body == nil {
			return access.Decision{Allow: true, Reason: "none"}
		}
		if b, err := r.Body(1000); err != nil {
			return access.Decision{Reason: fault.ReasonOf(err), Refusal: access.Response{Status: fault.KindOf(err).HTTPStatus()}}
		} else if string(b) != "text" {
			return access.Decision{}
		}
		return access.Decision{Allow: true}
	})
	conn, _ := dial(t, "127.0.0.0/8", judge)
	for name, c := range map[string]struct {
		header map[string]string
		body   string
		want   int
	}{
		"no body":                     {map[string]string{"content-length": "0"}, "", 200},
		"the whole body":              {map[string]string{"content-length": "4", "x-envoy-auth-partial-body": "false"}, "text", 200},
		"the body of a stream":        {map[string]string{"transfer-encoding": "chunked"}, "text", 200},
		"a part of the body":          {map[string]string{"content-length": "9", "x-envoy-auth-partial-body": "true"}, "text", 413},
		"a part that is nothing":      {map[string]string{"x-envoy-auth-partial-body": "true"}, "", 413},
		"a body that was not sent":    {map[string]string{"content-length": "4"}, "", 503},
		"a stream that was not sent":  {map[string]string{"transfer-encoding": "chunked"}, "", 503},
		"a length that is not a zero": {map[string]string{"content-length": "00x"}, "", 503},
	} {
		answer := check(t, conn, checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Headers, h.Body = c.header, c.body }))
		code := 200
		if d := answer.GetDeniedResponse(); d != nil {
			code = int(d.GetStatus().GetCode())
		}
		if code != c.want {
			t.Errorf("%s over gRPC: got %d, want %d", name, code, c.want)
		}
	}
	peers, err := edge.ParseTrusted([]string{"192.0.2.0/24"}, false)
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(Options{Edge: edge.Options{Decider: judge}, Envoy: peers})
	if err != nil {
		t.Fatal(err)
	}
	for partial, want := range map[string]int{"": 200, "false": 200, "true": 413, "True": 413} {
		r := httptest.NewRequest("POST", "/decisions/envoy/x", strings.NewReader("text"))
		r.Header = http.Header{"X-Forwarded-Proto": {"http"}}
		if partial != "" {
			r.Header["X-Envoy-Auth-Partial-Body"] = []string{partial}
		}
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != want {
			t.Errorf("partial %q over HTTP: got %d, want %d", partial, w.Code, want)
		}
	}
}

func TestStrangersAreAnsweredByNoCheck(t *testing.T) {
	conn, _ := dial(t, "10.0.0.0/8", decide(func(*access.Request) access.Decision {
		t.Error("decided")
		return access.Decision{Allow: true}
	}))
	if d := check(t, conn, checkOf(nil)).GetDeniedResponse(); d.GetStatus().GetCode() != 403 || !strings.Contains(d.GetBody(), "untrusted_proxy") {
		t.Errorf("got %v", d)
	}
}

// flat lists fields with their actions.
func flat(list []*core.HeaderValueOption) []string {
	var out []string
	for _, o := range list {
		out = append(out, o.GetHeader().GetKey()+": "+o.GetHeader().GetValue()+string(o.GetHeader().GetRawValue())+" ("+o.GetAppendAction().String()+")")
	}
	return out
}

func TestIdentityFieldsOverwriteAndTheOthersAreRemoved(t *testing.T) {
	conn, _ := dial(t, "127.0.0.0/8", identities{access.Pass{
		Set: http.Header{"X-User-Id": {"al\xffice"}, "X-List": {"a", "b"}, "Connection": {"evil"}}, Remove: []string{"X-Secret"},
	}})
	answer := check(t, conn, checkOf(func(h *auth.AttributeContext_HttpRequest) {
		h.Headers = map[string]string{"x-user-id": "evil", "x-role": "admin", "x_user_id": "evil", "x.role": "admin", "cookie": "user=evil", "authorization": "Bearer own"}
	}))
	ok := answer.GetOkResponse()
	const overwrite = " (OVERWRITE_IF_EXISTS_OR_ADD)"
	if diff := cmp.Diff([]string{"authorization: Bearer own" + overwrite, "x-list: a, b" + overwrite, "x-user-id: al\xffice" + overwrite}, flat(ok.GetHeaders())); diff != "" {
		t.Errorf("set (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"cookie", "x-role", "x-secret", "x.role", "x_role", "x_secret", "x_user_id"}, ok.GetHeadersToRemove()); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	id := answer.GetDynamicMetadata().GetFields()["decision_id"].GetStringValue()
	if diff := cmp.Diff([]string{"x-decision-id: " + id + overwrite}, flat(ok.GetResponseHeadersToAdd())); diff != "" || id == "" {
		t.Errorf("to the client (-want +got):\n%s", diff)
	}
}

func TestARefusalIsWhatTheClientSees(t *testing.T) {
	var refusal access.Response
	conn, _ := dial(t, "127.0.0.0/8", decide(func(*access.Request) access.Decision {
		return access.Decision{Refusal: refusal, ResponseHeader: http.Header{"Set-Cookie": {"a=b"}}}
	}))
	for status, code := range map[int]codes.Code{302: codes.PermissionDenied, 401: codes.Unauthenticated, 403: codes.PermissionDenied, 404: codes.PermissionDenied, 429: codes.ResourceExhausted, 503: codes.Unavailable} {
		refusal = access.Response{Status: status, Header: http.Header{"Www-Authenticate": {"Bearer", "Basic"}}, Body: []byte("n\xffo")}
		answer := check(t, conn, checkOf(nil))
		d := answer.GetDeniedResponse()
		fields := slices.DeleteFunc(flat(d.GetHeaders()), func(s string) bool { return strings.HasPrefix(s, "x-decision-id: ") })
		const add = " (APPEND_IF_EXISTS_OR_ADD)"
		diff := cmp.Diff([]string{"cache-control: private" + add, "set-cookie: a=b" + add, "www-authenticate: Bearer" + add, "www-authenticate: Basic" + add}, fields)
		if diff != "" || int(d.GetStatus().GetCode()) != status || answer.GetStatus().GetCode() != int32(code) || d.GetBody() != "n\uFFFDo" || len(d.GetHeaders()) != 5 {
			t.Errorf("%d: got %s (-want +got):\n%s", status, answer, diff)
		}
	}
}

func TestAPanicRefusesTheCheck(t *testing.T) {
	conn, _ := dial(t, "127.0.0.0/8", decide(func(*access.Request) access.Decision { panic("x") }))
	if d := check(t, conn, checkOf(nil)).GetDeniedResponse(); d.GetStatus().GetCode() != 500 {
		t.Errorf("got %v", d)
	}
}

func TestTheServiceSaysWhetherItServes(t *testing.T) {
	conn, s := dial(t, "10.0.0.0/8", decide(func(*access.Request) access.Decision { return access.Decision{} }))
	health := grpc_health_v1.NewHealthClient(conn)
	for _, want := range []grpc_health_v1.HealthCheckResponse_ServingStatus{grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING} {
		for _, service := range []string{"", "envoy.service.auth.v3.Authorization"} {
			got, err := health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
			if err != nil || got.GetStatus() != want {
				t.Errorf("%q: got %v, %v, want %s", service, got, err, want)
			}
		}
		s.Drain()
	}
}

func TestAMessageBeyondTheLimitIsRefused(t *testing.T) {
	conn, _ := dial(t, "127.0.0.0/8", decide(func(*access.Request) access.Decision { return access.Decision{Allow: true} }))
	_, err := auth.NewAuthorizationClient(conn).Check(t.Context(), checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Body = strings.Repeat("x", maxCheck) }))
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v", err)
	}
}

// FuzzCheck sends any bytes that are a CheckRequest: no panic, no answer but a whole one,
// and nothing is allowed that was not decided.
func FuzzCheck(f *testing.F) {
	for _, c := range []*auth.CheckRequest{{}, checkOf(nil), checkOf(func(h *auth.AttributeContext_HttpRequest) { h.Path, h.Headers = "/a/../b", nil })} {
		b, err := proto.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	decided := false
	peers, err := edge.ParseTrusted([]string{"127.0.0.0/8"}, false)
	if err != nil {
		f.Fatal(err)
	}
	q, err := newQuestions(edge.Options{Trusted: peers, Decider: decide(func(r *access.Request) access.Decision {
		decided = true
		if r.Method == "" || r.URL.Host == "" || r.URL.Path == "" || r.URL.Path[0] != '/' {
			f.Errorf("judged %s %s", r.Method, r.URL)
		}
		return access.Decision{Allow: true}
	})}, "ext_authz")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var c auth.CheckRequest
		if proto.Unmarshal(b, &c) != nil {
			return
		}
		decided = false
		question, err := readCheck(&c)
		var answer *auth.CheckResponse
		refusal := q.ask(context.Background(), question, err, func(x *edge.Exchange) { answer = allowed(x) })
		if answer == nil {
			answer = denied(refusal)
		}
		if _, err := proto.Marshal(answer); err != nil {
			t.Error(err)
		}
		code := answer.GetDeniedResponse().GetStatus().GetCode()
		if ok := answer.GetOkResponse() != nil; ok != decided || !ok && (code < 400 || code >= 500) {
			t.Errorf("decided %t, answered %v", decided, answer)
		}
	})
}

func BenchmarkExtAuthz(b *testing.B) {
	conn, _ := dial(b, "127.0.0.0/8", decide(func(*access.Request) access.Decision { return access.Decision{Allow: true} }))
	b.ReportAllocs()
	for b.Loop() {
		check(b, conn, checkOf(nil))
	}
}
