package source

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/authn"
	"github.com/gatewarden/gatewarden/authz"
	"github.com/gatewarden/gatewarden/errorhandlers"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/rules"
	"github.com/gatewarden/gatewarden/rules/spec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type yes struct{}

func (yes) Authenticate(context.Context, *access.Request) (access.Subject, error) {
	return access.Subject{ID: "someone"}, nil
}
func (yes) Authorize(context.Context, access.Input) (access.Verdict, error) {
	return access.Verdict{Allow: true}, nil
}
func (yes) Refuse(*access.Request, error) access.Response { return access.Response{Status: 404} }

func compiler() *rules.Compiler {
	none := func() struct{} { return struct{}{} }
	on := map[string]rules.Settings{"yes": {Enabled: true}}
	return &rules.Compiler{
		Authenticators: rules.Stage[authn.Authenticator]{Settings: on, Catalog: handler.Catalog[authn.Authenticator]{
			"yes": handler.Of(none, func(struct{}) (authn.Authenticator, error) { return yes{}, nil })}},
		Authorizers: rules.Stage[authz.Authorizer]{Settings: on, Catalog: handler.Catalog[authz.Authorizer]{
			"yes": handler.Of(none, func(struct{}) (authz.Authorizer, error) { return yes{}, nil })}},
		ErrorHandlers: rules.Stage[errorhandlers.Handler]{Catalog: handler.Catalog[errorhandlers.Handler]{
			"json": handler.Of(none, func(struct{}) (errorhandlers.Handler, error) { return yes{}, nil })}},
	}
}

