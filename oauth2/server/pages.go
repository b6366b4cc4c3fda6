package server

import (
	"html/template"
	"net/http"

	"github.com/gorilla/mux"
)

// fallbackPage is what a browser sees where the operator configured no page.
var fallbackPage = template.Must(template.New("fallback").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Title}}</title></head>
<body><h1>{{.Title}}</h1><p>{{.Text}}</p>{{with .Error}}
<dl><dt>error</dt><dd>{{.}}</dd><dt>error_description</dt><dd>{{$.Description}}</dd></dl>{{end}}</body></html>
`))

type fallbackText struct{ Title, Text, Error, Description string }

var fallbackTexts = map[string]fallbackText{
	"login":           {Title: "The login page is not configured", Text: "The setting urls.login must be the address of an app that logs people in and answers the login request."},
	"consent":         {Title: "The consent page is not configured", Text: "The setting urls.consent must be the address of an app that asks for consent and answers the consent request."},
	"logout":          {Title: "The logout page is not configured", Text: "The setting urls.logout must be the address of an app that answers the logout request."},
	"logout/callback": {Title: "You are logged out", Text: "The setting urls.post_logout_redirect says where to go from here."},
	"device/done":     {Title: "The device is connected", Text: "You can close this page and go on at the device."},
	"error":           {Title: "The request could not be completed", Text: "The setting urls.error can be the address of a page of your own."},
}

// deviceFallback leads from where Hydra has its page for user codes to ours.
func (s *Server) deviceFallback(w http.ResponseWriter, r *http.Request) {
	s.browse(w, s.base+verifyPath, r.URL.Query())
}

// fallback is GET /oauth2/fallbacks/{page}.
func (s *Server) fallback(w http.ResponseWriter, r *http.Request) {
	name := mux.Vars(r)["page"]
	text := fallbackTexts[name]
	if name == "error" {
		text.Error, text.Description = printable(r.URL.Query().Get("error")), printable(r.URL.Query().Get("error_description"))
	}
	noStore(w)
	page(w, http.StatusOK, "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'", fallbackPage, text)
}

// page answers with an HTML page under a Content-Security-Policy.
func page(w http.ResponseWriter, status int, policy string, t *template.Template, data any) {
	h := w.Header()
	h.Set("Content-Type", "text/html;charset=UTF-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	_ = t.Execute(w, data) // only the connection can fail now
}
