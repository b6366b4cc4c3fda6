// Package client calls the management API. The command line is built on it.
//
// Rules, policies, groups, OAuth 2.0 clients and users are collections with the same five
// methods; what else there is has methods of its own. A refusal is an *Error with
// what the server said; a server that cannot be reached is ErrUnreachable.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/policies"
	"github.com/gatewarden/gatewarden/rules/spec"
	"github.com/gatewarden/gatewarden/users"
)

// DefaultEndpoint is where the management API listens when nothing else is said.
const DefaultEndpoint = "http://127.0.0.1:4456"

// ErrUnreachable means that there was no answer.
var ErrUnreachable = errors.New("the management API cannot be reached")

// maxAnswer bounds what is read of one answer, in bytes.
const maxAnswer = 64 << 20

// Options of New.
type Options struct {
	// Token is a bearer token of management.tokens; empty: none.
	Token string
	// HTTP makes the requests; default: a client with a timeout of 30 s. It is not
	// used for unix sockets.
	HTTP *http.Client
}

// Client calls one management API. It is safe for concurrent use.
type Client struct {
	Rules       Collection[spec.Rule]
	Policies    Collection[policies.Policy]
	Groups      Collection[policies.Group]
	Clients     Collection[oauth2.Client]
	TrustGrants Collection[oauth2.TrustGrant] // Create wants a manage.NewTrustGrant; there is no Replace
	Users       Collection[users.User]

	base  *url.URL
	token string
	http  *http.Client
}

// New returns a client of the API at endpoint: http, https, or unix:///path/of/socket;
// empty is DefaultEndpoint.
func New(endpoint string, o Options) (*Client, error) {
	if endpoint == "" {
		endpoint = DefaultEndpoint
	}
	base, err := url.Parse(strings.TrimRight(endpoint, "/"))
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w", endpoint, err)
	}
	c := &Client{base: base, token: o.Token, http: o.HTTP}
	if c.http == nil {
		c.http = &http.Client{Timeout: 30 * time.Second}
	}
	switch {
	case base.Scheme == "unix" && base.Path != "":
		socket := base.Path
		c.base = &url.URL{Scheme: "http", Host: "localhost"}
		c.http = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}}
	case (base.Scheme != "http" && base.Scheme != "https") || base.Host == "":
		return nil, fmt.Errorf("endpoint %q: must be an http, https or unix URL such as %s", endpoint, DefaultEndpoint)
	}
	c.Rules = Collection[spec.Rule]{c, "/rules"}
	c.Policies = Collection[policies.Policy]{c, "/policies"}
	c.Groups = Collection[policies.Group]{c, "/warden/groups"}
	c.Clients = Collection[oauth2.Client]{c, "/clients"}
	c.TrustGrants = Collection[oauth2.TrustGrant]{c, "/trust/grants/jwt-bearer/issuers"}
	c.Users = Collection[users.User]{c, "/users"}
	return c, nil
}

// Place is one thing that the server found wrong with a request body.
type Place struct {
	Detail  string `json:"detail"`
	Pointer string `json:"pointer"`
	Line    int    `json:"line"`
}

// Error is a refusal.
type Error struct {
	Method, URL string
	Status      int
	Reason      string // stable id; may be empty
	Message     string
	Places      []Place
}

// Error says what was asked and what was answered.
func (e *Error) Error() string {
	text := e.Message
	if text == "" {
		text = http.StatusText(e.Status)
	}
	return fmt.Sprintf("%s %s: %d: %s", e.Method, e.URL, e.Status, text)
}

// request is one call. Body is sent as JSON unless it is url.Values.
type request struct {
	method string
	path   string // escaped
	query  url.Values
	body   any
}

// do makes a request and decodes the answer into v, if v is not nil.
func (c *Client) do(ctx context.Context, q request, v any) error {
	u := strings.TrimRight(c.base.String(), "/") + q.path
	if len(q.query) > 0 {
		u += "?" + q.query.Encode()
	}
	var body io.Reader
	contentType := ""
	switch b := q.body.(type) {
	case nil:
	case url.Values:
		body, contentType = strings.NewReader(b.Encode()), "application/x-www-form-urlencoded"
	case json.RawMessage: // as it is written, so that faults name its lines
		body, contentType = bytes.NewReader(b), "application/json"
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return fmt.Errorf("%s %s: %w", q.method, u, err)
		}
		body, contentType = bytes.NewReader(text), "application/json"
	}
	r, err := http.NewRequestWithContext(ctx, q.method, u, body)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/json, application/problem+json")
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("%s %s: %w", q.method, u, ctx.Err())
		}
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s %s: read the answer: %w", q.method, u, err)
	}
	if answer.StatusCode >= 300 {
		return refusal(q.method, u, answer.StatusCode, text)
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s %s: the answer is not the management API's: %w", q.method, u, err)
	}
	return nil
}

// below appends path segments, also of ids with slashes and of dots.
func below(path string, segments ...string) string {
	for _, s := range segments {
		escaped := url.PathEscape(s)
		if s == "." || s == ".." {
			escaped = strings.ReplaceAll(s, ".", "%2E")
		}
		path += "/" + escaped
	}
	return path
}

// refusal reads any of the server's envelopes.
func refusal(method, u string, status int, text []byte) error {
	e := &Error{Method: method, URL: u, Status: status}
	var known struct {
		Detail      string          `json:"detail"`
		Reason      string          `json:"reason"`
		Errors      json.RawMessage `json:"errors"`
		Code        json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
	}
	if json.Unmarshal(text, &known) != nil {
		return e
	}
	e.Message, e.Reason = known.Detail, known.Reason
	var code string
	if json.Unmarshal(known.Code, &code) == nil {
		e.Reason, e.Message = code, known.Description
		if e.Message == "" {
			e.Message = code
		}
	}
	var failing map[string]string // of readiness
	if json.Unmarshal(known.Errors, &e.Places) != nil && json.Unmarshal(known.Errors, &failing) == nil {
		var parts []string
		for name, why := range failing {
			parts = append(parts, name+": "+why)
		}
		slices.Sort(parts)
		e.Message = strings.Join(parts, "; ")
	}
	return e
}
