package server

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// prompts are the values of prompt (OpenID Connect Core section 3.1.2.1).
var prompts = []string{"none", "login", "consent", "select_account"}

// authorize is GET and POST /oauth2/auth. A browser comes here three times: with
// the client's request, with the login app's verifier, and with the consent app's.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	form, err := requestForm(w, r)
	switch {
	case err != nil:
		s.refuse(w, r, nil, err)
	case form.Has("login_verifier"):
		s.resumeLogin(w, r, form.Get("login_verifier"))
	case form.Has("consent_verifier"):
		s.resumeConsent(w, r, form.Get("consent_verifier"))
	default:
		s.begin(w, r, form)
	}
}

// parseAuthorize checks an authorization request against the client as it is
// registered now. The request that is returned with an error has a redirect URI
// only if the error may be sent there.
func (s *Server) parseAuthorize(ctx context.Context, form url.Values) (*fosite.AuthorizeRequest, error) {
	c, err := s.clients.get(ctx, form.Get("client_id"))
	if fault.Is(err, fault.NotFound) || err == nil && c.Disabled {
		return nil, unknownClient(err)
	}
	if err != nil {
		return nil, err
	}
	if to := form.Get("redirect_uri"); to != "" && !registeredRedirect(to, c.RedirectURIs) {
		return nil, fosite.ErrInvalidRequest.WithHint("The parameter 'redirect_uri' is not one of the client's registered redirect URIs.")
	}
	// fosite is shown a plain request: request objects are refused below, and it
	// insists on a state even where PKCE protects the client.
	plain := maps.Clone(form)
	plain.Del("request")
	plain.Del("request_uri")
	resource, err := resources(form, c)
	if err != nil {
		// fosite finds the redirect URI to which the error goes.
		plain.Del("audience")
	} else if len(resource) > 0 {
		plain["audience"] = append(slices.Clone(form["audience"]), resource...)
	}
	refused := err
	asked, _ := s.askedFor(form)
	mode, _, err := responseMode(asked, form)
	if err != nil {
		refused = err
	}
	if mode != "" {
		plain.Set("response_mode", string(mode))
	}
	// What else than a code is asked for is checked below and made by implicit.go.
	plain.Set("response_type", "code")
	if !plain.Has("state") {
		plain.Set("state", "absent")
	}
	parsed, err := s.fosite.NewAuthorizeRequest(ctx, &http.Request{Method: http.MethodGet, URL: &url.URL{}, Header: http.Header{}, Form: plain, PostForm: url.Values{}})
	request, ok := parsed.(*fosite.AuthorizeRequest)
	if !ok {
		return nil, fosite.ErrServerError
	}
	request.State, request.Form = form.Get("state"), maps.Clone(form)
	if request.RedirectURI != nil && !s.redirectIsSecure(request.RedirectURI) {
		request.RedirectURI = nil
		return request, fosite.ErrInvalidRequest.WithHint("The redirect URI must use https.")
	}
	if err == nil {
		err = refused
	}
	if err == nil {
		err = s.checkAuthorize(c, form)
	}
	return request, err
}

// unknownClient tells that there is no client, and who wrote a metadata document what is
// wrong with it.
func unknownClient(err error) error {
	if fault.ReasonOf(err) == "client_metadata_document" {
		return fosite.ErrInvalidClient.WithDescription(fault.MessageOf(err)) // in front, as long texts are cut
	}
	return fosite.ErrInvalidClient.WithHint("The parameter 'client_id' names no client.")
}

// checkAuthorize holds the rules that fosite does not have, or not before the
// person has logged in.
func (s *Server) checkAuthorize(c *client, form url.Values) error {
	invalid := func(hint string) error { return fosite.ErrInvalidRequest.WithHint(hint) }
	if err := s.checkResponseType(c, form); err != nil {
		return err
	}
	asked, _ := s.askedFor(form)
	switch {
	case form.Has("request"): // requestObject takes it out
		return fosite.ErrRequestNotSupported
	case form.Has("request_uri"):
		return fosite.ErrRequestURINotSupported
	}
	if err := checkScopes(form.Get("scope")); err != nil {
		return err
	}
	challenge, method := form.Get("code_challenge"), form.Get("code_challenge_method")
	if challenge == "" {
		if method != "" {
			return invalid("The parameter 'code_challenge' is missing.")
		}
		if asked.code && (s.o.PKCE == PKCEForAll || c.Public()) {
			return invalid("The parameter 'code_challenge' is missing: PKCE (RFC 7636) is required.")
		}
		// Without PKCE the state is all that protects from CSRF.
		if asked.code && len(form.Get("state")) < fosite.MinParameterEntropy {
			return invalid("The parameter 'state' must have at least 8 characters.")
		}
	} else {
		if method != "S256" {
			return invalid("The parameter 'code_challenge_method' must be 'S256'.")
		}
		if !isSHA256(challenge) {
			return invalid("The parameter 'code_challenge' must be a SHA-256 hash in base64url without padding.")
		}
	}
	if _, err := s.detailsOf(c, form); err != nil {
		return err
	}
	if jkt := form.Get("dpop_jkt"); jkt != "" && !isSHA256(jkt) {
		return invalid("The parameter 'dpop_jkt' must be a SHA-256 thumbprint in base64url without padding.")
	}
	prompt := strings.Fields(form.Get("prompt"))
	for _, p := range prompt {
		if !slices.Contains(prompts, p) {
			return invalid("The parameter 'prompt' has an unknown value.")
		}
	}
	if slices.Contains(prompt, "none") && len(prompt) > 1 {
		return invalid("The value 'none' of the parameter 'prompt' excludes every other.")
	}
	if age := form.Get("max_age"); age != "" {
		if n, err := strconv.ParseUint(age, 10, 31); err != nil || strconv.FormatUint(n, 10) != age {
			return invalid("The parameter 'max_age' must be a number of seconds.")
		}
	}
	return nil
}