// yaml returns rules with the ids, each for http://h/<id>.
func yaml(ids ...string) string {
	var b strings.Builder
	b.WriteString("# rules\n")
	for _, id := range ids {
		fmt.Fprintf(&b, "- {id: %s, match: {url: 'http://h/%[1]s', methods: [GET]}, authenticators: [{handler: yes}], authorizer: {handler: yes}}\n", id)
	}
	if len(ids) == 0 {
		return "[]"
	}
	return b.String()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// load returns a Loader whose first load went well.
func load(t *testing.T, o Options) *Loader {
	t.Helper()
	l := create(t, o)
	if err := l.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

func create(t *testing.T, o Options) *Loader {
	t.Helper()
	o.Compiler, o.Engine = compiler(), &rules.Engine{}
	if o.Poll == 0 {
		o.Poll = 20 * time.Millisecond
	}
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// run runs l until the test ends.
func run(t *testing.T, l *Loader) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { l.Run(ctx) })
	t.Cleanup(func() { stop(); wg.Wait() })
}

// ids returns the ids of the rules in force; a refused one has a ! in front.
func ids(l *Loader) []string {
	var out []string
	for _, r := range l.Engine.Set().Rules() {
		if len(r.Faults) > 0 {
			r.ID = "!" + r.ID
		}
		out = append(out, r.ID)
	}
	return out
}

func eventually(t *testing.T, l *Loader, ok bool, want ...string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !slices.Equal(ids(l), want) || l.Status().OK != ok {
		if time.Now().After(deadline) {
			t.Fatalf("rules in force %q, status %+v, want %q, ok %v", ids(l), l.Status(), want, ok)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func TestRepositoriesAreReadInTheirOrder(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "folder")
	if err := os.MkdirAll(filepath.Join(folder, "sub.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "with space.yaml"), yaml("file"))
	write(t, filepath.Join(folder, "2.yml"), yaml("two"))
	write(t, filepath.Join(folder, "1.json"), `{"id":"one","match":{"url":"http://h/one","methods":["GET"]},"authenticators":[{"handler":"yes"}],"authorizer":{"handler":"yes"}}`)
	write(t, filepath.Join(folder, ".hidden.yaml"), yaml("hidden"))
	write(t, filepath.Join(folder, "README.md"), "no rules")
	l := load(t, Options{Repositories: []string{
		"inline://" + base64.StdEncoding.EncodeToString([]byte(yaml("inline"))),
		"inline://" + base64.RawURLEncoding.EncodeToString([]byte(yaml("raw"))),
		"file://" + folder,
		"file://" + strings.ReplaceAll(dir, " ", "%20") + "/with%20space.yaml",
		filepath.Join(dir, "folder", "2.yml"),
	}})
	if diff := cmp.Diff([]string{"inline", "raw", "one", "two", "file", "!two"}, ids(l)); diff != "" {
		t.Error(diff)
	}
	want := []spec.Origin{{Source: "inline:#1", Line: 2}, {Source: "inline:#2", Line: 2}, {Source: filepath.Join(folder, "1.json"), Line: 1}}
	for i, o := range want {
		if got := l.Engine.Set().Rules()[i].Origin; got != o {
			t.Errorf("got %v, want %v", got, o)
		}
	}
}

func TestAMemberThatIsNoSourceIsNamed(t *testing.T) {
	for member, want := range map[string]string{
		"":                               "access_rules.repositories[0]: is empty",
		"file://":                        "access_rules.repositories[0]: names no file",
		"inline://!":                     "access_rules.repositories[0]: inline:// is not followed by valid base64",
		"ftp://u:secret@h/r.json?t=se":   "access_rules.repositories[0]: ftp://h/r.json: scheme ftp:// is not supported; known are file, inline, http, https, s3, gs, azblob, git+https, git+ssh and git+file",
		"https:///r.json":                "access_rules.repositories[0]: is not an absolute URL",
		"https://u:secret@h/r#sha256=12": "access_rules.repositories[0]: https://h/r: the fragment must be sha256= and 64 hexadecimal digits",
		"git+https://u:secret@h/r.git":   "access_rules.repositories[0]: git+https://h/r.git: ?ref= must name the branch",
		"git+https://h/r?ref=m&brunch=x": "access_rules.repositories[0]: git+https://h/r: unknown option brunch; known are ref, path, ssh_key and known_hosts",
		"git+ssh://git@h/r?ref=m":        "access_rules.repositories[0]: git+ssh://h/r: ?ssh_key= must name the file of a private key",
		"git+ssh://h/r?ref=m&ssh_key=k":  "access_rules.repositories[0]: git+ssh://h/r: must name a user, as in git+ssh://git@HOST/REPO.git",
		"git+file:///r?ref=a..b":         "access_rules.repositories[0]: git+file:///r: ref: invalid reference name",
	} {
		if _, err := New(Options{Repositories: []string{member}, HTTP: http.DefaultClient}); err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

func TestAnUnreadableSourceAtStartIsAnErrorAndNothingIsInForce(t *testing.T) {
	dir := t.TempDir()
	good, bad, missing := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml"), filepath.Join(dir, "missing.yaml")
	write(t, good, yaml("a"))
	write(t, bad, "- id: [\n")
	l := create(t, Options{Repositories: []string{good, bad, missing}})
	err := l.Load(t.Context())
	want := fmt.Sprintf("access_rules.repositories: %s:1: did not find expected node content\naccess_rules.repositories: %s: no such file or directory", bad, missing)
	if err == nil || err.Error() != want || l.Engine.Set() != nil {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if err := l.Reload(t.Context()); err == nil || l.Engine.Set() != nil || l.Status().OK {
		t.Errorf("a reload put a part in force: %v", err)
	}
	write(t, bad, yaml("b"))
	write(t, missing, "[]")
	if err := l.Reload(t.Context()); err != nil || !slices.Equal(ids(l), []string{"a", "b"}) {
		t.Error(err, ids(l))
	}
}

func TestAFaultInOneRuleDoesNotPreventTheStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.yaml")
	write(t, file, yaml("a", "b")+"- {id: c, matsch: {}}\n")
	var log bytes.Buffer
	var calls []string
	l := load(t, Options{Repositories: []string{file}, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Reloaded: func(ok bool, version uint64, active, refused int) {
			calls = append(calls, fmt.Sprint(ok, version, active, refused))
		}})
	s := l.Status()
	if s.OK || s.Version != 1 || s.Active != 2 || s.Refused != 1 || time.Since(s.LoadedAt) > time.Minute ||
		s.Errors[0].Error() != file+`:4: rule "c": /matsch: unknown field, did you mean "match"` {
		t.Errorf("%+v", s)
	}
	if diff := cmp.Diff([]string{"false 1 2 1"}, calls); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(log.String(), "place="+file+":4") || !strings.Contains(log.String(), "active=2 refused=1") {
		t.Error(log.String())
	}
	if err := l.Reload(t.Context()); err != nil || len(calls) != 1 || l.Status().Version != 1 {
		t.Errorf("a reload without a change: %v, %v, version %d", err, calls, l.Status().Version)
	}
}

func TestChangedFilesComeIntoForce(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, file string){
		"rewritten in place": func(t *testing.T, file string) { write(t, file, yaml("b")) },
		"replaced": func(t *testing.T, file string) {
			write(t, file+".tmp", yaml("b"))
			if err := os.Rename(file+".tmp", file); err != nil {
				t.Fatal(err)
			}
		},
		"removed and written anew": func(t *testing.T, file string) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			write(t, file, yaml("b"))
		},
		"folder removed and made anew": func(t *testing.T, file string) {
			if err := os.RemoveAll(filepath.Dir(file)); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, file, yaml("b"))
		},
	} {
		for _, repository := range []string{"file", "folder"} {
			t.Run(name+" "+repository, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "d")
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				file := filepath.Join(dir, "r.yaml")
				write(t, file, yaml("a"))
				path := file
				if repository == "folder" {
					path = dir
				}
				l := load(t, Options{Repositories: []string{path}, Reread: 500 * time.Millisecond})
				run(t, l)
				change(t, file)
				eventually(t, l, true, "b")
			})
		}
	}
}

func TestAConfigMapUpdateComesIntoForce(t *testing.T) {
	dir := t.TempDir()
	version := func(n, text string) {
		if err := os.Mkdir(filepath.Join(dir, n), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, n, "r.yaml"), text)
	}
	link := func(to, name string) {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	version("..1", yaml("a"))
	link("..1", "..data")
	link("..data/r.yaml", "r.yaml")
	for _, path := range []string{dir, filepath.Join(dir, "r.yaml")} {
		l := load(t, Options{Repositories: []string{path}, Reread: time.Hour})
		run(t, l)
		eventually(t, l, true, "a")
		next := fmt.Sprintf("..%d", time.Now().UnixNano())
		version(next, yaml("b"))
		link(next, "..tmp")
		if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		eventually(t, l, true, "b")
		link("..1", "..tmp")
		if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		eventually(t, l, true, "a")
	}
}

func TestFilesOfAFolderComeAndGo(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), yaml("a"))
	l := load(t, Options{Repositories: []string{"file://" + dir}, Reread: time.Hour})
	run(t, l)
	write(t, filepath.Join(dir, "b.yaml"), yaml("b"))
	eventually(t, l, true, "a", "b")
	if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	eventually(t, l, true, "b")
	write(t, filepath.Join(dir, "c.yaml"), yaml("b"))
	eventually(t, l, false, "b", "!b")
}

