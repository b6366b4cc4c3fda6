package relyingparty

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/gatewarden/gatewarden/access"
)

// Session is what a Party knows of a person who logged in. It is kept in a cookie.
type Session struct {
	Subject string `json:"sub"`
	// Claims are those of the ID token that the Party keeps.
	Claims map[string]any `json:"claims,omitempty"`
	// AccessToken is empty unless the Party keeps it.
	AccessToken  string `json:"at,omitempty"`
	RefreshToken string `json:"rt,omitempty"`
	// IDToken tells the provider at a logout whose session ends; it may be missing.
	IDToken string `json:"id,omitempty"`
	// Times in seconds since 1970: of the login, of its ID token by the provider's clock,
	// of the last renewal of the tokens, of the last writing of the cookie, and when what
	// the provider vouched for ends.
	Began   int64 `json:"b"`
	Issued  int64 `json:"i"`
	Renewed int64 `json:"r"`
	Seen    int64 `json:"s"`
	Expires int64 `json:"e"`
}

// always are kept whatever the configuration says: they are what sessions are judged by.
var always = []string{"iss", "sid", "acr", "amr", "auth_time"}

// keep returns those of the ID token's claims that a session keeps.
func (p *Party) keep(claims map[string]any) map[string]any {
	kept := map[string]any{}
	for _, list := range [][]string{always, p.o.Claims} {
		for _, name := range list {
			if v, ok := claims[name]; ok {
				kept[name] = v
			}
		}
	}
	return kept
}

// Extra returns the claims, and the access token when the Party keeps it.
func (s *Session) Extra() map[string]any {
	extra := maps.Clone(s.Claims)
	if extra == nil {
		extra = map[string]any{}
	}
	delete(extra, "access_token") // a name of ours
	if s.AccessToken != "" {
		extra["access_token"] = s.AccessToken
	}
	return extra
}

// lapsed reports whether nothing can make s good again at now.
func (p *Party) lapsed(s *Session, now time.Time) bool {
	return s.Subject == "" || now.Unix() >= p.ends(s)
}

// ends is when s ends if nobody uses it again.
func (p *Party) ends(s *Session) int64 {
	end := min(s.Began+seconds(p.o.Lifetime), s.Seen+seconds(p.o.Idle))
	if s.RefreshToken == "" {
		end = min(end, s.Expires)
	}
	return end
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// write returns the Set-Cookie fields of s. An ID token that makes it too long is left
// out: a logout works without it, if less smoothly.
func (p *Party) write(r *access.Request, s *Session, now time.Time) ([]string, error) {
	s.Seen = now.Unix()
	for {
		plain, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		age := time.Duration(p.ends(s)-now.Unix()) * time.Second
		fields, err := p.setSession(r, p.seal.seal(plain, p.binding("session", r.URL.Scheme, r.URL.Host)), max(age, time.Second))
		if err == nil || s.IDToken == "" {
			return fields, err
		}
		s.IDToken = ""
	}
}

// read returns the session of a request, live or not. Old says that it was sealed with
// an old secret. Errors: errNoSession, errChunks, errSealed.
func (p *Party) read(r *access.Request) (s *Session, old bool, err error) {
	text, err := p.sessionCookie(r)
	if err != nil {
		return nil, false, err
	}
	plain, current, err := p.seal.open(text, p.binding("session", r.URL.Scheme, r.URL.Host))
	if err != nil {
		return nil, false, err
	}
	s = new(Session)
	if err := json.Unmarshal(plain, s); err != nil {
		return nil, false, errSealed
	}
	return s, !current, nil
}

// Demand is what a Party asks of a session beside that it is good.
type Demand string

// The demands that a session may not meet.
const (
	DemandNone   Demand = ""
	DemandACR    Demand = "acr"
	DemandMaxAge Demand = "max_age"
)

// unmet returns the demand that the claims do not meet.
func (p *Party) unmet(claims map[string]any, now time.Time) Demand {
	if acr, _ := claims["acr"].(string); len(p.o.ACR) > 0 && !slices.Contains(p.o.ACR, acr) {
		return DemandACR
	}
	if p.o.MaxAge > 0 {
		at, err := date(claims, "auth_time")
		if err != nil || at.IsZero() || now.After(at.Add(p.o.MaxAge+p.o.Leeway)) {
			return DemandMaxAge
		}
	}
	return DemandNone
}
