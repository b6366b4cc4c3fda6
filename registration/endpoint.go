package registration

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/oauth2"
)

// Path is the endpoint's, below the issuer; a client's own is below it.
const Path = "/oauth2/register"

// maxBody is the most that a request body may have, in bytes.
const maxBody = 64 << 10

// Options of New. Issuer, Clients, Policy and VerifySecret are required.
type Options struct {
	Issuer     string
	Clients    *manage.Registrations
	Policy     *Policy
	Statements Statements
	// InitialTokens are SHA-256 hashes of the tokens of which one must be shown to
	// register (RFC 7591 section 1.2); empty: anybody may.
	InitialTokens [][sha256.Size]byte
	// Limit counts a request before anything else is done for it and returns fields for
	// the answer, or fault.RateLimited. Nil: nothing is counted.
	Limit func(r *http.Request) (http.Header, error)
	// VerifySecret is fault.Unauthenticated for a secret of which none of the hashes was
	// made.
	VerifySecret func(ctx context.Context, hashes []string, plain string) error
	// Done is told of every answer; an empty code is success.
	Done func(code string)
	Log  *slog.Logger
	Now  func() time.Time
}

// Endpoint is dynamic client registration.
type Endpoint struct {
	o    Options
	base string
}

// New returns the endpoint.
func New(o Options) *Endpoint {
	if o.Limit == nil {
		o.Limit = func(*http.Request) (http.Header, error) { return nil, nil }
	}
	if o.Done == nil {
		o.Done = func(string) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Endpoint{o: o, base: strings.TrimSuffix(o.Issuer, "/") + Path}
}

// Handles reports whether a path is the endpoint's.
func Handles(path string) bool { return path == Path || strings.HasPrefix(path, Path+"/") }

// answered is a client as it is told of itself, in Hydra's JSON (RFC 7591 section 3.2.1)
// but for members that say nothing: libraries take an empty text for a bad address, and
// an algorithm none for a signature that they have to expect.
type answered struct {
	oauth2.Client
	Name        string `json:"client_name,omitempty"`
	Owner       string `json:"owner,omitempty"`
	ClientURI   string `json:"client_uri,omitempty"`
	LogoURI     string `json:"logo_uri,omitempty"`
	PolicyURI   string `json:"policy_uri,omitempty"`
	TermsURI    string `json:"tos_uri,omitempty"`
	UserinfoAlg string `json:"userinfo_signed_response_alg,omitempty"`

	IssuedAt  int64  `json:"client_id_issued_at"`
	Token     string `json:"registration_access_token"`
	URI       string `json:"registration_client_uri"`
	Statement string `json:"software_statement,omitempty"`
}

func (e *Endpoint) answer(c oauth2.Client, token string) answered {
	c.Metadata, c.Origin = nil, oauth2.ByOperator // what operators keep for themselves, and the owner
	alg := c.UserinfoAlg
	if alg == "none" {
		alg = ""
	}
	return answered{Client: c, Name: c.Name, ClientURI: c.ClientURI, LogoURI: c.LogoURI, PolicyURI: c.PolicyURI, TermsURI: c.TermsOfServiceURI, UserinfoAlg: alg, IssuedAt: c.CreatedAt.Unix(), Token: token, URI: e.base + "/" + url.PathEscape(c.ID)}
}

// ServeHTTP serves the endpoint and those of single clients.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	counted, err := e.o.Limit(r)
	for name, values := range counted {
		h[name] = values
	}
	if err == nil {
		err = e.serve(w, r)
	}
	if err != nil {
		e.fail(w, r, err)
		return
	}
	e.o.Done("")
}

func (e *Endpoint) serve(w http.ResponseWriter, r *http.Request) error {
	rest, one := strings.CutPrefix(r.URL.EscapedPath(), Path+"/")
	id, err := url.PathUnescape(rest)
	switch {
	case one && (err != nil || id == "" || strings.Contains(rest, "/")):
		return errNowhere
	case !one && r.Method == http.MethodPost:
		return e.register(w, r)
	case one && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		return e.get(w, r, id)
	case one && r.Method == http.MethodPut:
		return e.replace(w, r, id)
	case one && r.Method == http.MethodDelete:
		return e.remove(w, r, id)
	}
	w.Header().Set("Allow", map[bool]string{false: "POST", true: "GET, HEAD, PUT, DELETE"}[one])
	return errMethod
}

