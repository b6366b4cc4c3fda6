package api_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/authz"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/manage/api"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/passwords"
	"github.com/gatewarden/gatewarden/policies"
)

const (
	stranger = "203.0.113.7:40000"
	static   = "a static token of an operator"
)

func sum(token string) string {
	s := sha256.Sum256([]byte(token))
	return "sha256:" + hex.EncodeToString(s[:])
}

// owned are access tokens of the server by their text.
var owned = map[string]oauth2.Introspection{
	"root":      {Active: true, Subject: "root", ClientID: "root", Scope: "hydra", TokenUse: "access_token"},
	"wildcard":  {Active: true, Subject: "root", ClientID: "root", Scope: "hydra.*", TokenUse: "access_token"},
	"scopeless": {Active: true, Subject: "root", ClientID: "root", Scope: "openid hydrant clients", TokenUse: "access_token"},
	"lawless":   {Active: true, Subject: "nobody", ClientID: "nobody", Scope: "hydra", TokenUse: "access_token"},
	"refresh":   {Active: true, Subject: "root", ClientID: "root", Scope: "hydra", TokenUse: "refresh_token"},
	"bound":     {Active: true, Subject: "root", ClientID: "root", Scope: "hydra", TokenUse: "access_token", Bound: &access.Confirmation{JKT: "x"}},
	"foreign":   {Active: true, Subject: "root", ClientID: "root", Scope: "hydra", TokenUse: "access_token", Audience: []string{"https://api"}, Issuer: "https://as"},
	"ours":      {Active: true, Subject: "root", ClientID: "root", Scope: "hydra", TokenUse: "access_token", Audience: []string{"https://as"}, Issuer: "https://as"},
	"namesake":  {Active: true, Subject: "root", ClientID: "app", Scope: "hydra", TokenUse: "access_token"},
	"person":    {Active: true, Subject: "alice", ClientID: "app", Scope: "hydra.clients hydra.policies", TokenUse: "access_token"},
	"expired":   {},
}

func ownTokens(f *api.Deps) *api.Own {
	return &api.Own{
		Introspect: func(_ context.Context, token, _ string) (oauth2.Introspection, error) {
			if token == "down" {
				return oauth2.Introspection{}, fault.New(fault.Unavailable, "store_down", "the store does not answer")
			}
			return owned[token], nil
		},
		Warden: f.Warden,
		Client: func(_ context.Context, id string) (bool, error) { return id == "root" || id == "app", nil },
	}
}

// newGuarded is a fixture that strangers call, with a policy that lets root do everything.
func newGuarded(t *testing.T, guard func(d *api.Deps) api.Guard) *fixture {
	t.Helper()
	f := newFixture(t, func(d *api.Deps) { d.Guard = guard(d) })
	if _, err := f.deps.Policies.Create(t.Context(), policies.Policy{
		ID: "default-admin-policy", Subjects: []string{"root"}, Effect: "allow", Resources: []string{"rn:hydra:<.*>"}, Actions: []string{"<.*>"},
	}); err != nil {
		t.Fatal(err)
	}
	return f
}

