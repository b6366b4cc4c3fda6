package relyingparty

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

func TestASessionIsReadWhereItWasMadeAndNowhereElse(t *testing.T) {
	i := newIDP(t)
	p := i.party(t)
	with := func(change func(*Options)) *Party { return i.party(t, change) }
	renamed := func(b *browser, to *Party) { // puts the cookies where the other Party looks for them
		for _, name := range b.named("s") {
			n := strings.Replace(name, p.id, to.id, 1)
			b.cookies[n], b.order = b.cookies[name], append(b.order, n)
		}
	}
	secret := []byte("another secret of the tests")
	for name, c := range map[string]struct {
		party  *Party
		change func(b *browser)
		want   string
	}{
		"the same":                 {p, nil, "ada"},
		"the same on another node": {i.party(t), nil, "ada"},
		"other judgement only":     {with(func(o *Options) { o.Lifetime = time.Hour; o.MaxAge = time.Hour }), nil, "ada"},
		"a changed byte":           {p, func(b *browser) { flip(b, "s") }, "unauthenticated: invalid_session"},
		"cut short": {p, func(b *browser) {
			for _, n := range b.named("s") {
				b.cookies[n] = b.cookies[n][:len(b.cookies[n])-1]
			}
		}, "unauthenticated: invalid_session"},
		"garbage":          {p, func(b *browser) { b.cookies[b.named("s")[0]] = "1.garbage" }, "unauthenticated: invalid_session"},
		"no count":         {p, func(b *browser) { b.cookies[b.named("s")[0]] = "garbage" }, "unauthenticated: invalid_session"},
		"another host":     {p, func(b *browser) { b.origin = "https://other.example" }, "unauthenticated: invalid_session"},
		"another port":     {p, func(b *browser) { b.origin = "https://app.example:8443" }, "unauthenticated: invalid_session"},
		"without TLS":      {p, func(b *browser) { b.origin = "http://app.example" }, "no session"},
		"no cookies":       {p, func(b *browser) { clear(b.cookies) }, "no session"},
		"another client":   {with(func(o *Options) { o.ClientID = "other" }), nil, "no session"},
		"other claims":     {with(func(o *Options) { o.Claims = []string{"email", "name"} }), nil, "no session"},
		"an added secret":  {with(func(o *Options) { o.Secrets = [][]byte{secret, o.Secrets[0]} }), nil, "ada"},
		"a removed secret": {with(func(o *Options) { o.Secrets = [][]byte{secret} }), nil, "unauthenticated: invalid_session"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBrowser()
			b.login(t, i, p, "/")
			if c.change != nil {
				c.change(b)
			}
			if got := b.outcome(t, c.party, b.script("/")); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if strings.HasPrefix(c.want, "unauth") && len(b.named("s")) > 0 {
				t.Errorf("the cookie was not withdrawn: %v", b.named("s"))
			}
		})
	}
	for name, change := range map[string]func(*Options){
		"another client": func(o *Options) { o.ClientID = "other" }, "other claims": func(o *Options) { o.Claims = nil },
		"the access token": func(o *Options) { o.KeepAccessToken = true },
	} {
		b, other := newBrowser(), with(change)
		b.login(t, i, p, "/")
		renamed(b, other)
		if got := b.outcome(t, other, b.script("/")); got != "unauthenticated: invalid_session" {
			t.Errorf("%s, its name changed: got %s", name, got)
		}
	}
}

func TestACookieOfALoginIsNoSession(t *testing.T) {
	i := newIDP(t)
	p, b := i.party(t), newBrowser()
	b.follow(t, p.Challenge(t.Context(), b.navigate("/")))
	attempt := b.cookies[b.named("l")[0]]
	name := p.cookieName(b.navigate("/"), "s") + ".0"
	b.cookies[name], b.order = "1."+attempt, append(b.order, name)
	if got := b.outcome(t, p, b.script("/")); got != "unauthenticated: invalid_session" {
		t.Errorf("got %s", got)
	}
}

func TestACookieThatAnOldSecretSealedIsWrittenAnew(t *testing.T) {
	i := newIDP(t)
	old, b := i.party(t), newBrowser()
	b.login(t, i, old, "/")
	fresh := []byte("a fresh secret of the tests")
	both := i.party(t, func(o *Options) { o.Secrets = [][]byte{fresh, o.Secrets[0]} })
	if got := b.outcome(t, both, b.script("/")); got != "ada" {
		t.Fatal(got)
	}
	if got := b.outcome(t, i.party(t, func(o *Options) { o.Secrets = [][]byte{fresh} }), b.script("/")); got != "ada" {
		t.Errorf("with the fresh secret alone: got %s", got)
	}
}