// isSHA256 reports whether text is a SHA-256 hash in base64url without padding.
func isSHA256(text string) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(raw) == sha256.Size
}

// flowData is what a flow remembers beside its columns.
type flowData struct {
	Form url.Values `json:"form"`
	// From is what the browser came with when that was not Form: a pushed or signed
	// request.
	From        url.Values         `json:"from,omitempty"`
	RequestedAt time.Time          `json:"requested_at"`
	Browser     string             `json:"browser"` // hash of the browser's secret
	OIDC        oauth2.OIDCContext `json:"oidc_context"`
	// Device says that a device asked, which polls for the answer.
	Device   bool     `json:"device,omitempty"`
	Scope    []string `json:"scope,omitempty"`
	Audience []string `json:"audience,omitempty"`
	// Details are the requested authorization_details.
	Details []json.RawMessage `json:"details,omitempty"`
	// HintSubject is the subject of id_token_hint.
	HintSubject string `json:"hint_subject,omitempty"`
	// HintSession is its sid, when it was issued to the client.
	HintSession string `json:"hint_session,omitempty"`
	// Session is the browser's login session when the flow began; Skip says that it
	// is enough.
	Session      *oauth2.LoginSession  `json:"session,omitempty"`
	Skip         bool                  `json:"skip,omitempty"`
	Login        *oauth2.AcceptLogin   `json:"login,omitempty"`
	AuthTime     time.Time             `json:"auth_time,omitzero"`
	ConsentSkip  bool                  `json:"consent_skip,omitempty"`
	Consent      *oauth2.AcceptConsent `json:"consent,omitempty"`
	Rejected     *oauth2.Rejection     `json:"rejected,omitempty"`
	LoginAddress string                `json:"login_address,omitempty"` // the login challenge, for the consent app
	// ReturnTo is where a login ends that no client asked for; empty: a client did.
	ReturnTo string `json:"return_to,omitempty"`
}

func (d *flowData) prompt(value string) bool {
	return slices.Contains(strings.Fields(d.Form.Get("prompt")), value)
}

// requestURL is where the flow can be begun again.
func (s *Server) requestURL(d *flowData) string {
	if d.ReturnTo != "" {
		return d.ReturnTo
	}
	if d.Device {
		return s.base + verifyPath
	}
	if d.From != nil {
		return withQuery(s.base+authPath, d.From)
	}
	return withQuery(s.base+authPath, d.Form)
}

// begin starts a flow and sends the browser to the login app.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, form url.Values) {
	ctx := r.Context()
	came := form
	form, from, err := s.requested(ctx, came)
	if err != nil {
		s.refuse(w, r, nil, err)
		return
	}
	request, err := s.parseAuthorize(ctx, form)
	if err != nil {
		s.refuse(w, r, request, err)
		return
	}
	d := &flowData{Form: form, RequestedAt: s.now(), Scope: request.RequestedScope, Audience: request.RequestedAudience}
	if c, ok := request.Client.(*client); ok {
		d.Details, err = s.detailsOf(c, form)
	}
	if err != nil {
		s.refuse(w, r, request, err)
		return
	}
	if came.Has("request") || came.Has("request_uri") {
		d.From = from
	}
	if asked, _ := s.askedFor(form); !asked.code {
		// There is no refresh token without a code (OpenID Connect Core section 11).
		d.Scope = slices.DeleteFunc(slices.Clone(d.Scope), func(scope string) bool { return scope == "offline" || scope == "offline_access" })
	}
	f := oauth2.Flow{ID: randomString(), ClientID: request.Client.GetID(), ExpiresAt: s.now().Add(s.o.Lifespans.LoginConsent)}
	s.askLogin(w, r, f, d, request, s.o.Store.CreateFlow)
}

