package authz

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"github.com/gatewarden/gatewarden/access"
)

// RemoteConfig says which service is asked with the request's own body.
type RemoteConfig struct {
	RemoteCall
	// BodyLimit is the longest request body that is sent along, in bytes; beyond it the
	// request is refused with 413. 0: no body is sent. Default 4 MiB.
	BodyLimit int64 `json:"body_limit"`
}

const (
	defaultBodyLimit = 4 << 20
	maxBodyLimit     = 64 << 20
)

func defaultRemote() RemoteConfig {
	return RemoteConfig{RemoteCall: defaultRemoteCall(), BodyLimit: defaultBodyLimit}
}

type remote struct {
	*remoteCall
	limit int64
}

var _ Authorizer = (*remote)(nil)

func newRemote(d Deps, c RemoteConfig) (Authorizer, error) {
	if c.BodyLimit < 0 || c.BodyLimit > maxBodyLimit {
		return nil, fmt.Errorf("body_limit: must be from 0 to %d bytes", maxBodyLimit)
	}
	call, err := newRemoteCall(d, c.RemoteCall)
	if err != nil {
		return nil, err
	}
	return &remote{remoteCall: call, limit: c.BodyLimit}, nil
}

// Authorize sends the service the request's body, which stays readable for the
// upstream, with the fields that say how to read it.
func (r *remote) Authorize(ctx context.Context, in access.Input) (access.Verdict, error) {
	if err := begun(ctx, &in); err != nil {
		return access.Verdict{}, fmt.Errorf("remote: %w", err)
	}
	var body []byte
	if in.Request.Body != nil && r.limit > 0 {
		var err error
		if body, err = in.Request.Body(r.limit); err != nil {
			return access.Verdict{}, fmt.Errorf("remote: %w", err)
		}
	}
	header := http.Header{}
	for _, name := range []string{"Content-Type", "Content-Encoding"} {
		if values := in.Request.Header[name]; len(body) > 0 && len(values) > 0 {
			header[name] = values[:1:1]
		}
	}
	v, err := r.ask(ctx, &in, header, func() *http.Request { return withBody(body) })
	if err != nil {
		return access.Verdict{}, fmt.Errorf("remote: %w", err)
	}
	return v, nil
}

// withBody returns a request that has nothing but a body.
func withBody(body []byte) *http.Request {
	r, err := http.NewRequest(http.MethodPost, "/", bytes.NewReader(body)) //nolint:noctx // the caller sets it
	if err != nil {
		panic(err) // method and URL are constants
	}
	return r
}
