package relyingparty

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
)

// remembered is a store of logouts in memory.
type remembered struct {
	mu    sync.Mutex
	used  map[string]bool
	ended map[string]time.Time
	asked int
	down  error
	// meanwhile is called between the question and its answer.
	meanwhile func()
}

func (m *remembered) RecordLogout(_ context.Context, l Logout) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.down != nil:
		return m.down
	case m.used[l.Token]:
		return fault.New(fault.Conflict, "used", "")
	}
	m.used[l.Token] = true
	for name, at := range l.Ended {
		m.ended[name] = later(m.ended[name], at)
	}
	return nil
}

func (m *remembered) LoggedOut(_ context.Context, names ...string) ([]time.Time, error) {
	m.mu.Lock()
	m.asked++
	out := make([]time.Time, len(names))
	for i, name := range names {
		out[i] = m.ended[name]
	}
	down, meanwhile := m.down, m.meanwhile
	m.mu.Unlock()
	if meanwhile != nil {
		meanwhile()
	}
	return out, down
}

// logouts gives a Party a back-channel.
func logouts(t testing.TB) (*remembered, *Logouts, func(*Options)) {
	t.Helper()
	m := &remembered{used: map[string]bool{}, ended: map[string]time.Time{}}
	l := NewLogouts(m, nil)
	t.Cleanup(l.Close)
	return m, l, func(o *Options) { o.Backchannel, o.Logouts = "/bc", l }
}

// logoutClaims are those of a good logout token; by replaces members, nil removes one.
func (i *idp) logoutClaims(by map[string]any) map[string]any {
	return replaced(map[string]any{
		"iss": issuer, "aud": "web", "iat": i.Now().Unix(), "exp": i.Now().Add(2 * time.Minute).Unix(), "jti": random(), "sid": "s1",
		"events": map[string]any{logoutEvent: map[string]any{}},
	}, by)
}

func (i *idp) logoutToken(t testing.TB, by map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(i.logoutClaims(by))
	if err != nil {
		t.Fatal(err)
	}
	return i.signed(payload, "logout+jwt")
}

// anotherRing has another key under the provider's id.
func anotherRing(t testing.TB) *keys.Ring {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: "es", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keys.FixedRing("other keys", set)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// tell is the provider's request with a body.
func tell(body string) *access.Request {
	r := newBrowser().request("POST", "/bc", "Content-Type", "application/x-www-form-urlencoded")
	r.Body = func(limit int64) ([]byte, error) {
		if int64(len(body)) > limit {
			return nil, fault.New(fault.TooLarge, "too_large", "")
		}
		return []byte(body), nil
	}
	return r
}

func tellToken(token string) *access.Request {
	return tell(url.Values{"logout_token": {token}}.Encode())
}

// answered is the status of a reply or the kind of a fault.
func answered(err error) string {
	var reply *access.Reply
	if errors.As(err, &reply) {
		return map[int]string{200: "ended", 400: "refused", 405: "method"}[reply.Response.Status]
	}
	if errors.Is(err, ErrForeignLogout) {
		return "foreign"
	}
	return fault.KindOf(err).String()
}

func TestTheProvidersLogoutEndsTheSessionsThatItNames(t *testing.T) {
	for name, c := range map[string]struct {
		session, token map[string]any
		want           string
	}{
		"by sid":                                  {nil, nil, "ended"},
		"by sid and sub":                          {nil, map[string]any{"sub": "ada"}, "ended"},
		"by sub":                                  {nil, map[string]any{"sid": nil, "sub": "ada"}, "ended"},
		"by sub, a session without sid":           {map[string]any{"sid": nil}, map[string]any{"sid": nil, "sub": "ada"}, "ended"},
		"by sid and sub, a session without sid":   {map[string]any{"sid": nil}, map[string]any{"sub": "ada"}, "ended"},
		"by sid, a session without sid":           {map[string]any{"sid": nil}, nil, "ada"},
		"another sid":                             {nil, map[string]any{"sid": "s2"}, "ada"},
		"another sid of the same person":          {nil, map[string]any{"sid": "s2", "sub": "ada"}, "ada"},
		"another person":                          {nil, map[string]any{"sid": nil, "sub": "bob"}, "ada"},
		"a person whose name is the sid":          {nil, map[string]any{"sid": nil, "sub": "s1"}, "ada"},
		"by sub, a session that began afterwards": {nil, map[string]any{"sid": nil, "sub": "ada", "iat": start.Unix() - 1}, "ada"},
		"by sid, however late the session began":  {nil, map[string]any{"iat": start.Unix() - 60}, "ended"},
		"without exp, as Hydra does":              {nil, map[string]any{"exp": nil}, "ended"},
		"to several clients":                      {nil, map[string]any{"aud": []string{"web", "other"}, "azp": "web"}, "ended"},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIDP(t)
			i.claims = c.session
			_, _, backchannel := logouts(t)
			p, b := i.party(t, backchannel), newBrowser()
			b.login(t, i, p, "/")
			if got := b.outcome(t, p, b.script("/")); got != "ada" {
				t.Fatalf("before the logout: %s", got)
			}
			if got := answered(p.Serve(t.Context(), tellToken(i.logoutToken(t, c.token)))); got != "ended" {
				t.Fatalf("the provider was answered %s", got)
			}
			want := map[string]string{"ended": "unauthenticated: session_ended", "ada": "ada"}[c.want]
			_, err := p.Until(t.Context(), b.script("/"))
			if got := b.outcome(t, p, b.script("/")); got != want || (err == nil) != (want == "ada") {
				t.Errorf("after the logout: %s, and what it opened: %v; want %s", got, err, want)
			}
			if left := len(b.named("s")) > 0; left != (want == "ada") {
				t.Errorf("the cookie is left: %t", left)
			}
		})
	}
}

