package server

import (
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ory/fosite"
)

// scripting are schemes that a browser runs or reads locally instead of handing
// them to an app.
var scripting = []string{"javascript", "data", "vbscript", "file", "blob", "about", "view-source"}

// registeredRedirect reports whether the redirect URI is one of the registered
// ones, byte for byte (RFC 9700 section 2.1). The only difference allowed is the
// port of http on a loopback IP address (RFC 8252 section 7.3); the name localhost
// has no such freedom (section 8.3).
func registeredRedirect(requested string, registered []string) bool {
	u, err := url.Parse(requested)
	if err != nil || u.Scheme == "" || u.User != nil || strings.ContainsAny(requested, "#\\ \t\r\n") ||
		slices.Contains(scripting, strings.ToLower(u.Scheme)) {
		return false
	}
	if slices.Contains(registered, requested) {
		return true
	}
	host := u.Hostname()
	if u.Scheme != "http" || (host != "127.0.0.1" && host != "::1") {
		return false
	}
	return slices.ContainsFunc(registered, func(candidate string) bool {
		r, err := url.Parse(candidate)
		return err == nil && r.Scheme == "http" && r.User == nil && r.Hostname() == host &&
			r.EscapedPath() == u.EscapedPath() && r.RawQuery == u.RawQuery && r.Fragment == ""
	})
}

// redirectIsSecure reports whether a code may be sent there: http only to this
// machine, or to anywhere when the server itself is on http, for development.
func (s *Server) redirectIsSecure(u *url.URL) bool {
	if slices.Contains(scripting, strings.ToLower(u.Scheme)) {
		return false
	}
	return u.Scheme != "http" || !s.secure || fosite.IsLocalhost(u)
}

// formPost sends the browser to the client with a POST, with a button for browsers
// without scripts (OAuth 2.0 Form Post Response Mode).
var formPost = template.Must(template.New("form_post").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Continue</title></head>
<body><form method="post" action="{{.To}}">{{range $name, $values := .Params}}{{range $values}}
<input type="hidden" name="{{$name}}" value="{{.}}">{{end}}{{end}}
<noscript><button type="submit">Continue</button></noscript></form>
<script>` + formPostScript + `</script></body></html>
`))

const (
	formPostScript = "document.forms[0].submit()"
	// formPostPolicy allows the script above, by its hash, and nothing else.
	formPostPolicy = "default-src 'none'; script-src 'sha256-ePniVEkSivX/c7XWBGafqh8tSpiRrKiqYeqbG7N1TOE='; base-uri 'none'; frame-ancestors 'none'"
)

// sendBack ends an authorization request at the client: with a code or an error,
// the state as it came, and the issuer (RFC 9207).
func (s *Server) sendBack(w http.ResponseWriter, r *http.Request, request *fosite.AuthorizeRequest, params url.Values) {
	if request.State != "" {
		params.Set("state", request.State)
	} else {
		params.Del("state")
	}
	params.Set("iss", s.o.Issuer)
	asked, _ := s.askedFor(request.Form)
	if _, signed, _ := responseMode(asked, request.Form); signed {
		var err error
		if params, err = s.signedAnswer(r.Context(), request, params); err != nil {
			e := wire(err)
			s.report(r.Context(), "authorize", e, err)
			s.errorPage(w, e)
			return
		}
	}
	to := *request.RedirectURI
	noStore(w)
	switch request.ResponseMode {
	case fosite.ResponseModeFormPost:
		page(w, http.StatusOK, formPostPolicy, formPost, map[string]any{
			// The address is registered; the template would refuse the custom schemes of apps.
			"To": template.URL(to.String()), "Params": params, //nolint:gosec // matched against the registration
		})
		return
	case fosite.ResponseModeFragment:
		to.Fragment, to.RawFragment = "", ""
		w.Header().Set("Location", to.String()+"#"+params.Encode())
	default:
		query := to.Query()
		for name := range params {
			query.Set(name, params.Get(name))
		}
		to.RawQuery = query.Encode()
		w.Header().Set("Location", to.String())
	}
	w.WriteHeader(http.StatusSeeOther)
}

// refuse ends an authorization request with an error: at the client when the
// request named a registered redirect URI, else on the error page, so that nobody
// is ever sent to an address that was not registered.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, request *fosite.AuthorizeRequest, err error) {
	e := wire(err)
	s.report(r.Context(), "authorize", e, err)
	if request == nil || request.RedirectURI == nil {
		s.errorPage(w, e)
		return
	}
	s.sendBack(w, r, request, s.params(e))
}

// errorPage sends the browser to the operator's error page, or to the built-in one.
func (s *Server) errorPage(w http.ResponseWriter, e wireError) {
	target := s.o.URLs.Error
	if target == "" {
		target = s.base + fallbacksPath + "error"
	}
	params := s.params(e)
	if id := w.Header().Get("X-Request-Id"); id != "" {
		params.Set("request_id", id)
		s.o.Log.Info("a browser was sent to the error page", "request_id", id, "error", e.Code, "description", e.Description)
	}
	s.browse(w, target, params)
}

// browse sends the browser to target with params added to its query.
func (s *Server) browse(w http.ResponseWriter, target string, params url.Values) {
	noStore(w)
	w.Header().Set("Location", withQuery(target, params))
	w.WriteHeader(http.StatusSeeOther)
}

func withQuery(target string, params url.Values) string {
	if len(params) == 0 {
		return target
	}
	separator := "?"
	if strings.Contains(target, "?") {
		separator = "&"
	}
	return target + separator + params.Encode()
}
