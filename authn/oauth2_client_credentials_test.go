package authn

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/outbound"
)

func basicRequest(user, password string) *access.Request {
	return request("https://api.example/", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

// tokens is the configuration of oauth2_client_credentials for a token endpoint.
func (s *sessions) tokens(more ...string) string {
	return `{"token_url":"` + s.URL + `/token"` + strings.Join(append([]string{""}, more...), ",") + "}"
}

func TestBasicCredentialsAreReadAsTheRFCSays(t *testing.T) {
	encoded := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for name, c := range map[string]struct {
		fields []string
		want   string
	}{
		"usual":                      {[]string{"Basic " + encoded("Aladdin:open sesame")}, "Aladdin|open sesame"},
		"a password with colons":     {[]string{"Basic " + encoded("a:b:c::")}, "a|b:c::"},
		"UTF-8":                      {[]string{"Basic dGVzdDoxMjPCow=="}, "test|123£"}, // RFC 7617 section 2.1
		"scheme in any case":         {[]string{"bASIC " + encoded("a:b")}, "a|b"},
		"several spaces":             {[]string{"Basic   " + encoded("a:b") + " "}, "a|b"},
		"nothing in either":          {[]string{"Basic " + encoded(":")}, "|"},
		"another scheme":             {[]string{"Bearer " + encoded("a:b")}, "(no credentials)"},
		"a longer scheme":            {[]string{"Basics " + encoded("a:b")}, "(no credentials)"},
		"nothing":                    {nil, "(no credentials)"},
		"scheme alone":               {[]string{"Basic"}, "(unauthenticated)"},
		"no colon":                   {[]string{"Basic " + encoded("ab")}, "(unauthenticated)"},
		"not base64":                 {[]string{"Basic a:b"}, "(unauthenticated)"},
		"unused bits":                {[]string{"Basic YTpiYy=="}, "(unauthenticated)"},
		"URL alphabet":               {[]string{"Basic Pz86Pz8_"}, "(unauthenticated)"},
		"a line break in the text":   {[]string{"Basic " + encoded("a:b")[:2] + "\n" + encoded("a:b")[2:]}, "(unauthenticated)"},
		"a control character":        {[]string{"Basic " + encoded("a:b\x00")}, "(unauthenticated)"},
		"too long":                   {[]string{"Basic " + encoded("a:"+strings.Repeat("x", maxBasic))}, "(unauthenticated)"},
		"two fields":                 {[]string{"Basic " + encoded("a:b"), "Basic " + encoded("c:d")}, "(invalid)"},
		"beside another scheme":      {[]string{"Bearer x", "Basic " + encoded("c:d")}, "(invalid)"},
		"two credentials in a field": {[]string{"Basic " + encoded("a:b") + ", Basic " + encoded("c:d")}, "(unauthenticated)"},
	} {
		r := request("https://a/")
		r.Header["Authorization"] = c.fields
		user, password, err := basicCredentials(r, "Basic")
		got := user + "|" + password
		if err != nil {
			got = "(" + outcome(access.Subject{}, err) + ")"
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestAClientIsWhoCanGetATokenForTheRequiredScopes(t *testing.T) {
	s := newSessions(t, func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		if id != "cl%3Aient" || secret != "s%26cret+%2F" {
			w.WriteHeader(401)
			return
		}
		fmt.Fprintf(w, `{"access_token":"secret-token","token_type":"bearer","scope":%q}`, r.PostFormValue("scope"))
	})
	a := build(t, Deps{}, "oauth2_client_credentials", s.tokens(`"required_scope":["a","b"]`))
	got := must(a.Authenticate(t.Context(), basicRequest("cl%3Aient", "s%26cret+/")))(t)
	if diff := cmp.Diff(access.Subject{ID: "cl:ient", Via: "oauth2_client_credentials"}, got); diff != "" {
		t.Error(diff)
	}
	if got := s.last.Method + " " + s.last.URL.Path + " " + s.last.Form.Encode(); got != "POST /token grant_type=client_credentials&scope=a+b" {
		t.Errorf("asked %s", got)
	}
	for name, r := range map[string]*access.Request{"wrong": basicRequest("cl%3Aient", "x"), "bad escape": basicRequest("a%zz", "x"), "no id": basicRequest("", "x")} {
		_, err := a.Authenticate(t.Context(), r)
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != fault.Unauthenticated || f.Challenge != "Basic" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if got := outcome(a.Authenticate(t.Context(), bearerRequest("x"))); got != "no credentials" {
		t.Errorf("a token: got %s", got)
	}
}

func TestOnlyATokenEndpointThatBlamesTheClientMakesItBad(t *testing.T) {
	status := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code); w.Write([]byte(body)) }
	}
	elsewhere := newSessions(t, says(`{"access_token":"x"}`))
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"a token":               {status(200, `{"access_token":"x"}`), "subject c"},
		"more scopes":           {status(200, `{"access_token":"x","scope":"b a c"}`), "subject c"},
		"fewer scopes":          {status(200, `{"access_token":"x","scope":"a"}`), "forbidden"},
		"no scope":              {status(200, `{"access_token":"x","scope":""}`), "forbidden"},
		"no token":              {status(200, `{}`), "unavailable"},
		"no JSON":               {status(200, `access_token=x`), "unavailable"},
		"two tokens":            {status(200, `{"access_token":"","access_token":"x"}`), "unavailable"},
		"too long":              {status(200, `{"access_token":"x"}`+strings.Repeat(" ", outbound.MaxAnswer)), "unavailable"},
		"401":                   {status(401, ``), "unauthenticated"},
		"403":                   {status(403, ``), "unauthenticated"},
		"invalid_client":        {status(400, `{"error":"invalid_client"}`), "unauthenticated"},
		"unauthorized_client":   {status(400, `{"error":"unauthorized_client"}`), "forbidden"},
		"invalid_scope":         {status(400, `{"error":"invalid_scope"}`), "forbidden"},
		"invalid_request":       {status(400, `{"error":"invalid_request"}`), "unavailable"},
		"400 without a reason":  {status(400, `<html>`), "unavailable"},
		"404":                   {status(404, `{"access_token":"x"}`), "unavailable"},
		"500":                   {status(500, `{"access_token":"x"}`), "unavailable"},
		"429":                   {status(429, ``), "rate_limited"},
		"redirect":              {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, 307) }, "unavailable"},
		"connection reset":      {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "unavailable"},
		"the error is a number": {status(400, `{"error":1}`), "unavailable"},
	} {
		s := newSessions(t, c.answer)
		a := build(t, Deps{}, "oauth2_client_credentials", s.tokens(`"required_scope":["a","b"]`, `"retry":{"give_up_after":"0s"}`))
		got, err := a.Authenticate(t.Context(), basicRequest("c", "hunter2"))
		if outcome(got, err) != c.want {
			t.Errorf("%s: got %s (%v), want %s", name, outcome(got, err), err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the secret is in %v", name, err)
		}
	}
	if elsewhere.asked.Load() != 0 {
		t.Error("the secret was sent to where a redirect pointed")
	}
}

