package decision

import (
	"context"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	envoytype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"golang.org/x/net/http/httpguts"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/fault"
)

// Limits of a check: the whole message, which holds the body that Envoy was told to
// send, and the request's header fields. A message beyond the first is refused by
// gRPC, which Envoy takes as a failure.
const (
	maxCheck       = 4 << 20
	maxCheckHeader = 64 << 10
)

// ExtAuthz is Envoy's ext_authz filter over gRPC (envoy.service.auth.v3), with gRPC's
// health service beside it. Use NewExtAuthz.
//
// A peer of Trusted describes the request in the attributes: method, path (as sent,
// with the query), host and scheme of the HTTP request, all of which must be there,
// and the address of source, which is the client unless it is itself in Trusted: then
// X-Forwarded-For is read from the right. Header fields say nothing of where the
// request goes.
type ExtAuthz struct {
	auth.UnimplementedAuthorizationServer
	question questions
	peers    edge.Trusted
	health   *health.Server
	server   *grpc.Server
}

var (
	_ http.Handler             = (*ExtAuthz)(nil)
	_ auth.AuthorizationServer = (*ExtAuthz)(nil)
)

// NewExtAuthz returns an ExtAuthz. Target, OnlyAdds and Refusal of o are its own.
func NewExtAuthz(o edge.Options) (*ExtAuthz, error) {
	q, err := newQuestions(o, "ext_authz")
	if err != nil {
		return nil, err
	}
	s := &ExtAuthz{question: q, peers: o.Trusted, health: health.NewServer()}
	s.server = grpc.NewServer(grpc.MaxRecvMsgSize(maxCheck), grpc.UnaryInterceptor(recovered))
	auth.RegisterAuthorizationServer(s.server, s)
	grpc_health_v1.RegisterHealthServer(s.server, s.health)
	s.health.SetServingStatus(auth.Authorization_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	return s, nil
}

// recovered turns a panic into a failure, which Envoy refuses by default.
func recovered(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (answer any, err error) {
	defer func() {
		if recover() != nil { // the gate has logged it
			answer, err = nil, status.Error(codes.Internal, "internal error")
		}
	}()
	return next(ctx, req)
}

// ServeHTTP serves gRPC over HTTP/2.
func (s *ExtAuthz) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.server.ServeHTTP(w, r) }

// Drain tells health checks that this server is about to stop.
func (s *ExtAuthz) Drain() { s.health.Shutdown() }

// Check implements auth.AuthorizationServer. It returns no error for a request that
// is refused.
func (s *ExtAuthz) Check(ctx context.Context, c *auth.CheckRequest) (*auth.CheckResponse, error) {
	var q question
	var err error
	if p, ok := peer.FromContext(ctx); !ok || !s.peers.Peer(p.Addr.String()) {
		err = errStranger
		if ok {
			q.client = p.Addr.String()
		}
	} else {
		q, err = readCheck(c)
	}
	var answer *auth.CheckResponse
	refusal := s.question.ask(ctx, q, err, func(x *edge.Exchange) { answer = allowed(x) })
	if answer == nil {
		answer = denied(refusal)
	}
	return answer, nil
}

// readCheck makes a question of a check. Its errors are faults of kind Invalid and
// TooLarge.
func readCheck(c *auth.CheckRequest) (question, error) {
	a := c.GetAttributes()
	h := a.GetRequest().GetHttp()
	q := question{method: h.GetMethod(), host: h.GetHost(), uri: h.GetPath(), client: clientOf(a.GetSource())}
	if q.method == "" || q.host == "" || q.uri == "" || h.GetScheme() == "" {
		return q, fault.New(fault.Invalid, "incomplete_question", "the check lacks the request's method, path, host or scheme")
	}
	if h.GetQuery() != "" || h.GetFragment() != "" {
		// Envoy leaves both empty; a client of another kind would have them judged apart.
		return q, fault.New(fault.Invalid, "ambiguous_question", "the check has a query or fragment beside its path")
	}
	var err error
	if q.scheme, err = scheme(h.GetScheme()); err != nil {
		return q, err
	}
	if q.header, err = readHeader(h); err != nil {
		return q, err
	}
	if q.body = h.GetRawBody(); len(q.body) == 0 {
		q.body = []byte(h.GetBody())
	}
	switch {
	case partial(q.header):
		q.withheld = errPartialBody
	case len(q.body) == 0 && announcesBody(q.header):
		q.withheld = errNoBody
	}
	return q, nil
}

// announcesBody reports whether the header of a request says that it has a body.
func announcesBody(h http.Header) bool {
	length := h["Content-Length"]
	return len(h["Transfer-Encoding"]) > 0 || len(length) > 0 && (len(length) > 1 || strings.Trim(length[0], "0 ") != "")
}

// clientOf returns host:port of the other side of Envoy's connection.
func clientOf(p *auth.AttributeContext_Peer) string {
	a := p.GetAddress().GetSocketAddress()
	if a.GetAddress() == "" {
		return ""
	}
	host := a.GetAddress()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("%s:%d", host, a.GetPortValue())
}

// readHeader reads either form that Envoy sends header fields in.
func readHeader(h *auth.AttributeContext_HttpRequest) (http.Header, error) {
	raw := h.GetHeaderMap().GetHeaders()
	if len(raw) > 0 && len(h.GetHeaders()) > 0 {
		return nil, fault.New(fault.Invalid, "ambiguous_question", "the check has its header fields twice")
	}
	header, size := http.Header{}, 0
	add := func(name, value string) error {
		if strings.HasPrefix(name, ":") { // the pseudo fields are attributes already
			return nil
		}
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return fault.New(fault.Invalid, "invalid_header", "the request has a header field that is malformed")
		}
		if size += len(name) + len(value) + 32; size > maxCheckHeader {
			return fault.New(fault.TooLarge, "header_too_large", "the request's header is too large")
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		header[name] = append(header[name], value)
		return nil
	}
	for name, value := range h.GetHeaders() {
		if err := add(name, value); err != nil {
			return nil, err
		}
	}
	for _, v := range raw {
		value := v.GetValue()
		if len(v.GetRawValue()) > 0 {
			value = string(v.GetRawValue())
		}
		if err := add(v.GetKey(), value); err != nil {
			return nil, err
		}
	}
	return header, nil
}

// allowed answers with what the request carries upstream. Fields overwrite, because
// a client's must not stand beside ours.
func allowed(x *edge.Exchange) *auth.CheckResponse {
	h := http.Header{}
	x.WritePass(h)
	ok := &auth.OkHttpResponse{Headers: options(h, core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)}
	remove := map[string]bool{}
	for _, name := range x.Unset() {
		remove[name] = true
	}
	if line := h["Cookie"]; len(line) == 1 && line[0] == "" {
		remove["cookie"] = true
		ok.Headers = slices.DeleteFunc(ok.Headers, func(o *core.HeaderValueOption) bool { return o.GetHeader().GetKey() == "cookie" })
	}
	for name := range remove {
		ok.HeadersToRemove = append(ok.HeadersToRemove, name)
	}
	slices.Sort(ok.HeadersToRemove)
	ok.ResponseHeadersToAdd = clientFields(x)
	metadata, err := structpb.NewStruct(map[string]any{"decision_id": x.Request.ID, "rule": x.Decision.RuleID, "subject": x.Decision.Subject.ID})
	if err != nil {
		metadata = nil // a subject that is not UTF-8: access logs go without
	}
	return &auth.CheckResponse{Status: &rpcstatus.Status{Code: int32(codes.OK)}, HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: ok}, DynamicMetadata: metadata}
}

