package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/internal/testenv"
)

// relay is a way to a server that can be cut, or stalled so that bytes are neither
// carried nor refused.
type relay struct {
	address string
	to      string
	mu      sync.Mutex
	state   string // "", cut or stalled
	changed chan struct{}
	open    map[net.Conn]bool
}

func newRelay(t *testing.T, to string) *relay {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{address: l.Addr().String(), to: to, changed: make(chan struct{}), open: map[net.Conn]bool{}}
	t.Cleanup(func() {
		_ = l.Close()
		r.turn("cut")
	})
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go r.carry(in)
		}
	}()
	return r
}

// turn changes the state; cut closes what is open.
func (r *relay) turn(state string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = state
	close(r.changed)
	r.changed = make(chan struct{})
	if state == "cut" {
		for c := range r.open {
			_ = c.Close()
		}
		clear(r.open)
	}
}

// admit waits while the relay is stalled and reports whether bytes may pass.
func (r *relay) admit() bool {
	for {
		r.mu.Lock()
		state, changed := r.state, r.changed
		r.mu.Unlock()
		if state != "stalled" {
			return state == ""
		}
		<-changed
	}
}

func (r *relay) carry(in net.Conn) {
	defer in.Close()
	if !r.admit() {
		return
	}
	out, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer out.Close()
	r.mu.Lock()
	r.open[in], r.open[out] = true, true
	r.mu.Unlock()
	pipe := func(dst, src net.Conn, done chan<- struct{}) {
		defer close(done)
		defer dst.Close()
		b := make([]byte, 32<<10)
		for {
			n, err := src.Read(b)
			if err != nil || !r.admit() {
				return
			}
			if _, err := dst.Write(b[:n]); err != nil {
				return
			}
		}
	}
	there := make(chan struct{})
	go pipe(out, in, there)
	pipe(in, out, make(chan struct{}))
	_ = in.Close()
	<-there
}

// A node that cannot hear what others write decides with what it knows for
// storage.max_staleness, then refuses and says why; and what was revoked meanwhile is
// refused when it hears again.
func TestANodeWithoutItsDatabaseDecidesForAWhileAndThenRefuses(t *testing.T) {
	const bound = 2 * time.Second
	for _, fault := range []string{"cut", "stalled"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			dsn, err := url.Parse(testenv.Postgres(t))
			if err != nil {
				t.Fatal(err)
			}
			way := newRelay(t, dsn.Host)
			far := *dsn
			far.Host = way.address
			api := upstream(t).URL
			rules := func(name, authorizer string) string {
				return fmt.Sprintf(`{"id": %q, "match": {"url": "http://<[^/]+>/%s", "methods": ["GET"]}, "upstream": {"url": %q},
					"authenticators": [{"handler": "oauth2_introspection"}, {"handler": "anonymous"}], "authorizer": {"handler": %q}, "mutators": [{"handler": "noop"}]}`, name, name, api, authorizer)
			}
			node := func(dsn string) *program {
				return start(t, settings{dsn: dsn, rules: "[" + rules("file", "allow") + "]", keys: map[string]string{
					"urls.self.issuer": "http://127.0.0.1:4444", "storage.max_staleness": bound.String(), "storage.timeout": "1s"}})
			}
			one, other := node(dsn.String()), node(far.String())
			post(t, one.management+"/clients", `{"client_id": "shop", "client_secret": "shop-secret-shop", "grant_types": ["client_credentials"], "scope": "orders"}`).want(t, http.StatusCreated)
			token := clientToken(t, one, "shop", "shop-secret-shop", "orders")
			ask := func(path string, bearer bool) int {
				var fields []string
				if bearer {
					fields = []string{"Authorization", "Bearer " + token}
				}
				return send(t, "GET", other.proxy+path, "", fields...).status
			}
			if got := []int{ask("/file", true), ask("/file", false)}; got[0] != 200 || got[1] != 200 {
				t.Fatalf("before: %v", got)
			}
			way.turn(fault)
			began := time.Now()
			known, nobody := ask("/file", true), ask("/file", false)
			if time.Since(began) < bound/2 && (known != 200 || nobody != 200) {
				t.Errorf("at once: a known token %d, nobody %d", known, nobody)
			}
			revoke(t, one, "shop", "shop-secret-shop", token)
			post(t, one.management+"/rules", rules("stored", "allow")).want(t, http.StatusCreated)
			time.Sleep(time.Until(began.Add(bound + 200*time.Millisecond)))
			if got := ask("/file", false); got != 200 {
				t.Errorf("what needs nothing of the database: got %d", got)
			}
			ready := send(t, "GET", other.management+"/health/ready", "")
			if ready.status != http.StatusServiceUnavailable {
				t.Errorf("ready: %d %s", ready.status, ready.body)
			}
			if got := ask("/file", true); got != http.StatusServiceUnavailable {
				t.Errorf("a known token, beyond the bound: got %d", got)
			}
			way.turn("")
			for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				got, stored := ask("/file", true), ask("/stored", false)
				if got == 200 {
					t.Fatal("a token that was revoked meanwhile is let through")
				}
				if got == http.StatusUnauthorized && stored == 200 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("back again: the revoked token %d, the new rule %d", got, stored)
				}
			}
			// Now a rule is stored, so the whole set may be out of date.
			way.turn(fault)
			for deadline := time.Now().Add(20 * time.Second); ask("/file", false) != http.StatusServiceUnavailable; time.Sleep(50 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("stored rules are believed for ever")
				}
			}
			way.turn("")
		})
	}
}