func TestARememberedClientIsThatOfTheSameSecretUntilItsTokenWouldEnd(t *testing.T) {
	c := newClock()
	var gone atomic.Bool
	s := newSessions(t, func(w http.ResponseWriter, r *http.Request) {
		if _, secret, _ := r.BasicAuth(); gone.Load() || secret != "right" {
			w.WriteHeader(401)
			return
		}
		w.Write([]byte(`{"access_token":"x","expires_in":20}`))
	})
	catalog := Catalog(Deps{Now: c.Now})
	make := func(more ...string) Authenticator {
		return must(catalog.Build("oauth2_client_credentials", nil, []byte(s.tokens(more...))))(t)
	}
	long, short := make(`"cache":{"enabled":true,"ttl":"1h"}`), make(`"cache":{"enabled":true,"ttl":"5s"}`)
	for _, a := range []Authenticator{long, short, long} {
		if got := outcome(a.Authenticate(t.Context(), basicRequest("c", "right"))); got != "subject c" {
			t.Fatal(got)
		}
	}
	if n := s.asked.Load(); n != 2 {
		t.Errorf("asked %d times, want once for each configuration", n)
	}
	gone.Store(true)
	for _, step := range []struct {
		after       time.Duration
		a           Authenticator
		id, secret  string
		want        string
		description string
	}{
		{0, long, "c", "right", "subject c", "remembered"},
		{0, long, "c", "wrong", "unauthenticated", "another secret"},
		{0, long, "cright", "", "unauthenticated", "another border between id and secret"},
		{0, make(`"cache":{"enabled":true,"ttl":"1h"}`, `"required_scope":["a"]`), "c", "right", "unauthenticated", "another scope"},
		{6 * time.Second, short, "c", "right", "unauthenticated", "the ttl is over"},
		{13 * time.Second, long, "c", "right", "subject c", "the token would still be good"},
		{time.Second, long, "c", "right", "unauthenticated", "the token would be expired"},
	} {
		c.Add(step.after)
		if got := outcome(step.a.Authenticate(t.Context(), basicRequest(step.id, step.secret))); got != step.want {
			t.Errorf("%s: got %s, want %s", step.description, got, step.want)
		}
	}
}

func TestAClientThatIsGoneIsNotRenewed(t *testing.T) {
	status := atomic.Int32{}
	status.Store(200)
	s := newSessions(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(status.Load()))
		w.Write([]byte(`{"access_token":"x","expires_in":1}`))
	})
	lease := build(t, Deps{}, "oauth2_client_credentials", s.tokens(`"retry":{"give_up_after":"0s"}`)).(access.Lease)
	for _, step := range []struct {
		status int32
		want   string
	}{{200, "subject "}, {503, "unavailable"}, {401, "unauthenticated"}} {
		status.Store(step.status)
		until, err := lease.Renew(t.Context(), basicRequest("c", "right"))
		if got := outcome(access.Subject{}, err); got != step.want || !until.IsZero() {
			t.Errorf("%d: got %s until %v, want %s", step.status, got, until, step.want)
		}
	}
}

func TestABadClientCredentialsConfigNamesTheField(t *testing.T) {
	for config, want := range map[string]string{
		`{}`: "token_url must be",
		`{"token_url":"https://a","required_scope":["a b"]}`:                     "required_scope",
		`{"token_url":"https://a","timeout":"0s"}`:                               "timeout",
		`{"token_url":"https://a","cache":{"enabled":true,"ttl":"0s"}}`:          "cache.ttl",
		`{"token_url":"https://a","cache":{"enabled":true,"max_tokens":-1}}`:     "cache.max_tokens",
		`{"token_url":"https://a","cache":{"enabled":true,"max_tokens":"many"}}`: "max_tokens must be",
	} {
		if _, err := Catalog(Deps{}).Build("oauth2_client_credentials", nil, []byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want it to name %s", config, err, want)
		}
	}
}

func FuzzBasicCredentials(f *testing.F) {
	for _, seed := range []string{"Basic YTpi", "basic", "Basic !", "Basic dGVzdDoxMjPCow=="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		user, password, err := basicCredentials(request("https://a/", "Authorization", field), "Basic")
		if err != nil {
			return
		}
		again := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
		if strings.Contains(user, ":") || !strings.HasSuffix(strings.Trim(field, " "), again[6:]) {
			t.Errorf("%q became %q and %q", field, user, password)
		}
	})
}
