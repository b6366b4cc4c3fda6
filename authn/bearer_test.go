package authn

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

func TestWhereATokenIsFound(t *testing.T) {
	const a = "https://api.example/"
	header := func(fields ...string) *access.Request { return request(a, fields...) }
	standard, custom := (*TokenFrom)(nil), &TokenFrom{Header: "x-token"}
	query, cookie := &TokenFrom{QueryParameter: "token"}, &TokenFrom{Cookie: "session"}
	for name, c := range map[string]struct {
		from *TokenFrom
		r    *access.Request
		want string // the token, or the outcome in parentheses
	}{
		"bearer":                            {standard, header("Authorization", "Bearer abc"), "abc"},
		"scheme in any case":                {standard, header("Authorization", "bEARER abc"), "abc"},
		"several spaces":                    {standard, header("Authorization", "Bearer   abc"), "abc"},
		"all of b64token":                   {standard, header("Authorization", "Bearer aZ09-._~+/=="), "aZ09-._~+/=="},
		"authorization named in lower case": {&TokenFrom{Header: "authorization"}, header("Authorization", "Bearer abc"), "abc"},
		"another scheme":                    {standard, header("Authorization", "Basic abc"), "(no credentials)"},
		"a longer scheme":                   {standard, header("Authorization", "BearerX abc"), "(no credentials)"},
		"nothing":                           {standard, header(), "(no credentials)"},
		"scheme alone":                      {standard, header("Authorization", "Bearer"), "(unauthenticated)"},
		"empty token":                       {standard, header("Authorization", "Bearer  "), "(unauthenticated)"},
		"tab":                               {standard, header("Authorization", "Bearer\tabc"), "(no credentials)"},
		"two tokens in a field":             {standard, header("Authorization", "Bearer abc, Bearer def"), "(unauthenticated)"},
		"padding alone":                     {standard, header("Authorization", "Bearer =="), "(unauthenticated)"},
		"padding inside":                    {standard, header("Authorization", "Bearer a=b"), "(unauthenticated)"},
		"control byte":                      {standard, header("Authorization", "Bearer a\x01b"), "(unauthenticated)"},
		"too long":                          {standard, header("Authorization", "Bearer "+strings.Repeat("a", maxToken+1)), "(unauthenticated)"},
		"longest":                           {standard, header("Authorization", "Bearer "+strings.Repeat("a", maxToken)), strings.Repeat("a", maxToken)},
		"two fields":                        {standard, header("Authorization", "Bearer abc", "Authorization", "Bearer abc"), "(invalid)"},
		"bearer after basic":                {standard, header("Authorization", "Basic x", "Authorization", "Bearer abc"), "(invalid)"},
		"also in the query":                 {standard, request(a+"?q=1&access_token=def", "Authorization", "Bearer abc"), "(invalid)"},
		"also in the query, encoded":        {standard, request(a+"?access%5Ftoken=def", "Authorization", "Bearer abc"), "(invalid)"},
		"query alone is not read":           {standard, request(a + "?access_token=def"), "(no credentials)"},
		"unrelated query":                   {standard, request(a+"?my_access_token=def&x", "Authorization", "Bearer abc"), "abc"},

		"custom header":              {custom, header("X-Token", "abc"), "abc"},
		"custom header, any visible": {custom, header("X-Token", "a$b{}"), "a$b{}"},
		"custom header has a scheme": {custom, header("X-Token", "Bearer abc"), "(unauthenticated)"},
		"custom header twice":        {custom, header("X-Token", "abc", "X-Token", "def"), "(invalid)"},
		"custom header empty":        {custom, header("X-Token", ""), "(no credentials)"},
		"custom header missing":      {custom, header("Authorization", "Bearer abc"), "(no credentials)"},

		"query":             {query, request(a + "?x=1&token=abc&y"), "abc"},
		"query, encoded":    {query, request(a + "?%74oken=a%2Fb"), "a/b"},
		"query twice":       {query, request(a + "?token=abc&token=def"), "(invalid)"},
		"query, bad escape": {query, request(a + "?token=%zz"), "(unauthenticated)"},
		"query, empty":      {query, request(a + "?token="), "(no credentials)"},
		"query, missing":    {query, request(a + "?tokens=abc"), "(no credentials)"},

		"cookie":              {cookie, header("Cookie", "a=b; session=abc; c=d"), "abc"},
		"cookie, quoted":      {cookie, header("Cookie", `session="abc"`), "abc"},
		"cookie in two":       {cookie, header("Cookie", "a=b", "Cookie", "session=abc"), "abc"},
		"cookie twice":        {cookie, header("Cookie", "session=abc; session=def"), "(invalid)"},
		"cookie of a prefix":  {cookie, header("Cookie", "xsession=abc"), "(no credentials)"},
		"cookie, other case":  {cookie, header("Cookie", "Session=abc"), "(no credentials)"},
		"cookie without sign": {cookie, header("Cookie", "session"), "(no credentials)"},
	} {
		reader := must(newTokenReader(c.from, ""))(t)
		token, err := reader.read(c.r)
		if err != nil {
			token = "(" + outcome(access.Subject{}, err) + ")"
		}
		if token != c.want {
			t.Errorf("%s: got %.40s, want %.40s", name, token, c.want)
		}
	}
}

