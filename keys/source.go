package keys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxSetBytes  = 1 << 20
	minFreshness = 5 * time.Second
)

// source is one JWK set location and what was last read there.
type source struct {
	o     RemotesOptions
	name  string // for messages, without password
	local bool   // only local sets may hold symmetric keys
	file  string // path; empty: it is not in a file
	ttl   time.Duration
	// read returns the set and how long it may be called fresh, 0: unknown. Nil for
	// an inline set, which never changes.
	read  func(context.Context) ([]byte, time.Duration, error)
	state atomic.Pointer[sourceState]

	mu        sync.Mutex
	running   chan struct{} // closed when the fetch under way is over
	attempted time.Time     // start of the last fetch
	failure   error         // of the last fetch
}

type sourceState struct {
	keys                     []jose.JSONWebKey
	generation               uint64
	ahead, expires, unusable time.Time
	read                     time.Time
}

func (s *source) fresh(now time.Time) bool {
	state := s.state.Load()
	return state != nil && now.Before(state.expires)
}

// usable returns the last state while it is fresh, or stale within bounds.
func (s *source) usable(now time.Time) (*sourceState, error) {
	if state := s.state.Load(); state != nil && now.Before(state.unusable) {
		return state, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return nil, s.failure
	}
	return nil, fmt.Errorf("%s: no answer yet", s.name)
}

// generation is 0 when the set must be read before it is relied upon.
func (s *source) generation(now time.Time) uint64 {
	state := s.state.Load()
	if state == nil || !now.Before(state.unusable) {
		return 0
	}
	if now.Before(state.ahead) {
		return state.generation
	}
	// Under traffic this keeps the set fresh without making a request wait.
	if waiting := s.refresh(now); waiting != nil && !now.Before(state.expires) {
		return 0
	}
	return state.generation
}

// refresh starts a fetch, or joins the one under way, and returns what is closed
// at its end; nil when the last one is too recent.
func (s *source) refresh(now time.Time) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		return s.running
	}
	if s.read == nil {
		return nil
	}
	state := s.state.Load()
	due := s.failure == nil && (state == nil || !now.Before(state.ahead))
	if !due && now.Sub(s.attempted) < min(s.o.Cooldown, s.ttl/2) {
		return nil
	}
	s.attempted = now
	done := make(chan struct{})
	s.running = done
	go func() {
		// The fetch serves everyone who waits, so it has no caller's context.
		ctx, cancel := context.WithTimeout(context.Background(), s.o.FetchTimeout)
		defer cancel()
		before := s.state.Load()
		err := s.load(ctx)
		s.mu.Lock()
		said := s.failure
		s.running, s.failure = nil, err
		s.mu.Unlock()
		s.report(before, said, err)
		close(done)
	}()
	return done
}

// report tells of a file that cannot be used, once, and of one that holds other keys.
func (s *source) report(before *sourceState, said, err error) {
	switch {
	case s.file == "":
	case err != nil:
		if said == nil || said.Error() != err.Error() {
			s.o.File(s.file, err)
		}
	case said != nil || before != nil && before.generation != s.state.Load().generation:
		s.o.File(s.file, nil)
	}
}

func (s *source) load(ctx context.Context) error {
	raw, age, err := s.read(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	fresh := s.ttl
	if age > 0 {
		fresh = min(fresh, max(age, minFreshness))
	}
	return s.take(raw, fresh)
}

// take puts a set into use.
func (s *source) take(raw []byte, fresh time.Duration) error {
	parsed, skipped, err := parseSet(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	state := &sourceState{}
	for _, k := range parsed {
		if publicOf(k) != nil {
			state.keys = append(state.keys, k.Public())
		} else if s.local {
			state.keys = append(state.keys, k)
		}
	}
	if len(state.keys) == 0 {
		return fmt.Errorf("%s: no usable key: %w", s.name, errors.Join(skipped...))
	}
	now := s.o.Now()
	state.generation = max(fingerprint(state.keys), 1)
	state.ahead = now.Add(fresh / 4 * 3)
	state.expires = now.Add(fresh)
	state.unusable = state.expires.Add(s.o.StaleFor)
	if s.file != "" {
		state.unusable = state.expires.Add(math.MaxInt64 / 4) // a broken file ends nothing, as with users and keys
	}
	state.read = now
	s.state.Store(state)
	return nil
}

// fetch gets a set over HTTP. The age is the answer's max-age, 1 nanosecond when
// it may not be stored.
func fetch(ctx context.Context, client *http.Client, location string) ([]byte, time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		return nil, 0, errors.New("not a URL")
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("answered %d", resp.StatusCode)
	}
	raw, err := readLimited(resp.Body)
	return raw, maxAge(resp.Header.Get("Cache-Control")), err
}

func readFile(name string) ([]byte, time.Duration, error) {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return nil, 0, errors.New("not a regular file") // to open a pipe would wait for its writer
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	raw, err := readLimited(f)
	return raw, 0, err
}

func readLimited(r io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxSetBytes+1))
	if err == nil && len(raw) > maxSetBytes {
		err = fmt.Errorf("longer than %d bytes", maxSetBytes)
	}
	return raw, err
}

// maxAge reads Cache-Control (RFC 9111 section 5.2.2); 0 when it says nothing.
func maxAge(header string) time.Duration {
	for _, directive := range strings.Split(strings.ToLower(header), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch name {
		case "no-store", "no-cache":
			return 1
		case "max-age":
			if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				return max(time.Duration(seconds)*time.Second, 1)
			}
		}
	}
	return 0
}

// sameScheme lets redirects stay within a scheme or rise to https. Where they lead does
// not learn the URL that was asked, which may hold a secret.
func sameScheme(req *http.Request, via []*http.Request) error {
	req.Header.Del("Referer")
	if len(via) >= 5 {
		return errors.New("more than 5 redirects")
	}
	if from := via[len(via)-1].URL.Scheme; req.URL.Scheme != from && req.URL.Scheme != "https" {
		return fmt.Errorf("redirect from %s to %s", from, req.URL.Scheme)
	}
	return nil
}
