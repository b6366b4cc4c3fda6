// Package mutators says what the upstream is told about the subject: one file per mutator, listed in catalog.go.
package mutators

import (
	"context"
	"time"

	"github.com/gatewarden/gatewarden/access"
)

// Mutator adds to what goes upstream. It runs only for allowed requests. An error
// refuses the request.
type Mutator interface {
	Mutate(ctx context.Context, in access.Input, p *access.Pass) error
}

// HeaderOwner is implemented by mutators that write header fields. The gateway
// deletes these fields from every inbound request, in every spelling, on every
// route, so that no client can send them itself.
type HeaderOwner interface {
	// OwnedHeaders returns canonical header names.
	OwnedHeaders() []string
}

// CookieOwner is implemented by mutators that write cookies, which the gateway
// deletes from every inbound request in the same way.
type CookieOwner interface {
	OwnedCookies() []string
}

// Signer signs minted tokens with the gateway's current key.
type Signer interface {
	// Sign returns a compact JWS over payload. Alg is ES256, RS256 or EdDSA, typ
	// the value of the header parameter typ. The key is published until expires; zero:
	// nobody looks at the token later.
	Sign(ctx context.Context, alg, typ string, payload []byte, expires time.Time) (string, error)
	// Generation changes whenever the signing key does; it belongs in cache keys.
	Generation() uint64
}
