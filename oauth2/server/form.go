package server

import (
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/ory/fosite"
)

// maxForm bounds the body and the query of every request, in bytes.
const maxForm = 64 << 10

// repeatable are the parameters that may occur more than once: audience by
// Hydra's custom, resource by RFC 8707.
var repeatable = map[string]bool{"audience": true, "resource": true}

// postForm reads the body of a POST as a form; the query is not looked at.
func postForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return nil, fosite.ErrInvalidRequest.WithHint("The content type must be application/x-www-form-urlencoded.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return nil, fosite.ErrInvalidRequest.WithHintf("The body could not be read or has more than %d bytes.", maxForm)
	}
	return parseForm(string(body))
}

// requestForm reads the query of a GET or the body of a POST.
func requestForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.Method == http.MethodPost {
		return postForm(w, r)
	}
	if len(r.URL.RawQuery) > maxForm {
		return nil, fosite.ErrInvalidRequest.WithHintf("The query has more than %d bytes.", maxForm)
	}
	return parseForm(r.URL.RawQuery)
}

// parseForm decodes a form. Parameters without a value count as absent, and no
// parameter may occur twice (RFC 6749 section 3.1).
func parseForm(raw string) (url.Values, error) {
	form, err := url.ParseQuery(raw)
	if err != nil {
		return nil, fosite.ErrInvalidRequest.WithHint("The parameters are not form-encoded.")
	}
	for name, values := range form {
		if len(values) > 1 && !repeatable[name] {
			return nil, fosite.ErrInvalidRequest.WithHintf("The parameter '%s' occurs more than once.", printable(name))
		}
		for _, v := range values {
			if strings.ContainsRune(v, 0) {
				return nil, fosite.ErrInvalidRequest.WithHintf("The parameter '%s' has a NUL character.", printable(name))
			}
		}
		if len(values) == 1 && values[0] == "" {
			delete(form, name)
		}
	}
	return form, nil
}

// printable returns the characters of text that RFC 6749 allows in an
// error_description, and not too many of them.
func printable(text string) string {
	var b strings.Builder
	for _, c := range text {
		if b.Len() >= 200 {
			break
		}
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\'')
		case c >= 0x20 && c < 0x7f:
			b.WriteRune(c)
		}
	}
	return b.String()
}
