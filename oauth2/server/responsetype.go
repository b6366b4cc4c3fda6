package server

import (
	"net/url"
	"slices"
	"strings"

	"github.com/ory/fosite"
)

// implicitGrantType is the grant type of clients that get tokens from the authorization
// endpoint (RFC 7591 section 2.1), alone or beside a code.
const implicitGrantType = "implicit"

// responseType is what an authorization request asks for (OAuth 2.0 Multiple Response
// Type Encoding Practices). The zero value asks for nothing, which nobody is given.
type responseType struct{ code, idToken, token bool }

// The response types that give something else than a code, by the switch that they need.
var (
	implicitTypes = []responseType{{idToken: true}, {token: true}, {idToken: true, token: true}}
	hybridTypes   = []responseType{{code: true, idToken: true}, {code: true, token: true}, {code: true, idToken: true, token: true}}
)

// parseResponseType reads a response type: known words, each once, in any order.
func parseResponseType(text string) (t responseType, known bool) {
	words := map[string]*bool{"code": &t.code, "id_token": &t.idToken, "token": &t.token}
	for _, word := range strings.Fields(text) {
		asked := words[word]
		if asked == nil || *asked {
			return responseType{}, false
		}
		*asked = true
	}
	return t, t != responseType{}
}

// String is the response type as metadata lists it.
func (t responseType) String() string {
	var words []string
	for _, w := range []struct {
		word  string
		asked bool
	}{{"code", t.code}, {"id_token", t.idToken}, {"token", t.token}} {
		if w.asked {
			words = append(words, w.word)
		}
	}
	if !t.code {
		slices.Sort(words)
	}
	return strings.Join(words, " ")
}

// front reports whether tokens come from the authorization endpoint, through the browser.
func (t responseType) front() bool { return t.idToken || t.token }

// responseTypes are those that are switched on.
func (s *Server) responseTypes() []responseType {
	on := []responseType{{code: true}}
	if s.o.Legacy.Implicit {
		on = append(on, implicitTypes...)
	}
	if s.o.Legacy.Hybrid {
		on = append(on, hybridTypes...)
	}
	return on
}

// askedFor is the response type of a request, if it is switched on; else the zero value.
func (s *Server) askedFor(form url.Values) (t responseType, ok bool) {
	t, ok = parseResponseType(form.Get("response_type"))
	if !ok || !slices.Contains(s.responseTypes(), t) {
		return responseType{}, false
	}
	return t, true
}

// strict reports whether a client has registered for protection that tokens of the
// authorization endpoint and of passwords cannot have, or whether no operator has
// registered it: such clients get neither.
func (c *client) strict() bool {
	return c.Stranger() || c.DPoPBoundAccessTokens || c.TLSBoundAccessTokens || c.RequirePAR || c.RequireSignedRequestObject
}

// registered reports whether the client may ask for the response type. The default is
// RFC 7591's: code.
func (c *client) registered(t responseType) bool {
	if len(c.ResponseTypes) == 0 {
		return t == responseType{code: true}
	}
	return slices.ContainsFunc(c.ResponseTypes, func(text string) bool {
		has, ok := parseResponseType(text)
		return ok && has == t
	})
}

// checkResponseType checks what the client asks for against what is switched on and
// registered.
func (s *Server) checkResponseType(c *client, form url.Values) error {
	t, on := s.askedFor(form)
	switch {
	case !on || !c.registered(t):
		return fosite.ErrUnsupportedResponseType
	case t.code && !c.allowsGrant("authorization_code"):
		return fosite.ErrUnauthorizedClient.WithHint("The client is not registered for grant type 'authorization_code'.")
	case !t.front():
		return nil
	case !c.allowsGrant(implicitGrantType):
		return fosite.ErrUnauthorizedClient.WithHint("The client is not registered for grant type 'implicit'.")
	case c.strict():
		return fosite.ErrUnauthorizedClient.WithHint("A client whose tokens are bound, or whose requests must be pushed or signed, gets no tokens from the authorization endpoint, nor does one that registered itself.")
	case t.token && form.Has("dpop_jkt"):
		return fosite.ErrInvalidRequest.WithHint("An access token of the authorization endpoint cannot be bound to a key.")
	case t.idToken && !slices.Contains(strings.Fields(form.Get("scope")), "openid"):
		return fosite.ErrInvalidRequest.WithHint("The response type wants scope 'openid'.")
	case t.idToken && form.Get("nonce") == "":
		return fosite.ErrInvalidRequest.WithHint("The parameter 'nonce' is missing.") // OpenID Connect Core sections 3.2.2.1 and 3.3.2.11
	case !t.code && !t.idToken && len(form.Get("state")) < fosite.MinParameterEntropy:
		// Nothing else protects from CSRF.
		return fosite.ErrInvalidRequest.WithHint("The parameter 'state' must have at least 8 characters.")
	}
	return nil
}

// responseMode returns how the response is sent, and whether it is signed for the
// client (JARM). Tokens never go into a query, where servers and logs see them.
func responseMode(t responseType, form url.Values) (mode fosite.ResponseModeType, signed bool, err error) {
	asked, signed := strings.CutSuffix(form.Get("response_mode"), ".jwt")
	if asked == "jwt" {
		asked, signed = "", true
	}
	mode = fosite.ResponseModeType(asked)
	switch {
	case t.front() && mode == "":
		mode = fosite.ResponseModeFragment
	case t.front() && mode == fosite.ResponseModeQuery:
		return fosite.ResponseModeFragment, signed, fosite.ErrInvalidRequest.WithHint("Tokens cannot be sent with this response_mode.")
	case mode == "" && signed:
		mode = fosite.ResponseModeQuery
	}
	return mode, signed, nil
}
