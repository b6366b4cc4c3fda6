package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// connection is what connect has stored: a server and the client that later commands are.
type connection struct {
	URL      string `json:"url"`       // of the management API
	TokenURL string `json:"token_url"` // of the token endpoint
	ID       string `json:"id"`
	Secret   string `json:"secret"`
	Scope    string `json:"scope"`

	remote *remote
	dir    string
}

// cachedToken is the access token of a connection.
type cachedToken struct {
	For       string    `json:"for"` // fingerprint of the connection
	Token     string    `json:"access_token"`
	ExpiresAt time.Time `json:"expires_at"`
}

// The files of a connection, which nobody but their owner may read.
const (
	connectionFile = "connection.json"
	tokenFile      = "token.json"
)

// expiryMargin is how long before its end a token is not used any more.
const expiryMargin = 30 * time.Second

// newConnect returns the command that stores how to reach a server.
func newConnect(environ []string) *cobra.Command {
	c := &cobra.Command{Use: "connect", Short: "Store a server and a client, as which later commands call the management API", Args: cobra.NoArgs}
	r := &remote{environ: environ}
	conn := connection{remote: r}
	c.Flags().StringVar(&conn.URL, "url", "", "management API")
	c.Flags().StringVar(&conn.TokenURL, "token-url", "", "token endpoint; default: /oauth2/token of --url, as in Hydra 0.x")
	c.Flags().StringVar(&conn.ID, "id", "", "client id")
	c.Flags().StringVar(&conn.Secret, "secret", "", "client secret, which other users of this machine can see meanwhile; default: asked for, or read from standard input")
	c.Flags().StringVar(&conn.Scope, "scope", "hydra", "scopes to ask for, separated by blanks")
	for _, name := range []string{"skip-tls-verify", "skip-newsletter"} {
		c.Flags().Bool(name, false, "accepted for compatibility; connect asks no server")
		_ = c.Flags().MarkHidden(name) // fails for an unknown flag only
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		dir, err := r.configDir()
		if err != nil {
			return err
		}
		if err := conn.complete(c); err != nil {
			return err
		}
		if err := writePrivate(dir, connectionFile, conn); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(dir, tokenFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		fmt.Fprintln(c.ErrOrStderr(), "Stored in "+filepath.Join(dir, connectionFile)+".")
		return nil
	}
	return c
}

// complete asks for what no flag said and checks the rest.
func (n *connection) complete(c *cobra.Command) error {
	in := bufio.NewReader(c.InOrStdin())
	for _, q := range []struct {
		name   string
		into   *string
		secret bool
	}{{"url", &n.URL, false}, {"id", &n.ID, false}, {"secret", &n.Secret, true}} {
		if *q.into != "" {
			continue
		}
		fmt.Fprintf(c.ErrOrStderr(), "%s: ", q.name)
		var err error
		if *q.into, err = answerOf(c, in, q.secret); err != nil {
			return err
		}
		if *q.into == "" {
			return usageError{fmt.Errorf("--%s is required", q.name)}
		}
	}
	n.URL = strings.TrimRight(n.URL, "/")
	if n.TokenURL == "" {
		n.TokenURL = n.URL + "/oauth2/token"
	}
	for _, flag := range [][2]string{{"url", n.URL}, {"token-url", n.TokenURL}} {
		if u, err := url.Parse(flag[1]); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			return usageError{fmt.Errorf("--%s must be an http or https URL", flag[0])}
		}
	}
	return nil
}

// answerOf reads one line, at a terminal without echo when it is secret.
func answerOf(c *cobra.Command, in *bufio.Reader, secret bool) (string, error) {
	if file, ok := c.InOrStdin().(*os.File); ok && secret && term.IsTerminal(int(file.Fd())) {
		text, err := term.ReadPassword(int(file.Fd()))
		fmt.Fprintln(c.ErrOrStderr())
		return string(text), err
	}
	line, err := in.ReadString('\n')
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return strings.TrimRight(line, "\r\n"), err
}

// configDir is the folder of a person's own configuration; an error when there is none.
func (r *remote) configDir() (string, error) {
	if dir := r.variable("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "gatewarden"), nil
	}
	if home := r.variable("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".config", "gatewarden"), nil
	}
	return "", errors.New("neither XDG_CONFIG_HOME nor HOME names a folder for the connection")
}

// connected returns what connect has stored; nil: nothing.
func (r *remote) connected() (*connection, error) {
	dir, err := r.configDir()
	if err != nil {
		return nil, nil // nothing can have been stored
	}
	n := &connection{remote: r, dir: dir}
	found, err := readPrivate(dir, connectionFile, n)
	if err != nil || !found {
		return nil, err
	}
	return n, nil
}

// fingerprint tells connections apart without holding the secret.
func (n *connection) fingerprint() string {
	h := sha256.New()
	for _, part := range []string{n.TokenURL, n.ID, n.Secret, n.Scope} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// token returns an access token of the client: the stored one while it is good, unless
// fresh is asked for.
func (n *connection) token(ctx context.Context, fresh bool) (string, error) {
	var t cachedToken
	if !fresh {
		found, err := readPrivate(n.dir, tokenFile, &t)
		if err != nil {
			return "", err
		}
		if found && t.For == n.fingerprint() && time.Now().Before(t.ExpiresAt.Add(-expiryMargin)) {
			return t.Token, nil
		}
	}
	asked := time.Now()
	body, err := (&credentials{remote: n.remote, id: n.ID, pass: n.Secret}).send(ctx, n.TokenURL, url.Values{"grant_type": {"client_credentials"}, "scope": {n.Scope}})
	if err != nil {
		return "", err
	}
	var answer struct {
		Token     string `json:"access_token"`
		ExpiresIn int64  `json:"expires_in"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Token == "" {
		return "", fmt.Errorf("%s answered no access token", n.TokenURL)
	}
	t = cachedToken{For: n.fingerprint(), Token: answer.Token, ExpiresAt: asked.Add(time.Duration(answer.ExpiresIn) * time.Second)}
	return t.Token, writePrivate(n.dir, tokenFile, t)
}

// tokenError is why there is no token for the connection.
type tokenError struct{ err error }

func (e tokenError) Error() string { return e.err.Error() }
func (e tokenError) Unwrap() error { return e.err }

// withToken sends requests with the token of a connection, and once more with a new one
// when the server knows the stored one no longer.
type withToken struct {
	connection *connection
	next       http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (w withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	for _, fresh := range []bool{false, true} {
		token, err := w.connection.token(r.Context(), fresh)
		if err != nil {
			return nil, tokenError{err}
		}
		one := r.Clone(r.Context())
		one.Header.Set("Authorization", "Bearer "+token)
		if r.GetBody != nil {
			if one.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
		res, err := w.next.RoundTrip(one)
		if err != nil || res.StatusCode != http.StatusUnauthorized || fresh || r.Body != nil && r.GetBody == nil {
			return res, err
		}
		_ = res.Body.Close()
	}
	return nil, nil // the second attempt has returned
}

// readPrivate reads a file as JSON; one that others may read is an error.
func readPrivate(dir, name string, v any) (found bool, err error) {
	path := filepath.Join(dir, name)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return false, fmt.Errorf("%s may be read by others; chmod 600 it, or connect again", path)
	}
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w; connect again", path, err)
	}
	return true, nil
}

// writePrivate writes a file that nobody else may read, in one step.
func writePrivate(dir, name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, name) // for its owner alone
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