// ways are all ways in, each with what a caller that it admits shows.
var ways = map[string]struct {
	guard func(t *testing.T, d *api.Deps) api.Guard
	good  []string
	bad   map[string][]string
}{
	"nobody": {guard: func(*testing.T, *api.Deps) api.Guard { return api.Guard{} },
		bad: map[string][]string{"this machine": {"Test-Peer", "127.0.0.1:1"}, "a token": {"Authorization", "Bearer " + static}}},
	"loopback": {guard: func(*testing.T, *api.Deps) api.Guard { return api.Guard{Local: true} },
		good: []string{"Test-Peer", "127.0.0.1:1"},
		bad: map[string][]string{
			"a token":         {"Authorization", "Bearer " + static},
			"another network": {"Test-Peer", "192.168.0.1:1"}, "an address that looks like it": {"Test-Peer", "127.0.0.1.evil:1"}, "no address": {"Test-Peer", "x"},
			"a proxy that says for whom": {"Test-Peer", "127.0.0.1:1", "X-Forwarded-For", "203.0.113.7"}, "a proxy that says so in another way": {"Test-Peer", "[::1]:1", "Forwarded", "for=203.0.113.7"},
			"a proxy that says nothing but that it is one": {"Test-Peer", "127.0.0.1:1", "Via", "1.1 x"},
			"a rebound name": {"Test-Peer", "127.0.0.1:1", "Host", "evil.example"},
		}},
	"token": {guard: func(t *testing.T, _ *api.Deps) api.Guard {
		return api.Guard{Tokens: bearers(t, "another token that is long", sum(static))}
	}, good: []string{"Authorization", "Bearer " + static},
		bad: map[string][]string{
			"this machine": {"Test-Peer", "127.0.0.1:1"}, "the hash": {"Authorization", "Bearer " + sum(static)}, "an access token": {"Authorization", "Bearer root"},
			"no token": {"Authorization", "Bearer"}, "an empty token": {"Authorization", "Bearer "}, "half of it": {"Authorization", "Bearer " + static[:20]},
			"another scheme": {"Authorization", "Basic " + static}, "no scheme": {"Authorization", static},
		}},
	"mtls": {guard: func(*testing.T, *api.Deps) api.Guard {
		return api.Guard{Certified: func(ctx context.Context) bool { return ctx.Value(certificate{}) == "operator" }}
	}, good: []string{"Test-Certificate", "operator"},
		bad: map[string][]string{"another certificate": {"Test-Certificate", "guest"}, "this machine": {"Test-Peer", "127.0.0.1:1"}, "a token": {"Authorization", "Bearer " + static}}},
	"hydra0": {guard: func(_ *testing.T, d *api.Deps) api.Guard { return api.Guard{Own: ownTokens(d)} },
		good: []string{"Authorization", "bearer root"},
		bad: map[string][]string{
			"this machine": {"Test-Peer", "127.0.0.1:1"}, "a static token": {"Authorization", "Bearer " + static}, "an expired token": {"Authorization", "Bearer expired"},
			"a refresh token": {"Authorization", "Bearer refresh"}, "a token bound to a key": {"Authorization", "Bearer bound"}, "a token for another": {"Authorization", "Bearer foreign"},
			"a person with the name of a client": {"Authorization", "Bearer namesake"},
			"a token without scope":              {"Authorization", "Bearer scopeless"}, "a token without policy": {"Authorization", "Bearer lawless"},
		}},
	"everybody": {guard: func(*testing.T, *api.Deps) api.Guard { return api.Guard{Everybody: true} },
		good: []string{"Test-Peer", stranger}, bad: map[string][]string{"a rebound name": {"Host", "evil.example"}}},
}

// certificate is the key of what a caller's certificate says.
type certificate struct{}

func TestEveryRouteRefusesCallersWithoutCredentialsInEveryMode(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			f := newGuarded(t, func(d *api.Deps) api.Guard { return way.guard(t, d) })
			refused := func(who, method, path string, headers ...string) {
				t.Helper()
				a := f.call(method, path, "", append([]string{"Test-Peer", stranger}, headers...)...)
				if a.status != http.StatusUnauthorized && a.status != http.StatusForbidden {
					t.Errorf("%s: %s %s: %d", who, method, path, a.status)
				}
				if a.status == http.StatusUnauthorized && name != "mtls" && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
					t.Errorf("%s: %s %s: WWW-Authenticate %q", who, method, path, a.header.Get("WWW-Authenticate"))
				}
			}
			seen := 0
			for _, r := range f.api.Routes() {
				for _, method := range r.Methods {
					path := target(r.Template)
					if r.Open {
						f.call(method, path, "", "Test-Peer", stranger, "Host", "evil.example").want(http.StatusOK)
						continue
					}
					seen++
					if name != "everybody" {
						refused("a stranger", method, path)
					}
					for who, headers := range way.bad {
						refused(who, method, path, headers...)
					}
					if way.good == nil {
						continue
					}
					if a := f.call(method, path, "", append([]string{"Test-Peer", stranger}, way.good...)...); a.status == http.StatusUnauthorized || a.status == http.StatusForbidden {
						t.Errorf("the operator: %s %s: %d %s", method, path, a.status, a.body)
					}
				}
			}
			if seen < 60 {
				t.Errorf("walked %d routes; is the walk right?", seen)
			}
		})
	}
}

