package authz

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/outbound"
	"github.com/gatewarden/gatewarden/templates"
)

// RemoteCall is what remote and remote_json have in common.
type RemoteCall struct {
	// Remote is the URL that is asked with POST. Templates may stand in its path and
	// query. Required.
	Remote string `json:"remote"`
	// Headers are templates for header fields of the question; empty ones are not sent.
	Headers map[string]string `json:"headers"`
	// Auth is how the gateway authenticates itself; it replaces the client's Authorization.
	Auth outbound.Auth `json:"auth"`
	// ForwardResponseHeadersToUpstream names the fields of a yes that go upstream. No
	// client can send them itself.
	ForwardResponseHeadersToUpstream []string `json:"forward_response_headers_to_upstream"`
	// AllowIf is what the body of a 2xx answer must say; nothing: any 2xx is a yes.
	AllowIf AllowIf          `json:"allow_if"`
	Timeout handler.Duration `json:"timeout"` // of an attempt; default 5s
	Retry   outbound.Retry   `json:"retry"`
}

func defaultRemoteCall() RemoteCall {
	return RemoteCall{Timeout: outbound.DefaultTimeout, Retry: outbound.DefaultRetry()}
}

// maxForwarded bounds what an answer adds to the upstream request, in bytes.
const maxForwarded = 32 << 10

// remoteCall asks a service over HTTP whether a request is allowed.
type remoteCall struct {
	service *outbound.Service
	url     *templates.URL
	headers templates.Fields
	auth    outbound.Auth
	forward []string // canonical names
	allowIf *predicate
}

func newRemoteCall(d Deps, c RemoteCall) (*remoteCall, error) {
	r := &remoteCall{auth: c.Auth}
	var errs [6]error
	r.url, errs[0] = templates.CompileURL("remote", c.Remote)
	r.headers, errs[1] = templates.CompileFields("headers", c.Headers)
	r.forward, errs[2] = templates.FieldNames("forward_response_headers_to_upstream", c.ForwardResponseHeadersToUpstream)
	r.allowIf, errs[3] = newPredicate(d, c.AllowIf)
	r.service, errs[4] = outbound.New(outbound.Options{Name: "remote", HTTP: d.HTTP, Timeout: c.Timeout, Retry: c.Retry})
	errs[5] = c.Auth.Check("auth")
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return r, nil
}

// ask puts the question. Header holds fields of it that only the caller knows, and
// body makes the body anew for every attempt.
func (r *remoteCall) ask(ctx context.Context, in *access.Input, header http.Header, body func() *http.Request) (access.Verdict, error) {
	u, err := r.url.Render(in, nil)
	if err != nil {
		return access.Verdict{}, err
	}
	if client := in.Request.Header.Get("Authorization"); client != "" {
		header.Set("Authorization", client)
	}
	if err := r.headers.SetOn(header, in, nil); err != nil {
		return access.Verdict{}, err
	}
	answer, err := r.service.Ask(ctx, func(ctx context.Context) (*http.Request, error) {
		q := body().WithContext(ctx)
		q.Method, q.URL, q.Header = http.MethodPost, u, header.Clone()
		r.auth.Apply(q)
		return q, nil
	})
	if err != nil {
		return access.Verdict{}, err
	}
	return r.verdict(ctx, &answer)
}

// verdict reads an answer: a status of 2xx allows unless the body says otherwise,
// 401, 403 and 404 deny, and everything else decides nothing.
func (r *remoteCall) verdict(ctx context.Context, a *outbound.Answer) (access.Verdict, error) {
	switch {
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden, a.Status == http.StatusNotFound:
		return access.Verdict{Reason: "remote_denied"}, nil
	case !a.OK():
		return access.Verdict{}, r.service.Unusable(fmt.Errorf("answered %d", a.Status))
	}
	if r.allowIf != nil {
		yes, err := r.allowIf.holds(ctx, a)
		if err != nil {
			return access.Verdict{}, r.service.Unusable(fmt.Errorf("allow_if: %w", err))
		}
		if !yes {
			return access.Verdict{Reason: "remote_denied"}, nil
		}
	}
	v := access.Verdict{Allow: true, Reason: "remote_allowed"}
	if len(r.forward) == 0 {
		return v, nil
	}
	v.Header = make(http.Header, len(r.forward))
	size := 0
	for _, name := range r.forward {
		values := a.Header[name]
		if values == nil {
			values = []string{} // takes away what a client sent
		}
		for _, value := range values {
			size += len(name) + len(value)
			if !templates.ValidFieldValue(value) {
				return access.Verdict{}, r.service.Unusable(fmt.Errorf("the field %s has a value that cannot be passed on", name))
			}
		}
		v.Header[name] = values
	}
	if size > maxForwarded {
		return access.Verdict{}, r.service.Unusable(fmt.Errorf("the fields for the upstream are longer than %d bytes", maxForwarded))
	}
	return v, nil
}

// OwnedHeaders returns the fields that answers may set, but for the standard ones
// that clients send for reasons of their own; those are replaced on the rule.
func (r *remoteCall) OwnedHeaders() []string { return templates.Owned(r.forward) }

// begun refuses what cannot be asked about.
func begun(ctx context.Context, in *access.Input) error {
	if err := ctx.Err(); err != nil {
		return fault.Wrap(fault.Unavailable, "cancelled", "the request was given up", err)
	}
	if in.Request == nil || in.Request.URL == nil {
		return errors.New("no request")
	}
	return nil
}