func TestABrokenFileKeepsItsLastRulesAndIsReported(t *testing.T) {
	for name, text := range map[string]string{"half JSON": `[{"id":`, "truncated": "", "no list": "42", "deleted": "-"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			one, two := filepath.Join(dir, "1.yaml"), filepath.Join(dir, "2.yaml")
			write(t, one, yaml("a"))
			write(t, two, yaml("b"))
			l := load(t, Options{Repositories: []string{one, two}})
			run(t, l)
			if text == "-" {
				if err := os.Remove(one); err != nil {
					t.Fatal(err)
				}
			} else {
				write(t, one, text)
			}
			eventually(t, l, false, "a", "b")
			if s := l.Status(); len(s.Errors) != 1 || s.Errors[0].Source != one || s.Version != 1 || s.Active != 2 {
				t.Errorf("%+v", s)
			}
			if err := l.Reload(t.Context()); err == nil {
				t.Error("a reload of a broken file is no error")
			}
			write(t, two, yaml("c")) // other sources go on
			eventually(t, l, false, "a", "c")
			write(t, one, yaml("d"))
			eventually(t, l, true, "d", "c")
		})
	}
}

func TestAFileIsNeverSeenHalfWritten(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("who has a file open is known on Linux only")
	}
	file := filepath.Join(t.TempDir(), "r.yaml")
	write(t, file, yaml("a", "b"))
	l := load(t, Options{Repositories: []string{file}})
	run(t, l)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(yaml("c")); err != nil { // valid, and not yet all
		t.Fatal(err)
	}
	if data, err := readSettled(t.Context(), file); err == nil {
		t.Errorf("a file that is open for writing was read: %s", data)
	}
	if diff := cmp.Diff([]string{"a", "b"}, ids(l)); diff != "" {
		t.Errorf("half a file came into force: %s", diff)
	}
	if _, err := f.WriteString(strings.TrimPrefix(yaml("d"), "# rules\n")); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, l, true, "c", "d")
}

