package api_test

import (
	"net/http"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/gatewarden/gatewarden/passwords"
	"github.com/gatewarden/gatewarden/users"
)

func TestUsersAreCreatedChangedAndDeletedAndNothingOfAPasswordIsAnswered(t *testing.T) {
	f := newFixture(t, nil)
	a := f.call("POST", "/users", `{"id": "ada", "username": "Ada", "email": "ada@example.com", "claims": {"name": "Ada L."}, "password": "correct horse"}`)
	a.want(http.StatusCreated)
	if a.header.Get("Location") != "/users/ada" {
		t.Errorf("Location %q", a.header.Get("Location"))
	}
	stored, err := f.store.UserByLogin(t.Context(), "ADA@example.com")
	if err != nil || stored.ID != "ada" || !strings.HasPrefix(stored.PasswordHash, "$argon2id$") {
		t.Fatalf("stored %+v, %v", stored, err)
	}
	answers := []answer{a, f.call("GET", "/users/ada", ""), f.call("GET", "/users?login=aDa", "")}
	etag := answers[1].header.Get("ETag")
	f.call("GET", "/users/ada", "", "If-None-Match", etag).want(http.StatusNotModified)
	answers = append(answers, f.call("PUT", "/users/ada", `{"username": "ada", "disabled": true}`, "If-Match", etag))
	for _, a := range answers {
		if strings.Contains(a.body, "assword") || strings.Contains(a.body, "argon2") {
			t.Errorf("an answer tells of the password: %s", a.body)
		}
	}
	answers[3].want(http.StatusOK)
	if now, _ := f.store.User(t.Context(), "ada"); now.PasswordHash != stored.PasswordHash || !now.Disabled || now.CreatedAt != stored.CreatedAt {
		t.Errorf("after a change without password: %+v", now)
	}
	f.call("PUT", "/users/ada", `{"username": "ada"}`, "If-Match", etag).want(http.StatusPreconditionFailed)
	f.call("PUT", "/users/ada/password", `{"password": "another horse"}`).want(http.StatusNoContent)
	if now, _ := f.store.User(t.Context(), "ada"); passwords.New(passwords.Options{}).Verify(t.Context(), now.PasswordHash, "another horse") != nil {
		t.Error("the new password does not verify")
	}
	if err := f.store.EnrolGenerator(t.Context(), "ada", users.Generator{ID: "g", Secret: []byte("s")}, 1, []string{"h"}); err != nil {
		t.Fatal(err)
	}
	f.call("DELETE", "/users/ada/second-factor", "").want(http.StatusNoContent)
	if left, err := f.store.Factors(t.Context(), "ada"); err != nil || left.Any() || left.RecoveryCodes > 0 {
		t.Errorf("after a reset there is %+v %v", left, err)
	}
	f.call("DELETE", "/users/nobody/second-factor", "").want(http.StatusNotFound)
	if ids := f.call("GET", "/users?login=nobody", "").ids("id"); len(ids) != 0 {
		t.Errorf("a login of nobody lists %v", ids)
	}
	f.call("DELETE", "/users/ada", "").want(http.StatusNoContent)
	f.call("GET", "/users/ada", "").want(http.StatusNotFound)
	f.call("PUT", "/users/ada/password", `{"password": "another horse"}`).want(http.StatusNotFound)
}

func TestBadUsersAreRefusedWithTheirPlace(t *testing.T) {
	f := newFixture(t, nil)
	foreign, err := bcrypt.GenerateFromPassword([]byte("correct horse"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	f.call("POST", "/users", `{"username": "taken", "password_hash": "`+string(foreign)+`"}`).want(http.StatusCreated)
	for body, want := range map[string]string{
		`{"password": "correct horse"}`:                                               "/username username or email is needed",
		`{"username": "two words"}`:                                                   "/username a login holds",
		`{"username": "a", "id": "é"}`:                                                "/id must be",
		`{"email": "no address"}`:                                                     "/email a login holds",
		`{"email": "address"}`:                                                        "/email is not an email address",
		`{"email": "A <a@b.example>"}`:                                                "/email",
		`{"username": "a", "password": "short"}`:                                      "/password must have at least 8 characters",
		`{"username": "administrator", "password": "Administrator"}`:                  "/password must not be the user name",
		`{"username": "a", "password": "aaaaaaaaaaaa"}`:                               "/password must not be one character repeated",
		`{"username": "a", "password": "` + strings.Repeat("ab", 513) + `"}`:          "/password must have at most 1024 bytes",
		`{"username": "a", "password": "correct horse", "password_hash": "$2a$04$x"}`: "/password password and password_hash",
		`{"username": "a", "password_hash": "5f4dcc3b5aa765d61d8327deb882cf99"}`:      "/password_hash is not a hash of a known form",
		`{"username": "a", "claims": {"sub": "root"}}`:                                "/claims/sub is not a standard claim",
		`{"username": "a", "claims": {"email": "b@c.example"}}`:                       "/claims/email",
		`{"username": "a", "claims": {"name": 1}}`:                                    "/claims/name has the wrong type",
		`{"username": "a", "claims": {"address": {"planet": "Mars"}}}`:                "/claims/address must have",
	} {
		a := f.call("POST", "/users", body)
		if a.status != http.StatusBadRequest || !strings.Contains(a.body, want) {
			t.Errorf("%s: %d %s, want %q", body, a.status, a.body, want)
		}
	}
	f.call("POST", "/users", `{"email": "x@example.com", "username": "TAKEN"}`).want(http.StatusConflict)
	f.call("PUT", "/users/unknown", `{"username": "b"}`).want(http.StatusNotFound)
	f.call("PUT", "/users/a", `{"id": "b", "username": "b"}`).want(http.StatusBadRequest)
}