func TestALogoutIsForOneProviderAndClientWhateverElseIsConfigured(t *testing.T) {
	i := newIDP(t)
	i.claims = map[string]any{"aud": []string{"web", "other"}, "azp": nil}
	_, _, backchannel := logouts(t)
	told, b := i.party(t, backchannel), newBrowser()
	i.claims = nil
	same := i.party(t, backchannel, func(o *Options) { o.Claims, o.Callback = nil, "/cb2" })
	b.login(t, i, same, "/")
	other, c := i.party(t, backchannel, func(o *Options) { o.ClientID = "other" }), newBrowser()
	i.claims = map[string]any{"aud": "other"}
	c.login(t, i, other, "/")
	if got := answered(told.Serve(t.Context(), tellToken(i.logoutToken(t, nil)))); got != "ended" {
		t.Fatal(got)
	}
	if got := []string{b.outcome(t, same, b.script("/")), c.outcome(t, other, c.script("/"))}; !cmp.Equal(got, []string{"unauthenticated: session_ended", "ada"}) {
		t.Errorf("the same client with other settings, and another client: %q", got)
	}
	if got := answered(other.Serve(t.Context(), tellToken(i.logoutToken(t, nil)))); got != "foreign" {
		t.Errorf("a token for another client: %s", got)
	}
}