func TestRefusalsOfTokensCarryAChallenge(t *testing.T) {
	reader := must(newTokenReader(nil, ""))(t)
	for field, want := range map[string]string{"Bearer ?": `Bearer error="invalid_token"`, "Bearer a": `Bearer error="invalid_request"`} {
		_, err := reader.read(request("https://a/?access_token=b", "Authorization", field))
		var f *fault.Error
		if want == `Bearer error="invalid_token"` {
			_, err = reader.read(request("https://a/", "Authorization", field))
		}
		if !errors.As(err, &f) || f.Challenge != want {
			t.Errorf("%s: got %v, want challenge %s", field, err, want)
		}
	}
}

func TestATokenWithoutThePrefixIsForTheNextAuthenticator(t *testing.T) {
	reader := must(newTokenReader(nil, "gw_at_"))(t)
	if token := must(reader.read(bearerRequest("gw_at_abc")))(t); token != "gw_at_abc" {
		t.Errorf("got %s, the prefix must stay", token)
	}
	if _, err := reader.read(bearerRequest("abc")); !errors.Is(err, ErrNoCredentials) {
		t.Errorf("got %v", err)
	}
}

func TestTokenFromNamesExactlyOnePlace(t *testing.T) {
	for _, from := range []TokenFrom{{}, {Header: "A", Cookie: "b"}, {Header: "A", QueryParameter: "b"}} {
		if _, err := newTokenReader(&from, ""); err == nil {
			t.Errorf("%+v was accepted", from)
		}
	}
}

func FuzzBearer(f *testing.F) {
	for _, seed := range []string{"Bearer abc", "bearer  a=", "Basic x", "Bearer a b", "", "Bearer"} {
		f.Add(seed, "x=1&access_token=y", "a=b; session=c")
	}
	readers := []tokenReader{}
	for _, from := range []*TokenFrom{nil, {Header: "Authorization"}, {Header: "X-Token"}, {QueryParameter: "access_token"}, {Cookie: "session"}} {
		readers = append(readers, must(newTokenReader(from, ""))(f))
	}
	f.Fuzz(func(t *testing.T, field, query, cookie string) {
		r := request("https://a/", "Authorization", field, "X-Token", field, "Cookie", cookie)
		r.URL.RawQuery = query
		for _, reader := range readers {
			token, err := reader.read(r)
			if (err == nil) == (token == "") || len(token) > maxToken || err == nil && !isVisible(token) {
				t.Errorf("%+v: got %q, %v", reader.from, token, err)
			}
			if reader.bearer && err == nil && (!strings.HasSuffix(field, token) || !strings.EqualFold(field[:6], "bearer")) {
				t.Errorf("%q is not the token of %q", token, field)
			}
		}
	})
}

func BenchmarkBearer(b *testing.B) {
	reader := must(newTokenReader(nil, ""))(b)
	r := request("https://api.example/?page=2", "Authorization", "Bearer "+strings.Repeat("abcd", 200))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := reader.read(r); err != nil {
			b.Fatal(err)
		}
	}
}

func TestTheTokenOfASubjectIsTheOneThatWasAccepted(t *testing.T) {
	i := newIssuer(t)
	token := i.sign(t, "ES256", nil, map[string]any{"sub": "mallory", "exp": start.Add(time.Hour).Unix()})
	s := newSessions(t, says(`{"sub":"mallory"}`))
	other := "Bearer " + i.sign(t, "ES256", nil, map[string]any{"sub": "alice", "exp": start.Add(time.Hour).Unix()})
	for name, c := range map[string]struct {
		a    Authenticator
		r    *access.Request
		want string
	}{
		"in Authorization":                      {i.verifier(t, newClock(), ""), bearerRequest(token), token},
		"in another field":                      {i.verifier(t, newClock(), `"token_from":{"header":"X-Token"}`), request("https://a/", "X-Token", token, "Authorization", other), token},
		"in a cookie":                           {i.verifier(t, newClock(), `"token_from":{"cookie":"t"}`), request("https://a/", "Cookie", "t="+token, "Authorization", other), token},
		"in the query":                          {i.verifier(t, newClock(), `"token_from":{"query_parameter":"t"}`), request("https://a/?t="+token, "Authorization", other), token},
		"the service is shown another field":    {build(t, Deps{}, "bearer_token", s.config(`"token_from":{"header":"X-Token"}`)), request("https://a/", "X-Token", token, "Authorization", other), ""},
		"the service is shown the token itself": {build(t, Deps{}, "bearer_token", s.config()), bearerRequest(token), token},
	} {
		for range 2 { // asked, and from the cache
			subject, err := c.a.Authenticate(t.Context(), c.r)
			if err != nil || subject.ID != "mallory" || subject.Token != c.want {
				t.Errorf("%s: got %s with the token %.20q, %v", name, subject.ID, subject.Token, err)
			}
		}
	}
}
