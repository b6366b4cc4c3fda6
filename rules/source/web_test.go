package source

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// shelf is a web server with one file, of which it remembers how it was asked for.
type shelf struct {
	*httptest.Server
	mu      sync.Mutex
	text    string
	kind    string
	status  int
	tag     bool
	answers []int
	auth    string
}

func newShelf(t *testing.T, text string) *shelf {
	s := &shelf{text: text, kind: "application/yaml", tag: true}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth = r.Header.Get("Authorization")
	w.Header().Set("Content-Type", s.kind)
	status := http.StatusOK
	etag := fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(s.text)))
	if s.tag {
		w.Header().Set("ETag", etag)
	}
	switch {
	case s.status != 0:
		status = s.status
	case s.tag && r.Header.Get("If-None-Match") == etag:
		status = http.StatusNotModified
	}
	s.answers = append(s.answers, status)
	w.WriteHeader(status)
	if status == http.StatusOK {
		_, _ = w.Write([]byte(s.text))
	}
}

func (s *shelf) set(change func(s *shelf)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// web returns Options for the repository at address, asked often.
func webOptions(s *shelf, address ...string) Options {
	return Options{Repositories: address, HTTP: s.Client(), RemotePoll: 20 * time.Millisecond}
}

func TestAFileOnAWebServerIsFollowedByItsEntityTag(t *testing.T) {
	for _, tag := range []bool{true, false} {
		t.Run(fmt.Sprint("tag ", tag), func(t *testing.T) {
			s := newShelf(t, yaml("a"))
			s.tag = tag
			l := load(t, webOptions(s, s.URL+"/r.yaml"))
			run(t, l)
			eventually(t, l, true, "a")
			s.set(func(s *shelf) { s.text = yaml("b", "c") })
			eventually(t, l, true, "b", "c")
			for deadline := time.Now().Add(10 * time.Second); tag; time.Sleep(time.Millisecond) {
				s.mu.Lock()
				last := s.answers[len(s.answers)-1]
				s.mu.Unlock()
				if last == http.StatusNotModified {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("what has not changed is sent again and again")
				}
			}
			want := []SourceStatus{{Name: s.URL + "/r.yaml", OK: true, Rules: 2}}
			if tag {
				want[0].Revision = fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(yaml("b", "c"))))
			}
			if diff := cmp.Diff(want, l.Status().Sources, cmpopts.IgnoreFields(SourceStatus{}, "ReadAt")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAWebServerThatFailsKeepsItsRulesInForceAndTheProgramReady(t *testing.T) {
	s := newShelf(t, yaml("a"))
	l := load(t, webOptions(s, s.URL+"/r.yaml?signature=secret"))
	run(t, l)
	s.set(func(s *shelf) { s.status = http.StatusForbidden })
	for deadline := time.Now().Add(10 * time.Second); len(l.Status().Errors) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the failure is not reported")
		}
	}
	want := []spec.Fault{{Source: s.URL + "/r.yaml", Warning: true, Message: "answered 403 Forbidden; the rules that were last read from there stay in force"}}
	if diff := cmp.Diff(want, l.Status().Errors); diff != "" {
		t.Error(diff)
	}
	if st := l.Status(); !st.OK || st.Sources[0].OK {
		t.Errorf("%+v", st)
	}
	eventually(t, l, true, "a")
	s.set(func(s *shelf) { s.status, s.text = 0, yaml("b") })
	eventually(t, l, true, "b")
}

func TestContentThatIsBrokenOrAnotherThanPinnedIsAFault(t *testing.T) {
	s := newShelf(t, yaml("a"))
	sum := sha256.Sum256([]byte(yaml("a")))
	l := load(t, webOptions(s, fmt.Sprintf("%s/r.yaml#sha256=%x", s.URL, sum)))
	if diff := cmp.Diff([]string{"a"}, ids(l)); diff != "" {
		t.Error(diff)
	}
	s.set(func(s *shelf) { s.text = yaml("evil") })
	if err := l.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "not the one that is pinned") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]string{"a"}, ids(l)); diff != "" {
		t.Error(diff)
	}

	s.set(func(s *shelf) { s.text = yaml("a") })
	l = load(t, webOptions(s, s.URL+"/r.yaml"))
	s.set(func(s *shelf) { s.text = "- id: [" })
	for range 2 { // the second time the server answers that nothing has changed
		if err := l.Reload(t.Context()); err == nil || l.Status().OK || l.Status().Errors[0].Warning {
			t.Errorf("got %v, %+v", err, l.Status())
		}
	}
}

func TestAServerThatIsDownAtStartDoesNotStopTheOthers(t *testing.T) {
	s := newShelf(t, yaml("remote"))
	s.status = http.StatusServiceUnavailable
	file := filepath.Join(t.TempDir(), "r.yaml")
	write(t, file, yaml("file"))

	l := load(t, webOptions(s, s.URL+"/r.yaml", file))
	if st := l.Status(); st.OK || len(st.Errors) != 1 || st.Errors[0].Error() != s.URL+"/r.yaml: answered 503 Service Unavailable" {
		t.Errorf("%+v", st)
	}
	run(t, l)
	eventually(t, l, false, "file")
	s.set(func(s *shelf) { s.status = 0 })
	eventually(t, l, true, "remote", "file")
}

