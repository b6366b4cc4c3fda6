package mutators

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/templates"
)

// TokenExchangeConfig says which token goes upstream for the client's (RFC 8693).
type TokenExchangeConfig struct {
	TokenRequest
	// SubjectToken is a template of the token that is exchanged; empty: the access token
	// that established the subject.
	SubjectToken string `json:"subject_token"`
	// SubjectTokenType is its type; default an access token.
	SubjectTokenType string `json:"subject_token_type"`
	// ActorToken is a template of the token of who acts; empty: none.
	ActorToken     string `json:"actor_token"`
	ActorTokenType string `json:"actor_token_type"`
	// RequestedTokenType is the type that is asked for; empty: the endpoint chooses.
	RequestedTokenType string `json:"requested_token_type"`
}

// Token types of RFC 8693 section 3.
const (
	accessTokenType = "urn:ietf:params:oauth:token-type:access_token"
	jwtType         = "urn:ietf:params:oauth:token-type:jwt"
	exchangeGrant   = "urn:ietf:params:oauth:grant-type:token-exchange"
)

func defaultTokenExchange() TokenExchangeConfig {
	return TokenExchangeConfig{TokenRequest: defaultTokenRequest(), SubjectTokenType: accessTokenType, ActorTokenType: accessTokenType}
}

type tokenExchange struct {
	*foreignToken
	subject, actor                       *templates.Text // nil: the subject's own token; none
	subjectType, actorType, requestsType string
}

var (
	_ Mutator     = (*tokenExchange)(nil)
	_ HeaderOwner = (*tokenExchange)(nil)
)

func newTokenExchange(d Deps, c TokenExchangeConfig) (Mutator, error) {
	m := &tokenExchange{subjectType: c.SubjectTokenType, actorType: c.ActorTokenType, requestsType: c.RequestedTokenType}
	var errs [4]error
	m.foreignToken, errs[0] = newForeignToken(d, "token_exchange", c.TokenRequest, c)
	if c.SubjectToken != "" {
		m.subject, errs[1] = templates.Compile("subject_token", c.SubjectToken)
	}
	if c.ActorToken != "" {
		m.actor, errs[2] = templates.Compile("actor_token", c.ActorToken)
	}
	if c.SubjectTokenType == "" || c.ActorTokenType == "" {
		errs[3] = errors.New("subject_token_type and actor_token_type must not be empty")
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return m, nil
}

// Mutate exchanges the subject's token. A request without one is
// fault.Unauthenticated, a token that the endpoint refuses fault.Forbidden.
func (m *tokenExchange) Mutate(ctx context.Context, in access.Input, p *access.Pass) error {
	if err := ctx.Err(); err != nil {
		return m.failed(err)
	}
	token, err := m.subjectToken(&in, p.Set)
	if err != nil {
		return fmt.Errorf("token_exchange: %w", err)
	}
	parameters := []string{"grant_type", exchangeGrant, "subject_token", token, "subject_token_type", m.subjectType}
	if m.actor != nil {
		actor, err := m.actor.Render(&in, p.Set)
		if err != nil {
			return fmt.Errorf("token_exchange: %w", err)
		}
		if actor == "" {
			return fmt.Errorf("token_exchange: %w", fault.New(fault.Unauthenticated, "token_exchange_no_actor_token", "the request carries no token of who acts"))
		}
		parameters = append(parameters, "actor_token", actor, "actor_token_type", m.actorType)
	}
	if m.requestsType != "" {
		parameters = append(parameters, "requested_token_type", m.requestsType)
	}
	return m.set(ctx, p, parameters...)
}

// subjectToken returns the token that established the subject. What else the request
// carries is nobody's: exchanging it would send another one upstream than was
// authorized.
func (m *tokenExchange) subjectToken(in *access.Input, written http.Header) (token string, err error) {
	if m.subject != nil {
		token, err = m.subject.Render(in, written)
	} else {
		token = in.Subject.Token
	}
	if err == nil && token == "" {
		err = &fault.Error{Kind: fault.Unauthenticated, Reason: "token_exchange_no_subject_token", Message: "the request carries no token that could be exchanged", Challenge: "Bearer"}
	}
	return token, err
}