// register is RFC 7591 section 3.
func (e *Endpoint) register(w http.ResponseWriter, r *http.Request) error {
	if err := e.initial(r); err != nil {
		return err
	}
	m, err := body(w, r)
	if err != nil {
		return err
	}
	for _, name := range []string{"client_id", "client_secret"} {
		if m.has(name) && m.text(name) != "" {
			return invalid("/"+name, "cannot be chosen")
		}
	}
	if err := e.o.Statements.apply(r.Context(), m, e.o.Now()); err != nil {
		return err
	}
	c, err := e.o.Policy.client(m, oauth2.Client{})
	if err != nil {
		return err
	}
	c, token, err := e.o.Clients.Create(r.Context(), c)
	if err != nil {
		return err
	}
	e.o.Log.InfoContext(r.Context(), "a client registered itself", "client", c.ID)
	a := e.answer(c, token)
	if m.has("software_statement") {
		a.Statement = m.text("software_statement")
	}
	w.Header().Set("Location", a.URI)
	return write(w, http.StatusCreated, a)
}

// get is RFC 7592 section 2.1. The token stays the one that was shown.
func (e *Endpoint) get(w http.ResponseWriter, r *http.Request, id string) error {
	token, err := bearer(r)
	if err != nil {
		return err
	}
	c, err := e.o.Clients.Get(r.Context(), id, token)
	if err != nil {
		return err
	}
	return write(w, http.StatusOK, e.answer(c, token))
}

// replace is RFC 7592 section 2.2, with a new token as Hydra has it.
func (e *Endpoint) replace(w http.ResponseWriter, r *http.Request, id string) error {
	token, err := bearer(r)
	if err != nil {
		return err
	}
	// Who has no right to it is not told what would be wrong with the body.
	if _, err := e.o.Clients.Get(r.Context(), id, token); err != nil {
		return err
	}
	m, err := body(w, r)
	if err != nil {
		return err
	}
	if !m.has("client_id") || m.text("client_id") != id {
		return invalid("/client_id", "must be the client's own (RFC 7592 section 2.2)")
	}
	if err := e.o.Statements.apply(r.Context(), m, e.o.Now()); err != nil {
		return err
	}
	c, next, err := e.o.Clients.Replace(r.Context(), id, token, func(current oauth2.Client) (oauth2.Client, error) {
		if err := e.ownSecret(r.Context(), m, current); err != nil {
			return current, err
		}
		return e.o.Policy.client(m, current)
	})
	if err != nil {
		return err
	}
	return write(w, http.StatusOK, e.answer(c, next))
}

// ownSecret lets a client send the secret that it has and no other.
func (e *Endpoint) ownSecret(ctx context.Context, m *metadata, current oauth2.Client) error {
	secret := m.text("client_secret")
	if !m.has("client_secret") || secret == "" {
		return nil
	}
	other := invalid("/client_secret", "cannot be chosen")
	if current.SecretHash == "" {
		return other
	}
	err := e.o.VerifySecret(ctx, []string{current.SecretHash}, secret)
	if fault.Is(err, fault.Unauthenticated) {
		return other
	}
	return err
}

// remove is RFC 7592 section 2.3.
func (e *Endpoint) remove(w http.ResponseWriter, r *http.Request, id string) error {
	token, err := bearer(r)
	if err != nil {
		return err
	}
	if err := e.o.Clients.Delete(r.Context(), id, token); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// initial wants one of the initial access tokens, if there are any.
func (e *Endpoint) initial(r *http.Request) error {
	if len(e.o.InitialTokens) == 0 {
		return nil
	}
	token, err := bearer(r)
	if err != nil {
		return err
	}
	sum, found := sha256.Sum256([]byte(token)), 0
	for _, hash := range e.o.InitialTokens {
		found |= subtle.ConstantTimeCompare(sum[:], hash[:])
	}
	if found == 0 {
		return fault.New(fault.Unauthenticated, "invalid_token", "the initial access token is not one of this server")
	}
	return nil
}

// bearer returns the token of a request (RFC 6750 section 2.1).
func bearer(r *http.Request) (string, error) {
	header := r.Header.Values("Authorization")
	if len(header) == 1 {
		if scheme, token, ok := strings.Cut(header[0], " "); ok && strings.EqualFold(scheme, "Bearer") && strings.TrimSpace(token) != "" {
			return strings.TrimSpace(token), nil
		}
	}
	return "", fault.New(fault.Unauthenticated, "", "a bearer token is needed")
}

// body reads the metadata of a request.
func body(w http.ResponseWriter, r *http.Request) (*metadata, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, errMedia
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, fault.New(fault.TooLarge, "body_too_large", "the body has more than 64 KiB")
	case err != nil:
		return nil, fault.Wrap(fault.Invalid, "incomplete_body", "the body could not be read", err)
	}
	return read(raw)
}
