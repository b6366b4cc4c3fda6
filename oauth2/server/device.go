package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// userCodeLetters are those of user codes: no vowels, so that they make no words, and
// none that look alike (RFC 8628 section 6.1). Eight of them have 34 bits.
const (
	userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeLength  = 8
)

// deviceAnswer is a success of the device authorization endpoint (RFC 8628 section 3.2).
type deviceAnswer struct {
	DeviceCode      string `json:"device_code"`
	UserCode        string `json:"user_code"`
	VerificationURI string `json:"verification_uri"`
	Complete        string `json:"verification_uri_complete"`
	ExpiresIn       int64  `json:"expires_in"` // seconds
	Interval        int64  `json:"interval"`   // seconds
}

// device is POST /oauth2/device/auth: a device without a browser asks for a code that a
// person enters elsewhere. It is kept as a flow that no person has come for yet; its id
// is the signature of the device code.
func (s *Server) device(w http.ResponseWriter, r *http.Request) {
	answer, err := s.deviceRequested(w, r)
	if err != nil {
		s.fail(w, r, "device", err)
		return
	}
	s.o.Metrics.OAuth2("device", "")
	writeJSON(w, http.StatusOK, answer)
}

func (s *Server) deviceRequested(w http.ResponseWriter, r *http.Request) (deviceAnswer, error) {
	form, err := postForm(w, r)
	if err != nil {
		return deviceAnswer{}, err
	}
	c, err := s.authenticateClient(r.Context(), r, form)
	if err != nil {
		return deviceAnswer{}, err
	}
	d, err := s.deviceData(c, form)
	if err != nil {
		return deviceAnswer{}, err
	}
	code, signature := s.deviceCodes.generate()
	f := oauth2.Flow{ID: signature, State: oauth2.FlowDevice, ClientID: c.ID, ExpiresAt: s.now().Add(s.o.Device.Lifespan)}
	if f.Data, err = json.Marshal(d); err != nil {
		return deviceAnswer{}, err
	}
	for attempt := 0; ; attempt++ {
		user := newUserCode()
		f.LoginChallenge = hashed("user_code", user)
		err := s.o.Store.CreateFlow(r.Context(), f)
		if fault.Is(err, fault.Conflict) && attempt < 5 { // somebody has that code now
			continue
		}
		shown := user[:userCodeLength/2] + "-" + user[userCodeLength/2:]
		at := s.base + verifyPath
		return deviceAnswer{DeviceCode: code, UserCode: shown, VerificationURI: at, Complete: withQuery(at, url.Values{"user_code": {shown}}),
			ExpiresIn: int64(s.o.Device.Lifespan.Seconds()), Interval: int64(s.o.Device.Interval.Seconds())}, err
	}
}

// deviceData checks what a device asks for against the client as it is registered now.
func (s *Server) deviceData(c *client, form url.Values) (*flowData, error) {
	if !c.allowsGrant(deviceGrantType) {
		return nil, fosite.ErrUnauthorizedClient.WithHintf("The client is not registered for grant type '%s'.", deviceGrantType)
	}
	d, err := s.requestData(c, form)
	if err == nil {
		d.Device = true
	}
	return d, err
}

// requestData checks scope and audience of a request that no browser brought.
func (s *Server) requestData(c *client, form url.Values) (*flowData, error) {
	if err := checkScopes(form.Get("scope")); err != nil {
		return nil, err
	}
	d := &flowData{Form: url.Values{"client_id": {c.ID}}, RequestedAt: s.now(), Scope: strings.Fields(form.Get("scope"))}
	for _, scope := range d.Scope {
		if !s.scopes(c.scopes, scope) {
			return nil, fosite.ErrInvalidScope.WithHintf("The client may not have scope '%s'.", scope)
		}
	}
	resource, err := resources(form, c)
	if err != nil {
		return nil, err
	}
	for _, one := range form["audience"] {
		if !slices.Contains(c.Audience, one) {
			return nil, fosite.ErrInvalidRequest.WithHint("The client may not have the audience.")
		}
	}
	d.Audience = append(slices.Clone(form["audience"]), resource...)
	return d, nil
}

// newUserCode returns random letters.
func newUserCode() string {
	code := make([]byte, 0, userCodeLength)
	for len(code) < userCodeLength {
		var b [16]byte
		_, _ = rand.Read(b[:]) // never fails; crypto/rand ends the program instead
		for _, one := range b {
			// What would make some letters likelier than others is left out.
			if int(one) < 256/len(userCodeLetters)*len(userCodeLetters) && len(code) < userCodeLength {
				code = append(code, userCodeLetters[int(one)%len(userCodeLetters)])
			}
		}
	}
	return string(code)
}

// typedUserCode is a user code as somebody typed it: small letters, blanks and dashes
// do not count.
func typedUserCode(text string) string {
	return strings.Map(func(c rune) rune {
		switch c {
		case '-', ' ', '\t', '.', '_':
			return -1
		}
		return c
	}, strings.ToUpper(text))
}

