package pool

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/internal/testca"
)

func TestACertificateThatWasReplacedIsUsedAndHalfOfOneIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		o := &access.TLS{CertFile: filepath.Join(dir, "c.pem"), KeyFile: filepath.Join(dir, "k.pem")}
		ca := testca.New(t, "ca", time.Now())
		one, two := ca.Issue(t, nil), ca.Issue(t, nil)
		version := time.Now()
		write := func(name string, content []byte) {
			t.Helper()
			if err := os.WriteFile(name, content, 0o600); err != nil {
				t.Fatal(err)
			}
			version = version.Add(time.Second) // file systems may tell the time coarsely
			if err := os.Chtimes(name, version, version); err != nil {
				t.Fatal(err)
			}
		}
		s := newSecure(o)
		used := func() string {
			_, pair, err := s.files()
			switch {
			case err != nil:
				return "error"
			case pair.Leaf.Equal(one.Leaf):
				return "one"
			case pair.Leaf.Equal(two.Leaf):
				return "two"
			}
			return "another"
		}
		got := []string{used()} // no files
		write(o.CertFile, testca.PEM(one.Leaf))
		write(o.KeyFile, one.KeyPEM(t))
		got = append(got, used()) // at once: an error is not kept
		write(o.CertFile, testca.PEM(two.Leaf))
		got = append(got, used()) // looked a moment ago
		time.Sleep(rereadAfter)
		got = append(got, used()) // the key is still the other's
		write(o.KeyFile, two.KeyPEM(t))
		time.Sleep(rereadAfter)
		got = append(got, used())
		if err := os.Remove(o.KeyFile); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rereadAfter)
		got = append(got, used())
		if diff := cmp.Diff([]string{"error", "one", "one", "one", "two", "two"}, got); diff != "" {
			t.Errorf("(-want +got): %s", diff)
		}
	})
}

func TestFilesThatCannotBeUsedAreNamed(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]*access.TLS{
		"tls.ca_file: open ":                   {CAFile: filepath.Join(dir, "gone")},
		"tls.ca_file: " + empty + " holds no":  {CAFile: empty},
		"tls.ca_file: /dev/zero is not":        {CAFile: "/dev/zero"},
		"tls.cert_file, tls.key_file: /dev/ze": {CertFile: "/dev/zero", KeyFile: empty},
		"tls.cert_file, tls.key_file: open ":   {CertFile: filepath.Join(dir, "gone"), KeyFile: empty},
		"tls.cert_file, tls.key_file: tls: fa": {CertFile: empty, KeyFile: empty},
	} {
		if err := Check(&access.Route{TLS: o}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s...", err, want)
		}
	}
}
