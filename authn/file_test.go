package authn

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// credentialFile is a file that a test rewrites; its time is set back, so that nobody
// takes it for being written.
type credentialFile struct {
	path string
	age  time.Duration
}

func newCredentialFile(t testing.TB, text string) *credentialFile {
	f := &credentialFile{path: filepath.Join(t.TempDir(), "credentials"), age: time.Hour}
	f.write(t, text)
	return f
}

func (f *credentialFile) write(t testing.TB, text string) {
	t.Helper()
	if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f.age -= time.Minute
	at := time.Now().Add(-f.age)
	if err := os.Chtimes(f.path, at, at); err != nil {
		t.Fatal(err)
	}
}

func TestAFileIsReadAgainWithinASecondAndKeptWhenItIsBad(t *testing.T) {
	c, disk := newClock(), newCredentialFile(t, "one")
	var reports []string
	d := Deps{Now: c.Now, File: func(path string, err error) {
		if path != disk.path {
			t.Errorf("reported %s", path)
		}
		reports = append(reports, fmt.Sprint(err))
	}}
	parse := func(text []byte) (string, error) {
		if strings.Contains(string(text), "bad") {
			return "", errors.New("line 1: is bad")
		}
		return string(text), nil
	}
	f, err := openFile("file://"+disk.path, parse, d)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name  string
		do    func()
		after time.Duration
		want  string
	}{
		{"as it was", func() {}, 0, "one"},
		{"changed a moment ago", func() { disk.write(t, "two") }, lookEvery - 1, "one"},
		{"changed", func() {}, 1, "two"},
		{"the same size", func() { disk.write(t, "six") }, lookEvery, "six"},
		{"bad", func() { disk.write(t, "bad") }, lookEvery, "six"},
		{"still bad", func() {}, lookEvery, "six"},
		{"gone", func() { os.Remove(disk.path) }, lookEvery, "six"},
		{"there again", func() { disk.write(t, "six") }, lookEvery, "six"},
		{"being written", func() {
			disk.write(t, "sev")
			f.settle = 24 * time.Hour
		}, lookEvery, "six"},
		{"written", func() { f.settle = settleFor; disk.write(t, "seven") }, lookEvery, "seven"},
		{"empty", func() { disk.write(t, "") }, lookEvery, ""},
	} {
		step.do()
		c.Add(step.after)
		if got := *f.get(); got != step.want {
			t.Errorf("%s: got %q, want %q", step.name, got, step.want)
		}
	}
	want := []string{"<nil>", "<nil>", "line 1: is bad", "no such file or directory", "<nil>", "<nil>", "<nil>"}
	if diff := cmp.Diff(want, reports); diff != "" {
		t.Error(diff)
	}
}

func TestAFileThatCannotBeReadAtFirstIsAnError(t *testing.T) {
	for path, want := range map[string]string{"/no/such/file": "file /no/such/file: no such file", t.TempDir(): "is not a regular file"} {
		if _, err := openFile(path, parseHtpasswd, Deps{Now: time.Now}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
