package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/gorilla/mux"

	"github.com/gatewarden/gatewarden/fault"
)

// maxBody is the most that a request body may have, in bytes.
const maxBody = 1 << 20

// exchange is one request and its answer.
type exchange struct {
	api    *API
	family family
	w      http.ResponseWriter
	r      *http.Request
	body   []byte // what read has read, to name lines in faults
}

// id returns a path variable.
func (x *exchange) id(name string) (string, error) {
	id, err := url.PathUnescape(mux.Vars(x.r)[name])
	if err != nil {
		return "", fault.New(fault.Invalid, "invalid_path", "the path has a broken escape")
	}
	return id, nil
}

// query returns a query parameter; the first of several.
func (x *exchange) query(name string) string { return x.r.URL.Query().Get(name) }

// read returns the body if its type is JSON; no type counts as JSON.
func (x *exchange) read() ([]byte, error) {
	media, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if has := x.r.Header.Get("Content-Type") != ""; has && (err != nil || media != "application/json" && !strings.HasSuffix(media, "+json")) {
		return nil, unsupported("application/json")
	}
	return x.readAll()
}

func unsupported(want string) error {
	return &statusError{status: http.StatusUnsupportedMediaType, reason: "unsupported_media_type", message: "the Content-Type must be " + want}
}

// readAll reads the body, the first time that it is called.
func (x *exchange) readAll() ([]byte, error) {
	if x.body != nil {
		return x.body, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, fault.New(fault.TooLarge, "body_too_large", "the body has more than 1 MiB")
	case err != nil:
		return nil, fault.Wrap(fault.Invalid, "incomplete_body", "the body could not be read", err)
	}
	x.body = body
	return body, nil
}

// decode reads a JSON body into v. Unknown and repeated members are faults.
func (x *exchange) decode(v any) error {
	body, err := x.read()
	if err != nil {
		return err
	}
	return decode(body, v)
}

// form reads the body of a POST as a form; the query is not part of it, because
// what is in URLs ends up in logs.
func (x *exchange) form() (url.Values, error) {
	if media, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type")); err != nil || media != "application/x-www-form-urlencoded" {
		return nil, unsupported("application/x-www-form-urlencoded")
	}
	body, err := x.readAll()
	if err != nil {
		return nil, err
	}
	x.body = nil
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, fault.New(fault.Invalid, "invalid_request", "the body is not a form")
	}
	for name, list := range values {
		if len(list) > 1 { // RFC 6749 section 3.2
			return nil, fault.New(fault.Invalid, "invalid_request", "the parameter "+name+" occurs more than once")
		}
	}
	return values, nil
}

// json answers with v.
func (x *exchange) json(status int, v any) error {
	text, err := encode(v)
	if err != nil {
		return err
	}
	x.write(status, "application/json", text)
	return nil
}

// encode is json.Marshal that leaves <.*> readable; no answer is ever HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimRight(b.Bytes(), "\n"), err
}

// created answers 201 with the address of v.
func (x *exchange) created(collection, id string, v any) error {
	x.w.Header().Set("Location", collection+"/"+url.PathEscape(id))
	return x.json(http.StatusCreated, v)
}

// prefix is /admin for a path below it, where Hydra 2 says that its clients are.
func (x *exchange) prefix() string {
	if strings.HasPrefix(x.r.URL.Path, "/admin/") {
		return "/admin"
	}
	return ""
}

// none answers 204.
func (x *exchange) none() error {
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (x *exchange) write(status int, contentType string, text []byte) {
	x.w.Header().Set("Content-Type", contentType)
	x.w.WriteHeader(status)
	_, _ = x.w.Write(text) // the client is gone
}