func TestHostileLogoutTokensEndNothing(t *testing.T) {
	i := newIDP(t)
	good := func() string { return i.logoutToken(t, nil) }
	sign := func(by map[string]any, typ string) string {
		payload, err := json.Marshal(i.logoutClaims(by))
		if err != nil {
			t.Fatal(err)
		}
		return i.signed(payload, typ)
	}
	foreign := newIDP(t)
	foreign.ring = anotherRing(t)
	head, rest, _ := strings.Cut(good(), ".")
	_, signature, _ := strings.Cut(rest, ".")
	post := func(token string) *access.Request { return tellToken(token) }
	event := map[string]any{logoutEvent: map[string]any{}}
	for name, c := range map[string]struct {
		request *access.Request
		want    string
	}{
		"no token":                       {tell(""), "refused"},
		"an empty token":                 {post(""), "refused"},
		"two tokens":                     {tell("logout_token=" + good() + "&logout_token=" + good()), "refused"},
		"no form":                        {tell("%zz"), "refused"},
		"a body beyond the limit":        {tell("logout_token=" + strings.Repeat("a", maxLogoutBody)), "too_large"},
		"no JWT":                         {post("a.b"), "foreign"},
		"an unsigned one":                {post("eyJhbGciOiJub25lIn0." + strings.Split(good(), ".")[1] + "."), "refused"},
		"another key":                    {post(foreign.logoutToken(t, nil)), "refused"},
		"a signature of another":         {post(head + "." + strings.Split(i.logoutToken(t, map[string]any{"sid": "s9"}), ".")[1] + "." + signature), "refused"},
		"the type of an access token":    {post(sign(nil, "at+jwt")), "refused"},
		"the type of an event":           {post(sign(nil, "secevent+jwt")), "refused"},
		"an ID token":                    {post(sign(map[string]any{"events": nil, "sub": "ada", "nonce": "n"}, "JWT")), "refused"},
		"a nonce":                        {post(i.logoutToken(t, map[string]any{"nonce": "n"})), "refused"},
		"a nonce of null":                {post(sign(map[string]any{"nonce": json.RawMessage("null")}, "")), "refused"},
		"no events":                      {post(i.logoutToken(t, map[string]any{"events": nil})), "refused"},
		"another event":                  {post(i.logoutToken(t, map[string]any{"events": map[string]any{"x": map[string]any{}}})), "refused"},
		"an event that is no object":     {post(i.logoutToken(t, map[string]any{"events": map[string]any{logoutEvent: true}})), "refused"},
		"a list of events":               {post(i.logoutToken(t, map[string]any{"events": []any{event}})), "refused"},
		"another issuer":                 {post(i.logoutToken(t, map[string]any{"iss": "https://evil.example"})), "foreign"},
		"no issuer":                      {post(i.logoutToken(t, map[string]any{"iss": nil})), "foreign"},
		"another client":                 {post(i.logoutToken(t, map[string]any{"aud": "other"})), "foreign"},
		"no audience":                    {post(i.logoutToken(t, map[string]any{"aud": nil})), "foreign"},
		"authorized for another client":  {post(i.logoutToken(t, map[string]any{"aud": []string{"web", "other"}, "azp": "other"})), "foreign"},
		"nobody":                         {post(i.logoutToken(t, map[string]any{"sid": nil})), "refused"},
		"an empty sid":                   {post(i.logoutToken(t, map[string]any{"sid": "", "sub": "ada"})), "refused"},
		"a sid that is a number":         {post(i.logoutToken(t, map[string]any{"sid": 1})), "refused"},
		"a long sid":                     {post(i.logoutToken(t, map[string]any{"sid": strings.Repeat("s", 256)})), "refused"},
		"no jti":                         {post(i.logoutToken(t, map[string]any{"jti": nil})), "refused"},
		"a long jti":                     {post(i.logoutToken(t, map[string]any{"jti": strings.Repeat("s", 256)})), "refused"},
		"no iat":                         {post(i.logoutToken(t, map[string]any{"iat": nil})), "refused"},
		"iat in the future":              {post(i.logoutToken(t, map[string]any{"iat": start.Add(time.Minute).Unix()})), "refused"},
		"expired":                        {post(i.logoutToken(t, map[string]any{"exp": start.Add(-time.Minute).Unix()})), "refused"},
		"an exp that is text":            {post(i.logoutToken(t, map[string]any{"exp": "tomorrow"})), "refused"},
		"old, without exp":               {post(i.logoutToken(t, map[string]any{"exp": nil, "iat": start.Add(-3 * time.Minute).Unix()})), "refused"},
		"a GET":                          {newBrowser().request("GET", "/bc?logout_token="+good()), "method"},
		"in the query":                   {newBrowser().request("POST", "/bc?logout_token="+good(), "Content-Type", "application/x-www-form-urlencoded"), "refused"},
		"JSON":                           {newBrowser().request("POST", "/bc", "Content-Type", "application/json"), "refused"},
		"two types of content":           {newBrowser().request("POST", "/bc", "Content-Type", "application/x-www-form-urlencoded", "Content-Type", "application/x-www-form-urlencoded"), "refused"},
		"a question that brings no body": {newBrowser().request("POST", "/bc", "Content-Type", "application/x-www-form-urlencoded"), "refused"},
	} {
		m, _, backchannel := logouts(t)
		p := i.party(t, backchannel)
		if got := answered(p.Serve(t.Context(), c.request)); got != c.want || len(m.ended)+len(m.used) > 0 {
			t.Errorf("%s: got %s, want %s; recorded %v", name, got, c.want, m.ended)
		}
	}
}

