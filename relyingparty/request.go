package relyingparty

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// ErrNoSession means that a request has no session cookie at all.
var ErrNoSession = errNoSession

// maxRewrite is the longest time that a session in use is not written anew.
const maxRewrite = 5 * time.Minute

// Session returns the session of a request and the fields for the client's response
// that keep it alive. Errors: ErrNoSession; *access.Reply, which sends a browser to the
// provider; a fault with the fields that withdraw a cookie which is worth nothing.
func (p *Party) Session(ctx context.Context, r *access.Request) (*Session, http.Header, error) {
	s, old, err := p.read(r)
	if errors.Is(err, errNoSession) {
		return nil, nil, ErrNoSession
	}
	if err != nil {
		return nil, nil, p.again(ctx, r, "invalid_session", err)
	}
	now := p.o.Now()
	if p.lapsed(s, now) {
		return nil, nil, p.again(ctx, r, "session_expired", nil)
	}
	switch over, err := p.loggedOut(ctx, s); {
	case err != nil:
		return nil, nil, err
	case over:
		return nil, nil, p.again(ctx, r, "session_ended", errEnded)
	}
	write := old
	if p.due(s, now) {
		next, err := p.renew(ctx, s)
		switch {
		case err == nil:
			s, write = next, true
		case errors.Is(err, errEnded):
			return nil, nil, p.again(ctx, r, "session_ended", err)
		case now.Unix() < s.Expires: // still good, and perhaps the next request has more luck
		case errors.Is(err, errElsewhere) && navigates(r):
			return nil, nil, p.again(ctx, r, "session_expired", err)
		case errors.Is(err, errElsewhere):
			return nil, nil, &fault.Error{Kind: fault.Unavailable, Reason: "session_renewal", Message: "the session is being renewed", RetryAfter: time.Second, Err: err}
		default:
			return nil, nil, err
		}
	} else if p.settled(s, now) && now.Unix() >= s.Seen+seconds(min(p.o.Idle/10, maxRewrite)) {
		write = true
	}
	if d := p.unmet(s.Claims, now); d != DemandNone {
		return nil, nil, p.more(ctx, r, d)
	}
	if !write {
		return s, nil, nil
	}
	cookies, err := p.write(r, s, now)
	if err != nil {
		return nil, nil, fault.Wrap(fault.Internal, "session_too_large", "", err)
	}
	return s, http.Header{"Set-Cookie": cookies}, nil
}

// Until is when the session of a request ends that was good before: with its tokens,
// which other requests may renew, but not this one. It spends nothing. The error says
// that the session is good no longer, or (fault.Unavailable, fault.Timeout) that this
// could not be found out.
func (p *Party) Until(ctx context.Context, r *access.Request) (time.Time, error) {
	s, _, err := p.read(r)
	if err != nil {
		return time.Time{}, p.refusal(r, "invalid_session", "the session is not valid any more", err)
	}
	now, end := p.o.Now(), time.Unix(min(s.Expires, s.Began+seconds(p.o.Lifetime)), 0)
	if !now.Before(end) {
		return time.Time{}, p.refusal(r, "session_expired", "the session is not valid any more", nil)
	}
	switch over, err := p.loggedOut(ctx, s); {
	case err != nil:
		return time.Time{}, err
	case over:
		return time.Time{}, p.refusal(r, "session_ended", "the session is not valid any more", errEnded)
	}
	if d := p.unmet(s.Claims, now); d != DemandNone {
		return time.Time{}, p.refusal(r, "insufficient_authentication", "the session is not authenticated as this rule demands", nil)
	}
	return end, nil
}

// again answers a request whose session is worth nothing: a browser logs in again, all
// others are told so. Either way the cookie goes.
func (p *Party) again(ctx context.Context, r *access.Request, reason string, cause error) error {
	gone, err := p.setSession(r, "", 0)
	if err != nil {
		return err
	}
	refusal := p.refusal(r, reason, "the session is not valid any more", cause)
	if gone != nil {
		refusal.Header = http.Header{"Set-Cookie": gone}
	}
	if !navigates(r) {
		return refusal
	}
	return p.begin(ctx, r, target(r), gone, refusal)
}

// more answers a request whose session does not reach: the person has to authenticate
// in another way, or anew.
func (p *Party) more(ctx context.Context, r *access.Request, d Demand) error {
	refusal := p.refusal(r, "insufficient_authentication", "the session is not authenticated as this rule demands", errors.New(string(d)+" is not met"))
	if !navigates(r) {
		return refusal
	}
	return p.begin(ctx, r, target(r), nil, refusal)
}

// Challenge answers a request without a session: a browser that navigates is sent to
// the provider, all others are told to log in.
func (p *Party) Challenge(ctx context.Context, r *access.Request) error {
	refusal := p.refusal(r, "login_required", "the request needs a login", nil)
	if !navigates(r) {
		return refusal
	}
	return p.begin(ctx, r, target(r), nil, refusal)
}

// refusal is what a client that is no navigating browser is told.
func (p *Party) refusal(r *access.Request, reason, message string, cause error) *fault.Error {
	challenge := "Session"
	if p.o.Login != "" {
		challenge += ` login_uri="` + origin(r) + p.o.Login + `"`
	}
	return &fault.Error{Kind: fault.Unauthenticated, Reason: reason, Message: message, Challenge: challenge, Err: cause}
}

// navigates reports whether r is a browser on its way to a page, which can follow a
// redirect to a login: by Fetch Metadata, which a page's scripts cannot write, else by
// a preference for HTML.
func navigates(r *access.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	mode, dest := r.Header["Sec-Fetch-Mode"], r.Header["Sec-Fetch-Dest"]
	if len(mode) > 0 || len(dest) > 0 {
		// A frame navigates too, but a login page is not shown in one.
		return strings.Join(mode, ",") == "navigate" && (len(dest) == 0 || strings.Join(dest, ",") == "document")
	}
	if len(r.Header["X-Requested-With"]) > 0 || len(r.Header["Upgrade"]) > 0 {
		return false
	}
	for part := range strings.SplitSeq(strings.Join(r.Header["Accept"], ","), ",") {
		switch name, _, _ := strings.Cut(part, ";"); strings.ToLower(strings.TrimSpace(name)) {
		case "text/html", "application/xhtml+xml":
			return !strings.Contains(strings.ReplaceAll(part, " ", ""), ";q=0.0") && !strings.HasSuffix(strings.ReplaceAll(part, " ", ""), ";q=0")
		case "application/json", "*/*", "text/event-stream":
			return false // preferred to HTML, if that comes at all
		}
	}
	return false
}

// origin is the scheme and host that the browser knows.
func origin(r *access.Request) string { return r.URL.Scheme + "://" + r.URL.Host }
