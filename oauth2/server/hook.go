package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/strictjson"
)

const (
	hookFor       = 10 * time.Second // bounds one question to a hook
	maxHookAnswer = 1 << 20          // bytes
)

// Hooks are asked before tokens are issued, with Hydra's questions and answers.
type Hooks struct {
	// Token is asked about all tokens, Refresh before it about those of a refresh token;
	// nil: nobody is asked.
	Token, Refresh *Hook
	// HTTP asks them, without following redirects; required with a hook.
	HTTP *http.Client
}

// Hook is an address that is asked by POST.
type Hook struct {
	URL string
	// Name and Value are a header field, or with InCookie a cookie, by which it knows
	// the server; empty: none.
	Name, Value string
	InCookie    bool
}

// hookSession is what a grant knows, in the JSON of Hydra's session.
type hookSession struct {
	IDToken hookIDToken    `json:"id_token"`
	Extra   map[string]any `json:"extra"`
	KeyID   string         `json:"kid"`
	Client  string         `json:"client_id"`
	Consent string         `json:"consent_challenge"`

	ExcludeNotBefore bool     `json:"exclude_not_before_claim"`
	TopLevelClaims   []string `json:"allowed_top_level_claims"`
	MirrorTopLevel   bool     `json:"mirror_top_level_claims"`
}

type hookIDToken struct {
	Claims  hookClaims `json:"id_token_claims"`
	Headers struct {
		Extra map[string]any `json:"extra"`
	} `json:"headers"`
	ExpiresAt map[string]time.Time `json:"expires_at"`
	Username  string               `json:"username"`
	Subject   string               `json:"subject"` // the person
}

type hookClaims struct {
	ID          string         `json:"jti"`
	Issuer      string         `json:"iss"`
	Subject     string         `json:"sub"` // as the client knows the person
	Audience    []string       `json:"aud"`
	Nonce       string         `json:"nonce"`
	ExpiresAt   time.Time      `json:"exp"`
	IssuedAt    time.Time      `json:"iat"`
	RequestedAt time.Time      `json:"rat"`
	AuthTime    time.Time      `json:"auth_time"`
	AccessHash  string         `json:"at_hash"`
	ACR         string         `json:"acr"`
	AMR         []string       `json:"amr"`
	CodeHash    string         `json:"c_hash"`
	Extra       map[string]any `json:"ext"`
}

// hookRequester is what a token request has been granted.
type hookRequester struct {
	ClientID        string   `json:"client_id"`
	GrantedScopes   []string `json:"granted_scopes"`
	GrantedAudience []string `json:"granted_audience"`
	GrantTypes      []string `json:"grant_types"`
}

type hookRequest struct {
	hookRequester
	RequestedScopes []string            `json:"requested_scopes"`
	Payload         map[string][]string `json:"payload"`
}

type tokenHookQuestion struct {
	Session hookSession `json:"session"`
	Request hookRequest `json:"request"`
}

type refreshHookQuestion struct {
	Subject         string        `json:"subject"`
	Session         hookSession   `json:"session"`
	Requester       hookRequester `json:"requester"`
	ClientID        string        `json:"client_id"`
	GrantedScopes   []string      `json:"granted_scopes"`
	GrantedAudience []string      `json:"granted_audience"`
}

type hookAnswer struct {
	Session *struct {
		AccessToken map[string]any `json:"access_token"`
		IDToken     map[string]any `json:"id_token"`
	} `json:"session"`
}

// askHooks asks the hooks about what is about to be issued. They can refuse it and say
// what is told about the person, and nothing else: scope, audience and the claims that
// are the server's own are decided elsewhere. Nothing is spent yet, so that a client
// whose hook is away comes again with the same code.
func (s *Server) askHooks(ctx context.Context, u *unit, r fosite.Requester) error {
	about, ok := r.GetSession().(*session)
	if !ok {
		return fosite.ErrServerError
	}
	scopes, audience := r.GetGrantedScopes(), r.GetGrantedAudience()
	if u.spend != nil && u.grantType != "refresh_token" { // fosite has not granted it yet
		scopes, audience = u.spend.Grant.GrantedScope, u.spend.Grant.GrantedAudience
	}
	asked := hookRequester{ClientID: u.client.ID, GrantedScopes: list(scopes), GrantedAudience: list(u.audienceFor(audience)), GrantTypes: []string{u.grantType}}
	if hook := s.o.Hooks.Refresh; hook != nil && u.grantType == "refresh_token" {
		err := s.askHook(ctx, hook, about, refreshHookQuestion{
			Subject: about.subject, Session: s.hookSession(u, about), Requester: asked, ClientID: asked.ClientID,
			GrantedScopes: asked.GrantedScopes, GrantedAudience: asked.GrantedAudience,
		})
		if err != nil {
			return err
		}
	}
	if s.o.Hooks.Token == nil {
		return nil
	}
	request := hookRequest{hookRequester: asked, RequestedScopes: list(r.GetRequestedScopes()), Payload: hookPayload(u, r.GetRequestForm())}
	return s.askHook(ctx, s.o.Hooks.Token, about, tokenHookQuestion{Session: s.hookSession(u, about), Request: request})
}

