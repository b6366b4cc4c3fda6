package errorhandlers

import (
	"encoding/json"
	"net/http"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// JSONConfig configures json.
type JSONConfig struct {
	// Verbose shows the refusal's own text in place of the generic one. The text of
	// internal errors is never shown.
	Verbose bool `json:"verbose"`
	// When says which refusals are answered; empty: all.
	When Conditions `json:"when"`
}

type jsonHandler struct {
	conditions
	verbose bool
}

var (
	_ Handler   = (*jsonHandler)(nil)
	_ Selective = (*jsonHandler)(nil)
)

func newJSON(c JSONConfig) (Handler, error) {
	when, err := compile(c.When)
	if err != nil {
		return nil, err
	}
	return &jsonHandler{conditions: when, verbose: c.Verbose}, nil
}

// envelope is Oathkeeper's error document.
type envelope struct {
	Error envelopeError `json:"error"`
}

type envelopeError struct {
	ID      string `json:"id"` // reason id
	Code    int    `json:"code"`
	Status  string `json:"status"`
	Request string `json:"request,omitempty"` // decision id
	Message string `json:"message"`
}

// Refuse answers with the error's status and Oathkeeper's error document.
func (h *jsonHandler) Refuse(r *access.Request, err error) access.Response {
	status := fault.KindOf(err).HTTPStatus()
	e := envelopeError{ID: reasonID(err), Code: status, Status: http.StatusText(status), Message: generic(status)}
	if r != nil {
		e.Request = r.ID
	}
	if m := fault.MessageOf(err); h.verbose && m != "" {
		e.Message = m
	}
	body, failed := json.Marshal(envelope{e})
	if failed != nil { // cannot happen: the document is strings and a number
		body = []byte(`{"error":{"code":500}}`)
	}
	resp := response(err, status, "application/json", body)
	if c := challenge(err); c != "" {
		resp.Header["Www-Authenticate"] = []string{c}
	}
	return resp
}

// reasonID returns err's reason id, or the name of its kind when the reason is not
// an id: nothing but an id may be shown of an internal error.
func reasonID(err error) string {
	reason := fault.ReasonOf(err)
	for i := range len(reason) {
		if c := reason[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return fault.KindOf(err).String()
		}
	}
	return reason
}

func generic(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "The request was malformed or contained invalid parameters"
	case http.StatusUnauthorized:
		return "The request could not be authorized"
	case http.StatusForbidden:
		return "The requested action was forbidden"
	case http.StatusNotFound:
		return "The requested resource could not be found"
	case http.StatusConflict:
		return "The request conflicts with the state of the resource"
	case http.StatusRequestEntityTooLarge:
		return "The request is too large"
	case http.StatusTooManyRequests:
		return "Too many requests, please try again later"
	case http.StatusServiceUnavailable:
		return "The service is not available, please try again later"
	case http.StatusGatewayTimeout:
		return "The service did not answer in time"
	}
	return "An internal server error occurred, please contact the system administrator"
}
