package users

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/fault"
)

// Identity is a person's account at an OpenID provider, with which a user logs in. It
// is named by issuer and subject alone (OpenID Connect Core section 5.7): addresses
// change hands.
type Identity struct {
	Issuer  string
	Subject string
	UserID  string
	// Name is what the provider called the person when the identity was linked. It is
	// for people to read, nothing is decided by it.
	Name     string
	LinkedAt time.Time
}

// IdentityStore keeps identities. No two users share one.
type IdentityStore interface {
	// UserByIdentity returns fault.NotFound for an identity that is nobody's.
	UserByIdentity(ctx context.Context, issuer, subject string) (User, error)
	// Identities are those of a user, ordered by issuer and subject.
	Identities(ctx context.Context, userID string) ([]Identity, error)
	// LinkIdentity returns fault.NotFound without the user, and fault.Conflict when the
	// identity is linked already, to whomever.
	LinkIdentity(ctx context.Context, i Identity) error
	// CreateUserWithIdentity is CreateUser and LinkIdentity in one; on an error there is
	// neither.
	CreateUserWithIdentity(ctx context.Context, u User, i Identity) error
	// UnlinkIdentity returns fault.NotFound when the user does not have the identity, and
	// ErrLastWay when the user would have neither a password nor an identity of one of
	// the issuers afterwards. Of parallel calls for the last two one wins.
	UnlinkIdentity(ctx context.Context, i Identity, issuers []string) error
}

// ErrLastWay refuses to take away what a user could log in with at all. It is
// fault.Conflict.
var ErrLastWay error = &fault.Error{Kind: fault.Conflict, Reason: "last_way_to_log_in", Message: "the user could not log in any more"}

// Bounds of an identity, in bytes: a subject has at most 255 ASCII characters (OpenID
// Connect Core section 2).
const (
	maxIssuer  = 512
	maxSubject = 255
	maxName    = 254
)

// Check reports an identity that cannot be stored, as fault.Invalid.
func (i Identity) Check() error {
	for _, part := range []struct {
		what, text string
		limit      int
	}{{"issuer", i.Issuer, maxIssuer}, {"subject", i.Subject, maxSubject}} {
		if part.text == "" || len(part.text) > part.limit || strings.ContainsFunc(part.text, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fault.New(fault.Invalid, "invalid_identity", fmt.Sprintf("the %s of an identity has 1 to %d printable ASCII characters", part.what, part.limit))
		}
	}
	return nil
}

// IdentityName is a text of a provider as an identity keeps it.
func IdentityName(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if len(text) > maxName {
		text = strings.ToValidUTF8(text[:maxName], "")
	}
	return text
}
