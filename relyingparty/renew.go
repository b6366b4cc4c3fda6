package relyingparty

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"sync"
	"time"

	"github.com/gatewarden/gatewarden/fault"
)

const (
	// succeedFor is how long the successor of a spent refresh token is remembered, for
	// requests that were on their way with the old cookie.
	succeedFor = 2 * time.Minute
	// maxSuccessors bounds their number.
	maxSuccessors = 10_000
	// claimedFor is how long a refresh token that a node has tried to spend is left
	// alone by the others.
	claimedFor = time.Minute
)

var (
	// errEnded means that the provider ended the session.
	errEnded = errors.New("the provider ended the session")
	// errElsewhere means that another node spends the refresh token.
	errElsewhere = errors.New("the session is being renewed by another node")
)

// due reports whether the tokens of s should be renewed: shortly before they expire, in
// the last quarter of a short life, or when s may not be written as it is and would
// else be taken for idle.
func (p *Party) due(s *Session, now time.Time) bool {
	if s.RefreshToken == "" {
		return false
	}
	before := min(seconds(p.o.RenewBefore), (s.Expires-s.Renewed)/4)
	return now.Unix() >= s.Expires-before || !p.settled(s, now) && now.Unix() >= s.Seen+seconds(p.o.Idle)/2
}

// settled reports whether s may be written again: not when a request that is under way
// may come back later with a renewed one, which this one must not replace.
func (p *Party) settled(s *Session, now time.Time) bool {
	before := min(seconds(p.o.RenewBefore), (s.Expires-s.Renewed)/4)
	return s.RefreshToken == "" || now.Unix() < s.Expires-before-seconds(succeedFor)
}

// renew returns the successor of s. Of all requests that ask for it at once, on this
// node or on others, one spends the refresh token; on this node all get its result.
// Errors: errEnded, errElsewhere, fault.Unavailable, fault.Timeout.
func (p *Party) renew(ctx context.Context, s *Session) (*Session, error) {
	key := p.tokenKey(s.RefreshToken)
	if next := p.renewed.get(key); next != nil {
		return next, nil
	}
	answer := p.flights.DoChan(key, func() (any, error) {
		if next := p.renewed.get(key); next != nil { // came in between
			return next, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callFor)
		defer cancel()
		next, err := p.spend(ctx, s, key)
		if err != nil {
			return nil, err
		}
		p.renewed.put(key, next)
		return next, nil
	})
	select {
	case result := <-answer:
		if result.Err != nil {
			return nil, result.Err
		}
		next := *result.Val.(*Session) // others wait for the same
		return &next, nil
	case <-ctx.Done():
		return nil, unavailable("the session could not be renewed", ctx.Err())
	}
}

// tokenKey names a refresh token of this Party without telling it.
func (p *Party) tokenKey(token string) string {
	sum := sha256.Sum256(append(p.binding("refresh", "", ""), token...))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// spend makes a refresh grant (OpenID Connect Core 1.0 section 12).
func (p *Party) spend(ctx context.Context, s *Session, key string) (*Session, error) {
	if p.o.Once != nil {
		first, err := p.o.Once(ctx, key, p.o.Now().Add(claimedFor))
		if err != nil {
			return nil, unavailable("the session could not be renewed", err)
		}
		if !first {
			return nil, errElsewhere
		}
	}
	at, err := p.client.provider.get(ctx)
	if err != nil {
		return nil, err
	}
	t, err := p.client.provider.grant(ctx, at.Token, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {s.RefreshToken}})
	var no *grantError
	switch {
	case errors.As(err, &no) && no.code == "invalid_grant":
		return nil, errors.Join(errEnded, err)
	case err != nil:
		return nil, unavailable("the session could not be renewed", err)
	}
	next := *s
	if t.RefreshToken != "" {
		next.RefreshToken = t.RefreshToken
	}
	var claims map[string]any
	if t.IDToken != "" {
		claims, err = p.client.idToken(ctx, at.keys, t.IDToken, wanted{subject: s.Subject, accessToken: t.AccessToken})
		if fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Timeout) {
			return nil, err
		}
		if err != nil { // the refresh token is spent, and what came of it is no good
			return nil, errors.Join(errEnded, err)
		}
		next.Claims = p.keep(claims)
		for _, name := range always { // a refresh is no authentication
			if v, ok := s.Claims[name]; ok {
				next.Claims[name] = v
			}
		}
	}
	p.take(&next, t, claims)
	return &next, nil
}

// take puts tokens into s.
func (p *Party) take(s *Session, t *tokens, claims map[string]any) {
	now := p.o.Now()
	s.AccessToken = ""
	if p.o.KeepAccessToken {
		s.AccessToken = t.AccessToken
	}
	if t.IDToken != "" {
		s.IDToken = t.IDToken
	}
	s.Renewed = now.Unix()
	span := t.lifespan()
	if span == 0 {
		if exp, err := date(claims, "exp"); err == nil && !exp.IsZero() {
			span = exp.Sub(now)
		} else {
			span = 5 * time.Minute // nobody said, so ask again soon
		}
	}
	s.Expires = now.Add(span).Unix()
}

// successors remembers for a while what came of spent refresh tokens.
type successors struct {
	now  func() time.Time
	mu   sync.Mutex
	list map[string]successor
	// order are the keys as they came, so that the oldest go first.
	order []string
}

type successor struct {
	session *Session
	until   time.Time
}

func newSuccessors(now func() time.Time) *successors {
	return &successors{now: now, list: map[string]successor{}}
}

// get returns a copy of the session that key was renewed to, nil for none.
func (x *successors) get(key string) *Session {
	x.mu.Lock()
	defer x.mu.Unlock()
	s, ok := x.list[key]
	if !ok || !x.now().Before(s.until) {
		return nil
	}
	c := *s.session
	return &c
}

func (x *successors) put(key string, s *Session) {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.now()
	for len(x.order) > 0 && (len(x.order) >= maxSuccessors || !now.Before(x.list[x.order[0]].until)) {
		delete(x.list, x.order[0])
		x.order = x.order[1:]
	}
	c := *s
	x.list[key] = successor{&c, now.Add(succeedFor)}
	x.order = append(x.order, key)
}