func TestSessionsEndInTime(t *testing.T) {
	noRefresh := map[string]any{"refresh_token": nil}
	for name, c := range map[string]struct {
		answer map[string]any
		steps  []time.Duration
		want   []string
	}{
		"unused":                  {nil, []time.Duration{2*time.Hour - time.Second, 2 * time.Hour}, []string{"ada", "login: session_expired"}},
		"used all day long":       {nil, slices.Repeat([]time.Duration{30 * time.Minute}, 24), append(slices.Repeat([]string{"ada"}, 23), "login: session_expired")},
		"without a refresh token": {noRefresh, []time.Duration{30 * time.Minute, 30*time.Minute - time.Second, time.Second}, []string{"ada", "ada", "login: session_expired"}},
		"a short life":            {map[string]any{"refresh_token": nil, "expires_in": 60}, []time.Duration{59 * time.Second, time.Second}, []string{"ada", "login: session_expired"}},
		"a life by the ID token":  {map[string]any{"refresh_token": nil, "expires_in": nil}, []time.Duration{time.Hour - time.Second, time.Second}, []string{"ada", "login: session_expired"}},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIDP(t)
			i.set(func(i *idp) { i.answer = c.answer })
			p, b := i.party(t), newBrowser()
			b.login(t, i, p, "/")
			var got []string
			for _, step := range c.steps {
				i.Add(step)
				got = append(got, b.outcome(t, p, b.navigate("/")))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestASessionInShortLivedTokensIsNotTakenForIdle(t *testing.T) {
	i := newIDP(t)
	i.set(func(i *idp) { i.answer = map[string]any{"expires_in": 300} })
	p, b := i.party(t, func(o *Options) { o.Idle = 2 * time.Minute }), newBrowser()
	b.login(t, i, p, "/")
	for n := range 120 {
		i.Add(30 * time.Second)
		if got := b.outcome(t, p, b.script("/")); got != "ada" {
			t.Fatalf("after %d half minutes: %s", n+1, got)
		}
	}
}

func TestWhatAnotherRuleDemandsIsAskedForAgainAndOnlyFromBrowsers(t *testing.T) {
	i := newIDP(t)
	plain, b := i.party(t), newBrowser()
	b.login(t, i, plain, "/")
	gold := i.party(t, func(o *Options) { o.ACR = []string{"gold"} })
	recent := i.party(t, func(o *Options) { o.MaxAge = time.Minute })
	if got := b.outcome(t, gold, b.script("/")); got != "unauthenticated: insufficient_authentication" {
		t.Errorf("acr: got %s", got)
	}
	if got := b.outcome(t, recent, b.script("/")); got != "ada" {
		t.Errorf("max_age, just authenticated: got %s", got)
	}
	i.Add(2 * time.Minute)
	if got := b.outcome(t, recent, b.navigate("/")); got != "login: insufficient_authentication" {
		t.Errorf("max_age: got %s", got)
	}
	i.set(func(i *idp) { i.claims = map[string]any{"acr": "gold"} })
	b.login(t, i, gold, "/")
	for name, p := range map[string]*Party{"gold": gold, "plain": plain} {
		if got := b.outcome(t, p, b.script("/")); got != "ada" {
			t.Errorf("%s after the step up: got %s", name, got)
		}
	}
}

func TestOfParallelRequestsOneRenewsAndAllGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIDP(t)
		p, b := i.party(t), newBrowser()
		b.login(t, i, p, "/")
		i.Add(time.Hour - 30*time.Second)
		hold := make(chan struct{})
		i.set(func(i *idp) { i.hold = hold })
		before := i.grants()
		type result struct {
			refresh string
			cookies int
		}
		results := make([]result, 20)
		var running sync.WaitGroup
		for n := range results {
			running.Go(func() {
				s, h, err := p.Session(t.Context(), b.script("/"))
				if err != nil {
					t.Error(err)
					return
				}
				results[n] = result{s.RefreshToken, len(h["Set-Cookie"])}
			})
		}
		synctest.Wait()
		close(hold)
		running.Wait()
		if got := i.grants() - before; got != 1 {
			t.Errorf("the refresh token was spent %d times", got)
		}
		if diff := cmp.Diff(slices.Repeat([]result{{"rt+", 1}}, len(results)), results, cmp.AllowUnexported(result{})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		// A request with the old cookie, which was on its way, gets the new session too.
		i.Add(time.Minute)
		if got := b.outcome(t, p, b.script("/")); got != "ada" || i.grants() != before+1 {
			t.Errorf("the old cookie: got %s with %d more grants", got, i.grants()-before)
		}
	})
}

func TestASessionIsRenewedOnOneNodeAtATime(t *testing.T) {
	i := newIDP(t)
	var mu sync.Mutex
	used := map[string]time.Time{}
	shared := func(o *Options) {
		o.Once = func(_ context.Context, id string, until time.Time) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			if i.Now().Before(used[id]) {
				return false, nil
			}
			used[id] = until
			return true, nil
		}
	}
	one, two, b := i.party(t, shared), i.party(t, shared), newBrowser()
	b.login(t, i, one, "/")
	old := &browser{origin: b.origin, cookies: maps.Clone(b.cookies), order: b.order}
	i.Add(time.Hour - 30*time.Second)
	if got := b.outcome(t, one, b.script("/")); got != "ada" {
		t.Fatal(got)
	}
	grants := i.grants()
	if got := old.outcome(t, two, old.script("/")); got != "ada" {
		t.Errorf("the other node, before the end: got %s", got)
	}
	i.Add(31 * time.Second)
	if got := old.outcome(t, two, old.script("/")); got != "unavailable: session_renewal" {
		t.Errorf("a script at the other node, after the end: got %s", got)
	}
	if got := old.outcome(t, two, old.navigate("/")); got != "login: session_expired" {
		t.Errorf("a browser at the other node, after the end: got %s", got)
	}
	if i.grants() != grants {
		t.Error("the other node spent the refresh token too")
	}
	if got := b.outcome(t, two, b.script("/")); got != "ada" {
		t.Errorf("the new cookie at the other node: got %s", got)
	}
}

