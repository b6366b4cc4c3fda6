package server

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/oauth2"
)

// signedIntrospection is the type of introspection responses that are JWTs (RFC 9701
// section 5).
const signedIntrospection = "token-introspection+jwt"

// wantsSigned reports whether Accept names signed introspection responses, and no plain
// ones before them.
func wantsSigned(r *http.Request) bool {
	for _, line := range r.Header["Accept"] {
		for part := range strings.SplitSeq(line, ",") {
			media, params, err := mime.ParseMediaType(part)
			switch {
			case err != nil || strings.Trim(params["q"], "0.") == "" && params["q"] != "":
			case media == "application/"+signedIntrospection:
				return true
			case media == "application/json":
				return false
			}
		}
	}
	return false
}

// signIntrospection returns an introspection response for the client that asked, as a
// JWT. What is said of the token is one claim, and nothing of it is a claim of the JWT
// itself, so that the response is not mistaken for the token (RFC 9701 section 8.1).
func (s *Server) signIntrospection(ctx context.Context, c *client, answer oauth2.Introspection) (string, error) {
	payload, err := json.Marshal(map[string]any{"iss": s.o.Issuer, "aud": c.ID, "iat": s.now().Unix(), "token_introspection": answer})
	if err != nil {
		return "", err
	}
	alg := c.IntrospectionAlg
	if alg == "" {
		alg = s.o.IDTokenAlg
	}
	return s.o.IDTokens.Sign(ctx, alg, signedIntrospection, payload, time.Time{})
}
