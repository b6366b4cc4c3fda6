package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"

	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/fault"
)

var errUpstreamTimeout = errors.New("no response header in time")

// statusClientClosed is what the access event says of a client that left (as nginx).
const statusClientClosed = 499

// fail answers for an upstream call that ended in err. Reasons: request body faults
// as they are, client_closed_request, upstream_timeout (504), upstream_unreachable,
// upstream_tls, upstream_failed (502).
func fail(x *edge.Exchange, err error) {
	var dial *net.OpError
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var timeout net.Error
	body := x.BodyErr()
	switch {
	case fault.Is(body, fault.Timeout): // first: net/http cancels the context as well
		x.Fail(http.StatusRequestTimeout, fault.ReasonOf(body), fault.MessageOf(body), err)
	case errors.Is(err, errExpired), errors.Is(err, errWithdrawn), errors.Is(err, errDoubtful):
		x.Fail(fault.KindOf(err).HTTPStatus(), fault.ReasonOf(err), fault.MessageOf(err), err)
	case x.R.Context().Err() != nil:
		x.Fail(statusClientClosed, "client_closed_request", "", err)
	case body != nil:
		x.Fail(fault.KindOf(body).HTTPStatus(), fault.ReasonOf(body), fault.MessageOf(body), err)
	case errors.Is(err, errUpstreamTimeout), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		x.Fail(http.StatusGatewayTimeout, "upstream_timeout", "the upstream did not answer in time", err)
	case errors.As(err, &cert):
		x.Fail(http.StatusBadGateway, "upstream_tls", "the upstream's certificate is not trusted", err)
	case errors.As(err, &dns), errors.As(err, &dial) && dial.Op == "dial":
		x.Fail(http.StatusBadGateway, "upstream_unreachable", "the upstream cannot be reached", err)
	default:
		x.Fail(http.StatusBadGateway, "upstream_failed", "the upstream did not give a valid answer", err)
	}
}
