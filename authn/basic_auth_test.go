package authn

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/passwords"
)

// bcrypted is a bcrypt hash that takes no time.
func bcrypted(password string) string {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		panic(err)
	}
	return string(hash)
}

func TestUsersAreWhoseNameAndPasswordAreListed(t *testing.T) {
	disk := newCredentialFile(t, "# comment\n\nbob:"+strings.Replace(bcrypted("b:b:"), "$2a$", "$2y$", 1)+"\r\nzoë:"+bcrypted("pässword")+"\n")
	a := build(t, Deps{}, "basic_auth",
		fmt.Sprintf(`{"file":%q,"users":[{"username":"alice","hash":%q,"subject":"u1","extra":{"role":"admin"}}]}`, disk.path, passwords.Hash("open sesame")))
	got := must(a.Authenticate(t.Context(), basicRequest("alice", "open sesame")))(t)
	if diff := cmp.Diff(access.Subject{ID: "u1", Via: "basic_auth", Extra: map[string]any{"role": "admin"}}, got); diff != "" {
		t.Error(diff)
	}
	for _, c := range []struct{ user, password, want string }{
		{"bob", "b:b:", "subject bob"},
		{"zoë", "pässword", "subject zoë"},
		{"alice", "open sesamE", "unauthenticated"},
		{"alice", "", "unauthenticated"},
		{"Alice", "open sesame", "unauthenticated"},
		{"alice ", "open sesame", "unauthenticated"},
		{"bob", "open sesame", "unauthenticated"},
		{"nobody", "open sesame", "unauthenticated"},
		{"", "", "unauthenticated"},
		{"bob", strings.Repeat("x", 2000), "unauthenticated"},
		{"z\xeb", "pässword", "unauthenticated"},
	} {
		if got := outcome(a.Authenticate(t.Context(), basicRequest(c.user, c.password))); got != c.want {
			t.Errorf("%q with %q: got %s, want %s", c.user, c.password, got, c.want)
		}
	}
	if got := outcome(a.Authenticate(t.Context(), bearerRequest("x"))); got != "no credentials" {
		t.Errorf("a token: got %s", got)
	}
}

func TestBrowsersAreAskedForAUserOfTheRealm(t *testing.T) {
	a := build(t, Deps{}, "basic_auth", fmt.Sprintf(`{"realm":"the \"shop\"","users":[{"username":"alice","hash":%q}]}`, bcrypted("x")))
	_, wrong := a.Authenticate(t.Context(), basicRequest("alice", "y"))
	_, malformed := a.Authenticate(t.Context(), request("https://a/", "Authorization", "Basic !"))
	for name, err := range map[string]error{"wrong": wrong, "malformed": malformed, "missing": a.(Challenger).Challenge(t.Context(), request("https://a/"))} {
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != fault.Unauthenticated || f.Challenge != `Basic realm="the \"shop\"", charset="UTF-8"` {
			t.Errorf("%s: got %+v", name, f)
		}
	}
}

func TestWhoIsTakenOutOfTheFileIsOut(t *testing.T) {
	c, alice, bob := newClock(), "alice:"+bcrypted("x")+"\n", "bob:"+bcrypted("y")+"\n"
	disk := newCredentialFile(t, alice+bob)
	var failures []string
	a := build(t, Deps{Now: c.Now, File: func(_ string, err error) {
		if err != nil {
			failures = append(failures, err.Error())
		}
	}}, "basic_auth", `{"file":"`+disk.path+`"}`)
	for _, step := range []struct{ text, alice, bob string }{
		{alice + bob, "subject alice", "subject bob"},
		{bob, "unauthenticated", "subject bob"},
		{"alice:" + bcrypted("other") + "\n" + bob, "unauthenticated", "subject bob"},
		{alice + "bob:y\n", "unauthenticated", "subject bob"}, // a bad file changes nothing
		{alice, "subject alice", "unauthenticated"},
		{"", "unauthenticated", "unauthenticated"},
	} {
		disk.write(t, step.text)
		c.Add(time.Second)
		for range 2 { // checked and remembered
			for name, want := range map[string]string{"alice x": step.alice, "bob y": step.bob} {
				user, password, _ := strings.Cut(name, " ")
				if got := outcome(a.Authenticate(t.Context(), basicRequest(user, password))); got != want {
					t.Errorf("with %q: %s got %s, want %s", step.text, user, got, want)
				}
			}
		}
	}
	if len(failures) != 1 || !strings.HasPrefix(failures[0], "line 2: the password of \"bob\" must be hashed") {
		t.Errorf("reported %q", failures)
	}
}