func TestAnEndpointThatHasNoNameInPoliciesIsNobodys(t *testing.T) {
	for name, way := range ways {
		f := newGuarded(t, func(d *api.Deps) api.Guard { return way.guard(t, d) })
		f.api.AddWithoutObject("/forgotten", func() { t.Errorf("%s: it was called", name) })
		if a := f.call("GET", "/forgotten", "", append([]string{"Test-Peer", stranger}, way.good...)...); a.status != http.StatusForbidden && a.status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, a.status)
		}
	}
}

func TestEveryWayInThatIsSetIsEnough(t *testing.T) {
	f := newGuarded(t, func(d *api.Deps) api.Guard {
		return api.Guard{Local: true, Tokens: bearers(t, sum(static), passwords.Hash("a chosen token")), Own: ownTokens(d), Certified: ways["mtls"].guard(t, d).Certified}
	})
	for _, c := range []struct {
		name    string
		want    int
		headers []string
	}{
		{"nobody", 401, nil},
		{"this machine", 200, []string{"Test-Peer", "127.0.0.1:1"}},
		{"this machine by IPv6", 200, []string{"Test-Peer", "[::1]:1"}},
		{"this machine by a socket", 200, []string{"Test-Peer", "@"}},
		{"this machine behind a proxy", 401, []string{"Test-Peer", "127.0.0.1:1", "X-Forwarded-For", "203.0.113.7"}},
		{"a rebound name", 401, []string{"Test-Peer", "127.0.0.1:1", "Host", "evil.example"}},
		{"a random token", 200, []string{"Authorization", "Bearer " + static}},
		{"a chosen token", 200, []string{"Authorization", "Bearer a chosen token"}},
		{"an access token", 200, []string{"Authorization", "Bearer root"}},
		{"an access token for this server", 200, []string{"Authorization", "Bearer ours"}},
		{"an access token with hydra.*", 200, []string{"Authorization", "Bearer wildcard"}},
		{"a certificate", 200, []string{"Test-Certificate", "operator"}},
		{"a bad token from this machine", 401, []string{"Test-Peer", "127.0.0.1:1", "Authorization", "Bearer nonsense"}},
		{"a bad token with a certificate", 401, []string{"Test-Certificate", "operator", "Authorization", "Bearer nonsense"}},
		{"an access token that may less than this machine", 403, []string{"Test-Peer", "127.0.0.1:1", "Authorization", "Bearer lawless"}},
		{"a token while the store is down", 503, []string{"Authorization", "Bearer down"}},
	} {
		if a := f.call("GET", "/clients", "", append([]string{"Test-Peer", stranger}, c.headers...)...); a.status != c.want {
			t.Errorf("%s: %d, want %d: %s", c.name, a.status, c.want, a.body)
		}
	}
}

func TestARefusalHasTheEnvelopeOfItsPath(t *testing.T) {
	f := newGuarded(t, func(d *api.Deps) api.Guard { return api.Guard{Own: ownTokens(d)} })
	for _, r := range f.api.Routes() {
		for _, token := range []string{"", "Bearer lawless"} {
			if a := f.call(r.Methods[0], target(r.Template), "", "Authorization", token); !r.Open && !enveloped(a, r.Envelope) {
				t.Errorf("%s, %q: %s", r.Template, token, a.body)
			}
		}
	}
	a := f.call("GET", "/clients", "", "Authorization", "Bearer scopeless")
	if want := `Bearer realm="management", error="insufficient_scope", scope="hydra.clients"`; a.header.Get("WWW-Authenticate") != want {
		t.Errorf("got %q", a.header.Get("WWW-Authenticate"))
	}
}

// questions records what a warden is asked and allows it.
type questions struct{ asked []authz.Question }

func (q *questions) Allowed(_ context.Context, asked authz.Question) (authz.Answer, error) {
	q.asked = append(q.asked, asked)
	return authz.Answer{Allow: true, Reason: "policy_allowed"}, nil
}

