package api

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// family is the kind of envelope that a path answers errors in.
type family int

const (
	problem family = iota // RFC 9457
	ory                   // Oathkeeper and early Hydra: {"error": {...}}, with the members of RFC 9457 beside it
	hydra                 // {"error", "error_description"}
)

// statusError is an error that only HTTP knows.
type statusError struct {
	status          int
	reason, message string
}

// Error returns the message.
func (e *statusError) Error() string { return e.message }

// place is one thing that is wrong with a request body.
type place struct {
	Detail  string `json:"detail"`
	Pointer string `json:"pointer,omitempty"` // RFC 6901
	Line    int    `json:"line,omitempty"`    // 1-based
}

// trouble is an error ready for any envelope.
type trouble struct {
	status int
	reason string
	detail string
	places []place
}

// places collects everything in err that names a place of the body.
func places(err error) []place {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var all []place
		for _, e := range many.Unwrap() {
			all = append(all, places(e)...)
		}
		return all
	}
	var body *bodyFault
	var rule spec.Fault
	var field *fault.Error
	classified := errors.As(err, &field)
	switch {
	case errors.As(err, &body):
		return []place{body.place}
	case classified && field.Kind != fault.Invalid: // not about the body
		return nil
	case errors.As(err, &rule):
		return []place{{Detail: rule.Message, Pointer: rule.Pointer, Line: rule.Line}}
	case classified && field.Pointer != "":
		return []place{{Detail: field.Message, Pointer: field.Pointer}}
	}
	return nil
}

func explain(err error) trouble {
	var status *statusError
	if errors.As(err, &status) {
		return trouble{status: status.status, reason: status.reason, detail: status.message}
	}
	t := trouble{status: fault.KindOf(err).HTTPStatus(), reason: fault.ReasonOf(err), detail: fault.MessageOf(err), places: places(err)}
	var classified *fault.Error
	if len(t.places) > 0 {
		var texts []string
		for _, p := range t.places {
			texts = append(texts, strings.TrimSpace(p.Pointer+" "+p.Detail))
		}
		t.detail = strings.Join(texts, "; ")
		if !errors.As(err, &classified) {
			t.status, t.reason = http.StatusBadRequest, "invalid_value"
		}
	}
	return t
}

// fail answers with the error in the envelope of the path.
func (x *exchange) fail(err error) {
	var handled *oauth2.Handled
	if errors.As(err, &handled) {
		_ = x.json(http.StatusGone, map[string]string{"redirect_to": handled.RedirectTo})
		return
	}
	t := explain(err)
	if t.status == http.StatusInternalServerError {
		x.api.Log.ErrorContext(x.r.Context(), "management request failed", "method", x.r.Method, "path", x.r.URL.Path, "error", err)
	}
	if len(x.body) > 0 {
		if l, err := newLayout(x.body, nil); err == nil {
			for i := range t.places {
				if t.places[i].Line == 0 {
					t.places[i].Line = l.at(t.places[i].Pointer)
				}
			}
		}
	}
	var classified *fault.Error
	if errors.As(err, &classified) && classified.RetryAfter > 0 {
		x.w.Header().Set("Retry-After", strconv.Itoa(int(classified.RetryAfter.Seconds()+1)))
	}
	contentType, envelope := "application/json", any(nil)
	switch x.family {
	case hydra:
		envelope = t.hydra(x.api.LegacyErrors, strings.HasPrefix(strings.TrimPrefix(x.r.URL.Path, "/admin"), "/keys/"))
	case ory:
		envelope = t.ory(x.r.Header.Get("X-Request-Id"))
		if strings.Contains(x.r.Header.Get("Accept"), "application/problem+json") {
			contentType = "application/problem+json"
		}
	default:
		contentType, envelope = "application/problem+json", t.problem()
	}
	text, _ := encode(envelope) // strings and numbers only
	x.write(t.status, contentType, text)
}

// problemDetails is RFC 9457 section 3.1, with the faults of section 3's example.
type problemDetails struct {
	Type   string  `json:"type"`
	Title  string  `json:"title"`
	Status int     `json:"status"`
	Detail string  `json:"detail,omitempty"`
	Reason string  `json:"reason,omitempty"`
	Errors []place `json:"errors,omitempty"`
}

func (t trouble) problem() problemDetails {
	return problemDetails{Type: "about:blank", Title: http.StatusText(t.status), Status: t.status, Detail: t.detail, Reason: t.reason, Errors: t.places}
}

// oryError is what Oathkeeper and early Hydra answer.
type oryError struct {
	Code    int     `json:"code"`
	Status  string  `json:"status"`
	Request string  `json:"request,omitempty"`
	Reason  string  `json:"reason,omitempty"`
	Details []place `json:"details,omitempty"`
	Message string  `json:"message"`
}

func (t trouble) ory(requestID string) any {
	status := http.StatusText(t.status)
	message := t.detail
	if message == "" {
		message = status
	}
	return struct {
		Error oryError `json:"error"`
		problemDetails
	}{oryError{Code: t.status, Status: status, Request: requestID, Reason: t.reason, Details: t.places, Message: message}, t.problem()}
}

// hydra uses the texts of Hydra where programs compare them; those of keys are others.
func (t trouble) hydra(legacy, ofKeys bool) any {
	code := http.StatusText(t.status)
	switch t.status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusMethodNotAllowed:
		code = "invalid_request"
		if strings.HasPrefix(t.reason, "invalid_client_metadata") || t.reason == "invalid_redirect_uri" {
			code = t.reason
		}
	case http.StatusUnauthorized:
		code = "request_unauthorized"
	case http.StatusForbidden:
		code = "request_forbidden"
	case http.StatusNotFound:
		if code = "Unable to locate the resource"; ofKeys {
			code = http.StatusText(t.status)
		}
	case http.StatusConflict:
		code = "Unable to insert or update resource because a resource with that value exists already"
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		code = "temporarily_unavailable"
	case http.StatusInternalServerError:
		code = "server_error"
	}
	e := struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Status      int    `json:"status_code,omitempty"`
	}{Error: code, Description: t.detail}
	if legacy {
		e.Status = t.status
	}
	return e
}
