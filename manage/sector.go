package manage

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// maxSector bounds what is read from a sector_identifier_uri, in bytes.
const maxSector = 1 << 20

// Sectors asks sectors of pairwise subjects who belongs to them (OpenID Connect Core
// section 8.1): at sector_identifier_uri there is a JSON list of redirect URIs.
type Sectors struct {
	// Operators asks addresses that operators registered, Strangers all others. Their
	// dial guards say what is never reached.
	Operators, Strangers *http.Client
}

// check refuses a client whose redirect URIs are not all in its sector's list. Nobody is
// asked again about a client of which neither changed, so that a sector that is away
// hinders no other change.
func (s *Sectors) check(ctx context.Context, c, old oauth2.Client) error {
	if c.SectorIdentifierURI == "" || c.SectorIdentifierURI == old.SectorIdentifierURI && slices.Equal(c.RedirectURIs, old.RedirectURIs) {
		return nil
	}
	const pointer = "/sector_identifier_uri"
	bad := func(err error, message string) error {
		return &fault.Error{Kind: fault.Invalid, Reason: metadata, Pointer: pointer, Message: message, Err: err}
	}
	if s == nil {
		return bad(nil, "sectors cannot be asked here")
	}
	client := *s.Operators
	if c.Stranger() {
		client = *s.Strangers
	}
	// Whoever could redirect it elsewhere could have other clients join the sector.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.SectorIdentifierURI, nil)
	if err != nil {
		return bad(err, "must be an https URL")
	}
	r.Header.Set("Accept", "application/json")
	res, err := client.Do(r)
	if err != nil {
		return bad(err, "could not be fetched")
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return bad(nil, fmt.Sprintf("could not be fetched: the answer is %d", res.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxSector+1))
	if err != nil || len(body) > maxSector {
		return bad(err, "could not be read, or has more than 1 MiB")
	}
	var members []string
	if err := json.Unmarshal(body, &members); err != nil {
		return bad(err, "must lead to a JSON list of redirect URIs")
	}
	for i, uri := range c.RedirectURIs {
		if !slices.Contains(members, uri) {
			return &fault.Error{Kind: fault.Invalid, Reason: "invalid_redirect_uri", Pointer: fmt.Sprintf("/redirect_uris/%d", i), Message: "is not in the list at sector_identifier_uri"}
		}
	}
	return nil
}

// checkSubjects checks how the client knows people. Without sector_identifier_uri the
// sector of pairwise subjects is the host of all redirect URIs.
func (k *checker) checkSubjects(c oauth2.Client, types []string) {
	if !slices.Contains(types, c.SubjectType) {
		k.fail(metadata, "/subject_type", "must be one of oidc.subject_identifiers.supported_types: %v", types)
	}
	if u, err := url.Parse(c.SectorIdentifierURI); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		k.fail(metadata, "/sector_identifier_uri", "must be https: who can change the answer could join the sector")
	}
	if c.SubjectType != "pairwise" || c.SectorIdentifierURI != "" {
		return
	}
	hosts := map[string]bool{}
	for _, raw := range c.RedirectURIs {
		if u, err := url.Parse(raw); err == nil {
			hosts[u.Host] = true
		}
	}
	if len(hosts) != 1 || hosts[""] {
		k.fail(metadata, "/sector_identifier_uri", "is needed for pairwise subjects unless all redirect URIs have one host")
	}
}
