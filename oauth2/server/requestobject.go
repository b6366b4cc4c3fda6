package server

//lint:file-ignore ST1005 errors are shown to clients, as sentences

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json"
	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
)

// maxRequestObject bounds how far the exp of a request object may be away.
const maxRequestObject = time.Hour

// registeredClaims are those of a request object that are no parameters.
var registeredClaims = []string{"iss", "aud", "exp", "nbf", "iat", "jti", "sub"}

// requestObject returns the parameters of the signed request (RFC 9101) that form
// carries in request, or form itself when it carries none and none is required.
// Nothing outside of the object counts but client_id, which must be the same.
func (s *Server) requestObject(ctx context.Context, c *client, form url.Values) (url.Values, error) {
	if !form.Has("request") {
		if c.RequireSignedRequestObject {
			return nil, fosite.ErrInvalidRequest.WithHint("The client's requests must be signed: the parameter 'request' is missing.")
		}
		return form, nil
	}
	invalid := func(err error) error {
		return &fosite.RFC6749Error{ErrorField: "invalid_request_object", DescriptionField: "The request object cannot be used.", HintField: err.Error(), CodeField: http.StatusBadRequest}
	}
	t, err := keys.ParseJWS(form.Get("request"), keys.Asymmetric())
	if err != nil {
		return nil, invalid(errors.New("It is not a JWT that is signed with an allowed algorithm."))
	}
	if !slices.Contains([]string{"", "jwt", "oauth-authz-req+jwt"}, t.Type) {
		return nil, invalid(errors.New("It has the type of another kind of token."))
	}
	said, err := s.verifyByClient(ctx, c, t, c.RequestObjectAlg)
	var known *fault.Error
	if errors.As(err, &known) {
		return nil, err // the client's keys cannot be had
	}
	if err != nil {
		return nil, invalid(err)
	}
	expires, err := said.fresh(s.o.Now(), maxRequestObject)
	if err != nil {
		return nil, invalid(err)
	}
	switch {
	case said.text("iss") != c.ID:
		return nil, invalid(errors.New("The claim 'iss' must be the client id."))
	case said.text("sub") == c.ID:
		return nil, invalid(errors.New("The claim 'sub' is that of a client assertion.")) // RFC 9101 section 10.8
	case !slices.Contains(said.audience(), s.o.Issuer):
		return nil, invalid(errors.New("The claim 'aud' must hold the issuer."))
	}
	params, err := parametersOf(said)
	if err != nil {
		return nil, invalid(err)
	}
	if id := params.Get("client_id"); id != "" && id != c.ID || form.Get("client_id") != c.ID {
		return nil, invalid(errors.New("The claim 'client_id' names another client."))
	}
	params.Set("client_id", c.ID)
	if said["jti"] != nil {
		id, err := said.jti()
		if err != nil {
			return nil, invalid(err)
		}
		spent := invalid(errors.New("It was used before."))
		if err := s.useOnce(ctx, "request object "+c.ID, id, expires.Add(clockSkew), spent); err != nil {
			return nil, err
		}
	}
	return params, nil
}

// parametersOf returns the claims of a request object as parameters: numbers, booleans
// and objects as JSON writes them, lists of resource and audience as values.
func parametersOf(said claims) (url.Values, error) {
	params := url.Values{}
	for name, value := range said {
		if slices.Contains(registeredClaims, name) {
			continue
		}
		if name == "request" || name == "request_uri" {
			return nil, fmt.Errorf("It must not hold the claim '%s'.", name) // RFC 9101 section 4
		}
		switch v := value.(type) {
		case string:
			params.Set(name, v)
		case float64:
			params.Set(name, strconv.FormatFloat(v, 'f', -1, 64))
		case []any:
			if name == "authorization_details" { // RFC 9396 section 3
				text, err := json.Marshal(v)
				if err != nil {
					return nil, err
				}
				params.Set(name, string(text))
				continue
			}
			if err := addList(params, name, v); err != nil {
				return nil, err
			}
		case nil:
		default:
			text, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			params.Set(name, string(text))
		}
	}
	for name, values := range params {
		if slices.ContainsFunc(values, func(v string) bool { return strings.ContainsRune(v, 0) }) {
			return nil, fmt.Errorf("The claim '%s' has a NUL character.", printable(name))
		}
		if len(values) == 1 && values[0] == "" {
			params.Del(name)
		}
	}
	return params, nil
}

func addList(params url.Values, name string, list []any) error {
	for _, one := range list {
		text, ok := one.(string)
		if !ok || !repeatable[name] {
			return fmt.Errorf("The claim '%s' must not be a list.", printable(name))
		}
		params.Add(name, text)
	}
	return nil
}