func TestARenewalThatFailsEndsTheSessionOnlyWhenTheProviderSaysSo(t *testing.T) {
	for name, c := range map[string]struct {
		idp         func(*idp)
		once        error
		before, end string // near the end of the token's life, and after
	}{
		"the provider is down":      {func(i *idp) { i.status = 502 }, nil, "ada", "unavailable: login_provider_unavailable"},
		"the provider throttles":    {func(i *idp) { i.status = 429 }, nil, "ada", "unavailable: login_provider_unavailable"},
		"the database is down":      {func(*idp) {}, errors.New("down"), "ada", "unavailable: login_provider_unavailable"},
		"a code of our fault":       {func(i *idp) { i.status, i.body = 401, `{"error":"invalid_client"}` }, nil, "ada", "unavailable: login_provider_unavailable"},
		"the provider revoked it":   {func(i *idp) { i.refresh = "revoked" }, nil, "unauthenticated: session_ended", ""},
		"another person's ID token": {func(i *idp) { i.claims = map[string]any{"sub": "bob"} }, nil, "unauthenticated: session_ended", ""},
		"an ID token of another":    {func(i *idp) { i.claims = map[string]any{"aud": "other"} }, nil, "unauthenticated: session_ended", ""},
		"no ID token":               {func(i *idp) { i.answer = map[string]any{"id_token": nil} }, nil, "ada", "ada"},
		"no refresh token":          {func(i *idp) { i.answer = map[string]any{"refresh_token": nil} }, nil, "ada", "ada"},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIDP(t)
			p := i.party(t, func(o *Options) {
				if c.once != nil {
					o.Once = func(context.Context, string, time.Time) (bool, error) { return false, c.once }
				}
			})
			b := newBrowser()
			b.login(t, i, p, "/")
			i.set(c.idp)
			i.Add(time.Hour - 30*time.Second)
			if got := b.outcome(t, p, b.script("/")); got != c.before {
				t.Errorf("before the end: got %s, want %s", got, c.before)
			}
			if c.end == "" {
				if len(b.named("s")) > 0 {
					t.Error("the cookie was not withdrawn")
				}
				return
			}
			i.Add(31 * time.Second)
			if got := b.outcome(t, p, b.script("/")); got != c.end {
				t.Errorf("after the end: got %s, want %s", got, c.end)
			}
		})
	}
}

