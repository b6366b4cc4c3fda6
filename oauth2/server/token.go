package server

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/ory/fosite"
)

// grantTypes are those that the token endpoint knows, beside password and CIBA where
// they are on.
var grantTypes = []string{"authorization_code", "refresh_token", "client_credentials", exchangeGrantType, deviceGrantType, jwtBearerGrantType}

// tokenAnswer is a success of the token endpoint (RFC 6749 section 5.1).
type tokenAnswer struct {
	AccessToken  string `json:"access_token"`
	ExpiresIn    int64  `json:"expires_in"`
	IDToken      string `json:"id_token,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope"`
	TokenType    string `json:"token_type"`
	// IssuedTokenType is set by token exchange (RFC 8693 section 2.2.1).
	IssuedTokenType string `json:"issued_token_type,omitempty"`
	// Details are authorization_details (RFC 9396 section 7).
	Details []json.RawMessage `json:"authorization_details,omitempty"`
}

// token is POST /oauth2/token.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	answer, err := s.issue(w, r)
	if err != nil {
		s.fail(w, r, "token", err)
		return
	}
	s.o.Metrics.OAuth2("token", "")
	writeJSON(w, http.StatusOK, answer)
}

func (s *Server) issue(w http.ResponseWriter, r *http.Request) (tokenAnswer, error) {
	form, err := postForm(w, r)
	if err != nil {
		return tokenAnswer{}, err
	}
	u := &unit{grantType: form.Get("grant_type"), now: s.now()}
	switch {
	case u.grantType == "":
		return tokenAnswer{}, fosite.ErrInvalidRequest.WithHint("The parameter 'grant_type' is missing.")
	case !slices.Contains(grantTypes, u.grantType) && (u.grantType != passwordGrantType || s.o.Legacy.Password == nil) &&
		(u.grantType != backchannelGrantType || s.o.Backchannel.Person == nil):
		return tokenAnswer{}, fosite.ErrUnsupportedGrantType
	}
	if err := checkScopes(form.Get("scope")); err != nil {
		return tokenAnswer{}, err
	}
	if u.client, err = s.authenticateClient(r.Context(), r, form); err != nil {
		return tokenAnswer{}, err
	}
	if !u.client.allowsGrant(u.grantType) || !s.legacyAllowed(u) || (u.grantType == "client_credentials" || u.grantType == exchangeGrantType || u.grantType == backchannelGrantType) && u.client.Public() {
		return tokenAnswer{}, fosite.ErrUnauthorizedClient.WithHintf("The client may not use grant type '%s'.", u.grantType)
	}
	if u.bound, err = s.senderOf(w, r, u.client); err != nil {
		return tokenAnswer{}, err
	}
	asked, err := resources(form, u.client)
	if err != nil {
		return tokenAnswer{}, err
	}
	if len(asked) > 0 { // fosite knows it by the other name
		form["audience"] = append(form["audience"], asked...)
	}
	ctx := context.WithValue(r.Context(), unitKey{}, u)
	// fosite reads the form that was parsed and limited here, never the wire.
	request, err := s.fosite.NewAccessRequest(ctx, &http.Request{Method: http.MethodPost, Header: http.Header{}, Form: form, PostForm: form}, &session{})
	if u.failure != nil {
		return tokenAnswer{}, u.failure
	}
	if err != nil {
		return tokenAnswer{}, err
	}
	if u.grantType == "client_credentials" {
		s.grantToClient(u, request)
	}
	if err := bind(u, request); err != nil {
		return tokenAnswer{}, err
	}
	if err := narrow(u, asked); err != nil {
		return tokenAnswer{}, err
	}
	if err := s.narrowDetails(u, request, form); err != nil {
		return tokenAnswer{}, err
	}
	if err := s.askHooks(ctx, u, request); err != nil {
		return tokenAnswer{}, err
	}
	answer, err := s.fosite.NewAccessResponse(ctx, request)
	if err != nil {
		return tokenAnswer{}, err
	}
	issued, err := u.issuedDetails()
	if err != nil {
		return tokenAnswer{}, err
	}
	if err := s.settle(ctx, u); err != nil {
		return tokenAnswer{}, err
	}
	out := tokenAnswer{
		Details:     issued,
		AccessToken: u.accessToken, ExpiresIn: int64(u.access.ExpiresAt.Sub(u.now).Seconds()),
		RefreshToken: u.refreshToken, Scope: strings.Join(u.access.Grant.GrantedScope, " "), TokenType: "bearer",
	}
	if u.bound.JKT != "" {
		out.TokenType = "DPoP"
	}
	if u.grantType == exchangeGrantType {
		out.IssuedTokenType = accessTokenURN
	}
	out.IDToken, _ = answer.GetExtra("id_token").(string)
	s.count(u.grantType, out)
	return out, nil
}

// grantToClient gives a client that acts for itself what it asked for; fosite has
// compared that with the registration. The subject is the client.
func (s *Server) grantToClient(u *unit, request fosite.AccessRequester) {
	request.SetSession(&session{subject: u.client.ID})
	scopes := request.GetRequestedScopes()
	if len(scopes) == 0 && s.o.GrantAllowedScope {
		scopes = u.client.scopes
	}
	for _, scope := range scopes {
		request.GrantScope(scope)
	}
	for _, audience := range request.GetRequestedAudience() {
		request.GrantAudience(audience)
	}
}

func (s *Server) count(grantType string, out tokenAnswer) {
	s.o.Metrics.TokenIssued(grantType, "access_token")
	if out.RefreshToken != "" {
		s.o.Metrics.TokenIssued(grantType, "refresh_token")
	}
	if out.IDToken != "" {
		s.o.Metrics.TokenIssued(grantType, "id_token")
	}
}

// checkScopes refuses a scope parameter that RFC 6749 section 3.3 does not allow,
// and spellings such as OpenID, which fosite would take for openid.
func checkScopes(scope string) error {
	for _, name := range strings.Split(scope, " ") {
		for i := range len(name) {
			if c := name[i]; c <= 0x20 || c == '"' || c == '\\' || c >= 0x7f {
				return fosite.ErrInvalidScope.WithHint("The parameter 'scope' has a character that is not allowed.")
			}
		}
		switch lower := strings.ToLower(name); lower {
		case "openid", "offline", "offline_access":
			if lower != name {
				return fosite.ErrInvalidScope.WithHintf("Scope names are case-sensitive: '%s' must be '%s'.", name, lower)
			}
		}
	}
	return nil
}
