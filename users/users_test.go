package users

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLoginsThatLookTheSameAreTheSame(t *testing.T) {
	for _, pair := range [][2]string{{"Ada", "ada"}, {"ADA@EXAMPLE.com", "ada@example.com"}, {"ａｄａ", "ada"}, {"Ádа", "ádа"}, {"a\u0301", "á"}, {"ÄRGER", "ärger"}} {
		a, errA := Key(pair[0])
		b, errB := Key(pair[1])
		if errA != nil || errB != nil || a != b {
			t.Errorf("%q and %q: %q %v, %q %v", pair[0], pair[1], a, errA, b, errB)
		}
	}
	for _, pair := range [][2]string{{"ada", "adа"}, {"a", "b"}, {"a.b", "ab"}, {"a+x@b.c", "a@b.c"}} { // the second of the first is Cyrillic
		a, _ := Key(pair[0])
		if b, _ := Key(pair[1]); a == b {
			t.Errorf("%q and %q are one: %q", pair[0], pair[1], a)
		}
	}
	for _, bad := range []string{"", " ", "a b", "a\x00", "a\u200bb", "\xff", "a\u202eb", string(make([]byte, 300)), "٠۰"} {
		if key, err := Key(bad); err == nil {
			t.Errorf("%q has the key %q", bad, key)
		}
	}
}

func TestOnlyClaimsOfGrantedScopesAreReleased(t *testing.T) {
	u := User{
		ID: "1", Username: "ada", Email: "a@example.com", EmailVerified: true, UpdatedAt: time.Unix(7, 0), Disabled: true, PasswordHash: "h",
		Claims: map[string]any{"name": "Ada", "locale": "de", "phone_number": "+1", "address": map[string]any{"country": "UK"}, "sub": "root"},
	}
	for _, c := range []struct {
		scopes []string
		want   map[string]any
	}{
		{nil, map[string]any{}},
		{[]string{"openid", "offline", "sub", "name"}, map[string]any{}},
		{[]string{"email"}, map[string]any{"email": "a@example.com", "email_verified": true}},
		{[]string{"profile"}, map[string]any{"name": "Ada", "locale": "de", "preferred_username": "ada", "updated_at": int64(7)}},
		{[]string{"phone", "address"}, map[string]any{"phone_number": "+1", "address": map[string]any{"country": "UK"}}},
	} {
		if diff := cmp.Diff(c.want, u.Released(c.scopes)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.scopes, diff)
		}
	}
}
