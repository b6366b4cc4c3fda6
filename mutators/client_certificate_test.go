package mutators

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/internal/testca"
)

func TestTheUpstreamIsToldOfVerifiedCertificates(t *testing.T) {
	ca := testca.New(t, "root", time.Now())
	issued := ca.Intermediate(t, "below").Issue(t, nil)
	leaf, chain := testca.Field(issued.Leaf), testca.Field(issued.Chain[0])
	for name, c := range map[string]struct {
		config   string
		none     bool
		verified bool
		via      string
		want     http.Header
	}{
		"verified by the listener":      {`{}`, false, true, "jwt", http.Header{"Client-Cert": {leaf}}},
		"verified by the authenticator": {`{}`, false, false, "client_certificate", http.Header{"Client-Cert": {leaf}}},
		"verified by nobody":            {`{}`, false, false, "jwt", nil},
		"verified by nobody, wanted":    {`{"unverified":true}`, false, false, "jwt", http.Header{"Client-Cert": {leaf}}},
		"with the chain":                {`{"chain":true}`, false, true, "jwt", http.Header{"Client-Cert": {leaf}, "Client-Cert-Chain": {chain + ", " + testca.Field(ca.Certificate)}}},
		"no certificate":                {`{"unverified":true,"chain":true}`, true, false, "client_certificate", nil},
	} {
		in := input()
		in.Subject.Via = c.via
		in.Request.Certificate = &access.ClientCertificate{Leaf: issued.Leaf, Chain: append(issued.Chain, ca.Certificate), Verified: c.verified}
		if c.none {
			in.Request.Certificate = nil
		}
		var p access.Pass
		if err := build(t, Deps{}, "client_certificate", c.config).Mutate(t.Context(), in, &p); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(c.want, p.Set, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
