package errorhandlers

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// JSONConfig configures json.
type JSONConfig struct {
	// Verbose shows the refusal's own text in place of the generic one. The text of
	// internal errors is never shown.
	Verbose bool `json:"verbose"`
	// Format is oathkeeper, problem (RFC 9457), or empty for oathkeeper unless the
	// client asks for application/problem+json.
	Format string `json:"format"`
	// ResourceMetadata is added to challenges for tokens (RFC 9728 section 5.1).
	ResourceMetadata string `json:"resource_metadata"`
	// When says which refusals are answered; empty: all.
	When Conditions `json:"when"`
}

type jsonHandler struct {
	conditions
	verbose          bool
	format, metadata string
}

var (
	_ Handler   = (*jsonHandler)(nil)
	_ Selective = (*jsonHandler)(nil)
)

func newJSON(c JSONConfig) (Handler, error) {
	when, err := compile(c.When)
	errs := []error{err, checkMetadata(c.ResourceMetadata)}
	switch c.Format {
	case "", "oathkeeper", "problem":
	default:
		errs = append(errs, errors.New("format: must be oathkeeper or problem"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &jsonHandler{conditions: when, verbose: c.Verbose, format: c.Format, metadata: c.ResourceMetadata}, nil
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

// problem is a document of RFC 9457 section 3 with two members of our own.
type problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail"`
	Reason   string `json:"reason"`
	Decision string `json:"decision_id,omitempty"`
}

// asProblem reports whether r is answered with a problem document.
func (h *jsonHandler) asProblem(r *access.Request) bool {
	if h.format != "" || r == nil || len(r.Header["Accept"]) == 0 {
		return h.format == "problem"
	}
	const name = "application/problem+json"
	ranges := mediaRanges(r.Header["Accept"])
	return named(ranges, name) && weight(ranges, name) >= weight(ranges, "application/json")
}

// Refuse answers with the error's status and Oathkeeper's error document or that of
// RFC 9457.
func (h *jsonHandler) Refuse(r *access.Request, err error) access.Response {
	status := fault.KindOf(err).HTTPStatus()
	e := envelopeError{ID: reasonID(err), Code: status, Status: http.StatusText(status), Message: generic(status)}
	if r != nil {
		e.Request = r.ID
	}
	if m := fault.MessageOf(err); h.verbose && m != "" {
		e.Message = m
	}
	contentType, document := "application/json", any(envelope{e})
	if h.asProblem(r) {
		contentType = "application/problem+json"
		document = problem{Type: "about:blank", Title: e.Status, Status: e.Code, Detail: e.Message, Reason: e.ID, Decision: e.Request}
	}
	body, failed := json.Marshal(document)
	if failed != nil { // cannot happen: the document is strings and a number
		body = []byte(`{"error":{"code":500}}`)
	}
	resp := response(err, status, contentType, body)
	if values := challenges(err, h.metadata); len(values) > 0 {
		resp.Header["Www-Authenticate"] = values
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
	case http.StatusRequestURITooLong:
		return "The URI of the request is too long"
	case http.StatusTooManyRequests:
		return "Too many requests, please try again later"
	case http.StatusServiceUnavailable:
		return "The service is not available, please try again later"
	case http.StatusGatewayTimeout:
		return "The service did not answer in time"
	}
	return "An internal server error occurred, please contact the system administrator"
}
