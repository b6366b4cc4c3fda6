package registration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/oauth2"
)

// maxDocument is the longest document that is read, in bytes; the draft suggests five
// thousand, and keys need more.
const maxDocument = 32 << 10

// DocumentsOptions are those of NewDocuments. HTTP and Policy are required.
type DocumentsOptions struct {
	// HTTP is a client for addresses of strangers. It follows no redirect.
	HTTP   *http.Client
	Policy *Policy
	// Hosts are those of client ids: names, or *.example.org; empty: any.
	Hosts []string
	// MaxAge bounds how long a document is kept; default 1h.
	MaxAge time.Duration
	// Limit counts a fetch from a host, or refuses it. Nil: nothing is counted.
	Limit func(ctx context.Context, host string) error
	// Fetched is told how each fetch ended; an empty code is success.
	Fetched func(code string)
	Now     func() time.Time
}

// Documents are the clients whose id is the https address of their metadata
// (draft-ietf-oauth-client-id-metadata-document). Use NewDocuments.
type Documents struct {
	o    DocumentsOptions
	http *http.Client
	kept *shelf
}

// NewDocuments returns Documents that hold nothing yet.
func NewDocuments(o DocumentsOptions) *Documents {
	if o.MaxAge <= 0 {
		o.MaxAge = time.Hour
	}
	if o.Limit == nil {
		o.Limit = func(context.Context, string) error { return nil }
	}
	if o.Fetched == nil {
		o.Fetched = func(string) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	direct := *o.HTTP
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	d := &Documents{o: o, http: &direct}
	d.kept = newShelf(d.fetch, o.Now)
	return d
}

// Close ends what keeps documents.
func (d *Documents) Close() { d.kept.close() }

// Names reports whether an id is the address of a document that may be asked for. It
// asks nobody.
func (d *Documents) Names(id string) bool {
	u, ok := documentURL(id)
	return ok && (len(d.o.Hosts) == 0 || slices.ContainsFunc(d.o.Hosts, func(pattern string) bool { return below(pattern, u.Hostname()) }))
}

// documentURL parses a client id by the rules of the draft's section 3. It must be in the
// one form that it has as a URL, because ids are compared letter for letter.
func documentURL(id string) (*url.URL, bool) {
	if !strings.HasPrefix(id, "https://") || len(id) > 255 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r >= 0x7f }) || strings.ContainsAny(id, `#\`) {
		return nil, false
	}
	u, err := url.Parse(id)
	if err != nil || u.User != nil || u.Opaque != "" || u.Path == "" || u.String() != id {
		return nil, false
	}
	if host := u.Hostname(); host == "" || host != strings.ToLower(host) || strings.HasSuffix(host, ".") || strings.HasSuffix(u.Host, ":") || u.Port() == "443" {
		return nil, false
	}
	for _, segment := range strings.Split(u.EscapedPath(), "/") {
		plain, err := url.PathUnescape(segment)
		if err != nil || plain == "." || plain == ".." || strings.ContainsAny(plain, "/\\\x00") {
			return nil, false
		}
	}
	return u, true
}

// Client returns the client that a document describes. Errors are fault.NotFound, with a
// text for who wrote the document, when there is no usable one, and fault.Unavailable
// when it could not be found out.
func (d *Documents) Client(ctx context.Context, id string) (oauth2.Client, error) {
	if !d.Names(id) {
		return oauth2.Client{}, unusable("the client id is not the address of one")
	}
	return d.kept.get(ctx, id)
}

// unusable is an error about a document, for who wrote it.
func unusable(why string) error {
	return fault.New(fault.NotFound, "client_metadata_document", "There is no usable client metadata document: "+why+".")
}

// fetch asks for a document and returns how long it may be kept.
func (d *Documents) fetch(ctx context.Context, id string) (oauth2.Client, time.Duration, error) {
	c, age, err := d.ask(ctx, id)
	switch {
	case err == nil:
		d.o.Fetched("")
	case fault.Is(err, fault.NotFound):
		d.o.Fetched("unusable")
	default:
		d.o.Fetched("unavailable")
	}
	return c, age, err
}

func (d *Documents) ask(ctx context.Context, id string) (c oauth2.Client, age time.Duration, err error) {
	away := func(err error) error {
		return fault.Wrap(fault.Unavailable, "client_metadata_document_unavailable", "the client metadata document cannot be fetched", err)
	}
	u, ok := documentURL(id)
	if !ok {
		return c, 0, unusable("the client id is not the address of one")
	}
	if err := d.o.Limit(ctx, u.Hostname()); err != nil {
		return c, 0, away(err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, id, nil)
	if err != nil {
		return c, 0, unusable("the client id is not the address of one")
	}
	r.Header.Set("Accept", "application/json")
	res, err := d.http.Do(r)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err // without the address
		}
		return c, 0, away(err)
	}
	defer res.Body.Close()
	switch media, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); {
	case res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusRequestTimeout:
		return c, 0, away(fmt.Errorf("answered %d", res.StatusCode))
	case res.StatusCode != http.StatusOK:
		return c, 0, unusable("the answer has the status " + strconv.Itoa(res.StatusCode) + ", and only 200 counts")
	case err != nil || media != "application/json" && !(strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")):
		return c, 0, unusable("the answer is not application/json")
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	switch {
	case err != nil:
		return c, 0, away(err)
	case len(body) > maxDocument:
		return c, 0, unusable("it has more than 32 KiB")
	}
	c, err = d.o.Policy.document(id, body)
	return c, min(lifetime(res.Header), d.o.MaxAge), err
}

// documented are the members of settable that a document has. A certificate that is known
// by its name would need an authority that knows strangers, and nobody asks a sector
// whether a document belongs to it.
func documented(name string) bool {
	return slices.Contains(settable, name) && !strings.HasPrefix(name, "tls_client_auth_") && name != "sector_identifier_uri"
}

// document returns the client of a document. It is written for many servers, so that what
// is not open here is left out; a client needs something that is.
func (p *Policy) document(id string, body []byte) (oauth2.Client, error) {
	m, err := read(body)
	if err != nil {
		return oauth2.Client{}, unusable(told(err))
	}
	switch {
	case m.text("client_id") != id:
		return oauth2.Client{}, unusable("its client_id is not the address that it was asked for at, letter for letter")
	case m.has("client_secret") || m.has("client_secret_expires_at"):
		return oauth2.Client{}, unusable("it has a client_secret, which is none when everybody can read it")
	}
	c := m.only(documented)
	if c.TokenEndpointAuthMethod == "" {
		c.TokenEndpointAuthMethod = "none"
	}
	if c.TokenEndpointAuthMethod != "none" && c.TokenEndpointAuthMethod != "private_key_jwt" {
		return oauth2.Client{}, unusable("token_endpoint_auth_method must be none or private_key_jwt")
	}
	p.narrow(&c)
	c.ID, c.Origin, c.AuthMethodSet = id, oauth2.ByDocument, true
	// The address that vouches for the client is its sector; redirect URIs may be anybody's.
	c.SectorIdentifierURI = id
	if err := p.check(c, oauth2.Client{}); err != nil {
		return oauth2.Client{}, unusable(told(err))
	}
	if err := manage.Complete(&c, strings.Join(p.scope(), " "), p.SubjectTypes); err != nil {
		return oauth2.Client{}, unusable(told(err))
	}
	if c.SubjectType != "pairwise" {
		c.SectorIdentifierURI = ""
	}
	return c, nil
}

// narrow leaves out what is not open.
func (p *Policy) narrow(c *oauth2.Client) {
	within := func(values *[]string, allowed []string) {
		*values = slices.DeleteFunc(*values, func(v string) bool { return !slices.Contains(allowed, v) })
	}
	within(&c.Audience, p.Audience)
	if len(c.Audience) == 0 {
		c.Audience = slices.Clone(p.Audience)
	}
	within(&c.ResponseTypes, []string{"code"})
	if open := slices.DeleteFunc(slices.Clone(c.GrantTypes), func(g string) bool { return !slices.Contains(p.GrantTypes, g) }); len(open) > 0 {
		c.GrantTypes = open // else check refuses them
	}
	scopes := strings.Fields(c.Scope)
	if within(&scopes, slices.Concat(p.scope(), p.Scopes)); len(scopes) == 0 {
		scopes = p.scope()
	}
	c.Scope = strings.Join(scopes, " ")
	for _, list := range []*[]string{&c.RedirectURIs, &c.PostLogoutRedirectURIs} {
		*list = slices.DeleteFunc(*list, func(uri string) bool { return p.redirect(uri) != "" })
	}
}

// told is what is wrong with a document in one line.
func told(err error) string {
	_, text := invalidities(err)
	return text
}

// lifetime is how long an answer may be kept (RFC 9111 section 5.2.2); five minutes when
// it does not say.
func lifetime(h http.Header) time.Duration {
	age := 5 * time.Minute
	for _, directive := range strings.Split(strings.ToLower(strings.Join(h.Values("Cache-Control"), ",")), ",") {
		switch name, value, _ := strings.Cut(strings.TrimSpace(directive), "="); name {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				age = time.Duration(seconds) * time.Second
			}
		}
	}
	return age
}