// clientFields are those of the decision for the client's response.
func clientFields(x *edge.Exchange) []*core.HeaderValueOption {
	h := http.Header{edge.DecisionID: {x.Request.ID}}
	var cookies []*core.HeaderValueOption
	for name, values := range x.Decision.ResponseHeader {
		if name != "Set-Cookie" {
			h[name] = values
			continue
		}
		for _, v := range values {
			cookies = append(cookies, option("set-cookie", v, core.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD))
		}
	}
	if len(cookies) > 0 { // as the edge does with answers of its own
		cookies = append(cookies, option("cache-control", "private", core.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD))
	}
	return append(options(h, core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD), cookies...)
}

func options(h http.Header, action core.HeaderValueOption_HeaderAppendAction) []*core.HeaderValueOption {
	var list []*core.HeaderValueOption
	for name, values := range h {
		if len(values) > 0 {
			// One value: a second option of the same name would overwrite the first.
			list = append(list, option(strings.ToLower(name), strings.Join(values, ", "), action))
		}
	}
	slices.SortFunc(list, func(a, b *core.HeaderValueOption) int {
		return strings.Compare(a.GetHeader().GetKey(), b.GetHeader().GetKey())
	})
	return list
}

// option is one field. Text that is not UTF-8 goes as bytes, which protobuf demands.
func option(name, value string, action core.HeaderValueOption_HeaderAppendAction) *core.HeaderValueOption {
	v := &core.HeaderValue{Key: name, Value: value}
	if strings.ToValidUTF8(value, "") != value {
		v.Value, v.RawValue = "", []byte(value)
	}
	return &core.HeaderValueOption{Header: v, AppendAction: action}
}

// denied is the refusal as the client sees it.
func denied(a *recorder) *auth.CheckResponse {
	code := codes.PermissionDenied
	switch {
	case a.status == http.StatusUnauthorized:
		code = codes.Unauthenticated
	case a.status == http.StatusTooManyRequests:
		code = codes.ResourceExhausted
	case a.status >= 500:
		code = codes.Unavailable
	}
	body := strings.ToValidUTF8(a.body.String(), "\uFFFD")
	return &auth.CheckResponse{Status: &rpcstatus.Status{Code: int32(code)}, HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: &auth.DeniedHttpResponse{
		Status:  &envoytype.HttpStatus{Code: envoytype.StatusCode(a.status)},
		Headers: deniedFields(a.header), Body: body,
	}}}
}

// deniedFields keeps the values of a field apart: challenges and cookies are not to be
// joined.
func deniedFields(h http.Header) []*core.HeaderValueOption {
	var list []*core.HeaderValueOption
	for name, values := range h {
		for _, v := range values {
			list = append(list, option(strings.ToLower(name), v, core.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD))
		}
	}
	slices.SortStableFunc(list, func(a, b *core.HeaderValueOption) int {
		return strings.Compare(a.GetHeader().GetKey(), b.GetHeader().GetKey())
	})
	return list
}