// memory is a spec.Store.
type memory struct {
	spec.Store // what is not needed here panics
	mu         sync.Mutex
	rules      []spec.Stored
	revision   int64
	down       error
}

func (m *memory) put(ids ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	decoded, err := spec.Decode("x", []byte(yaml(ids...)))
	if err != nil {
		panic(err)
	}
	m.rules = nil
	m.revision++
	for _, r := range decoded {
		m.rules = append(m.rules, spec.Stored{Rule: r, ETag: fmt.Sprint(m.revision)})
	}
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = err
}

func (m *memory) Rules(_ context.Context, limit, offset int) ([]spec.Stored, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rules[min(offset, len(m.rules)):min(offset+limit, len(m.rules))], m.down
}

func TestStoredRulesAreInForceWhenReloadStoredReturns(t *testing.T) {
	store := &memory{}
	file := filepath.Join(t.TempDir(), "r.yaml")
	write(t, file, yaml("file"))
	l := load(t, Options{Store: store, Repositories: []string{file}})
	store.put("a", "b", "c", "d", "e")
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the client is gone, the write is not
	if err := l.ReloadStored(ctx); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"file", "a", "b", "c", "d", "e"}, ids(l)); diff != "" {
		t.Error(diff)
	}
	u := &url.URL{Scheme: "http", Host: "h", Path: "/e"}
	if d := l.Engine.Decide(t.Context(), &access.Request{Method: "GET", URL: u, Header: http.Header{}}); !d.Allow || d.RuleID != "e" {
		t.Errorf("%+v", d)
	}
	if got := l.Engine.Set().Rules()[5].Origin.String(); got != "database" {
		t.Error(got)
	}
}

func TestStoredRulesDoNotWaitForAFileThatIsBeingWritten(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("who has a file open is known on Linux only")
	}
	store := &memory{}
	file := filepath.Join(t.TempDir(), "r.yaml")
	write(t, file, yaml("file"))
	l := load(t, Options{Store: store, Repositories: []string{file}})
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- l.Reload(context.Background()) }()
	for l.sources[0].reading.TryLock() { // until the reload has begun
		l.sources[0].reading.Unlock()
		runtime.Gosched()
	}
	store.put("a")
	if err := l.ReloadStored(t.Context()); err != nil || !slices.Equal(ids(l), []string{"file", "a"}) {
		t.Error(err, ids(l))
	}
	select {
	case err := <-done:
		t.Errorf("the reload of the file ended first: %v", err)
	default:
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestStoredRulesStayInForceWhileTheDatabaseIsDown(t *testing.T) {
	store := &memory{}
	store.put("a")
	l := load(t, Options{Store: store})
	store.put("b", "c")
	store.fail(errors.New("connection refused"))
	if err := l.ReloadStored(t.Context()); err == nil {
		t.Error("no error though the database is down")
	}
	if s := l.Status(); s.OK || s.Errors[0].Error() != "database: connection refused" || !slices.Equal(ids(l), []string{"a"}) {
		t.Errorf("%+v %v", s, ids(l))
	}
	store.fail(nil)
	if err := l.ReloadStored(t.Context()); err != nil || !l.Status().OK || !slices.Equal(ids(l), []string{"b", "c"}) {
		t.Errorf("%v %v", err, ids(l))
	}
}

func TestADatabaseThatIsDownAtStartIsAnError(t *testing.T) {
	store := &memory{down: errors.New("connection refused")}
	l := create(t, Options{Store: store})
	if err := l.Load(t.Context()); err == nil || err.Error() != "database: connection refused" || l.Engine.Set() != nil {
		t.Error(err)
	}
}

func TestACompilerThatIsWrongKeepsTheSet(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.yaml")
	write(t, file, yaml("a"))
	l := load(t, Options{Repositories: []string{file}})
	l.Compiler.Upstream = "nonsense"
	write(t, file, yaml("b"))
	if err := l.Reload(t.Context()); err == nil || l.Status().OK || !slices.Equal(ids(l), []string{"a"}) {
		t.Errorf("%v %+v", err, l.Status())
	}
}
