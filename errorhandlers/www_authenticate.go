package errorhandlers

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gatewarden/gatewarden/access"
)

// WWWAuthenticateConfig configures www_authenticate.
type WWWAuthenticateConfig struct {
	// Scheme is Basic (default), Bearer or DPoP.
	Scheme string `json:"scheme"`
	// Realm is shown by browsers; default "Please authenticate.".
	Realm string `json:"realm"`
	// Scope names the scopes that a token needs, separated by spaces. Bearer and DPoP.
	Scope string `json:"scope"`
	// ACRValues and MaxAge ask for a stronger or newer login (RFC 9470 section 3):
	// authentication context classes, separated by spaces, and seconds. Bearer and DPoP.
	ACRValues string `json:"acr_values"`
	MaxAge    *int   `json:"max_age"`
	// ResourceMetadata is where the metadata of the resource are (RFC 9728 section
	// 5.1). Bearer and DPoP.
	ResourceMetadata string `json:"resource_metadata"`
	// When says which refusals are answered; empty: all.
	When Conditions `json:"when"`
}

type wwwAuthenticate struct {
	conditions
	scheme, realm string
	// params follow the realm, each with a comma in front. stepUp says that they name
	// an error of their own.
	params   string
	stepUp   bool
	metadata string
}

var (
	_ Handler   = (*wwwAuthenticate)(nil)
	_ Selective = (*wwwAuthenticate)(nil)
)

func newWWWAuthenticate(c WWWAuthenticateConfig) (Handler, error) {
	when, err := compile(c.When)
	errs := []error{err, checkMetadata(c.ResourceMetadata)}
	if !printable(c.Realm) {
		errs = append(errs, errors.New("realm: must be printable ASCII"))
	}
	h := &wwwAuthenticate{conditions: when, scheme: c.Scheme, realm: "realm=" + quote(c.Realm), metadata: c.ResourceMetadata}
	switch c.Scheme {
	case "Bearer", "DPoP":
	case "Basic":
		if c.Scope != "" || c.ACRValues != "" || c.MaxAge != nil || c.ResourceMetadata != "" {
			errs = append(errs, errors.New("scope, acr_values, max_age and resource_metadata need scheme Bearer or DPoP"))
		}
	default:
		errs = append(errs, errors.New("scheme: must be Basic, Bearer or DPoP"))
	}
	if c.ACRValues != "" || c.MaxAge != nil {
		h.stepUp = true
		h.params += `, error="insufficient_user_authentication", error_description="a different authentication level is required"`
	}
	for _, p := range []struct{ name, value string }{{"scope", c.Scope}, {"acr_values", c.ACRValues}} {
		if !tokens(p.value) {
			errs = append(errs, errors.New(p.name+": must be words of printable ASCII, without quotes, separated by single spaces"))
		} else if p.value != "" {
			h.params += ", " + p.name + "=" + quote(p.value)
		}
	}
	if c.MaxAge != nil {
		if *c.MaxAge < 0 {
			errs = append(errs, errors.New("max_age: must not be negative"))
		}
		h.params += `, max_age="` + strconv.Itoa(*c.MaxAge) + `"`
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return h, nil
}

// tokens reports whether s is empty or a list of scope tokens (RFC 6749 section 3.3).
func tokens(s string) bool {
	return printable(s) && !strings.ContainsAny(s, `"\`) && (s == "" || strings.Join(strings.Fields(s), " ") == s)
}

// Refuse answers 401 whatever the error was, so that a browser asks for a user
// and a password (RFC 7617 section 2), or a client for a better token.
func (h *wwwAuthenticate) Refuse(r *access.Request, err error) access.Response {
	const status = http.StatusUnauthorized
	resp := response(err, status, "text/plain; charset=utf-8", text(r, status))
	values := []string{h.own(err)}
	// Challenges of other schemes, for the credentials that were sent or that would do
	// as well, go after ours, for clients that speak these.
	for _, c := range saidChallenges(err, h.metadata) {
		if !h.speaks(c) {
			values = append(values, c)
		}
	}
	resp.Header["Www-Authenticate"] = values
	return resp
}

// own is the configured challenge. One of a token scheme repeats what err says of the
// token, unless it asks for another login.
func (h *wwwAuthenticate) own(err error) string {
	params := h.params
	said := challengesOf(err)
	if i := slices.IndexFunc(said, h.speaks); i >= 0 && !h.stepUp && h.scheme != "Basic" {
		_, more, _ := strings.Cut(said[i], " ")
		if more != "" && !strings.Contains(more, "realm=") && (params == "" || !strings.Contains(more, "scope=")) {
			params = ", " + more + params
		}
	}
	return withMetadata(h.scheme+" "+h.realm+params, h.metadata)
}

func (h *wwwAuthenticate) speaks(challenge string) bool {
	scheme, _, _ := strings.Cut(challenge, " ")
	return strings.EqualFold(scheme, h.scheme)
}
