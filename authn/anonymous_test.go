package authn

import "testing"

func TestAnonymousIsForRequestsWithoutAnAuthorizationHeader(t *testing.T) {
	a := build(t, Deps{}, "anonymous", `{"subject":"guest"}`)
	for want, header := range map[string][]string{
		"subject guest":  {"Cookie", "session=stale"},
		"no credentials": {"Authorization", "Negotiate x"},
	} {
		if got := outcome(a.Authenticate(t.Context(), request("https://a/", header...))); got != want {
			t.Errorf("%v: got %s, want %s", header, got, want)
		}
	}
	if got := outcome(a.Authenticate(t.Context(), request("https://a/", "Authorization", "", "Authorization", "Basic x"))); got != "no credentials" {
		t.Errorf("a second Authorization header was overlooked: %s", got)
	}
	if _, err := Catalog(Deps{}).Build("anonymous", nil, []byte(`{"subject":""}`)); err == nil {
		t.Error("an empty subject was accepted")
	}
}
