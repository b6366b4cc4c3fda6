package errorhandlers

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// HTMLConfig configures html.
type HTMLConfig struct {
	// Verbose shows the refusal's own text in place of the generic one. The text of
	// internal errors is never shown.
	Verbose bool `json:"verbose"`
	// Contact is a sentence that says where help is to be had; plain text.
	Contact string `json:"contact"`
	// ResourceMetadata is added to challenges for tokens (RFC 9728 section 5.1).
	ResourceMetadata string `json:"resource_metadata"`
	// When says which refusals are answered; empty: those of requests that a browser
	// could have made.
	When Conditions `json:"when"`
}

type htmlHandler struct {
	conditions
	verbose           bool
	contact, metadata string
	page              *template.Template
	policy            []string // Content-Security-Policy
}

var (
	_ Handler   = (*htmlHandler)(nil)
	_ Selective = (*htmlHandler)(nil)
)

// style is the only thing that the page may load, by its hash.
const style = `body{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:36rem;padding:0 1rem;color:#222;background:#fff}h1{font-size:1.4rem}code{font-size:.9em}small{color:#555}`

const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{.Status}} {{.Title}}</title>
<style>` + style + `</style>
</head>
<body>
<h1>{{.Title}}</h1>
<p>{{.Message}}</p>
{{with .Contact}}<p>{{.}}</p>
{{end}}{{with .ID}}<p><small>Decision <code>{{.}}</code></small></p>
{{end}}</body>
</html>
`

func newHTML(c HTMLConfig) (Handler, error) {
	when, err := compile(c.When)
	parsed, failed := template.New("error").Parse(page)
	if err := errors.Join(err, failed, checkMetadata(c.ResourceMetadata)); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(style))
	return &htmlHandler{
		conditions: when, verbose: c.Verbose, contact: c.Contact, metadata: c.ResourceMetadata, page: parsed,
		policy: []string{"default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
	}, nil
}

// Refuse answers with the error's status and a page without scripts.
func (h *htmlHandler) Refuse(r *access.Request, err error) access.Response {
	status := fault.KindOf(err).HTTPStatus()
	data := struct {
		Status                      int
		Title, Message, Contact, ID string
	}{Status: status, Title: http.StatusText(status), Message: generic(status), Contact: h.contact}
	if r != nil {
		data.ID = r.ID
	}
	if m := fault.MessageOf(err); h.verbose && m != "" {
		data.Message = m
	}
	var body bytes.Buffer
	if failed := h.page.Execute(&body, data); failed != nil { // cannot happen: the data are strings and a number
		body.Reset()
		body.WriteString(data.Title)
	}
	resp := response(err, status, "text/html; charset=utf-8", body.Bytes())
	resp.Header["Content-Security-Policy"] = h.policy
	resp.Header["Referrer-Policy"] = []string{"no-referrer"}
	if values := challenges(err, h.metadata); len(values) > 0 {
		resp.Header["Www-Authenticate"] = values
	}
	return resp
}

// Answers reports whether the refusal is one to show to a person.
func (h *htmlHandler) Answers(r *access.Request, err error) bool {
	if len(h.conditions) > 0 {
		return h.conditions.Answers(r, err)
	}
	return r == nil || wantsHTML(r.Header["Accept"])
}
