package errorhandlers

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/gatewarden/gatewarden/access"
)

// RedirectConfig configures redirect.
type RedirectConfig struct {
	// To is where the client is sent: an absolute http or https URL, or a path on
	// the same host. Required.
	To string `json:"to"`
	// Code is 301 or 302; default 302.
	Code int `json:"code"`
	// ReturnToQueryParam names the query parameter of To that gets the URL that was
	// asked for. Empty: none.
	ReturnToQueryParam string `json:"return_to_query_param"`
	// When says which refusals are answered; empty: those of requests that a browser
	// could have made.
	When Conditions `json:"when"`
}

type redirect struct {
	conditions
	code int
	// location is complete, or up to and including the parameter's "=", with
	// fragment to follow the value.
	location, fragment string
	returns            bool
}

var (
	_ Handler   = (*redirect)(nil)
	_ Selective = (*redirect)(nil)
)

func newRedirect(c RedirectConfig) (Handler, error) {
	when, err := compile(c.When)
	errs := []error{err}
	if c.Code != http.StatusMovedPermanently && c.Code != http.StatusFound {
		errs = append(errs, fmt.Errorf("code: must be 301 or 302, not %d", c.Code))
	}
	h := &redirect{conditions: when, code: c.Code}
	to, err := target(c.To)
	if err != nil {
		errs = append(errs, fmt.Errorf("to: %w", err))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if c.ReturnToQueryParam == "" {
		h.location = to.String()
		return h, nil
	}
	q := to.Query()
	q.Del(c.ReturnToQueryParam)
	if to.RawQuery = q.Encode(); to.RawQuery != "" {
		to.RawQuery += "&"
	}
	to.RawQuery += url.QueryEscape(c.ReturnToQueryParam) + "="
	if to.Fragment != "" {
		h.fragment = "#" + to.EscapedFragment()
		to.Fragment, to.RawFragment = "", ""
	}
	h.location, h.returns = to.String(), true
	return h, nil
}

// target parses the place to send clients to. A path must not be read as another
// host by a browser: //host and /\host are.
func target(to string) (*url.URL, error) {
	if to == "" {
		return nil, errors.New("required")
	}
	u, err := url.Parse(to)
	if err != nil || !printable(to) {
		return nil, errors.New("not a URL")
	}
	switch {
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
	case u.Scheme == "" && u.Host == "" && strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//") && !strings.Contains(to, `\`):
	default:
		return nil, errors.New("must be an http or https URL, or a path that starts with /")
	}
	return u, nil
}

// Refuse sends the client to the configured place and nowhere else: what it asked
// for is only ever the value of a query parameter.
func (h *redirect) Refuse(r *access.Request, err error) access.Response {
	location := h.location
	if h.returns {
		if r != nil && r.URL != nil {
			asked := *r.URL
			asked.User, asked.Fragment, asked.RawFragment = nil, "", ""
			location += url.QueryEscape(asked.String())
		}
		location += h.fragment
	}
	resp := response(err, h.code, "text/plain; charset=utf-8", text(r, h.code))
	resp.Header["Location"] = []string{location}
	return resp
}

// Answers reports whether the refusal is one to redirect. Without when, a client
// that accepts something but no HTML is left to the next handler: it could do
// nothing with a login page.
func (h *redirect) Answers(r *access.Request, err error) bool {
	if len(h.conditions) > 0 {
		return h.conditions.Answers(r, err)
	}
	return r == nil || wantsHTML(r.Header["Accept"])
}
