package errorhandlers

import (
	"errors"
	"net/http"

	"github.com/gatewarden/gatewarden/access"
)

// WWWAuthenticateConfig configures www_authenticate.
type WWWAuthenticateConfig struct {
	// Realm is shown by browsers; default "Please authenticate.".
	Realm string `json:"realm"`
	// When says which refusals are answered; empty: all.
	When Conditions `json:"when"`
}

type wwwAuthenticate struct {
	conditions
	challenge string
}

var (
	_ Handler   = (*wwwAuthenticate)(nil)
	_ Selective = (*wwwAuthenticate)(nil)
)

func newWWWAuthenticate(c WWWAuthenticateConfig) (Handler, error) {
	when, err := compile(c.When)
	if err != nil {
		return nil, err
	}
	if !printable(c.Realm) {
		return nil, errors.New("realm: must be printable ASCII")
	}
	return &wwwAuthenticate{conditions: when, challenge: "Basic realm=" + quote(c.Realm)}, nil
}

// Refuse answers 401 whatever the error was, so that a browser asks for a user
// and a password (RFC 7617 section 2).
func (h *wwwAuthenticate) Refuse(r *access.Request, err error) access.Response {
	const status = http.StatusUnauthorized
	resp := response(err, status, "text/plain; charset=utf-8", text(r, status))
	values := []string{h.challenge}
	// A challenge for the credentials that were sent goes beside ours, for clients
	// that speak its scheme.
	if c := challenge(err); c != "" {
		values = append(values, c)
	}
	resp.Header["Www-Authenticate"] = values
	return resp
}
