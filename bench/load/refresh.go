package main

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// callback is the redirect URI of the client; nobody is there.
const callback = "http://127.0.0.1:1/callback"

// rotate exchanges refresh tokens for d, each chain of them one after another, and
// returns how many a second.
func (n *node) rotate(chains int, d time.Duration) (perSecond float64, err error) {
	first := make([]string, chains)
	for i := range first {
		if first[i], err = n.login(); err != nil {
			return 0, err
		}
	}
	var count atomic.Int64
	var wait sync.WaitGroup
	failed := make(chan error, chains)
	start := time.Now()
	for _, token := range first {
		wait.Go(func() {
			for time.Since(start) < d {
				next, err := n.exchange(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
				if err != nil {
					failed <- err
					return
				}
				token = next
				count.Add(1)
			}
		})
	}
	wait.Wait()
	close(failed)
	return float64(count.Load()) / time.Since(start).Seconds(), <-failed
}

// exchange asks for tokens and returns the refresh token.
func (n *node) exchange(v url.Values) (string, error) {
	var token struct {
		RefreshToken string `json:"refresh_token"`
	}
	err := send(http.MethodPost, n.public.url()+"/oauth2/token", form, v.Encode(), n.basic, &token)
	return token.RefreshToken, err
}

// login goes through login and consent as a browser and the apps behind it would,
// and returns a refresh token.
func (n *node) login() (string, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	browser := *client
	browser.Jar = jar
	proof := strings.Repeat("load", 12)
	sum := sha256.Sum256([]byte(proof))
	at := n.public.url() + "/oauth2/auth?" + url.Values{"client_id": {"load"}, "response_type": {"code"}, "redirect_uri": {callback}, "scope": {"orders offline_access"},
		"state": {"a-state-for-the-load"}, "code_challenge_method": {"S256"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}}.Encode()
	for range 10 {
		res, err := browser.Get(at)
		if err != nil {
			return "", err
		}
		res.Body.Close()
		next, err := res.Location()
		if err != nil {
			return "", fmt.Errorf("%s: %s: %w", at, res.Status, err)
		}
		q := next.Query()
		switch {
		case q.Has("login_challenge"):
			at, err = n.accept("login", q.Get("login_challenge"), `{"subject":"load"}`)
		case q.Has("consent_challenge"):
			at, err = n.accept("consent", q.Get("consent_challenge"), `{"grant_scope":["orders","offline_access"]}`)
		case q.Has("code"):
			return n.exchange(url.Values{"grant_type": {"authorization_code"}, "code": {q.Get("code")}, "redirect_uri": {callback}, "code_verifier": {proof}})
		default:
			at = next.String()
		}
		if err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("the redirects end at %s", at)
}

// accept answers a login or consent request and returns where the browser goes next.
func (n *node) accept(what, challenge, body string) (string, error) {
	var to struct {
		RedirectTo string `json:"redirect_to"`
	}
	err := send(http.MethodPut, n.api.url()+"/oauth2/auth/requests/"+what+"/accept?"+what+"_challenge="+url.QueryEscape(challenge), "application/json", body, "", &to)
	return to.RedirectTo, err
}
