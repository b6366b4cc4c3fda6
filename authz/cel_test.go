package authz

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
)

func celOf(t testing.TB, expressions ...string) Authorizer {
	t.Helper()
	var list []string
	for _, e := range expressions {
		list = append(list, `{"expression":`+quote(e)+`}`)
	}
	h, err := Catalog(deps()).Build("cel", nil, handler.Raw(`{"expressions":[`+strings.Join(list, ",")+`]}`))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func celInput() access.Input {
	in := input()
	in.RuleID = "articles"
	in.Request.ID = "d1"
	in.Request.URL.RawQuery = "page=2&page=3"
	in.Request.Header["X-Multi"] = []string{"a", "b"}
	in.Subject.Via = "jwt"
	in.Subject.Extra = map[string]any{"team": "red", "groups": []any{"dev", "ops"}, "age": 30.0, "admin": true, "deep": map[string]any{"a": "b"}, "list": []string{"x"}, "null": nil, "n": int64(5)}
	return in
}

func TestExpressionsSeeTheRequestTheSubjectAndItsClaims(t *testing.T) {
	for _, expression := range []string{
		`request.method == "GET"`, `request.url == "https://api.example.com/articles/7?page=2&page=3"`, `request.scheme == "https"`, `request.host == "api.example.com"`,
		`request.path == "/articles/7"`, `request.path.startsWith("/articles/")`, `request.raw_query == "page=2&page=3"`, `request.query["page"] == ["2", "3"]`, `request.query.page[0] == "2"`,
		`!("x" in request.query)`, `request.headers["x-tenant"] == "t1"`, `request.headers["x-multi"] == "a, b"`, `!("x-none" in request.headers)`, `request.client == "192.0.2.7"`,
		`cidr("192.0.2.0/24").containsIP(request.client)`, `request.time == timestamp("2026-05-04T02:02:01Z")`, `request.time.getHours("UTC") < 6`, `request.id == "d1"`,
		`subject.id == "alice"`, `subject.via == "jwt"`, `claims.team == "red"`, `claims["team"] == "red"`, `"dev" in claims.groups`, `claims.groups.exists(g, g.startsWith("op"))`,
		`claims.age >= 18`, `claims.age == 30`, `claims.n == 5`, `claims.admin`, `claims.deep.a == "b"`, `has(claims.team) && !has(claims.none)`, `claims.?none.orValue("x") == "x"`, `claims["null"] == null`,
		`"x" in claims.list`, `captures[0] == "7"`, `int(captures[0]) > 6`, `size(captures) == 1`, `rule.id == "articles"`, `subject.id.matches("^[a-z]+$")`, `sets.contains(["red", "blue"], [claims.team])`,
	} {
		got, err := celOf(t, expression).Authorize(t.Context(), celInput())
		if err != nil || !got.Allow {
			t.Errorf("%s: got %v, %v", expression, got, err)
		}
	}
}

// A missing claim denies, also below a negation: what is not known is never a yes.
func TestAnExpressionWithoutAValueDenies(t *testing.T) {
	for _, expression := range []string{
		`claims.none == "x"`, `claims.none != "x"`, `!claims.none`, `claims.none`, `!(claims.none in ["x"])`, `claims.deep.none.more == 1`, `claims.team > 5`, `claims.groups[9] == ""`,
		`captures[3] == ""`, `request.headers["x-none"] == ""`, `claims.team`, `claims.age`, `claims["null"]`, `1 / (size(captures) - 1) == 0`, `int(subject.id) == 1`, `subject.id.matches(claims.deep.a + "(")`,
		`claims.groups.all(g, claims.none == g)`, `timestamp(claims.team) < request.time`, `ip(subject.id).family() == 4`,
	} {
		got, err := celOf(t, expression).Authorize(t.Context(), celInput())
		if !fault.Is(err, fault.Forbidden) || fault.ReasonOf(err) != "expression_false" || got.Allow {
			t.Errorf("%s: got %v, %v; want a denial", expression, got, err)
		}
	}
	in := celInput()
	in.Request.URL.RawQuery = "a=%zz"
	if got, err := celOf(t, `!("x" in request.query)`).Authorize(t.Context(), in); !fault.Is(err, fault.Forbidden) || got.Allow {
		t.Errorf("a query that cannot be parsed: %v, %v", got, err)
	}
	in.Subject.Extra = nil
	if got, err := celOf(t, `claims.team == "red"`).Authorize(t.Context(), in); !fault.Is(err, fault.Forbidden) || got.Allow {
		t.Errorf("no claims: %v, %v", got, err)
	}
}

func TestAnExpressionThatCannotBeFinishedIsUnavailable(t *testing.T) {
	in := celInput()
	var long []any
	for range 1000 {
		long = append(long, "x")
	}
	in.Subject.Extra["groups"] = long
	got, err := celOf(t, `claims.groups.all(a, claims.groups.all(b, a == b))`).Authorize(t.Context(), in)
	if !fault.Is(err, fault.Unavailable) || fault.ReasonOf(err) != "expression_too_costly" || got.Allow {
		t.Errorf("cost: got %v, %v", got, err)
	}
	e, err := compileExpression("x", `claims.groups.all(a, a == "x")`, vocabulary(declareInput))
	if err != nil {
		t.Fatal(err)
	}
	for want, ctx := range map[fault.Kind]func() (context.Context, context.CancelFunc){
		fault.Unavailable: func() (context.Context, context.CancelFunc) { return context.WithCancel(t.Context()) },
		fault.Timeout: func() (context.Context, context.CancelFunc) {
			return context.WithDeadline(t.Context(), time.Unix(0, 0))
		},
	} {
		ctx, cancel := ctx()
		cancel()
		if yes, err := e.holds(ctx, &inputActivation{variables: inputVariables(), in: &in, now: time.Now}); !fault.Is(err, want) || yes {
			t.Errorf("cancelled: got %v, %v, want %s", yes, err, want)
		}
	}
}

func TestMistakesInExpressionsNameThemAndTheirPlace(t *testing.T) {
	for _, c := range []struct{ expression, want string }{
		{`request.pth == ""`, `expressions.1 (tenant): 1:8: undeclared reference`},
		{`true &&` + "\n" + `  claims.a ==`, `expressions.1 (tenant): 2:`},
		{`request.path == 7`, `expressions.1 (tenant): 1:14: found no matching overload`},
		{`request.path`, `expressions.1 (tenant): 1:1: must be true or false, and is string`},
		{`request.path.matches("[")`, `expressions.1 (tenant): 1:`},
		{`captures[0].nope()`, `expressions.1 (tenant): 1:`},
		{strings.Repeat("(", 1000) + "true" + strings.Repeat(")", 1000), `expressions.1 (tenant): `},
		{strings.Repeat("true && ", 2000) + "true", `expressions.1 (tenant): `},
	} {
		_, err := Catalog(deps()).Build("cel", nil, handler.Raw(`{"expressions":[{"expression":"true"},{"name":"tenant","expression":`+strings.ReplaceAll(quote(c.expression), "\n", `\n`)+`}]}`))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40s: got %v, want %s", c.expression, err, c.want)
		}
	}
	_, err := celOf(t, "true", "subject.id == 'alice' && claims.none == 1").Authorize(t.Context(), celInput())
	if err == nil || !strings.Contains(err.Error(), "expressions.1: 1:32: no such key: none") {
		t.Errorf("at run time: %v", err)
	}
}