func TestEveryRequestCanBeRefusedUntilAllSourcesAreKnown(t *testing.T) {
	s := newShelf(t, yaml("remote"))
	s.status = http.StatusServiceUnavailable
	o := webOptions(s, s.URL+"/r.yaml")
	o.RefuseMissing = true
	l := create(t, o)
	if err := l.Load(t.Context()); err == nil {
		t.Log("the error is in the status")
	}
	u := &url.URL{Scheme: "http", Host: "h", Path: "/remote"}
	decide := func() access.Decision {
		return l.Engine.Decide(t.Context(), &access.Request{Method: "GET", URL: u, Header: http.Header{}})
	}
	if d := decide(); d.Allow || d.Reason != "rules_not_loaded" {
		t.Errorf("%+v", d)
	}
	s.set(func(s *shelf) { s.status = 0 })
	if err := l.Reload(t.Context()); err != nil || !decide().Allow {
		t.Errorf("%v %+v", err, decide())
	}
}

func TestACopyOnDiskServesAStartWithoutTheServer(t *testing.T) {
	s := newShelf(t, yaml("a"))
	o := webOptions(s, s.URL+"/r?signature=secret")
	o.CacheDir = filepath.Join(t.TempDir(), "cache")
	load(t, o)
	s.set(func(s *shelf) { s.status = http.StatusServiceUnavailable })

	l := load(t, o)
	if st := l.Status(); !st.OK || len(st.Errors) != 1 || !st.Errors[0].Warning || !st.Sources[0].ReadAt.IsZero() {
		t.Errorf("%+v", st)
	}
	if diff := cmp.Diff([]string{"a"}, ids(l)); diff != "" {
		t.Error(diff)
	}
	entries, err := os.ReadDir(o.CacheDir)
	if err != nil || len(entries) != 1 || strings.Contains(entries[0].Name(), "secret") {
		t.Fatal(entries, err)
	}
	copied := filepath.Join(o.CacheDir, entries[0].Name())
	info, err := os.Stat(copied)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}

	text, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string]string{
		"cut":     string(text[:len(text)/2]),
		"changed": strings.Replace(string(text), `"name":"`, `"name":"x`, 1),
	} {
		write(t, copied, damaged)
		l := load(t, o)
		if st := l.Status(); st.OK || len(ids(l)) != 0 || !strings.Contains(st.Errors[1].Message, "damaged") {
			t.Errorf("%s: %+v", name, st)
		}
	}
}

func TestARepositorysSecretsAreInNoErrorOrName(t *testing.T) {
	s := newShelf(t, yaml("a"))
	address := strings.Replace(s.URL, "http://", "http://user:secret@", 1) + "/r.yaml?sig=secret"
	l := load(t, webOptions(s, address))
	if s.auth == "" {
		t.Error("the credentials were not sent")
	}
	s.Close()
	err := l.Reload(t.Context())
	if text := fmt.Sprintf("%v %+v", err, l.Status()); err == nil || strings.Contains(text, "secret") {
		t.Errorf("got %s", text)
	}
}

func TestARedirectNeverLeavesEncryption(t *testing.T) {
	plain := newShelf(t, yaml("a"))
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL+"/r.yaml", http.StatusFound))
	t.Cleanup(secure.Close)
	l := create(t, Options{Repositories: []string{secure.URL + "/r.yaml"}, HTTP: secure.Client()})
	if err := errors.Join(l.Load(t.Context()), l.Reload(t.Context())); err == nil || !strings.Contains(err.Error(), "redirected from https to http") {
		t.Errorf("got %v", err)
	}
	if len(plain.answers) != 0 {
		t.Error("the redirect was followed")
	}
}

func TestWhereARedirectLeadsDoesNotLearnASignedURL(t *testing.T) {
	referers := make(chan []string, 4)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		referers <- r.Header["Referer"]
		fmt.Fprint(w, yaml("a"))
	}))
	t.Cleanup(other.Close)
	first := httptest.NewServer(http.RedirectHandler(other.URL+"/r.yaml", http.StatusFound))
	t.Cleanup(first.Close)
	l := create(t, Options{Repositories: []string{first.URL + "/r.yaml?X-Amz-Signature=secret"}, HTTP: first.Client()})
	if err := l.Load(t.Context()); err != nil || len(referers) != 1 {
		t.Fatal(err, len(referers))
	}
	if got := <-referers; got != nil {
		t.Errorf("the other server learned %q", got)
	}
}

func TestTheContentsTypeSaysWhatAFileWithoutExtensionHolds(t *testing.T) {
	for kind, text := range map[string]string{
		"application/yaml; charset=utf-8": yaml("a"), "text/plain": yaml("a"),
		"application/json": `[{"id":"a","match":{"url":"http://h/a","methods":["GET"]},"authenticators":[{"handler":"yes"}],"authorizer":{"handler":"yes"}}]`,
	} {
		s := newShelf(t, text)
		s.kind = kind
		l := load(t, webOptions(s, s.URL+"/rules"))
		if diff := cmp.Diff([]string{"a"}, ids(l)); diff != "" || !l.Status().OK {
			t.Errorf("%s: %s %+v", kind, diff, l.Status())
		}
	}
}
