package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// dialer opens a connection.
type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

// openSSH returns how to talk to git-upload-pack over SSH. The server's key must be
// in knownHosts, by default the user's own or the system's file. The library's own
// SSH transport is not used: a server that says nothing would hold it for ever.
func openSSH(u *url.URL, keyFile, knownHosts string, dial dialer) (func(context.Context) (packSession, error), error) {
	if keyFile == "" {
		return nil, errors.New("?ssh_key= must name the file of a private key")
	}
	if u.User.Username() == "" {
		return nil, errors.New("must name a user, as in git+ssh://git@HOST/REPO.git")
	}
	if _, set := u.User.Password(); set {
		return nil, errors.New("must not hold a password; use ssh_key")
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "22")
	}
	repository := u.Path
	return func(ctx context.Context) (packSession, error) {
		config, err := sshConfig(u.User.Username(), address, keyFile, knownHosts)
		if err != nil {
			return nil, err
		}
		return startSSH(ctx, dial, address, config, repository)
	}, nil
}

// sshConfig reads the files anew every time, so that keys can be replaced.
func sshConfig(user, address, keyFile, knownHosts string) (*ssh.ClientConfig, error) {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("ssh_key: %w", plain(err))
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("ssh_key: %w", err)
	}
	files := []string{knownHosts}
	if knownHosts == "" {
		files = defaultKnownHosts()
	}
	known, err := knownhosts.NewDB(files...)
	if err != nil {
		return nil, fmt.Errorf("known_hosts: %w", plain(err))
	}
	return &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: known.HostKeyCallback(), HostKeyAlgorithms: known.HostKeyAlgorithms(address),
	}, nil
}

// defaultKnownHosts are the files that ssh reads, those that exist.
func defaultKnownHosts() []string {
	var files []string
	candidates := []string{"/etc/ssh/ssh_known_hosts"}
	if home, err := os.UserHomeDir(); err == nil {
		candidates = append(candidates, filepath.Join(home, ".ssh", "known_hosts"))
	}
	for _, name := range candidates {
		if _, err := os.Stat(name); err == nil {
			files = append(files, name)
		}
	}
	return files
}

// sshSession is git-upload-pack at the other end of an SSH connection.
type sshSession struct {
	client *ssh.Client
	in     io.WriteCloser
	out    io.Reader
	asked  bool
}

func startSSH(ctx context.Context, dial dialer, address string, config *ssh.ClientConfig, repository string) (_ *sshSession, err error) {
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	c, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s := &sshSession{client: ssh.NewClient(c, channels, requests)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.client.Close())
		}
	}()
	command, err := s.client.NewSession()
	if err != nil {
		return nil, err
	}
	if s.in, err = command.StdinPipe(); err != nil {
		return nil, err
	}
	if s.out, err = command.StdoutPipe(); err != nil {
		return nil, err
	}
	return s, command.Start("git-upload-pack " + quoteShell(repository))
}

// quoteShell makes text one word of a shell, as git does (sq_quote in quote.c).
func quoteShell(text string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(text) + "'"
}

func (s *sshSession) AdvertisedReferencesContext(context.Context) (*packp.AdvRefs, error) {
	refs := packp.NewAdvRefs()
	if err := refs.Decode(s.out); err != nil {
		return nil, fmt.Errorf("the server offers no repository: %w", err)
	}
	return refs, nil
}

func (s *sshSession) UploadPack(_ context.Context, r *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	s.asked = true
	if err := r.UploadRequest.Encode(s.in); err != nil {
		return nil, err
	}
	if err := r.UploadHaves.Encode(s.in, true); err != nil {
		return nil, err
	}
	if err := pktline.NewEncoder(s.in).EncodeString("done\n"); err != nil {
		return nil, err
	}
	pack := packp.NewUploadPackResponse(r)
	return pack, pack.Decode(io.NopCloser(s.out))
}

// Close ends the conversation; a server that was asked for nothing is told so.
func (s *sshSession) Close() error {
	var err error
	if !s.asked {
		err = pktline.NewEncoder(s.in).Flush()
	}
	return errors.Join(err, s.client.Close())
}

var _ packSession = (*sshSession)(nil)