func TestTheFirstExpressionThatIsNotTrueGivesReasonAndMessage(t *testing.T) {
	h, err := Catalog(deps()).Build("cel", nil, handler.Raw(`{"expressions":[{"expression":"true","reason":"a"},{"expression":"claims.team == 'blue'","reason":"wrong_team","message":"Blue only."},
		{"expression":"claims.none == 1","reason":"never"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.Authorize(t.Context(), celInput())
	if err != nil || got.Allow || got.Reason != "wrong_team" || got.Message != "Blue only." {
		t.Errorf("got %v, %v", got, err)
	}
	in := celInput()
	in.Subject.Extra["team"] = 5
	_, err = h.Authorize(t.Context(), in)
	if err != nil {
		t.Errorf("another type is not equal, and no error: %v", err)
	}
	delete(in.Subject.Extra, "team")
	_, err = h.Authorize(t.Context(), in)
	var f *fault.Error
	if !errors.As(err, &f) || fault.ReasonOf(err) != "wrong_team" || fault.MessageOf(err) != "Blue only." {
		t.Errorf("a missing claim: got %v", err)
	}
}

func FuzzAnyExpressionCompilesOrIsRefused(f *testing.F) {
	f.Add(`claims.team == "red" && request.path.startsWith("/a")`, "red")
	f.Add(`claims.groups.all(a, claims.groups.all(b, a == b))`, "x")
	f.Add(`subject.id.matches(claims.team)`, "(a+)+$")
	f.Add(`timestamp(claims.team) < request.time || duration(claims.team) > duration("1s")`, "9999999h")
	f.Add(`claims.team.replace("a", claims.team).size() > 3`, "aaaa")
	words := vocabulary(declareInput)
	f.Fuzz(func(t *testing.T, text, team string) {
		e, err := compileExpression("x", text, words)
		if err != nil {
			return
		}
		in := celInput()
		in.Subject.Extra["team"] = team
		if yes, err := e.holds(t.Context(), &inputActivation{variables: inputVariables(), in: &in, now: time.Now}); err != nil && (yes || fault.KindOf(err) == fault.Internal) {
			t.Errorf("%s: %v, %v", text, yes, err)
		}
	})
}

func BenchmarkCEL(b *testing.B) {
	h := celOf(b, `claims.team == "red" && request.headers["x-tenant"] == "t1" && request.path.startsWith("/articles/")`)
	in := celInput()
	b.ReportAllocs()
	for b.Loop() {
		if v, err := h.Authorize(b.Context(), in); err != nil || !v.Allow {
			b.Fatal(v, err)
		}
	}
}
