// Package authn answers who is asking: one file per authenticator, listed in catalog.go.
//
// A rule runs its authenticators in order. The first that is responsible decides:
// ErrNoCredentials hands the request to the next one, any other error ends the
// chain, and bad credentials are never ErrNoCredentials.
package authn

import (
	"context"
	"errors"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/keys"
)

// ErrNoCredentials means that the request carries nothing for this authenticator.
var ErrNoCredentials = errors.New("no credentials for this authenticator")

// Authenticator establishes the subject of a request. Errors: ErrNoCredentials,
// fault.Unauthenticated for bad credentials, fault.Invalid for ambiguous ones,
// fault.Forbidden for good credentials that do not reach (scope, audience, issuer),
// fault.Unavailable, fault.Timeout or fault.RateLimited when it could not be found
// out.
type Authenticator interface {
	Authenticate(ctx context.Context, r *access.Request) (access.Subject, error)
}

// CredentialReader is implemented by authenticators that read credentials from
// places that the operator chose. What mutators write is removed from inbound
// requests, so that a place of theirs would always be empty.
type CredentialReader interface {
	// CredentialPlaces returns the names of header fields and of cookies; none for any
	// other place.
	CredentialPlaces() (headers, cookies []string)
}

// Withholder is implemented by authenticators whose credentials are for the gateway
// alone. A rule that uses one shows its fields to no upstream and no service, but for
// an Authorization field that another of the rule's authenticators accepted.
type Withholder interface {
	// WithheldHeaders returns the names of header fields.
	WithheldHeaders() []string
}

// SchemeReader is implemented by authenticators that read the Authorization field.
type SchemeReader interface {
	// Schemes returns the schemes whose credentials they take, in any case; none when
	// they read another place.
	Schemes() []string
}

// Discloser is implemented by authenticators that show fields of the request to a
// service. They do not see what another authenticator of their rule withholds.
type Discloser interface {
	// Discloses is a mark without meaning of its own.
	Discloses()
}

// Challengeable is implemented by authenticators whose credentials WWW-Authenticate can
// ask for (RFC 9110 section 11.6.1). A request that a rule's authenticators refuse as
// fault.Unauthenticated is answered with the challenges of all of them.
type Challengeable interface {
	// Challenges returns schemes with their parameters, as fault.Error.Challenge; none
	// when the credentials are at a place that no scheme stands for. It is called once,
	// when the rule is compiled, and the result is not changed.
	Challenges() []string
}

// Challenger is implemented by authenticators that say of each request how to get
// credentials. When no authenticator of a rule was responsible, the first of them that
// is a Challenger is asked, and the request is refused with its error: a *access.Reply,
// or a fault, which gets the challenges of the others.
type Challenger interface {
	Challengeable
	Challenge(ctx context.Context, r *access.Request) error
}

// SessionOwner is implemented by authenticators that keep sessions in cookies. Such
// cookies are given to authenticators as access.Request.Cookies and to nobody else;
// an upstream can neither see nor set them.
type SessionOwner interface {
	// SessionCookies returns what the names of the cookies begin with.
	SessionCookies() []string
}

// EndpointOwner is implemented by authenticators that answer paths of their own, on
// the hosts of the rules that use them and before any rule is matched.
type EndpointOwner interface {
	// Endpoints returns what the paths are for, such as logout, by path, decoded and
	// without query. Two handlers may share a path when it is for the same.
	Endpoints() map[string]string
	// Serve answers a request for one of them: a *access.Reply, or a fault that the
	// rule's error handlers answer. It is never nil. One that is ErrNoCredentials leaves
	// the request to the next handler that has the same path on the same host.
	Serve(ctx context.Context, r *access.Request) error
}

// Introspector finds out what an access token stands for. An unknown, expired or
// revoked token is an inactive access.Token and no error; an error means that it
// could not be found out (fault.Unavailable, fault.Timeout).
type Introspector interface {
	Introspect(ctx context.Context, token string) (access.Token, error)
}

// KeySource holds the keys that tokens are verified with: a *keys.Ring for our own,
// a *keys.Remote for other issuers'.
type KeySource interface {
	// Keys returns the keys with an id; none when it is unknown. An error means that
	// it could not be found out (fault.Unavailable, fault.Timeout).
	Keys(ctx context.Context, kid string) ([]jose.JSONWebKey, error)
	// Generation changes whenever a key is added or withdrawn. It is 0 while the keys
	// must be fetched before they can be relied upon. It never waits.
	Generation() uint64
}

var (
	_ KeySource = (*keys.Ring)(nil)
	_ KeySource = (*keys.Remote)(nil)
)
