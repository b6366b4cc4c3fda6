package outbound

import (
	"errors"
	"net/http"
)

// Auth is how the gateway authenticates itself to a service; at most one kind.
type Auth struct {
	Basic  Basic  `json:"basic"`
	Bearer Bearer `json:"bearer"`
}

// Basic is HTTP Basic authentication (RFC 7617).
type Basic struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// Bearer is a fixed token (RFC 6750 section 2.1).
type Bearer struct {
	Token string `json:"token"`
}

// Check returns an error that names the key below field.
func (a Auth) Check(field string) error {
	if a.Basic != (Basic{}) && a.Bearer != (Bearer{}) {
		return errors.New(field + ": basic and bearer cannot be combined")
	}
	for i := range len(a.Bearer.Token) {
		if c := a.Bearer.Token[i]; c <= ' ' || c > '~' {
			return errors.New(field + ".bearer.token: has a character that no token has")
		}
	}
	return nil
}

// Apply writes Authorization when a is set.
func (a Auth) Apply(r *http.Request) {
	switch {
	case a.Bearer.Token != "":
		r.Header.Set("Authorization", "Bearer "+a.Bearer.Token)
	case a.Basic != (Basic{}):
		r.SetBasicAuth(a.Basic.Username, a.Basic.Password)
	}
}
