package decision

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/fault"
)

// Routes decides requests that are described as values, for the resource type route
// of AuthZEN. Use NewRoutes.
type Routes struct{ question questions }

// NewRoutes returns Routes. Target, OnlyAdds and Refusal of o are its own.
func NewRoutes(o edge.Options) (*Routes, error) {
	q, err := newQuestions(o, "authzen")
	return &Routes{q}, err
}

// Decide decides a request for an absolute URL as the proxy would. Header may be
// changed; client may be the zero Addr.
func (s *Routes) Decide(ctx context.Context, method, target string, header http.Header, client netip.Addr) access.Decision {
	q := question{method: method, header: header}
	if client.IsValid() {
		q.client = net.JoinHostPort(client.String(), "0")
	}
	proto, rest, found := strings.Cut(target, "://")
	var err error
	if q.scheme, err = scheme(proto); err == nil && !found {
		err = fault.New(fault.Invalid, "invalid_question", "the resource is not an absolute URL")
	}
	q.host = rest
	if at := strings.IndexAny(rest, "/?"); at >= 0 {
		q.host, q.uri = rest[:at], rest[at:]
	}
	if !strings.HasPrefix(q.uri, "/") { // RFC 9110 section 4.2.3: an empty path is /
		q.uri = "/" + q.uri
	}
	return s.question.ask(ctx, q, err, func(*edge.Exchange) {}).decision
}
