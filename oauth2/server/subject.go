package server

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/oauth2"
)

// Subjects says how clients know people (OpenID Connect Core section 8).
type Subjects struct {
	// Types are those that clients may register: public, pairwise; default public.
	Types []string
	// PairwiseSalt is a secret that keeps clients from finding out whom a pairwise subject
	// is; required for clients with pairwise subjects, which get no tokens without it.
	PairwiseSalt string
}

// subjectFor returns the subject by which a client knows a person: their own, or one that
// only the client's sector has (OpenID Connect Core section 8.1). It is computed as Hydra
// does, so that people who come from there are the same ones for their clients: the
// sector is the whole sector_identifier_uri where there is one, not its host alone.
func (s *Server) subjectFor(c *client, subject string) (string, error) {
	if c == nil || c.SubjectType != "pairwise" {
		return subject, nil
	}
	if s.o.Subjects.PairwiseSalt == "" {
		return "", fosite.ErrServerError.WithDebug("client " + c.ID + " has pairwise subjects, and oidc.subject_identifiers.pairwise.salt is not set")
	}
	sector := c.SectorIdentifierURI
	if sector == "" && len(c.RedirectURIs) > 0 {
		if u, err := url.Parse(c.RedirectURIs[0]); err == nil { // all have one host: manage has seen to it
			sector = u.Host
		}
	}
	if sector == "" {
		return "", fosite.ErrServerError.WithDebug("client " + c.ID + " has pairwise subjects and no sector")
	}
	sum := sha256.Sum256([]byte(sector + subject + s.o.Subjects.PairwiseSalt))
	return hex.EncodeToString(sum[:]), nil
}

// clientSubject is subjectFor with the login app's own choice, which counts for pairwise
// clients alone, as in Hydra. It is empty when the client knows the person as everybody does.
func (s *Server) clientSubject(c *client, subject, forced string) (string, error) {
	if c == nil || c.SubjectType != "pairwise" {
		return "", nil
	}
	if forced != "" {
		return forced, nil
	}
	return s.subjectFor(c, subject)
}

// hinted reports whether id_token_hint, if there is one, is about the person: it has the
// subject by which the client knows them, or is of the browser's very session and issued
// to the client. What the hint says is believed of the client's own sector only, or two
// clients could find out together whether they know the same person.
func (s *Server) hinted(c *client, d *flowData, subject, forced string) (bool, error) {
	if d.HintSubject == "" {
		return true, nil
	}
	if d.Session != nil && d.Session.Subject == subject && d.HintSession != "" && d.HintSession == d.Session.ID {
		return true, nil
	}
	shown, err := s.clientSubject(c, subject, forced)
	if shown == "" {
		shown = subject
	}
	return err == nil && d.HintSubject == shown, err
}

// shownTo is an introspection response as a client may have it: the client of the token
// is told the subject that it knows, another one, which the token is for, the subject as
// that one knows people (RFC 7662 section 5). Only an operator is told both.
func (s *Server) shownTo(c *client, answer oauth2.Introspection) (oauth2.Introspection, error) {
	obfuscated := answer.ObfuscatedSubject
	answer.ObfuscatedSubject = ""
	switch {
	case !answer.Active || answer.Subject == answer.ClientID: // a client that acts for itself is nobody's secret
	case c.ID != answer.ClientID:
		var err error
		answer.Subject, err = s.subjectFor(c, answer.Subject)
		return answer, err
	case obfuscated != "":
		answer.Subject = obfuscated
	}
	return answer, nil
}
