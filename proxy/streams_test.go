package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/fault"
)

// lease is a Lease that can be withdrawn.
type lease struct {
	mu     sync.Mutex
	until  time.Time
	err    error
	seen   []string // Authorization and Cookie of every check
	checks atomic.Int64
	epoch  atomic.Uint64
}

func (l *lease) Renew(_ context.Context, r *access.Request) (time.Time, error) {
	l.checks.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, r.Header.Get("Authorization")+"|"+r.Header.Get("Cookie")+"|"+r.URL.Path)
	return l.until, l.err
}

func (l *lease) set(until time.Time, err error) {
	l.mu.Lock()
	l.until, l.err = until, err
	l.mu.Unlock()
	l.epoch.Add(1)
}

var errInactive = fault.New(fault.Unauthenticated, "invalid_credentials", "the token is not active")

// leased allows everything under the lease and replaces the client's credentials.
func leased(upstream string, l access.Lease) decide {
	d := to(upstream)
	return func(r *access.Request) access.Decision {
		a := d(r)
		a.Lease = l
		a.Pass.Set = http.Header{"Authorization": {"Bearer minted"}}
		a.Pass.Cookies = []*http.Cookie{{Name: "minted", Value: "1"}}
		return a
	}
}

// ends are the ways a credential ends.
var ends = map[string]func(*lease){
	"credential_withdrawn": func(l *lease) { l.set(time.Time{}, errInactive) },
	"credential_expired":   func(l *lease) { l.set(time.Now(), nil) },
}

// patient bounds what takes less than a second on a machine that is not busy.
const patient = 10 * time.Second

func echoSocket(t testing.TB, gone chan<- error) string {
	return backend(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for {
			kind, message, err := c.ReadMessage()
			if err == nil {
				err = c.WriteMessage(kind, message)
			}
			if err != nil {
				gone <- err
				return
			}
		}
	})
}

func TestAWebSocketEndsWithItsCredential(t *testing.T) {
	for reason, end := range ends {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			l, ev, gone := &lease{}, newEvents(), make(chan error, 1)
			addr := serve(t, false, Options{Edge: edge.Options{Decider: leased(echoSocket(t, gone), l), Observe: ev.observe}, Streams: Streams{Withdrawals: l.epoch.Load}}, edge.ServerOptions{})
			c, _, err := websocket.DefaultDialer.Dial("ws://"+addr+"/ws", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetReadDeadline(time.Now().Add(patient))
			for range 3 {
				if err := c.WriteMessage(websocket.TextMessage, []byte("ping")); err != nil {
					t.Fatal(err)
				}
				if _, b, err := c.ReadMessage(); err != nil || string(b) != "ping" {
					t.Fatalf("got %q, %v", b, err)
				}
			}
			end(l)
			_, _, err = c.ReadMessage()
			if closed := new(websocket.CloseError); !errors.As(err, &closed) || closed.Code != 1008 || closed.Text != reason {
				t.Errorf("got %v, want a close frame 1008 %s", err, reason)
			}
			if e := ev.next(t); e.Reason != reason || e.Status != 101 || e.Err == nil {
				t.Errorf("got event %+v", e)
			}
			select {
			case <-gone:
			case <-time.After(patient):
				t.Error("the upstream's connection is still open")
			}
		})
	}
}