func TestALogoutTokenIsGoodOnce(t *testing.T) {
	i := newIDP(t)
	_, _, backchannel := logouts(t)
	p, token := i.party(t, backchannel), i.logoutToken(t, nil)
	for _, want := range []string{"ended", "refused"} {
		if got := answered(p.Serve(t.Context(), tellToken(token))); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestALogoutThatCannotBeRecordedIsNotAccepted(t *testing.T) {
	i := newIDP(t)
	m, _, backchannel := logouts(t)
	p, token := i.party(t, backchannel), i.logoutToken(t, nil)
	m.down = errors.New("no database")
	if got := answered(p.Serve(t.Context(), tellToken(token))); got != "unavailable" {
		t.Errorf("got %s", got)
	}
	m.down = nil
	if got := answered(p.Serve(t.Context(), tellToken(token))); got != "ended" {
		t.Errorf("the provider tries again and gets %s", got)
	}
}

// What is known of a session is remembered until something changes; what is not known is
// asked for, and while it cannot be, nobody gets in.
func TestASessionOfWhichNothingCanBeKnownIsUnavailable(t *testing.T) {
	i := newIDP(t)
	m, l, backchannel := logouts(t)
	p, b := i.party(t, backchannel), newBrowser()
	b.login(t, i, p, "/")
	for range 3 {
		b.outcome(t, p, b.script("/"))
	}
	if m.asked != 1 {
		t.Errorf("the store was asked %d times", m.asked)
	}
	m.down = errors.New("no database")
	if got := b.outcome(t, p, b.script("/")); got != "ada" {
		t.Errorf("what is known does not count: %s", got)
	}
	fresh := true
	l.fresh = func() bool { return fresh }
	fresh = false
	if got := b.outcome(t, p, b.script("/")); got != "unavailable: logouts_unavailable" {
		t.Errorf("what may be out of date counts: %s", got)
	}
	fresh = true
	l.ForgetAll()
	for _, r := range []*access.Request{b.script("/"), b.navigate("/")} {
		if got := b.outcome(t, p, r); got != "unavailable: logouts_unavailable" || len(b.named("s")) == 0 {
			t.Errorf("got %s", got)
		}
	}
	if _, err := p.Until(t.Context(), b.script("/")); !fault.Is(err, fault.Unavailable) {
		t.Errorf("what it opened: %v", err)
	}
	m.down = nil
	if got := b.outcome(t, p, b.script("/")); got != "ada" {
		t.Errorf("afterwards: %s", got)
	}
}

// Another node's logout is heard of between the store's answer and its being kept.
func TestAnAnswerThatALogoutOvertakesIsNotKept(t *testing.T) {
	i := newIDP(t)
	m, l, backchannel := logouts(t)
	p, b := i.party(t, backchannel), newBrowser()
	b.login(t, i, p, "/")
	name := p.name("sid", "s1")
	for _, forget := range []func(){func() { l.Forget(name) }, l.ForgetAll} {
		l.ForgetAll()
		delete(m.ended, name)
		m.meanwhile = func() {
			m.mu.Lock()
			m.ended[name] = start.Add(time.Hour)
			m.mu.Unlock()
			forget()
		}
		b.outcome(t, p, b.script("/")) // was asked before
		m.meanwhile = nil
		if got := b.outcome(t, p, b.script("/")); got != "unauthenticated: session_ended" {
			t.Errorf("got %s", got)
		}
		b = newBrowser()
		delete(m.ended, name)
		l.ForgetAll()
		b.login(t, i, p, "/")
	}
}

func TestALoginDoesNotCompleteWhoseSessionHasEndedMeanwhile(t *testing.T) {
	i := newIDP(t)
	_, _, backchannel := logouts(t)
	p, b := i.party(t, backchannel), newBrowser()
	sent := b.follow(t, p.Challenge(t.Context(), b.navigate("/")))
	back := i.authorize(t, sent.Header.Get("Location"))
	if got := answered(p.Serve(t.Context(), tellToken(i.logoutToken(t, nil)))); got != "ended" {
		t.Fatal(got)
	}
	i.Add(time.Minute)
	if err := p.Serve(t.Context(), b.navigate(back.RequestURI())); !fault.Is(err, fault.Forbidden) || len(b.named("s")) > 0 {
		t.Errorf("got %v and %v", err, b.cookies)
	}
}

func TestWithoutABackChannelNoLogoutIsAskedFor(t *testing.T) {
	i := newIDP(t)
	m, _, backchannel := logouts(t)
	p, b := i.party(t, backchannel, func(o *Options) { o.Backchannel = "" }), newBrowser()
	b.login(t, i, p, "/")
	if got := b.outcome(t, p, b.script("/")); got != "ada" || m.asked > 0 || p.Endpoints()["/bc"] != "" {
		t.Errorf("got %s, %d questions, paths %v", got, m.asked, p.Endpoints())
	}
	o := options(i)
	backchannel(&o)
	o.Lifetime = MaxLifetime + time.Second
	if _, err := New(o); err == nil || !strings.HasPrefix(err.Error(), "lifetime") {
		t.Errorf("a session that outlives its logout: %v", err)
	}
}

// FuzzLogoutToken: whatever a body says, what ends sessions is a token that its own
// reading accepts too.
func FuzzLogoutToken(f *testing.F) {
	f.Add(`{"iss":"https://login.example/realm","aud":"web","iat":1777636800,"exp":1777636900,"jti":"j","sid":"s1","events":{"http://schemas.openid.net/event/backchannel-logout":{}}}`, "logout+jwt", "")
	f.Add(`{"iss":"https://login.example/realm","aud":["web"],"iat":1777636800,"jti":"j","sub":"ada","nonce":null,"events":{"http://schemas.openid.net/event/backchannel-logout":{}}}`, "", "&x=1")
	f.Add(`{"sid":"a","sid":"b"}`, "JWT", "&logout_token=")
	i := newIDP(f)
	f.Fuzz(func(t *testing.T, payload, typ, more string) {
		m, _, backchannel := logouts(t)
		p := i.party(t, backchannel)
		token := i.signed([]byte(payload), typ)
		got := answered(p.Serve(t.Context(), tell("logout_token="+token+more)))
		if got != "ended" {
			if len(m.ended)+len(m.used) > 0 {
				t.Fatalf("%s, and yet %v", got, m.ended)
			}
			return
		}
		var c struct {
			Iss      string                     `json:"iss"`
			Iat, Exp float64                    `json:",omitempty"`
			JTI      string                     `json:"jti"`
			Sub      string                     `json:"sub"`
			SID      string                     `json:"sid"`
			Nonce    json.RawMessage            `json:"nonce"`
			Events   map[string]json.RawMessage `json:"events"`
		}
		if err := json.Unmarshal([]byte(payload), &c); err != nil || c.Iss != issuer || c.JTI == "" || c.Sub+c.SID == "" || c.Nonce != nil ||
			!strings.HasPrefix(strings.TrimSpace(string(c.Events[logoutEvent])), "{") || c.Iat > float64(start.Unix()) || c.Exp != 0 && c.Exp <= float64(start.Unix()) {
			t.Fatalf("%v: %s (%s) ended %v", err, payload, typ, m.ended)
		}
	})
}
