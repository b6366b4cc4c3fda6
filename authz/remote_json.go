package authz

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/strictjson"
	"github.com/gatewarden/gatewarden/templates"
)

// RemoteJSONConfig says which service is asked with a JSON document.
type RemoteJSONConfig struct {
	RemoteCall
	// Payload is a template that renders a JSON document, the question. Required.
	Payload string `json:"payload"`
}

func defaultRemoteJSON() RemoteJSONConfig { return RemoteJSONConfig{RemoteCall: defaultRemoteCall()} }

type remoteJSON struct {
	*remoteCall
	payload *templates.JSON
}

var _ Authorizer = (*remoteJSON)(nil)

func newRemoteJSON(d Deps, c RemoteJSONConfig) (Authorizer, error) {
	call, err := newRemoteCall(d, c.RemoteCall)
	if c.Payload == "" {
		err = errors.Join(err, errors.New("payload: required"))
	}
	payload, payloadErr := templates.CompileJSON("payload", c.Payload)
	if err := errors.Join(err, payloadErr); err != nil {
		return nil, err
	}
	return &remoteJSON{remoteCall: call, payload: payload}, nil
}

// Authorize sends the service the document.
func (r *remoteJSON) Authorize(ctx context.Context, in access.Input) (access.Verdict, error) {
	if err := begun(ctx, &in); err != nil {
		return access.Verdict{}, fmt.Errorf("remote_json: %w", err)
	}
	body, err := r.payload.Render(&in, nil)
	if err == nil {
		err = unambiguous(body)
	}
	if err != nil {
		return access.Verdict{}, fmt.Errorf("remote_json: %w", err)
	}
	v, err := r.ask(ctx, &in, http.Header{"Content-Type": {"application/json"}}, func() *http.Request { return withBody(body) })
	if err != nil {
		return access.Verdict{}, fmt.Errorf("remote_json: %w", err)
	}
	return v, nil
}

// unambiguous refuses a document with a member that occurs twice, which two readers
// could read in two ways.
func unambiguous(doc []byte) error {
	if err := strictjson.Check(doc, nil); err != nil {
		return duplicateMember(err)
	}
	return nil
}
