package e2e

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestTheDemoShowsWhatItPromises(t *testing.T) {
	p := start(t, settings{keys: map[string]string{"demo": "true"}})
	var commands []string
	eventually(t, "the demo is introduced", func() bool {
		commands = regexp.MustCompile(`(?m)^curl -i .*$`).FindAllString(p.output.String(), -1)
		return len(commands) == 3
	})
	for i, want := range []int{401, 403, 200} {
		method, target, header := parseCurl(t, commands[i])
		a := send(t, method, target, "", header...)
		if a.status != want {
			t.Errorf("%s\ngot %d %s, want %d", commands[i], a.status, a.body, want)
		}
		if want == 200 && !strings.Contains(a.body, `"sub": "demo"`) {
			t.Errorf("the API did not see who is asking: %s", a.body)
		}
	}
}

// parseCurl reads the few options that the demo uses.
func parseCurl(t *testing.T, command string) (method, target string, header []string) {
	t.Helper()
	method = http.MethodGet
	words := regexp.MustCompile(`"[^"]*"|\S+`).FindAllString(command, -1)[1:]
	for i := 0; i < len(words); i++ {
		word := func() string { i++; return strings.Trim(words[i], `"`) }
		switch words[i] {
		case "-i":
		case "-X":
			method = word()
		case "-H":
			name, value, _ := strings.Cut(word(), ": ")
			header = append(header, name, value)
		default:
			if strings.HasPrefix(words[i], "-") {
				t.Fatalf("%s: unknown option %s", command, words[i])
			}
			target = words[i]
		}
	}
	return method, target, header
}

func TestNoSecretReachesLogsMetricsOrAnswers(t *testing.T) {
	p := start(t, settings{rules: protected(upstream(t).URL)})
	var created struct {
		Secret string `json:"client_secret"`
	}
	post(t, p.management+"/clients", `{"client_id": "shop", "grant_types": ["client_credentials"], "scope": "orders"}`).want(t, http.StatusCreated).decode(t, &created)
	token := clientToken(t, p, "shop", created.Secret, "orders")
	const inQuery = "a-secret-in-the-query"
	send(t, "GET", p.proxy+"/orders/1?access_token="+inQuery, "", "Authorization", "Bearer "+token, "Cookie", "session=a-secret-cookie")
	send(t, "GET", p.proxy+"/nowhere?code="+inQuery, "", "Authorization", "Bearer "+token)
	send(t, "GET", p.management+"/decisions/orders/1", "", "Authorization", "Bearer "+token)
	send(t, "POST", p.public+"/oauth2/token", "grant_type=client_credentials&client_id=shop&client_secret=a-wrong-secret-of-somebody", "Content-Type", "application/x-www-form-urlencoded")
	var listed strings.Builder
	for _, path := range []string{"/clients", "/clients/shop", "/rules", "/metrics", "/health/ready", "/openapi.json"} {
		listed.WriteString(send(t, "GET", p.management+path, "").body)
	}
	revoke(t, p, "shop", created.Secret, token)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	for place, text := range map[string]string{"the log": p.log.String(), "an answer": listed.String()} {
		for what, secret := range map[string]string{
			"the client secret": created.Secret, "the access token": token, "the system secret": systemSecret,
			"a query value": inQuery, "a cookie": "a-secret-cookie", "a wrong secret": "a-wrong-secret-of-somebody",
		} {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds %s", place, what)
			}
		}
	}
	if !strings.Contains(p.log.String(), `"rule":"orders"`) {
		t.Error("the log has no access event")
	}
}

func TestEveryRequestIsOneAccessEventWithItsDecisionID(t *testing.T) {
	p := start(t, settings{rules: protected(upstream(t).URL)})
	id := send(t, "GET", p.proxy+"/orders/1", "").want(t, http.StatusUnauthorized).header.Get("X-Decision-Id")
	eventually(t, "the event is logged", func() bool { return strings.Contains(p.log.String(), id) })
	if n := strings.Count(p.log.String(), id); n != 1 {
		t.Errorf("got %d events, want 1", n)
	}
}

