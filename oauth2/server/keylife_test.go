package server_test

import (
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
	"github.com/gatewarden/gatewarden/store/sql"
)

// A client may have lifespans of its own that are longer than those of the server.
func TestAKeyIsPublishedUntilTheLastTokenThatItSignedEnds(t *testing.T) {
	var ids, accesses *keys.Ring
	r := start(t, func(o *server.Options) {
		st, err := sql.Open(t.Context(), sql.Options{DSN: "memory", Now: o.Now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = st.Close() })
		open := func(set string) *keys.Ring {
			ring, err := keys.OpenRing(t.Context(), keys.RingOptions{Set: set, Store: st, Algorithms: []string{"ES256"}, KeepFor: time.Hour, Now: o.Now})
			if err != nil {
				t.Fatal(err)
			}
			return ring
		}
		ids, accesses = open("id"), open("access")
		o.IDTokens, o.AccessTokens, o.IDTokenAlg, o.AccessTokenAlg, o.AccessTokenStrategy = ids, accesses, "ES256", "ES256", server.JWT
	})
	r.client(func(c *oauth2.Client) {
		c.AuthorizationCodeGrantAccess, c.AuthorizationCodeGrantID = "48h", "72h"
	})
	issued := r.tokens()
	access, id := issued.str("access_token"), issued.str("id_token")
	for _, ring := range []*keys.Ring{ids, accesses} {
		if err := ring.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	verifies := func(ring *keys.Ring, token, typ string) bool {
		_, err := ring.Verify(t.Context(), token, typ)
		return err == nil
	}
	r.wait(48*time.Hour - time.Minute)
	if !r.isActive(access) || !verifies(accesses, access, "at+jwt") {
		t.Error("the access token outlived its key")
	}
	r.wait(24 * time.Hour)
	if verifies(accesses, access, "at+jwt") || len(accesses.Public().Keys) != 1 {
		t.Error("the key of access tokens is published without end")
	}
	if !verifies(ids, id, "JWT") {
		t.Error("the ID token outlived its key")
	}
	r.wait(3 * time.Hour)
	if verifies(ids, id, "JWT") || len(ids.Public().Keys) != 1 {
		t.Error("the key of ID tokens is published without end")
	}
}