func TestResourcesAndActionsHaveTheNamesOfEarlyHydra(t *testing.T) {
	asked := &questions{}
	f := newFixture(t, func(d *api.Deps) {
		own := ownTokens(d)
		own.Warden = asked
		d.Guard = api.Guard{Own: own}
	})
	for _, c := range []struct{ method, path, body, want string }{
		{"GET", "/clients", "", "get rn:hydra:clients, list rn:hydra:clients"},
		{"POST", "/clients", `{"client_id":"mine","owner":"aaa"}`, "create rn:hydra:clients owner=aaa"},
		{"GET", "/clients/mine", "", "get rn:hydra:clients:mine owner=aaa"},
		{"PUT", "/clients/mine", `{"owner":"bbb"}`, "update rn:hydra:clients:mine owner=aaa, update rn:hydra:clients:mine owner=bbb"},
		{"PATCH", "/clients/mine", `[{"op":"replace","path":"/owner","value":"ccc"},{"op":"test","path":"/owner","value":"ccc"}]`, "update rn:hydra:clients:mine owner=bbb, update rn:hydra:clients:mine owner=ccc"},
		{"PATCH", "/clients/mine", `[{"op":"move","from":"/client_name","path":"/owner"}]`, "update rn:hydra:clients:mine owner=ccc, update rn:hydra:clients:mine"},
		{"PATCH", "/clients/mine", `[{"op":"move","from":"/owner","path":"/client_name"}]`, "update rn:hydra:clients:mine owner=, update rn:hydra:clients:mine"},
		{"PUT", "/clients/mine%2Flifespans", `{"owner":"x"}`, "update rn:hydra:clients:mine/lifespans, update rn:hydra:clients:mine/lifespans owner=x"},
		{"GET", "/clients/nobody", "", "get rn:hydra:clients:nobody"},
		{"DELETE", "/admin/clients/a%3Ab%20c", "", "delete rn:hydra:clients:a:b c"},
		{"GET", "/policies/%7Bid%7D", "", "get rn:hydra:policies:{id}"},
		{"DELETE", "/policies/p", "", "delete rn:hydra:policies:p"},
		{"GET", "/keys/a/%7Bset%7D", "", "get rn:hydra:keys:a:{set}"},
		{"PUT", "/keys/set", "{}", "update rn:hydra:keys:set"},
		{"POST", "/warden/allowed", "{}", "decide rn:hydra:warden:allowed"},
		{"POST", "/warden/token/allowed", "{}", "decide rn:hydra:warden:token:allowed"},
		{"DELETE", "/warden/groups/g/members", "{}", "members.remove rn:hydra:warden:groups:g"},
		{"POST", "/oauth2/introspect", "", "introspect rn:hydra:oauth2:tokens"},
		{"POST", "/oauth2/flush", "{}", "flush rn:hydra:oauth2:tokens"},
	} {
		asked.asked = nil
		f.call(c.method, c.path, c.body, "Authorization", "Bearer root")
		var got []string
		for _, q := range asked.asked {
			text := q.Action + " " + q.Resource
			if owner, found := q.Context["owner"]; found {
				text += " owner=" + owner.(string)
			}
			if q.Subject != "root" {
				t.Errorf("%s %s was asked for %q", c.method, c.path, q.Subject)
			}
			got = append(got, text)
		}
		if diff := cmp.Diff(c.want, strings.Join(got, ", ")); diff != "" {
			t.Errorf("%s %s (-want +got)\n%s", c.method, c.path, diff)
		}
	}
}

