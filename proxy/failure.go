package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/proxy/pool"
)

var (
	errUpstreamTimeout = pool.ErrTimeout
	errTotalTimeout    = errors.New("the exchange took longer than upstream.timeouts.total")
)

// statusClientClosed is what the access event says of a client that left (as nginx).
const statusClientClosed = 499

// fail answers for an upstream call that ended in err. Reasons: request body faults
// as they are, client_closed_request, upstream_timeout (504), upstream_unreachable,
// upstream_tls, upstream_failed, upstream_response_too_large (502), those of package
// pool (503), credentials that ended (401, 503).
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
	case fault.Is(err, fault.TooLarge), fault.Is(err, fault.Unavailable): // of package pool
		var refused *fault.Error
		if errors.As(err, &refused) && refused.RetryAfter > 0 {
			x.W.Header().Set("Retry-After", strconv.Itoa(int((refused.RetryAfter+time.Second-1)/time.Second)))
		}
		x.Fail(fault.KindOf(err).HTTPStatus(), fault.ReasonOf(err), fault.MessageOf(err), err)
	case errors.Is(err, pool.ErrResponseTooLarge):
		x.Fail(http.StatusBadGateway, pool.ReasonResponseTooLarge, "the upstream's answer is too large", err)
	case errors.Is(err, errTotalTimeout), errors.Is(err, errUpstreamTimeout), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
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
