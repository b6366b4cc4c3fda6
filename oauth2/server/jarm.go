package server

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	"github.com/ory/fosite"
)

// signedAnswerFor is how long a signed authorization response is good.
const signedAnswerFor = 10 * time.Minute

// signedAnswer returns the parameters of an authorization response as the one parameter
// response: a JWT that the server signed for the client (JARM section 2).
func (s *Server) signedAnswer(ctx context.Context, request *fosite.AuthorizeRequest, params url.Values) (url.Values, error) {
	c, ok := request.Client.(*client)
	if !ok {
		return nil, fosite.ErrServerError
	}
	said, expires := map[string]any{}, s.now().Add(signedAnswerFor)
	for name := range params {
		said[name] = params.Get(name)
	}
	said["iss"], said["aud"], said["exp"] = s.o.Issuer, c.ID, expires.Unix()
	payload, err := json.Marshal(said)
	if err != nil {
		return nil, err
	}
	alg := c.AuthorizationResponseAlg
	if alg == "" {
		alg = s.o.IDTokenAlg
	}
	signed, err := s.o.IDTokens.Sign(ctx, alg, "JWT", payload, expires)
	return url.Values{"response": {signed}}, err
}
