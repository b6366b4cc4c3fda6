package authn

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/passwords"
)

// basicAuthConfig configures the authenticator basic_auth.
type basicAuthConfig struct {
	// Users are listed here, or in File, or in both.
	Users []basicUserConfig `json:"users"`
	// File has lines of user:hash, as htpasswd writes them. It is read again when it
	// changes.
	File string `json:"file"`
	// Realm is what browsers show.
	Realm string `json:"realm"`
	// Forward sends the Authorization field upstream.
	Forward bool `json:"forward"`
}

type basicUserConfig struct {
	// Username must not have a colon.
	Username string `json:"username"`
	// Hash is an argon2id hash in PHC string format, or one of bcrypt or PBKDF2.
	Hash string `json:"hash"`
	// Subject is the subject; empty: the user name.
	Subject string `json:"subject"`
	// Extra are attributes of the subject.
	Extra map[string]any `json:"extra"`
}

// basicAuth authenticates users by name and password (RFC 7617).
type basicAuth struct {
	listed    basicUsers
	file      *file[basicUsers] // nil: none
	pick      []byte            // key of standIn, new in every process
	challenge string
	forward   bool
	passwords *passwords.Verifier
}

// basicUsers are users by name.
type basicUsers struct {
	byName map[string]basicUser
	names  []string // in order
}

type basicUser struct {
	hash    string
	subject access.Subject
}

var (
	_ Challenger   = (*basicAuth)(nil)
	_ Withholder   = (*basicAuth)(nil)
	_ SchemeReader = (*basicAuth)(nil)
	_ access.Lease = (*basicAuth)(nil)
	_ FileReader   = (*basicAuth)(nil)
)

func newBasicAuth(c basicAuthConfig, d Deps) (Authenticator, error) {
	if c.File == "" && len(c.Users) == 0 {
		return nil, errors.New("users or file is required")
	}
	if strings.ContainsFunc(c.Realm, func(r rune) bool { return r < ' ' || r > '~' }) {
		return nil, errors.New("realm must be printable ASCII")
	}
	quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(c.Realm) + `"`
	a := &basicAuth{
		listed: basicUsers{byName: map[string]basicUser{}}, pick: make([]byte, sha256.Size), forward: c.Forward, passwords: d.Passwords,
		challenge: `Basic realm=` + quoted + `, charset="UTF-8"`,
	}
	_, _ = rand.Read(a.pick) // never fails
	for i, u := range c.Users {
		subject := u.Subject
		if subject == "" {
			subject = u.Username
		}
		if err := a.listed.add(u.Username, basicUser{u.Hash, access.Subject{ID: subject, Via: "basic_auth", Extra: u.Extra}}); err != nil {
			return nil, fmt.Errorf("users[%d]: %w", i, err)
		}
	}
	a.listed.sort()
	if c.File != "" {
		var err error
		if a.file, err = openFile(c.File, parseHtpasswd, d); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (u *basicUsers) add(name string, user basicUser) error {
	switch {
	case name == "" || strings.Contains(name, ":") || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("the user name must be UTF-8 text without colons and control characters")
	case u.byName[name].hash != "":
		return fmt.Errorf("the user %q is there already", name)
	}
	if err := passwords.Check(user.hash); err != nil {
		// Without the hash: it may be a password.
		return fmt.Errorf("the password of %q must be hashed with argon2id or bcrypt (htpasswd -B); plain text, MD5, SHA-1 and crypt are not accepted", name)
	}
	u.byName[name] = user
	return nil
}

func (u *basicUsers) sort() { u.names = slices.Sorted(maps.Keys(u.byName)) }

// parseHtpasswd reads lines of user:hash; empty ones and those that begin with # are
// left out. Errors name the line.
func parseHtpasswd(text []byte) (basicUsers, error) {
	users := basicUsers{byName: map[string]basicUser{}}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		entry := strings.TrimRight(string(line), "\r\n")
		if strings.TrimSpace(entry) == "" || strings.HasPrefix(entry, "#") {
			continue
		}
		name, hash, found := strings.Cut(entry, ":")
		if !found {
			return users, fmt.Errorf("line %d: must be user:hash", number)
		}
		if err := users.add(name, basicUser{strings.TrimSpace(hash), access.Subject{ID: name, Via: "basic_auth"}}); err != nil {
			return users, fmt.Errorf("line %d: %w", number, err)
		}
	}
	users.sort()
	return users, nil
}

// Schemes implements SchemeReader.
func (a *basicAuth) Schemes() []string { return []string{"Basic"} }

// Files implements FileReader.
func (a *basicAuth) Files() []FileState { return a.file.state() }

// WithheldHeaders implements Withholder.
func (a *basicAuth) WithheldHeaders() []string {
	if a.forward {
		return nil
	}
	return []string{"Authorization"}
}

// Challenges implements Challengeable.
func (a *basicAuth) Challenges() []string { return []string{a.challenge} }

// Challenge implements Challenger: browsers ask for a name and a password.
func (a *basicAuth) Challenge(context.Context, *access.Request) error {
	return &fault.Error{Kind: fault.Unauthenticated, Reason: "missing_credentials",
		Message: "the request carries no credentials that this rule accepts", Challenge: a.challenge}
}

// Renew implements access.Lease: a user is let in as long as the password is the same.
func (a *basicAuth) Renew(ctx context.Context, r *access.Request) (time.Time, error) {
	_, err := a.Authenticate(ctx, r)
	return time.Time{}, err
}

// Authenticate returns ErrNoCredentials when there are no Basic credentials.
func (a *basicAuth) Authenticate(ctx context.Context, r *access.Request) (access.Subject, error) {
	name, password, err := basicCredentials(r, a.challenge)
	if err != nil {
		return access.Subject{}, err
	}
	user, known := a.find(name)
	verify := a.passwords.Verify
	if !known {
		verify = a.passwords.Fail
	}
	switch err := verify(ctx, user.hash, password); {
	case err == nil:
		return user.subject, nil
	case errors.Is(err, passwords.ErrWrong):
		return access.Subject{}, badCredentials("the user is unknown or the password is wrong", a.challenge)
	default:
		return access.Subject{}, undecided("password_check_failed", "the password could not be checked", err)
	}
}

// noUsers is what is hashed for when there are no users.
const noUsers = "$argon2id$v=19$m=19456,t=2,p=1$Z2F0ZXdhcmRlbiBub25l$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// find returns a user, or for an unknown name the one whose hash is worked on instead.
// That is the same one for the same name and else any one, so that hashes of unlike
// cost do not tell who exists.
func (a *basicAuth) find(name string) (user basicUser, known bool) {
	lists := [2]*basicUsers{&a.listed, {}}
	if a.file != nil {
		lists[1] = a.file.get()
	}
	for _, users := range lists {
		if user, known = users.byName[name]; known {
			return user, true
		}
	}
	all := len(lists[0].names) + len(lists[1].names)
	if all == 0 {
		return basicUser{hash: noUsers}, false
	}
	mac := hmac.New(sha256.New, a.pick)
	mac.Write([]byte(name))
	i := int(binary.BigEndian.Uint64(mac.Sum(nil)) % uint64(all))
	for _, users := range lists {
		if i < len(users.names) {
			return users.byName[users.names[i]], false
		}
		i -= len(users.names)
	}
	return basicUser{hash: noUsers}, false
}