// verifyDevice is GET and POST /oauth2/device/verify. A browser comes with or without a
// user code, then, when there is no page of the operator's, with the form that was
// filled in, and last with the verifier of an accepted code.
func (s *Server) verifyDevice(w http.ResponseWriter, r *http.Request) {
	form, err := requestForm(w, r)
	switch {
	case err != nil:
		s.refuse(w, r, nil, err)
	case form.Has("device_verifier"):
		s.resumeDevice(w, r, form.Get("device_verifier"))
	case r.Method == http.MethodPost:
		s.typed(w, r, form)
	default:
		s.askUserCode(w, r, form.Get("user_code"))
	}
}

// askUserCode sends the browser to the page where a person enters the code. That the
// code is in the address is no consent: it has to be confirmed (RFC 8628 section 5.4).
func (s *Server) askUserCode(w http.ResponseWriter, r *http.Request, prefilled string) {
	challenge := randomString()
	data, err := json.Marshal(&flowData{Browser: s.bindBrowser(w, r), RequestedAt: s.now()})
	if err == nil {
		err = s.o.Store.CreateFlow(r.Context(), oauth2.Flow{
			ID: randomString(), State: oauth2.FlowUserCodeAsked, LoginChallenge: hashed("device_challenge", challenge),
			ExpiresAt: s.now().Add(s.o.Device.Lifespan), Data: data,
		})
	}
	if err != nil {
		s.refuse(w, r, nil, err)
		return
	}
	if s.o.URLs.DeviceVerification != "" {
		params := url.Values{"device_challenge": {challenge}}
		if prefilled != "" {
			params.Set("user_code", prefilled)
		}
		s.browse(w, s.o.URLs.DeviceVerification, params)
		return
	}
	s.userCodePage(w, http.StatusOK, challenge, prefilled, "")
}