// Who does not exist costs a hash like who does, and always the same one.
func TestAnUnknownUserCostsTheHashOfAKnownOne(t *testing.T) {
	var users []string
	hashes := map[string]bool{}
	for i := range 4 {
		hash := bcrypted(fmt.Sprint(i))
		hashes[hash] = true
		users = append(users, fmt.Sprintf(`{"username":"u%d","hash":%q}`, i, hash))
	}
	a := build(t, Deps{}, "basic_auth", `{"users":[`+strings.Join(users, ",")+`]}`).(*basicAuth)
	used := map[string]bool{}
	for i := range 200 {
		name := fmt.Sprint("nobody", i)
		user, known := a.find(name)
		again, _ := a.find(name)
		if known || !hashes[user.hash] || user.hash != again.hash {
			t.Fatalf("%s: %v %q, then %q", name, known, user.hash, again.hash)
		}
		used[user.hash] = true
	}
	if len(used) != len(hashes) {
		t.Errorf("%d of %d hashes stand in", len(used), len(hashes))
	}
	for i := range 20 { // the password of the user who stands in opens nothing
		for p := range 4 {
			if got := outcome(a.Authenticate(t.Context(), basicRequest(fmt.Sprint("nobody", i), fmt.Sprint(p)))); got != "unauthenticated" {
				t.Fatal(got)
			}
		}
	}
	misses := 0
	counted := passwords.New(passwords.Options{OnCache: func(bool) { misses++ }})
	empty := build(t, Deps{Passwords: counted}, "basic_auth", `{"file":"`+newCredentialFile(t, "").path+`"}`)
	if got := outcome(empty.Authenticate(t.Context(), basicRequest("a", "b"))); got != "unauthenticated" || misses != 1 || passwords.Check(noUsers) != nil {
		t.Errorf("without users: got %s after %d look-ups", got, misses)
	}
}

func TestPasswordsThatCannotBeCheckedNowAreNotBad(t *testing.T) {
	v := passwords.New(passwords.Options{Parallel: 1, Waiting: 1})
	a := build(t, Deps{Passwords: v}, "basic_auth", fmt.Sprintf(`{"users":[{"username":"alice","hash":%q}]}`, passwords.Hash("x")))
	var wg sync.WaitGroup
	got := map[string]int{}
	var mu sync.Mutex
	for i := range 16 {
		wg.Go(func() {
			o := outcome(a.Authenticate(t.Context(), basicRequest("alice", fmt.Sprint(i))))
			mu.Lock()
			got[o]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if got["rate_limited"] == 0 || got["rate_limited"]+got["unauthenticated"] != 16 {
		t.Errorf("got %v", got)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	busy := build(t, Deps{Passwords: v}, "basic_auth", fmt.Sprintf(`{"users":[{"username":"alice","hash":%q}]}`, passwords.Hash("x")))
	if got := outcome(busy.Authenticate(gone, basicRequest("alice", "x"))); got != "unavailable" {
		t.Errorf("a caller that is gone: got %s", got)
	}
}

func TestABadBasicAuthConfigNamesTheFieldAndNoPassword(t *testing.T) {
	file := func(text string) string { return `{"file":"` + newCredentialFile(t, text).path + `"}` }
	for config, want := range map[string]string{
		`{}`: "users or file is required",
		`{"users":[{"username":"a","hash":"hunter2"}]}`:                           "users[0]: the password of \"a\" must be hashed",
		`{"users":[{"username":"a:b","hash":"` + bcrypted("x") + `"}]}`:           "users[0]: the user name",
		`{"users":[{"username":"","hash":"` + bcrypted("x") + `"}]}`:              "users[0]: the user name",
		`{"users":[{"username":"a","password":"hunter2"}]}`:                       "unknown field",
		`{"realm":"ä","users":[{"username":"a","hash":"` + bcrypted("x") + `"}]}`: "realm",
		`{"file":"/no/such/file"}`:                                                "file /no/such/file: no such file",
		file("alice:" + bcrypted("x") + "\nbob:hunter2\n"):                        "line 2: the password of \"bob\" must be hashed",
		file("alice:{SHA}8zqW5qfhIvKcUjKTTBFXwKDyMQI=\n"):                         "line 1: the password of \"alice\"",
		file("alice:$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00\n"):                     "line 1: the password of \"alice\"",
		file("hunter2\n"): "line 1: must be user:hash",
		file("alice:" + bcrypted("x") + "\n\nalice:" + bcrypted("y") + "\n"): "line 3: the user \"alice\" is there already",
	} {
		_, err := Catalog(Deps{}).Build("basic_auth", nil, []byte(config))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "apr1") {
			t.Errorf("%s: got %v, want it to name %s", config, err, want)
		}
	}
}

func FuzzHtpasswd(f *testing.F) {
	f.Add([]byte("a:$2y$04$abcdefghijklmnopqrstuuTQ9ELJ8MC8yzvYYjR1MNVy1D3ZNrTN2\n#\n\nb:x"))
	f.Add([]byte(":\r\n\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		users, err := parseHtpasswd(text)
		if err != nil {
			return
		}
		for _, name := range users.names {
			if strings.Contains(name, ":") || passwords.Check(users.byName[name].hash) != nil {
				t.Errorf("%q became user %q", text, name)
			}
		}
	})
}

func BenchmarkBasicAuthAgain(b *testing.B) {
	a := build(b, Deps{}, "basic_auth", fmt.Sprintf(`{"users":[{"username":"alice","hash":%q}]}`, passwords.Hash("x")))
	r := request("https://a/", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("alice:x")))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
