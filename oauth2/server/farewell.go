package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

const (
	// logoutEvent says what a logout token is about (OpenID Connect Back-Channel Logout
	// 1.0 section 2.4).
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
	// logoutTokenFor is how long a logout token is good; section 2.4 recommends two
	// minutes at most.
	logoutTokenFor = 2 * time.Minute
	// noticeFor bounds one attempt to tell a client of a logout.
	noticeFor = 5 * time.Second
	// maxNotices bounds the clients that wait to be told, noticesAtOnce those that are
	// being told.
	maxNotices    = 10_000
	noticesAtOnce = 32
	// Strangers have places of their own: nobody is kept waiting by those who do not answer.
	maxStrangeNotices    = 1000
	strangeNoticesAtOnce = 16
	// partingFor is how long a server that is closed waits for those being told.
	partingFor = 3 * time.Second
)

// noticePauses come before the second attempt and the ones after it.
var noticePauses = [...]time.Duration{time.Second, 4 * time.Second, 15 * time.Second}

// notice is what one client is told of one session.
type notice struct {
	client  *client
	session string
	ended   time.Time
}

// notices tells clients in the background that sessions have ended, so that nobody who
// logs out waits for them.
type notices struct {
	s                    *Server
	operators, strangers lane
	// leaving ends the pauses, over everything.
	leaving, over context.Context
	leave, end    context.CancelFunc

	mu     sync.Mutex
	closed bool
	all    sync.WaitGroup
}

// lane is how clients of one kind are told.
type lane struct {
	http    *http.Client // nil: they are not
	slot    chan struct{}
	waiting int // under the mutex of notices
	most    int
}

// laneOf returns how a client is told.
func (n *notices) laneOf(c *client) *lane {
	if c.Stranger() {
		return &n.strangers
	}
	return &n.operators
}

func newNotices(s *Server, operators, strangers *http.Client) *notices {
	n := &notices{
		s:         s,
		operators: lane{http: direct(operators), slot: make(chan struct{}, noticesAtOnce), most: maxNotices},
		strangers: lane{http: direct(strangers), slot: make(chan struct{}, strangeNoticesAtOnce), most: maxStrangeNotices},
	}
	n.leaving, n.leave = context.WithCancel(context.Background())
	n.over, n.end = context.WithCancel(context.Background())
	return n
}

// direct is c without redirects: nobody may send us elsewhere than was registered. Nil
// stays nil.
func direct(c *http.Client) *http.Client {
	if c == nil {
		return nil
	}
	d := *c
	d.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &d
}

// add has a client told, soon.
func (n *notices) add(x notice) error {
	l := n.laneOf(x.client)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return errors.New("the server is closed")
	case l.waiting >= l.most:
		return errors.New("too many clients wait to be told")
	}
	l.waiting++
	n.all.Go(func() {
		l.slot <- struct{}{}
		err := n.tell(x)
		<-l.slot
		n.mu.Lock()
		l.waiting--
		n.mu.Unlock()
		n.s.noticed(x, err)
	})
	return nil
}

// close waits shortly for the clients that are being told.
func (n *notices) close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.leave()
	cut := time.AfterFunc(partingFor, n.end)
	n.all.Wait()
	cut.Stop()
	n.end()
}

// refusedNotice is a client's answer that no other attempt would change.
type refusedNotice int

func (e refusedNotice) Error() string { return fmt.Sprintf("the client answered %d", int(e)) }

// tell makes the attempts.
func (n *notices) tell(x notice) error {
	for attempt := 0; ; attempt++ {
		err := n.post(x)
		var no refusedNotice
		if err == nil || errors.As(err, &no) || attempt == len(noticePauses) {
			return err
		}
		select {
		case <-time.After(noticePauses[attempt]):
		case <-n.leaving.Done():
			return err
		}
	}
}

// post makes one attempt (section 2.5). Each has a token of its own: one that arrived
// although its answer did not would be refused the second time.
func (n *notices) post(x notice) error {
	ctx, cancel := context.WithTimeout(n.over, noticeFor)
	defer cancel()
	token, err := n.s.logoutToken(ctx, x)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, x.client.BackchannelLogoutURI, strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
	if err != nil {
		return refusedNotice(0)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	asked := n.laneOf(x.client).http
	if asked == nil {
		return refusedNotice(0)
	}
	res, err := asked.Do(r)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err // without the address
		}
		return err
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10) // to use the connection again
	switch {
	case res.StatusCode == http.StatusOK || res.StatusCode == http.StatusNoContent:
		return nil
	case res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusRequestTimeout:
		return fmt.Errorf("the client answered %d", res.StatusCode)
	}
	return refusedNotice(res.StatusCode)
}

// logoutToken is what the client is sent (section 2.4): the session and no person, as
// Hydra does.
func (s *Server) logoutToken(ctx context.Context, x notice) (string, error) {
	expires := s.now().Add(logoutTokenFor)
	payload, err := json.Marshal(map[string]any{
		"iss": s.o.Issuer, "aud": []string{x.client.ID}, "iat": x.ended.Unix(), "exp": expires.Unix(), "jti": randomString(),
		"sid": x.session, "events": map[string]any{logoutEvent: struct{}{}},
	})
	if err != nil {
		return "", err
	}
	alg := x.client.IDTokenAlg
	if alg == "" {
		alg = s.o.IDTokenAlg
	}
	return s.o.IDTokens.Sign(ctx, alg, "logout+jwt", payload, expires)
}

// noticed tells the operator how it went.
func (s *Server) noticed(x notice, err error) {
	if err == nil {
		s.o.Metrics.OAuth2("backchannel_logout", "")
		return
	}
	s.o.Metrics.OAuth2("backchannel_logout", "not_delivered")
	s.o.Log.Error("a client was not told of a logout", "client", x.client.ID, "error", err)
}

// farewell tells the clients that took part in sessions that these have ended: those
// with a back-channel soon, those with a front-channel by the browser, which has to open
// the returned addresses in frames.
func (s *Server) farewell(ctx context.Context, participants []oauth2.Participant) (frames []string) {
	// Nobody who logs out waits for the hosts of documents one after the other.
	documents, cancel := context.WithTimeout(ctx, noticeFor)
	defer cancel()
	for _, p := range participants {
		within := ctx
		if s.o.Documents != nil && s.o.Documents.Names(p.ClientID) {
			within = documents
		}
		c, err := s.clients.get(within, p.ClientID)
		if err != nil {
			if !fault.Is(err, fault.NotFound) {
				s.o.Log.Error("a client was not told of a logout", "client", p.ClientID, "error", err)
			}
			continue
		}
		if c.BackchannelLogoutURI != "" {
			x := notice{client: c, session: p.SessionID, ended: s.now()}
			if err := s.notices.add(x); err != nil {
				s.noticed(x, err)
			}
		}
		if c.FrontchannelLogoutURI != "" {
			frames = append(frames, withQuery(c.FrontchannelLogoutURI, url.Values{"iss": {s.o.Issuer}, "sid": {p.SessionID}}))
		}
	}
	slices.Sort(frames)
	return frames
}
