package source

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

// bareRepository is a bare repository made and changed by git itself.
type bareRepository struct {
	t          *testing.T
	root, work string
}

func newBareRepository(t *testing.T) *bareRepository {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatal("git is needed to build and test")
	}
	g := &bareRepository{t: t, root: t.TempDir(), work: t.TempDir()}
	g.git("init", "-q", "--bare", "-b", "main", g.bare())
	g.git("init", "-q", "-b", "main", g.work)
	g.git("-C", g.work, "remote", "add", "origin", g.bare())
	return g
}

func (g *bareRepository) bare() string { return filepath.Join(g.root, "rules.git") }

func (g *bareRepository) git(args ...string) string {
	g.t.Helper()
	c := exec.Command("git", args...)
	c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := c.CombinedOutput()
	if err != nil {
		g.t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// push commits files and pushes them to a branch; an empty text removes a file.
func (g *bareRepository) push(branch string, files map[string]string) (commit string) {
	g.t.Helper()
	for name, text := range files {
		path := filepath.Join(g.work, name)
		if text == "" {
			if err := os.Remove(path); err != nil {
				g.t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			g.t.Fatal(err)
		}
		write(g.t, path, text)
	}
	g.git("-C", g.work, "add", "-A")
	g.git("-C", g.work, "commit", "-q", "-m", "x")
	g.git("-C", g.work, "push", "-q", "origin", "HEAD:refs/heads/"+branch)
	return g.git("-C", g.work, "rev-parse", "HEAD")
}

// serveHTTP serves the repository with git's own http-backend over TLS.
func (g *bareRepository) serveHTTP() *httptest.Server {
	program := filepath.Join(g.git("--exec-path"), "git-http-backend")
	s := httptest.NewTLSServer(&cgi.Handler{Path: program, Env: []string{"GIT_PROJECT_ROOT=" + g.root, "GIT_HTTP_EXPORT_ALL=1"}})
	g.t.Cleanup(s.Close)
	return s
}

// serveSSH serves the repository with git-upload-pack behind an SSH server, and
// returns its address and the files of the client's key and of the known host. A
// silent server accepts connections and says nothing.
func (g *bareRepository) serveSSH(silent bool) (address, keyFile, knownHosts string) {
	t := g.t
	signer := func() (ssh.Signer, ed25519.PrivateKey) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ssh.NewSignerFromKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return s, key
	}
	host, _ := signer()
	client, key := signer()
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	keyFile, knownHosts = filepath.Join(t.TempDir(), "key"), filepath.Join(t.TempDir(), "known_hosts")
	write(t, keyFile, string(pem.EncodeToMemory(block)))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	name, port, _ := net.SplitHostPort(address)
	write(t, knownHosts, fmt.Sprintf("[%s]:%s %s", name, port, ssh.MarshalAuthorizedKey(host.PublicKey())))
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if string(k.Marshal()) != string(client.PublicKey().Marshal()) {
			return nil, fmt.Errorf("another key")
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				if silent {
					_, _ = c.Read(make([]byte, 1<<10))
					_, _ = c.Read(make([]byte, 1<<10)) // until the client gives up
					return
				}
				serveUploadPack(c, config)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return address, keyFile, knownHosts
}

// serveUploadPack runs what one SSH connection asks for.
func serveUploadPack(c net.Conn, config *ssh.ServerConfig) {
	conn, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	for offer := range channels {
		channel, asked, err := offer.Accept()
		if err != nil {
			return
		}
		for r := range asked {
			var command struct{ Text string }
			if r.Type != "exec" || ssh.Unmarshal(r.Payload, &command) != nil {
				continue
			}
			_ = r.Reply(true, nil)
			run := exec.Command("sh", "-c", command.Text)
			run.Stdin, run.Stdout = channel, channel
			_ = run.Run()
			_ = channel.Close()
			break
		}
		go ssh.DiscardRequests(asked)
	}
}

func TestABranchOfAGitRepositoryIsFollowed(t *testing.T) {
	for _, over := range []string{"file", "https", "ssh"} {
		t.Run(over, func(t *testing.T) {
			g := newBareRepository(t)
			g.push("other", map[string]string{"rules/other.yaml": yaml("other")})
			first := g.push("main", map[string]string{
				"rules/a.yaml": yaml("a"), "rules/b.yml": yaml("b"), "rules/other.yaml": "",
				"rules/README.md": "no rules", "rules/.hidden.yaml": "no rules", "rules/below/c.yaml": yaml("c"), "d.yaml": yaml("d"),
			})
			o := Options{RemotePoll: 20 * time.Millisecond}
			switch over {
			case "file":
				o.Repositories = []string{"git+file://" + g.bare() + "?ref=main&path=rules"}
			case "https":
				s := g.serveHTTP()
				o.Repositories, o.HTTP = []string{"git+" + s.URL + "/rules.git?ref=main&path=/rules/"}, s.Client()
			case "ssh":
				address, key, known := g.serveSSH(false)
				o.Repositories = []string{"git+ssh://git@" + address + g.bare() + "?ref=main&path=rules&ssh_key=" + key + "&known_hosts=" + known}
			}
			l := load(t, o)
			if diff := cmp.Diff([]string{"a", "b"}, ids(l)); diff != "" {
				t.Fatalf("%s %+v", diff, l.Status())
			}
			if s := l.Status().Sources[0]; !s.OK || s.Revision != first || s.Rules != 2 || !strings.HasSuffix(s.Name, "?ref=main&path=rules") {
				t.Errorf("%+v", s)
			}
			run(t, l)
			second := g.push("main", map[string]string{"rules/a.yaml": yaml("a2"), "rules/b.yml": ""})
			eventually(t, l, true, "a2")
			if s := l.Status().Sources[0]; s.Revision != second {
				t.Errorf("%+v, want revision %s", s, second)
			}
		})
	}
}

func TestOneFileOfAGitRepositoryCanBeNamed(t *testing.T) {
	g := newBareRepository(t)
	g.push("main", map[string]string{"rules/a.yaml": yaml("a"), "rules/b.yaml": yaml("b")})
	l := load(t, Options{Repositories: []string{"git+file://" + g.work + "?ref=refs/heads/main&path=rules/b.yaml"}})
	if diff := cmp.Diff([]string{"b"}, ids(l)); diff != "" {
		t.Error(diff)
	}
	if got := l.Engine.Set().Rules()[0].Origin.String(); !strings.HasSuffix(got, ":rules/b.yaml:2") {
		t.Error(got)
	}
}

func TestAGitRepositoryThatCannotBeReadSaysWhy(t *testing.T) {
	g := newBareRepository(t)
	g.push("main", map[string]string{"rules/a.yaml": yaml("a")})
	address, key, known := g.serveSSH(false)
	_, strange, _ := g.serveSSH(false)
	s := g.serveHTTP()
	at := "git+ssh://git@" + address + g.bare() + "?ref=main"
	for repository, want := range map[string]string{
		"git+file://" + g.bare() + "?ref=mian":                                                 "there is no branch mian",
		"git+file://" + g.bare() + "?ref=main&path=ruels":                                      "there is no ruels on the branch",
		"git+file://" + g.root + "?ref=main":                                                   "there is no git repository",
		"git+" + s.URL + "/none.git?ref=main":                                                  "repository not found",
		at + "&ssh_key=/none&known_hosts=" + known:                                             "ssh_key: no such file or directory",
		at + "&ssh_key=" + key + "&known_hosts=/none":                                          "known_hosts: no such file or directory",
		at + "&ssh_key=" + key + "&known_hosts=" + os.DevNull:                                  "key is unknown",
		at + "&ssh_key=" + strange + "&known_hosts=" + known:                                   "unable to authenticate",
		"git+ssh://git@" + address + "/none?ref=main&ssh_key=" + key + "&known_hosts=" + known: "the server offers no repository",
	} {
		l := load(t, Options{Repositories: []string{repository}, HTTP: s.Client()})
		if st := l.Status(); st.OK || !strings.Contains(st.Errors[0].Message, want) {
			t.Errorf("%s: got %+v, want %s", repository, st.Errors, want)
		}
	}
}

func TestAnSSHServerThatSaysNothingIsLeft(t *testing.T) {
	g := newBareRepository(t)
	address, key, known := g.serveSSH(true)
	repo, err := openGit("git+ssh://git@"+address+"/r?ref=main&ssh_key="+key+"&known_hosts="+known, nil, new(net.Dialer).DialContext)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := repo.read(ctx); err == nil {
		t.Error("no error")
	}
}

func TestAWordForTheShellStaysOneWord(t *testing.T) {
	for _, text := range []string{"/srv/rules.git", "/a b", "/a'; echo x; '", "/$(echo x)`echo y`", `/a\b`, "/a!b"} {
		out, err := exec.Command("sh", "-c", "printf %s "+quoteShell(text)).Output()
		if err != nil || string(out) != text {
			t.Errorf("got %q, %v, want %q", out, err, text)
		}
	}
}