func TestAnEventStreamEndsWithItsCredential(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		for reason, end := range ends {
			t.Run(reason, func(t *testing.T) {
				t.Parallel()
				gone := make(chan bool)
				up := backend(t, func(w http.ResponseWriter, r *http.Request) {
					defer close(gone)
					w.Header().Set("Content-Type", "text/event-stream")
					for {
						fmt.Fprint(w, "data: x\n\n")
						_ = http.NewResponseController(w).Flush()
						select {
						case <-r.Context().Done():
							return
						case <-time.After(20 * time.Millisecond):
						}
					}
				})
				l, ev := &lease{}, newEvents()
				addr := serve(t, standard, Options{Edge: edge.Options{Decider: leased(up, l), Observe: ev.observe}, Streams: Streams{Withdrawals: l.epoch.Load}}, edge.ServerOptions{})
				req, _ := http.NewRequest("GET", "http://"+addr+"/events", nil)
				req.Header = http.Header{"Accept": {"text/event-stream"}, "Authorization": {"Bearer mine"}, "Cookie": {"a=b"}}
				res, err := client(t).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				r := bufio.NewReader(res.Body)
				if line, err := r.ReadString('\n'); err != nil || line != "data: x\n" {
					t.Fatalf("got %q, %v", line, err)
				}
				end(l)
				if _, err := io.Copy(io.Discard, r); err == nil {
					t.Error("a stream that was cut ends as if it were whole")
				}
				if e := ev.next(t); e.Reason != reason || !e.Aborted || e.Outcome != edge.OutcomeError {
					t.Errorf("got event %+v", e)
				}
				select {
				case <-gone:
				case <-time.After(patient):
					t.Error("the upstream still sends")
				}
				l.mu.Lock()
				defer l.mu.Unlock()
				for _, got := range l.seen {
					if got != "Bearer mine|a=b|/events" {
						t.Errorf("a check saw %q and not what the client sent", got)
					}
				}
			})
		}
	})
}

func TestALongAnswerOfAnyKindEndsWithItsCredential(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		t.Parallel()
		up := backend(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "{}\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		l, ev := &lease{err: errInactive}, newEvents()
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: leased(up, l), Observe: ev.observe}}, edge.ServerOptions{})
		res, err := client(t).Get("http://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if b, err := io.ReadAll(res.Body); err == nil || string(b) != "{}\n" {
			t.Errorf("got %q, %v", b, err)
		}
		if e := ev.next(t); e.Reason != "credential_withdrawn" {
			t.Errorf("got event %+v", e)
		}
	})
}

func TestACredentialThatEndsBeforeTheAnswerIs401(t *testing.T) {
	up := backend(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	l := &lease{err: errInactive}
	addr := serve(t, true, Options{Edge: edge.Options{Decider: leased(up, l)}}, edge.ServerOptions{})
	req, _ := http.NewRequest("GET", "http://"+addr, nil)
	req.Header.Set("Accept", "text/event-stream")
	res, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := reason(t, res); got != "credential_withdrawn" || res.StatusCode != 401 {
		t.Errorf("got %d %s", res.StatusCode, got)
	}
}

func TestPlainRequestsAreNeverChecked(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		up := backend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
		l := &lease{err: errInactive}
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: leased(up, l)}}, edge.ServerOptions{})
		for range 20 {
			res, err := client(t).Get("http://" + addr)
			if err != nil {
				t.Fatal(err)
			}
			if b, _ := io.ReadAll(res.Body); string(b) != "ok" {
				t.Errorf("got %q", b)
			}
			res.Body.Close()
		}
		if n := l.checks.Load(); n != 0 {
			t.Errorf("%d checks", n)
		}
	})
}

// held opens a stream without a network and returns a way to ask why it was ended.
func held(s *streams, l access.Lease) (st *openStream, ended func() error) {
	x := &edge.Exchange{Decision: access.Decision{Lease: l}, Request: access.Request{URL: &url.URL{}, Header: http.Header{}}}
	var why atomic.Pointer[error]
	st = s.add(x, credentials{}, true, func(err error) { why.Store(&err) })
	return st, func() error {
		synctest.Wait()
		if p := why.Load(); p != nil {
			return *p
		}
		return nil
	}
}

func TestStreamsAreCheckedAtOnceAtIntervalsAndWhenCredentialsAreWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lease{}
		s := newStreams(Streams{Withdrawals: l.epoch.Load, Recheck: time.Minute})
		defer s.close()
		st, _ := held(s, l)
		defer st.done()
		var got []int64
		after := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
			got = append(got, l.checks.Load())
		}
		after(sweepEvery)
		after(59 * time.Second)
		after(2 * time.Second)
		l.epoch.Add(3)
		after(sweepEvery)
		after(30 * time.Second)
		if diff := cmp.Diff([]int64{1, 1, 2, 3, 3}, got); diff != "" {
			t.Errorf("checks (-want +got): %s", diff)
		}
	})
}

func TestAStreamEndsWhenItsCredentialExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lease{until: time.Now().Add(10 * time.Second)}
		s := newStreams(Streams{})
		defer s.close()
		st, ended := held(s, l)
		defer st.done()
		time.Sleep(10*time.Second - time.Millisecond)
		if why := ended(); why != nil {
			t.Errorf("ended too soon: %v", why)
		}
		time.Sleep(2 * sweepEvery)
		if why := ended(); !errors.Is(why, errExpired) {
			t.Errorf("got %v, want %v", why, errExpired)
		}
	})
}

func TestACredentialThatCannotBeCheckedEndsItsStreamAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lease{err: fault.New(fault.Unavailable, "introspection_failed", "")}
		s := newStreams(Streams{})
		defer s.close()
		st, ended := held(s, l)
		time.Sleep(doubtful - time.Second)
		if why := ended(); why != nil {
			t.Errorf("ended too soon: %v", why)
		}
		time.Sleep(5 * time.Second)
		if why := ended(); !errors.Is(why, errDoubtful) || !errors.Is(st.done(), errDoubtful) {
			t.Errorf("got %v, want %v", why, errDoubtful)
		}
		l.set(time.Time{}, nil)
		well, ended := held(s, l)
		defer well.done()
		for range 3 { // outages that end in time
			time.Sleep(time.Minute)
			l.set(time.Time{}, fault.New(fault.Timeout, "introspection_failed", ""))
			time.Sleep(doubtful / 2)
			l.set(time.Time{}, nil)
		}
		if why := ended(); why != nil {
			t.Errorf("ended though outages were short: %v", why)
		}
	})
}

type broken struct{ list []string }

func (broken) Renew(context.Context, *access.Request) (time.Time, error) { panic("secret") }

func TestALeaseThatPanicsEndsItsStreamOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(Streams{})
		defer s.close()
		st, ended := held(s, broken{})
		defer st.done()
		other, well := held(s, &lease{})
		defer other.done()
		time.Sleep(time.Second)
		if why := ended(); !errors.Is(why, errWithdrawn) {
			t.Errorf("got %v", why)
		}
		if why := well(); why != nil {
			t.Errorf("another stream was ended: %v", why)
		}
	})
}

func TestAnExchangeThatIsOverIsNeverEnded(t *testing.T) {
	l := &lease{err: errInactive}
	s := newStreams(Streams{})
	defer s.close()
	for range 200 {
		var over atomic.Bool
		x := &edge.Exchange{Decision: access.Decision{Lease: l}, Request: access.Request{URL: &url.URL{}, Header: http.Header{}}}
		st := s.add(x, credentials{}, true, func(error) {
			if over.Load() {
				t.Error("ended after done")
			}
		})
		go s.check(st)
		go st.finish(errExpired)
		_ = st.done()
		over.Store(true)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) != 0 {
		t.Errorf("%d streams are still open", len(s.open))
	}
}

func TestNothingRunsWhileNothingIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(Streams{})
		defer s.close()
		st, _ := held(s, &lease{})
		_ = st.done()
		time.Sleep(time.Second)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.timer != nil {
			t.Error("the timer still runs")
		}
	})
}

func TestCredentialsAreThoseThatWereReceived(t *testing.T) {
	h := http.Header{"Authorization": {"theirs"}, "Accept": {"*/*"}}
	c := credentialsOf(h)
	h["Authorization"], h["Cookie"] = []string{"ours"}, []string{"ours"}
	if diff := cmp.Diff(http.Header{"Authorization": {"theirs"}, "Accept": {"*/*"}}, c.restore(h)); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
	if got := strings.Join(h["Authorization"], ","); got != "ours" {
		t.Errorf("what goes upstream was changed to %q", got)
	}
}
