package server

import (
	"context"
	"net/http"
	"strings"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/oauth2"
)

// revoke is POST /oauth2/revoke (RFC 7009). Revoking an access or a refresh token
// ends every token of the same authorization. Unknown tokens are answered 200, a
// token of another client 400 unauthorized_client, as Hydra does.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	if err := s.revokeToken(w, r); err != nil {
		s.fail(w, r, "revoke", err)
		return
	}
	s.o.Metrics.OAuth2("revoke", "")
	noStore(w)
	w.WriteHeader(http.StatusOK)
}

func (s *Server) revokeToken(w http.ResponseWriter, r *http.Request) error {
	form, err := postForm(w, r)
	if err != nil {
		return err
	}
	c, err := s.authenticateClient(r.Context(), r, form)
	if err != nil {
		return err
	}
	token := form.Get("token")
	if token == "" {
		return fosite.ErrInvalidRequest.WithHint("The parameter 'token' is missing.")
	}
	// token_type_hint is only a hint (section 2.1), and the token itself says more.
	var stored *oauth2.Token
	if signature, ok := s.refreshTokens.signature(token); ok {
		stored, err = s.active(r.Context(), signature, s.o.Store.RefreshToken)
	} else {
		stored, err = s.activeAccess(r.Context(), token)
	}
	if err != nil || stored == nil {
		return err
	}
	if stored.Grant.ClientID != c.ID {
		return fosite.ErrUnauthorizedClient.WithHint("The token was issued to another client.")
	}
	about, err := sessionOf(stored.Grant)
	if err != nil {
		return err
	}
	if about.Act != nil { // the family is another client's, and is not this one's to end
		if err := s.o.Store.DeleteAccessToken(r.Context(), stored.Signature); err != nil {
			return err
		}
		s.tokens.evict(bySignature, stored.Signature)
		return nil
	}
	return s.revokeFamily(r.Context(), stored.Grant.RequestID)
}

// RevokeClientTokens ends every access and refresh token of a client.
func (s *Server) RevokeClientTokens(ctx context.Context, clientID string) error {
	if err := s.o.Store.RevokeClientTokens(ctx, clientID); err != nil {
		return err
	}
	s.tokens.evict(byClient, clientID)
	return nil
}

// Evict forgets what is cached about revoked tokens. The item is that of a change
// of topic tokens: a request id, client:<id>, or access:<signature>.
func (s *Server) Evict(item string) {
	if id, ok := strings.CutPrefix(item, "client:"); ok {
		s.tokens.evict(byClient, id)
	} else if signature, ok := strings.CutPrefix(item, "access:"); ok {
		s.tokens.evict(bySignature, signature)
	} else {
		s.tokens.evict(byFamily, item)
	}
}

// Withdrawals grows whenever access tokens may have been withdrawn: who relies on one
// for long asks about it again then.
func (s *Server) Withdrawals() uint64 { return s.tokens.epoch.Load() }

// EvictAll forgets everything that is cached, for a process that does not know what
// changed.
func (s *Server) EvictAll() {
	s.clients.evictAll()
	s.tokens.evictAll()
}

// EvictClient forgets what is cached about a client that was changed or deleted,
// and about its tokens. The id is the item of a change of topic clients.
func (s *Server) EvictClient(id string) {
	s.clients.evict(id)
	s.tokens.evict(byClient, id)
}
