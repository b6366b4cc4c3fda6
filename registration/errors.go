package registration

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/gatewarden/gatewarden/fault"
)

// Errors that only HTTP knows.
var (
	errNowhere = errors.New("there is nothing at this path")
	errMethod  = errors.New("the endpoint does not know this HTTP method")
	errMedia   = errors.New("the Content-Type must be application/json")
)

// wireError is an error as RFC 7591 section 3.2.2 writes it; where that has no code it is
// Hydra's.
type wireError struct {
	status      int
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

func wire(err error) wireError {
	switch {
	case errors.Is(err, errNowhere):
		return wireError{http.StatusNotFound, "not_found", err.Error()}
	case errors.Is(err, errMethod):
		return wireError{http.StatusMethodNotAllowed, "invalid_request", err.Error()}
	case errors.Is(err, errMedia):
		return wireError{http.StatusUnsupportedMediaType, "invalid_request", err.Error()}
	}
	kind := fault.KindOf(err)
	e := wireError{kind.HTTPStatus(), "invalid_request", fault.MessageOf(err)}
	switch kind {
	case fault.Invalid:
		if codes, text := invalidities(err); len(codes) > 0 {
			e.Code, e.Description = codes[0], text
			for _, code := range codes {
				if code != codes[0] {
					e.Code = invalidMetadata
				}
			}
		}
	case fault.TooLarge:
	case fault.Unauthenticated:
		e.Code = "request_unauthorized"
	case fault.Forbidden:
		e.Code = "request_forbidden"
	case fault.RateLimited:
		e.Code = "slow_down"
	case fault.Unavailable, fault.Timeout:
		e.Code, e.Description = "temporarily_unavailable", "The server cannot answer right now. Try again later."
	default:
		e = wireError{http.StatusInternalServerError, "server_error", ""}
	}
	return e
}

// invalidities returns the codes of all that is wrong with metadata, and what is.
func invalidities(err error) (codes []string, text string) {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var texts []string
		for _, one := range many.Unwrap() {
			c, t := invalidities(one)
			codes, texts = append(codes, c...), append(texts, t)
		}
		return codes, strings.Join(texts, "; ")
	}
	var f *fault.Error
	if !errors.As(err, &f) {
		return nil, ""
	}
	code := f.Reason
	switch code {
	case invalidRedirect, invalidMetadata, invalidStatement, unapprovedSoftware:
	default:
		code = invalidMetadata
	}
	return []string{code}, strings.TrimSpace(f.Pointer + " " + f.Message)
}

// fail answers with an error and logs what an operator must look at.
func (e *Endpoint) fail(w http.ResponseWriter, r *http.Request, err error) {
	answer := wire(err)
	e.o.Done(answer.Code)
	if answer.status >= http.StatusInternalServerError {
		e.o.Log.ErrorContext(r.Context(), "client registration failed", "error", err)
	}
	h := w.Header()
	var f *fault.Error
	if errors.As(err, &f) {
		for name, values := range f.Header {
			h[name] = values
		}
		if f.RetryAfter > 0 && h.Get("Retry-After") == "" {
			h.Set("Retry-After", strconv.Itoa(int(f.RetryAfter.Seconds()+1)))
		}
	}
	if answer.status == http.StatusUnauthorized {
		challenge := `Bearer realm="registration"`
		if fault.ReasonOf(err) == "invalid_token" {
			challenge += `, error="invalid_token"`
		}
		h.Set("WWW-Authenticate", challenge)
	}
	_ = write(w, answer.status, answer)
}

// write answers with v.
func write(w http.ResponseWriter, status int, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write(text)
	return nil
}