// hookPayload is what of the form a hook may see: no secrets, codes or tokens, but the
// assertion that is the grant.
func hookPayload(u *unit, form url.Values) map[string][]string {
	payload := map[string][]string{}
	for _, name := range []string{"grant_type", "response_type", "scope", "client_id"} {
		if form.Has(name) {
			payload[name] = form[name]
		}
	}
	if u.grantType == jwtBearerGrantType {
		payload["assertion"] = form["assertion"]
	}
	return payload
}

func (s *Server) hookSession(u *unit, about *session) hookSession {
	when := func(seconds int64) time.Time {
		if seconds == 0 {
			return time.Time{}
		}
		return time.Unix(seconds, 0).UTC()
	}
	claims := func(c map[string]any) map[string]any {
		if c == nil {
			return map[string]any{}
		}
		return c
	}
	out := hookSession{
		Extra: claims(about.AccessToken), Client: u.client.ID, Consent: about.consentID,
		TopLevelClaims: list(s.o.TopLevelClaims), MirrorTopLevel: !s.o.TopLevelClaimsOnly,
		IDToken: hookIDToken{Subject: about.subject, ExpiresAt: map[string]time.Time{"access_token": s.accessExpiry(u).UTC()}, Claims: hookClaims{
			Issuer: s.o.Issuer, Subject: about.shownSubject(), Audience: []string{u.client.ID}, IssuedAt: u.now.UTC(), RequestedAt: when(about.RequestedAt),
			AuthTime: when(about.AuthTime), ACR: about.ACR, AMR: list(about.AMR), Extra: claims(about.IDToken),
		}},
	}
	out.IDToken.Headers.Extra = map[string]any{}
	if u.spend != nil && u.grantType == "authorization_code" {
		out.IDToken.Claims.Nonce = u.spend.Grant.Form.Get("nonce")
	}
	return out
}

// askHook asks one hook. 200 says what is told in place of what was, 204 that all stays,
// 403 that nothing is issued; so does every other answer, as the server's own fault.
func (s *Server) askHook(ctx context.Context, hook *Hook, about *session, question any) error {
	failed := func(err error) error {
		var u *url.Error
		if errors.As(err, &u) { // its text has the address, which may hold a secret
			err = u.Err
		}
		return fosite.ErrServerError.WithWrap(fmt.Errorf("token hook: %w", err))
	}
	body, err := json.Marshal(question)
	if err != nil {
		return failed(err)
	}
	ctx, cancel := context.WithTimeout(ctx, hookFor)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, hook.URL, bytes.NewReader(body))
	if err != nil {
		return failed(err)
	}
	r.Header.Set("Content-Type", "application/json; charset=UTF-8")
	r.Header.Set("Accept", "application/json")
	switch {
	case hook.Name == "":
	case hook.InCookie:
		r.AddCookie(&http.Cookie{Name: hook.Name, Value: hook.Value})
	default:
		r.Header.Set(hook.Name, hook.Value)
	}
	res, err := direct(s.o.Hooks.HTTP).Do(r)
	if err != nil {
		return failed(err)
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNoContent:
		return nil
	case http.StatusForbidden:
		return fosite.ErrAccessDenied.WithHint("The operator's token hook refuses it.")
	default:
		return failed(fmt.Errorf("the answer is %d", res.StatusCode))
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxHookAnswer+1))
	if err == nil && len(raw) > maxHookAnswer {
		err = errors.New("the answer is too long")
	}
	if err == nil {
		err = strictjson.Check(raw, nil)
	}
	var answer hookAnswer
	if err == nil {
		err = json.Unmarshal(raw, &answer)
	}
	if err == nil && answer.Session == nil {
		err = errors.New("the answer has no session")
	}
	if err != nil {
		return failed(err)
	}
	about.AccessToken, about.IDToken = answer.Session.AccessToken, answer.Session.IDToken
	return nil
}
