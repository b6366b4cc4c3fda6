// Package manage is what an operator can do: services for rules, policies,
// groups, clients, keys, sessions and tokens over the small store interfaces.
//
// Every service checks what it is given, writes, and puts the write in force on
// this node before it returns; other nodes hear of it from the revision log.
// Errors are faults: fault.Invalid with JSON pointers, fault.NotFound,
// fault.Conflict, and fault.Unavailable when a write is stored but could not be
// put in force. Package manage/api is the services over HTTP.
package manage

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/gatewarden/gatewarden/fault"
)

// Reloader puts what is stored in force on this node: it catches up with the
// revision log. It must have caught up with every write that was committed before
// the call when it returns.
type Reloader interface {
	Reload(ctx context.Context) error
}

// ReloadFunc is a function as a Reloader.
type ReloadFunc func(ctx context.Context) error

// Reload calls f.
func (f ReloadFunc) Reload(ctx context.Context) error { return f(ctx) }

// apply ends a write that succeeded.
func apply(ctx context.Context, r Reloader) error {
	if r == nil {
		return nil
	}
	return notInForce(r.Reload(ctx))
}

func notInForce(err error) error {
	return fault.Wrap(fault.Unavailable, "stored_not_in_force", "the change is stored but not in force on this node yet", err)
}

// newID returns a random UUID (RFC 9562 section 5.4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func invalid(pointer, message string) error {
	return &fault.Error{Kind: fault.Invalid, Reason: "invalid_value", Pointer: pointer, Message: message}
}