// askLogin sends the browser to the login app. Store keeps the flow.
func (s *Server) askLogin(w http.ResponseWriter, r *http.Request, f oauth2.Flow, d *flowData, request *fosite.AuthorizeRequest, store func(context.Context, oauth2.Flow) error) {
	ctx, form := r.Context(), d.Form
	var err error
	d.OIDC = oauth2.OIDCContext{
		ACRValues: strings.Fields(form.Get("acr_values")), UILocales: strings.Fields(form.Get("ui_locales")),
		Display: form.Get("display"), LoginHint: form.Get("login_hint"),
	}
	if hint := form.Get("id_token_hint"); hint != "" {
		if d.OIDC.IDTokenHintClaims, err = s.hintClaims(ctx, hint); err == nil {
			d.HintSubject, _ = d.OIDC.IDTokenHintClaims["sub"].(string)
			if audience, _ := d.OIDC.IDTokenHintClaims["aud"].([]any); slices.Contains(audience, any(f.ClientID)) {
				d.HintSession, _ = d.OIDC.IDTokenHintClaims["sid"].(string)
			}
		}
	}
	if err == nil {
		d.Session, err = s.browserSession(ctx, r)
	}
	if err != nil {
		s.refuse(w, r, request, err)
		return
	}
	c, _ := request.Client.(*client)
	if d.Skip, err = s.loginSuffices(c, d); err != nil {
		s.refuse(w, r, request, err)
		return
	}
	if d.prompt("none") && !d.Skip {
		s.refuse(w, r, request, fosite.ErrLoginRequired)
		return
	}
	s.ask(w, r, f, d, request, store)
}

// ask has the flow stored and sends the browser to the login app.
func (s *Server) ask(w http.ResponseWriter, r *http.Request, f oauth2.Flow, d *flowData, request *fosite.AuthorizeRequest, store func(context.Context, oauth2.Flow) error) {
	d.Browser = s.bindBrowser(w, r)
	challenge := randomString()
	d.LoginAddress = challenge
	f.State, f.LoginChallenge, f.SessionID = oauth2.FlowLoginRequested, hashed("login_challenge", challenge), randomString()
	if d.Session != nil {
		f.SessionID = d.Session.ID
	}
	if d.Skip {
		f.Subject = d.Session.Subject
	}
	var err error
	if f.Data, err = json.Marshal(d); err == nil {
		err = store(r.Context(), f)
	}
	if err != nil {
		s.refuse(w, r, request, err)
		return
	}
	s.o.Metrics.OAuth2("authorize", "")
	s.browse(w, s.pageURL(s.o.URLs.Login, "login"), url.Values{"login_challenge": {challenge}})
}

// pageURL returns the operator's page, or the built-in one.
func (s *Server) pageURL(configured, name string) string {
	if configured != "" {
		return configured
	}
	return s.base + fallbacksPath + name
}

// loginSuffices reports whether the browser's login session answers the request
// without asking the person: prompt, max_age and id_token_hint allow it.
func (s *Server) loginSuffices(c *client, d *flowData) (bool, error) {
	if d.Session == nil || d.prompt("login") || d.prompt("select_account") {
		return false, nil
	}
	if age := d.Form.Get("max_age"); age != "" {
		seconds, _ := strconv.Atoi(age) // checkAuthorize has seen it
		if !s.now().Before(d.Session.AuthenticatedAt.Add(time.Duration(seconds) * time.Second)) {
			return false, nil
		}
	}
	if !acrSuffices(d.Session.ACR, strings.Fields(d.Form.Get("acr_values"))) {
		return false, nil
	}
	return s.hinted(c, d, d.Session.Subject, "")
}

// acrSuffices reports whether a login of class acr is as strong as one of those that are
// asked for, so that nobody has to log in again (RFC 9470 section 5). Classes have no
// order but that of their names when these are NIST's, aal1 to aal3. A login app that
// names no class is asked with skip as ever, and judges acr_values itself, as in Hydra.
func acrSuffices(acr string, wanted []string) bool {
	if acr == "" || len(wanted) == 0 || slices.Contains(wanted, acr) {
		return true
	}
	levels := []string{"aal1", "aal2", "aal3"}
	has := slices.Index(levels, acr)
	return slices.ContainsFunc(wanted, func(w string) bool { return slices.Contains(levels[:max(has, 0)], w) })
}

// hintClaims returns the claims of an ID token of ours, which may have expired
// (OpenID Connect Core section 3.1.2.1), and may be signed by an older key.
func (s *Server) hintClaims(ctx context.Context, hint string) (map[string]any, error) {
	invalid := fosite.ErrInvalidRequest.WithHint("The parameter 'id_token_hint' is not an ID token of this server.")
	payload, err := s.o.IDTokens.Verify(ctx, hint, "JWT")
	if fault.Is(err, fault.Unavailable) {
		return nil, err
	}
	var claims map[string]any
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims["iss"] != s.o.Issuer {
		return nil, invalid
	}
	if sub, _ := claims["sub"].(string); sub == "" {
		return nil, invalid
	}
	return claims, nil
}