func TestPoliciesSayWhatAnAccessTokenMayDo(t *testing.T) {
	f := newGuarded(t, func(d *api.Deps) api.Guard { return api.Guard{Own: ownTokens(d)} })
	for _, body := range []string{
		`{"id":"list","subjects":["alice"],"effect":"allow","resources":["rn:hydra:clients"],"actions":["get"]}`,
		`{"id":"own","subjects":["alice"],"effect":"allow","resources":["rn:hydra:clients<.*>"],"actions":["create","update"],"conditions":{"owner":{"type":"StringEqualCondition","options":{"equals":"alice"}}}}`,
		`{"id":"see","subjects":["alice"],"effect":"allow","resources":["rn:hydra:policies"],"actions":["get"]}`,
		`{"id":"but","subjects":["alice"],"effect":"deny","resources":["rn:hydra:policies"],"actions":["list"]}`,
		`{"id":"keys","subjects":["alice"],"effect":"allow","resources":["rn:hydra:keys:<.*>"],"actions":["<.*>"]}`,
	} {
		f.call("POST", "/policies", body, "Authorization", "Bearer root").want(201)
	}
	f.call("POST", "/clients", `{"client_id":"hers","owner":"alice"}`, "Authorization", "Bearer root").want(201)
	f.call("POST", "/clients", `{"client_id":"his","owner":"bob"}`, "Authorization", "Bearer root").want(201)
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/clients", "", 200},
		{"GET", "/clients/hers", "", 403},
		{"PUT", "/clients/hers", `{"owner":"alice","client_name":"Hers"}`, 200},
		{"PUT", "/clients/hers", `{"owner":"bob"}`, 403},
		{"PATCH", "/clients/hers", `[{"op":"replace","path":"/owner","value":"bob"}]`, 403},
		{"PATCH", "/clients/hers", `[{"op":"remove","path":"/owner"}]`, 403},
		{"PATCH", "/clients/hers", `[{"op":"replace","path":"/client_name","value":"Hers again"}]`, 200},
		{"PUT", "/clients/his", `{"owner":"alice"}`, 403},
		{"PUT", "/clients/nobody", `{"owner":"alice"}`, 403},
		{"POST", "/clients", `{"client_id":"new","owner":"alice"}`, 201},
		{"POST", "/clients", `{"client_id":"other"}`, 403},
		{"GET", "/policies", "", 403}, // one generation calls it get, the other list
		{"GET", "/keys/x", "", 403},   // the token lacks the scope
		{"POST", "/warden/allowed", `{}`, 403},
	} {
		if a := f.call(c.method, c.path, c.body, "Authorization", "Bearer person"); a.status != c.want {
			t.Errorf("%s %s %s: %d, want %d: %s", c.method, c.path, c.body, a.status, c.want, a.body)
		}
	}
}

func TestScopesCoverThoseBelowThem(t *testing.T) {
	for _, c := range []struct {
		granted, required string
		want              bool
	}{
		{"hydra", "hydra.clients", true}, {"hydra.*", "hydra.clients", true}, {"hydra.*", "hydra.keys.get", true}, {"hydra.keys.*", "hydra.keys.get", true},
		{"hydra.clients", "hydra.clients", true}, {"hydra.warden", "hydra.warden.groups", true},
		{"hydra.*", "hydra", false}, {"hydra.", "hydra.clients", false}, {"hydra.keys", "hydra.keysets", false}, {"hydr", "hydra.clients", false}, {"", "hydra.clients", false},
		{"*", "hydra.clients", false}, {".*", "hydra.clients", false}, {"hydra.*.get", "hydra.keys.get", false}, {"hydra.clients.get", "hydra.clients", false}, {"HYDRA", "hydra.clients", false},
	} {
		if got := api.Covers(c.granted, c.required); got != c.want {
			t.Errorf("%q for %q: %t", c.granted, c.required, got)
		}
	}
}

func TestThePageListsWhatEveryRouteNeeds(t *testing.T) {
	page, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	needs := map[string][]string{}
	for _, r := range newFixture(t, nil).api.Routes() {
		for _, m := range r.Methods {
			if !r.Open {
				row := "| `" + r.Scope[m] + "` | `rn:hydra:" + strings.NewReplacer("{", "<", "}", ">").Replace(r.Resource[m]) + "` |"
				needs[row] = append(needs[row], r.Actions[m]...)
			}
		}
	}
	for row, actions := range needs {
		_, rest, found := strings.Cut(string(page), row)
		listed, _, _ := strings.Cut(rest, "\n")
		for _, action := range slices.Compact(slices.Sorted(slices.Values(actions))) {
			if !found || !strings.Contains(listed, "`"+action+"`") {
				t.Errorf("docs/api.md lacks %s %q", row, action)
			}
		}
	}
}