func TestARefreshIsNoAuthentication(t *testing.T) {
	i := newIDP(t)
	p, b := i.party(t), newBrowser()
	b.login(t, i, p, "/")
	i.Add(time.Hour - 30*time.Second)
	i.set(func(i *idp) {
		i.claims = map[string]any{"auth_time": i.Now().Unix(), "sid": "s2", "email": "new@example.org"}
	})
	s, _, err := p.Session(t.Context(), b.script("/"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"iss": issuer, "sid": "s1", "auth_time": float64(start.Unix()), "email": "new@example.org"}
	if diff := cmp.Diff(want, s.Claims); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheAccessTokenIsKeptOnlyWhenAskedFor(t *testing.T) {
	for _, keep := range []bool{false, true} {
		i := newIDP(t)
		p, b := i.party(t, func(o *Options) { o.KeepAccessToken = keep }), newBrowser()
		b.login(t, i, p, "/")
		for _, want := range []string{"at-authorization_code", "at-refresh_token"} {
			s, h, err := p.Session(t.Context(), b.script("/"))
			if err != nil {
				t.Fatal(err)
			}
			b.take(t, h)
			if got, has := s.Extra()["access_token"]; has != keep || keep && got != want {
				t.Errorf("kept %t: got %v, want %s", keep, got, want)
			}
			i.Add(time.Hour - 30*time.Second)
		}
	}
}

func TestALongSessionTakesSeveralCookiesAndATooLongOneNone(t *testing.T) {
	i := newIDP(t)
	p, b := i.party(t), newBrowser()
	email := func(n int) func(*idp) {
		return func(i *idp) { i.claims = map[string]any{"email": strings.Repeat("x", n)} }
	}
	var counts []int
	for _, n := range []int{10, 1500, 4000, 9000, 10} { // the last one withdraws what is too many
		i.set(email(n))
		b.login(t, i, p, "/")
		counts = append(counts, len(b.named("s")))
		s, _, err := p.Session(t.Context(), b.script("/"))
		if err != nil || len(s.Claims["email"].(string)) != n {
			t.Errorf("%d: %v", n, err)
		}
		if n == 9000 && s.IDToken != "" {
			t.Error("the ID token was kept though it does not fit")
		}
	}
	if diff := cmp.Diff([]int{1, 2, 4, 4, 1}, counts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	i.set(func(i *idp) {
		i.claims, i.answer = map[string]any{"email": strings.Repeat("x", 9000), "at_hash": nil}, map[string]any{"access_token": strings.Repeat("x", 9000)}
	})
	p = i.party(t, func(o *Options) { o.KeepAccessToken = true })
	back := i.authorize(t, b.follow(t, p.Challenge(t.Context(), b.navigate("/"))).Header.Get("Location"))
	if err := p.Serve(t.Context(), b.navigate(back.RequestURI())); fault.ReasonOf(err) != "session_too_large" || fault.MessageOf(err) != "" {
		t.Errorf("too long: got %v", err)
	}
}

func TestPiecesOfASessionThatDoNotFitAreNoSession(t *testing.T) {
	i := newIDP(t)
	i.set(func(i *idp) { i.claims = map[string]any{"email": strings.Repeat("x", 4000)} })
	p := i.party(t)
	for name, change := range map[string]func(b *browser, names []string){
		"one is missing":       func(b *browser, n []string) { delete(b.cookies, n[1]) },
		"the first is missing": func(b *browser, n []string) { delete(b.cookies, n[0]) },
		"swapped":              func(b *browser, n []string) { b.cookies[n[1]], b.cookies[n[2]] = b.cookies[n[2]], b.cookies[n[1]] },
		"one too many": func(b *browser, n []string) {
			extra := strings.TrimSuffix(n[0], "0") + strconv.Itoa(len(n)-1)
			b.cookies[extra] = b.cookies[n[1]]
			b.cookies[n[0]] = strings.Replace(b.cookies[n[0]], strconv.Itoa(len(n))+".", "2.", 1)
		},
		"beyond the bound": func(b *browser, n []string) {
			extra := strings.TrimSuffix(n[0], "0") + "4"
			b.cookies[extra], b.order = "x", append(b.order, extra)
		},
		"an empty one": func(b *browser, n []string) { b.cookies[n[1]] = "" },
	} {
		b := newBrowser()
		b.login(t, i, p, "/")
		change(b, b.named("s"))
		if got := b.outcome(t, p, b.script("/")); got != "unauthenticated: invalid_session" {
			t.Errorf("%s: got %s", name, got)
		}
	}
	b := newBrowser()
	b.login(t, i, p, "/")
	r := b.script("/")
	r.Cookies = append(r.Cookies, &http.Cookie{Name: b.named("s")[0], Value: "1.x"})
	if got := b.outcome(t, p, r); got != "unauthenticated: invalid_session" {
		t.Errorf("a second cookie of one name: got %s", got)
	}
}

func TestSuccessorsAreBoundedAndForgotten(t *testing.T) {
	c := &clock{now: start}
	x := newSuccessors(c.Now)
	for n := range maxSuccessors + 10 {
		x.put(strconv.Itoa(n), &Session{Subject: "ada"})
	}
	if len(x.list) > maxSuccessors || len(x.order) != len(x.list) || x.get("0") != nil || x.get(strconv.Itoa(maxSuccessors)) == nil {
		t.Errorf("%d are kept", len(x.list))
	}
	c.Add(succeedFor)
	if x.get(strconv.Itoa(maxSuccessors)) != nil {
		t.Error("one is kept for too long")
	}
	x.put("new", &Session{})
	if len(x.list) != 1 {
		t.Errorf("%d are kept", len(x.list))
	}
}

func FuzzCookies(f *testing.F) {
	i := newIDP(f)
	p := i.party(f)
	r := newBrowser().script("/")
	fields, err := p.write(r, &Session{Subject: "ada", Began: start.Unix(), Expires: start.Add(time.Hour).Unix()}, start)
	if err != nil {
		f.Fatal(err)
	}
	_, value, _ := strings.Cut(strings.Split(fields[0], ";")[0], "=")
	f.Add(value, "0")
	f.Add("2."+value, "1")
	f.Add("", "00")
	f.Fuzz(func(t *testing.T, text, place string) {
		r := newBrowser().script("/")
		r.Cookies = []*http.Cookie{{Name: p.cookieName(r, "s") + "." + place, Value: text}, {Name: p.cookieName(r, "l") + "." + place, Value: text}}
		s, h, err := p.Session(t.Context(), r)
		sealed, whole := strings.CutPrefix(text, "1.")
		_, _, opens := p.seal.open(sealed, p.binding("session", r.URL.Scheme, r.URL.Host))
		if err == nil && (!whole || opens != nil || place != "0" || s.Subject != "ada") {
			t.Errorf("%q at %q is the session of %q (%v)", text, place, s.Subject, h)
		}
		var reply *access.Reply
		for _, err := range []error{err, p.Challenge(t.Context(), newBrowser().navigate("/"))} {
			if errors.As(err, &reply) {
				for _, field := range reply.Response.Header["Set-Cookie"] {
					if strings.ContainsAny(field, "\r\n") {
						t.Errorf("a cookie is %q", field)
					}
				}
			}
		}
	})
}

func TestWhatASessionOpenedEndsWithItsTokens(t *testing.T) {
	i := newIDP(t)
	p, b := i.party(t), newBrowser()
	b.login(t, i, p, "/")
	for step, want := range map[time.Duration]string{0: "2026-05-01T13:00:00Z", time.Hour: "session_expired"} {
		i.clock = &clock{now: start.Add(step)}
		p := i.party(t)
		end, err := p.Until(t.Context(), b.script("/"))
		got := end.UTC().Format(time.RFC3339)
		if err != nil {
			got = fault.ReasonOf(err)
		}
		if got != want {
			t.Errorf("after %v: got %s, want %s", step, got, want)
		}
	}
	i.clock = &clock{now: start.Add(2 * time.Minute)}
	recent := i.party(t, func(o *Options) { o.MaxAge = time.Minute })
	if _, err := recent.Until(t.Context(), b.script("/")); fault.ReasonOf(err) != "insufficient_authentication" {
		t.Errorf("got %v", err)
	}
	flip(b, "s")
	if _, err := p.Until(t.Context(), b.script("/")); fault.ReasonOf(err) != "invalid_session" || i.grants() != 1 {
		t.Errorf("got %v after %d grants", err, i.grants())
	}
}