// devicePage is where a person enters a user code when the operator has no page.
var devicePage = template.Must(template.New("device").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Connect a device</title></head>
<body><main><h1>Connect a device</h1>{{with .Problem}}<p role="alert">{{.}}</p>{{end}}
<form method="post" action="{{.To}}"><input type="hidden" name="device_challenge" value="{{.Challenge}}">
<p><label for="user_code">The code that the device shows</label>
<input id="user_code" name="user_code" value="{{.Code}}" autocomplete="off" autocapitalize="characters" spellcheck="false" maxlength="20" required></p>
<p>Go on only if you began this on a device of your own.</p>
<p><button type="submit">Continue</button></p></form></main></body></html>
`))

func (s *Server) userCodePage(w http.ResponseWriter, status int, challenge, code, problem string) {
	noStore(w)
	page(w, status, "default-src 'none'; base-uri 'none'; frame-ancestors 'none'", devicePage, map[string]string{
		"To": s.base + verifyPath, "Challenge": challenge, "Code": code, "Problem": problem,
	})
}

// typed takes the code of the built-in page, from the browser that was given the page.
func (s *Server) typed(w http.ResponseWriter, r *http.Request, form url.Values) {
	challenge := form.Get("device_challenge")
	_, d, err := s.challengedDevice(r.Context(), challenge)
	if fault.Is(err, fault.NotFound) {
		err = fosite.ErrAccessDenied.WithHint("The page is too old or was used before. Begin again.")
	}
	if err == nil && !s.sameBrowser(r, d.Browser) {
		err = fosite.ErrRequestForbidden.WithHint("The page was given to another browser, or cookies are off.")
	}
	if err != nil {
		s.refuse(w, r, nil, err)
		return
	}
	to, err := s.AcceptUserCode(r.Context(), challenge, oauth2.AcceptUserCode{UserCode: form.Get("user_code")})
	if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Invalid) {
		s.userCodePage(w, http.StatusBadRequest, challenge, "", "The code is wrong, has expired or was used before.")
		return
	}
	if err != nil {
		s.refuse(w, r, nil, err)
		return
	}
	noStore(w)
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

// challengedDevice reads the flow of a device challenge that still waits.
func (s *Server) challengedDevice(ctx context.Context, challenge string) (oauth2.Flow, *flowData, error) {
	f, err := s.o.Store.Flow(ctx, oauth2.ByLoginChallenge, hashed("device_challenge", challenge))
	if err == nil && f.State != oauth2.FlowUserCodeAsked {
		err = fault.New(fault.NotFound, "not_found", "the device challenge was answered before")
	}
	d := &flowData{}
	if err == nil {
		err = json.Unmarshal(f.Data, d)
	}
	return f, d, err
}

// AcceptUserCode says which code a person has entered. A challenge is good for
// maxUserCodes attempts, on all nodes together. Errors: fault.NotFound for an unknown
// challenge, fault.Invalid for a code that is wrong, has expired or was used before,
// fault.RateLimited when too many wrong ones come.
func (s *Server) AcceptUserCode(ctx context.Context, challenge string, a oauth2.AcceptUserCode) (string, error) {
	asked, browser, err := s.challengedDevice(ctx, challenge)
	if err != nil {
		return "", err
	}
	if err := s.countAttempt(ctx, asked); err != nil {
		return "", err
	}
	if err := s.takeGuess(ctx); err != nil {
		return "", err
	}
	code := typedUserCode(a.UserCode)
	f, err := s.o.Store.Flow(ctx, oauth2.ByLoginChallenge, hashed("user_code", code))
	if fault.Is(err, fault.NotFound) || err == nil && f.State != oauth2.FlowDevice {
		return "", invalid("user_code", "is wrong, has expired or was used before")
	}
	if err == nil {
		err = s.returnGuess(ctx)
	}
	if err != nil {
		return "", err
	}
	d := &flowData{}
	if err := json.Unmarshal(f.Data, d); err != nil {
		return "", err
	}
	verifier := randomString()
	d.Browser = browser.Browser
	f.State, f.LoginChallenge, f.LoginVerifier = oauth2.FlowUserCodeAccepted, "", hashed("device_verifier", verifier)
	if f.Data, err = json.Marshal(d); err != nil {
		return "", err
	}
	if err := s.spendUserCode(ctx, f, asked); err != nil {
		return "", err
	}
	return withQuery(s.base+verifyPath, url.Values{"device_verifier": {verifier}}), nil
}

// spendUserCode makes the transition that one of several wins, and ends the challenge.
func (s *Server) spendUserCode(ctx context.Context, f, asked oauth2.Flow) error {
	err := s.o.Store.AdvanceFlow(ctx, oauth2.FlowDevice, f)
	if isSpent(err) {
		return invalid("user_code", "is wrong, has expired or was used before")
	}
	if err != nil {
		return err
	}
	asked.State = oauth2.FlowFinished
	if err := s.o.Store.AdvanceFlow(ctx, oauth2.FlowUserCodeAsked, asked); err != nil && !isSpent(err) {
		return err
	}
	return nil
}

// countAttempt takes one of the attempts that a challenge has.
func (s *Server) countAttempt(ctx context.Context, asked oauth2.Flow) error {
	for n := range maxUserCodes {
		err := s.o.Store.UseJTI(ctx, "user code attempts", asked.ID+" "+strconv.Itoa(n), asked.ExpiresAt)
		if !isSpent(err) {
			return err
		}
	}
	return fault.New(fault.RateLimited, "too_many_user_codes", "too many codes were tried; begin again")
}

// resumeDevice goes on with a device's flow in the browser whose person has entered the
// code: the login app is asked as for any other.
func (s *Server) resumeDevice(w http.ResponseWriter, r *http.Request, verifier string) {
	f, d, request, err := s.returnedBy(r, oauth2.ByLoginVerifier, hashed("device_verifier", verifier), oauth2.FlowUserCodeAccepted)
	if err != nil {
		s.refuse(w, r, request, err)
		return
	}
	f.LoginVerifier = ""
	s.askLogin(w, r, f, d, request, func(ctx context.Context, f oauth2.Flow) error {
		return s.advance(ctx, oauth2.FlowUserCodeAccepted, f)
	})
}

// deviceRequest is a device's request as the steps after it know one. It has no
// redirect URI, so that errors are shown to the person.
func (s *Server) deviceRequest(ctx context.Context, clientID string, d *flowData) (*fosite.AuthorizeRequest, error) {
	return s.polledRequest(ctx, clientID, d, deviceGrantType)
}

func (s *Server) polledRequest(ctx context.Context, clientID string, d *flowData, grantType string) (*fosite.AuthorizeRequest, error) {
	c, err := s.clients.get(ctx, clientID)
	if fault.Is(err, fault.NotFound) || err == nil && (c.Disabled || !c.allowsGrant(grantType)) {
		return nil, fosite.ErrInvalidClient.WithHint("The client is gone or may not use the grant.")
	}
	if err != nil {
		return nil, err
	}
	request := fosite.NewAuthorizeRequest()
	request.Client, request.Form = c, d.Form
	request.RequestedScope, request.RequestedAudience = d.Scope, d.Audience
	return request, nil
}

// approveDevice stores what the device code buys, under its signature, as the code of
// any other flow, and tells the person.
func (s *Server) approveDevice(w http.ResponseWriter, r *http.Request, f oauth2.Flow, d *flowData, request *fosite.AuthorizeRequest) {
	about, err := s.about(request, f, d)
	var g oauth2.Grant
	if err == nil {
		request.SetSession(about)
		g, err = grantOf(request)
	}
	if err == nil {
		err = s.o.Store.CreateCode(r.Context(), oauth2.Token{Signature: f.ID, Grant: g, ExpiresAt: s.now().Add(s.o.Lifespans.AuthorizeCode)})
	}
	if err != nil {
		s.refuse(w, r, nil, err)
		return
	}
	s.o.Metrics.OAuth2("device", "")
	to := s.o.URLs.DeviceSuccess
	if to == "" {
		to = s.base + fallbacksPath + "device/done"
	}
	s.browse(w, to, nil)
}