func TestMetricsCountByRuleOutcomeAndReasonAndNeverByPath(t *testing.T) {
	p := start(t, settings{rules: protected(upstream(t).URL)})
	send(t, "GET", p.proxy+"/open", "").want(t, http.StatusOK)
	send(t, "GET", p.proxy+"/orders/1", "").want(t, http.StatusUnauthorized)
	send(t, "GET", p.proxy+"/a-path-that-must-not-be-a-label", "").want(t, http.StatusNotFound)
	var metrics string
	for _, want := range []string{
		`gatewarden_requests_total{listener="proxy",outcome="allow",reason="allowed",rule="open"} 1`,
		`gatewarden_requests_total{listener="proxy",outcome="deny",reason="missing_credentials",rule="orders"} 1`,
		`gatewarden_requests_total{listener="proxy",outcome="deny",reason="no_rule_match",rule=""} 1`,
		`gatewarden_rule_set_rules{state="active"} 2`,
		`gatewarden_decision_duration_seconds_bucket{`,
		`gatewarden_build_info{`,
	} {
		eventually(t, want, func() bool {
			metrics = send(t, "GET", p.management+"/metrics", "").want(t, http.StatusOK).body
			return strings.Contains(metrics, want)
		})
	}
	if strings.Contains(metrics, "a-path-that-must-not-be-a-label") {
		t.Error("a path became a label")
	}
	for _, line := range strings.Split(metrics, "\n") {
		if line != "" && !strings.HasPrefix(line, "#") && !regexp.MustCompile(`^(gatewarden_|go_|process_|promhttp_)`).MatchString(line) {
			t.Errorf("a metric without the prefix: %s", line)
		}
	}
}

func TestBadInputIsAClientErrorEverywhere(t *testing.T) {
	p := start(t, settings{rules: protected(upstream(t).URL)})
	big := strings.Repeat("a", 4<<20)
	for _, c := range []struct {
		name, method, target, body string
		header                     []string
	}{
		{"an unknown field of a rule", "POST", p.management + "/rules", `{"id": "x", "metch": {}}`, []string{"Content-Type", "application/json"}},
		{"a broken pattern", "POST", p.management + "/rules", `{"id": "x", "match": {"url": "http://x/<(>", "methods": ["GET"]}, "authenticators": [{"handler": "noop"}], "authorizer": {"handler": "allow"}, "mutators": [{"handler": "noop"}]}`, []string{"Content-Type", "application/json"}},
		{"invalid JSON", "POST", p.management + "/clients", `{`, []string{"Content-Type", "application/json"}},
		{"a wrong content type", "POST", p.management + "/policies", `{}`, []string{"Content-Type", "text/plain"}},
		{"a body that is too large", "POST", p.management + "/policies", `{"id": "` + big + `"}`, []string{"Content-Type", "application/json"}},
		{"a policy pattern that is broken", "POST", p.management + "/policies", `{"subjects": ["<(>"], "effect": "allow", "resources": ["a"], "actions": ["b"]}`, []string{"Content-Type", "application/json"}},
		{"a token request without a grant", "POST", p.public + "/oauth2/token", ``, []string{"Content-Type", "application/x-www-form-urlencoded"}},
		{"a token request as JSON", "POST", p.public + "/oauth2/token", `{}`, []string{"Content-Type", "application/json"}},
		{"a token request that is too large", "POST", p.public + "/oauth2/token", "grant_type=" + big, []string{"Content-Type", "application/x-www-form-urlencoded"}},
		{"an authorization request without a client", "GET", p.public + "/oauth2/auth", "", nil},
		{"a malformed escape", "GET", p.proxy + "/orders/%zz", "", nil},
		{"a header that is too large", "GET", p.proxy + "/orders", "", []string{"X-Big", big[:200<<10]}},
		{"a malformed token", "GET", p.proxy + "/orders", "", []string{"Authorization", "Bearer a b c"}},
		{"a decision about nonsense", "GET", p.management + "/decisions/%00", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.Contains(c.target, "%zz") {
				raw(t, c.target)
				return
			}
			a := send(t, c.method, c.target, c.body, c.header...)
			redirected := a.status == http.StatusSeeOther || a.status == http.StatusFound
			if !redirected && (a.status < 400 || a.status > 499) {
				t.Errorf("got %d %.300s, want a client error", a.status, a.body)
			}
		})
	}
	send(t, "GET", p.management+"/health/ready", "").want(t, http.StatusOK)
}
