package authn

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

const keyA, keyB = "gw_key_aaaaaaaaaaaaaaaaaaaaaa", "gw_key_bbbbbbbbbbbbbbbbbbbbbb"

func keyHash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// keyConfig is a configuration of api_key that lists keyA.
func keyConfig(more ...string) string {
	return fmt.Sprintf(`{"keys":[{"id":"a","hash":%q,"subject":"alice","scope":["read"],"extra":{"team":"x","key_id":"forged"},"not_after":"2026-05-01T13:00:00Z"}]`, keyHash(keyA)) +
		strings.Join(append([]string{""}, more...), ",") + "}"
}

func TestAKeyBecomesTheSubjectThatItIsListedWith(t *testing.T) {
	disk := newCredentialFile(t, fmt.Sprintf("- id: b\n  hash: %s\n  not_after: 2026-05-01T14:00:00Z\n", keyHash(keyB)))
	c := newClock()
	a := build(t, Deps{Now: c.Now}, "api_key", keyConfig(`"file":"`+disk.path+`"`))
	got := must(a.Authenticate(t.Context(), request("https://a/", "X-Api-Key", keyA)))(t)
	want := access.Subject{ID: "alice", Via: "api_key", Extra: map[string]any{"team": "x", "key_id": "a", "scp": []string{"read"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = must(a.Authenticate(t.Context(), request("https://a/", "X-Api-Key", keyB)))(t)
	if diff := cmp.Diff(access.Subject{ID: "b", Via: "api_key", Extra: map[string]any{"key_id": "b"}}, got); diff != "" {
		t.Error(diff)
	}
	c.Add(time.Hour)
	for key, want := range map[string]string{keyA: "unauthenticated", keyB: "subject b"} {
		if got := outcome(a.Authenticate(t.Context(), request("https://a/", "X-Api-Key", key))); got != want {
			t.Errorf("after the end of the first: %s got %s, want %s", key, got, want)
		}
	}
	until, err := a.(access.Lease).Renew(t.Context(), request("https://a/", "X-Api-Key", keyB))
	if err != nil || !until.Equal(start.Add(2*time.Hour)) {
		t.Errorf("the lease of the second ends %v, %v", until, err)
	}
}

func TestWhereAKeyIsFoundAndWhetherItGoesUpstream(t *testing.T) {
	withCookies := func(cookies ...string) *access.Request {
		r := request("https://a/")
		for _, c := range cookies {
			name, value, _ := strings.Cut(c, "=")
			r.Cookies = append(r.Cookies, &http.Cookie{Name: name, Value: value})
		}
		return r
	}
	for name, c := range map[string]struct {
		config  string
		r       *access.Request
		want    string
		headers string // that are withheld
		cookies string // that are the gateway's own
	}{
		"the usual field":               {``, request("https://a/", "X-Api-Key", keyA), "subject alice", "X-Api-Key", ""},
		"the usual field, forwarded":    {`"forward":true`, request("https://a/", "X-Api-Key", keyA), "subject alice", "", ""},
		"another field":                 {`"token_from":{"header":"x-key"}`, request("https://a/", "X-Key", keyA), "subject alice", "X-Key", ""},
		"nothing":                       {``, request("https://a/"), "no credentials", "X-Api-Key", ""},
		"an empty field":                {``, request("https://a/", "X-Api-Key", ""), "no credentials", "X-Api-Key", ""},
		"two fields":                    {``, request("https://a/", "X-Api-Key", keyA, "X-Api-Key", keyA), "invalid", "X-Api-Key", ""},
		"an unknown key":                {``, request("https://a/", "X-Api-Key", keyB), "unauthenticated", "X-Api-Key", ""},
		"the hash":                      {``, request("https://a/", "X-Api-Key", keyHash(keyA)), "unauthenticated", "X-Api-Key", ""},
		"a malformed key":               {``, request("https://a/", "X-Api-Key", "a b"), "unauthenticated", "X-Api-Key", ""},
		"a prefix":                      {`"prefix":"gw_key_"`, request("https://a/", "X-Api-Key", keyA), "subject alice", "X-Api-Key", ""},
		"another prefix":                {`"prefix":"other_"`, request("https://a/", "X-Api-Key", keyA), "no credentials", "X-Api-Key", ""},
		"a scheme":                      {`"scheme":"ApiKey"`, request("https://a/", "Authorization", "apikey "+keyA), "subject alice", "Authorization", ""},
		"another scheme":                {`"scheme":"ApiKey"`, request("https://a/", "Authorization", "Bearer "+keyA), "no credentials", "Authorization", ""},
		"a scheme with another prefix":  {`"scheme":"ApiKey","prefix":"x"`, request("https://a/", "Authorization", "ApiKey "+keyA), "no credentials", "Authorization", ""},
		"a scheme twice":                {`"scheme":"ApiKey"`, request("https://a/", "Authorization", "ApiKey "+keyA, "Authorization", "Basic x"), "invalid", "Authorization", ""},
		"a bearer":                      {`"token_from":{"header":"Authorization"}`, request("https://a/", "Authorization", "Bearer "+keyA), "subject alice", "Authorization", ""},
		"a parameter":                   {`"token_from":{"query_parameter":"k"},"forward":true`, request("https://a/?k=" + keyA), "subject alice", "", ""},
		"a cookie":                      {`"token_from":{"cookie":"k"}`, withCookies("other=x", "k="+keyA), "subject alice", "", "k"},
		"a cookie of the same prefix":   {`"token_from":{"cookie":"k"}`, withCookies("k2=" + keyA), "no credentials", "", "k"},
		"a cookie twice":                {`"token_from":{"cookie":"k"}`, withCookies("k="+keyA, "k="+keyA), "invalid", "", "k"},
		"a cookie that goes upstream":   {`"token_from":{"cookie":"k"},"forward":true`, cookieRequest("https://a/", "k="+keyA), "subject alice", "", ""},
		"a scope that the key has":      {`"required_scope":["read"]`, request("https://a/", "X-Api-Key", keyA), "subject alice", "X-Api-Key", ""},
		"a scope that the key has not":  {`"required_scope":["read","write"]`, request("https://a/", "X-Api-Key", keyA), "forbidden", "X-Api-Key", ""},
		"a scope that it has by a rule": {`"required_scope":["read.all"],"scope_strategy":"hierarchic"`, request("https://a/", "X-Api-Key", keyA), "subject alice", "X-Api-Key", ""},
	} {
		t.Run(name, func(t *testing.T) {
			config := keyConfig()
			if c.config != "" {
				config = keyConfig(c.config)
			}
			a := build(t, Deps{Now: newClock().Now}, "api_key", config)
			_, err := a.Authenticate(t.Context(), c.r)
			got := outcome(a.Authenticate(t.Context(), c.r))
			withheld, own := strings.Join(a.(Withholder).WithheldHeaders(), " "), strings.Join(a.(SessionOwner).SessionCookies(), " ")
			if got != c.want || withheld != c.headers || own != c.cookies {
				t.Errorf("got %s, withheld %q, own cookies %q", got, withheld, own)
			}
			if err != nil && strings.Contains(err.Error(), keyA) {
				t.Errorf("the key is in %v", err)
			}
		})
	}
}

func TestAShortKeyIsNeverAccepted(t *testing.T) {
	for key, want := range map[string]string{"123456789012345": "unauthenticated", "1234567890123456": "subject a"} {
		a := build(t, Deps{}, "api_key", fmt.Sprintf(`{"keys":[{"id":"a","hash":%q}]}`, keyHash(key)))
		if got := outcome(a.Authenticate(t.Context(), request("https://a/", "X-Api-Key", key))); got != want {
			t.Errorf("%d bytes: got %s, want %s", len(key), got, want)
		}
	}
}

func TestAKeyThatIsTakenOutOfTheFileIsOut(t *testing.T) {
	c := newClock()
	one, two := fmt.Sprintf(`{"id":"a","hash":%q}`, keyHash(keyA)), fmt.Sprintf(`{"id":"b","hash":%q}`, keyHash(keyB))
	disk := newCredentialFile(t, "["+one+","+two+"]")
	failures := 0
	a := build(t, Deps{Now: c.Now, File: func(_ string, err error) {
		if err != nil {
			failures++
		}
	}}, "api_key", `{"file":"`+disk.path+`"}`)
	for _, step := range []struct{ text, a, b string }{
		{"[" + one + "," + two + "]", "subject a", "subject b"},
		{"[" + two + "]", "unauthenticated", "subject b"},
		{"[" + one + "," + two, "unauthenticated", "subject b"}, // half written
		{"[" + one + "]", "subject a", "unauthenticated"},
		{"", "unauthenticated", "unauthenticated"},
	} {
		disk.write(t, step.text)
		c.Add(time.Second)
		for key, want := range map[string]string{keyA: step.a, keyB: step.b} {
			if got := outcome(a.Authenticate(t.Context(), request("https://a/", "X-Api-Key", key))); got != want {
				t.Errorf("with %s: %s got %s, want %s", step.text, key, got, want)
			}
		}
	}
	if failures != 1 {
		t.Errorf("%d failures were reported", failures)
	}
}

func TestABadAPIKeyConfigNamesThePlaceAndNoKey(t *testing.T) {
	file := func(text string) string { return `{"file":"` + newCredentialFile(t, text).path + `"}` }
	hash := keyHash(keyA)
	for config, want := range map[string]string{
		`{}`: "keys or file is required",
		`{"keys":[{"id":"a","hash":"` + keyA + `"}]}`:                                           "keys[0]: hash must be sha256:",
		`{"keys":[{"id":"a","hash":"sha256:` + keyA + `"}]}`:                                    "keys[0]: hash must be sha256:",
		`{"keys":[{"hash":"` + hash + `"}]}`:                                                    "keys[0]: id must not be empty",
		`{"keys":[{"id":"a","hash":"` + hash + `"},{"id":"b","hash":"` + hash + `"}]}`:          "keys[1]: the key of \"b\" is there already",
		`{"keys":[{"id":"a","hash":"` + hash + `"},{"id":"a","hash":"` + keyHash(keyB) + `"}]}`: "keys[1]: the id \"a\" is there already",
		`{"keys":[{"id":"a","hash":"` + hash + `","scope":["a b"]}]}`:                           "keys[0]: scope",
		`{"keys":[{"id":"a","hash":"` + hash + `","not_after":"tomorrow"}]}`:                    "tomorrow",
		keyConfig(`"token_from":{"query_parameter":"k"}`):                                       "token_from.query_parameter needs forward: true",
		keyConfig(`"token_from":{}`):                                                            "token_from must have",
		keyConfig(`"scheme":"Basic"`):                                                           "scheme",
		keyConfig(`"scheme":"a b"`):                                                             "scheme",
		keyConfig(`"scheme":"ApiKey","token_from":{"header":"X"}`):                              "scheme",
		keyConfig(`"required_scope":["a"],"scope_strategy":"none"`):                             "required_scope needs scope_strategy",
		keyConfig(`"scope_strategy":"x"`):                                                       "scope_strategy",
		`{"file":"/no/such/file"}`:                                                              "file /no/such/file: no such file",
		file(`[{"id":"a","key":"` + keyA + `"}]`):                                               "unknown field \"key\"",
		file("- id: a\n  id: b\n"):                                                              "YAML",
		file("- id: a\n  hash: " + keyA + "\n"):                                                 "[0]: hash must be sha256:",
		file("{"):                                                                               "neither JSON nor YAML",
	} {
		_, err := Catalog(Deps{}).Build("api_key", nil, []byte(config))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), keyA) {
			t.Errorf("%s: got %v, want it to name %s", config, err, want)
		}
	}
}

func TestAKeyIsChallengedWithItsSchemeOnly(t *testing.T) {
	for config, want := range map[string]string{`"scheme":"ApiKey"`: "ApiKey", `"token_from":{"header":"X-Key"}`: "", `"token_from":{"header":"Authorization"}`: "Bearer"} {
		a := build(t, Deps{Now: newClock().Now}, "api_key", keyConfig(config))
		for _, key := range []string{keyB, "\x7f"} {
			_, err := a.Authenticate(t.Context(), request("https://a/", "X-Key", key, "Authorization", want+" "+key))
			var f *fault.Error
			if !errors.As(err, &f) || f.Kind != fault.Unauthenticated || f.Challenge != want {
				t.Errorf("%s: got %+v, want challenge %q", config, f, want)
			}
		}
	}
}

func FuzzAPIKeyFile(f *testing.F) {
	f.Add([]byte(`[{"id":"a","hash":"` + keyHash(keyA) + `"}]`))
	f.Add([]byte("- id: a\n  not_after: 2026-01-01\n"))
	f.Add([]byte("&a [*a]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parseAPIKeys(text)
		if err != nil {
			return
		}
		for _, list := range keys {
			for _, k := range list {
				if k.subject.ID == "" || keys.find(k.hash) != k {
					t.Errorf("%q became %+v", text, k)
				}
			}
		}
	})
}

func BenchmarkAPIKey(b *testing.B) {
	var list []string
	for i := range 10_000 {
		list = append(list, fmt.Sprintf(`{"id":"k%d","hash":%q}`, i, keyHash(fmt.Sprint(keyA, i))))
	}
	a := build(b, Deps{}, "api_key", `{"keys":[`+strings.Join(list, ",")+`]}`)
	r := request("https://a/", "X-Api-Key", keyA+"77")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
