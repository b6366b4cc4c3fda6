package keys

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
	"weak"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/fault"
)

// RemotesOptions are the bounds within which JWK sets are fetched.
type RemotesOptions struct {
	// HTTP makes the requests; its redirect policy is not used.
	HTTP *http.Client
	// FetchTimeout bounds one fetch, whoever waits for it; default 10 seconds.
	FetchTimeout time.Duration
	// Cooldown is the least time between two fetches of a location that failed or
	// that an unknown kid asked for; default 10 seconds, at most the set's ttl.
	Cooldown time.Duration
	// StaleFor is how long a set is used after its ttl while its location does not
	// answer; default 1 hour.
	StaleFor time.Duration
	// File is told when a set in a file is another than before, and with an error when
	// it cannot be used and what it held before stays in force; nil: nobody is.
	File func(path string, err error)
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Remotes opens the JWK sets that tokens of others are verified with. A location
// is fetched and cached once for all who use it with the same ttl.
type Remotes struct {
	o       RemotesOptions
	mu      sync.Mutex
	sources map[sourceID]weak.Pointer[source] // weak: gone with the last Remote that uses it
}

type sourceID struct {
	location string
	ttl      time.Duration
}

// NewRemotes returns an empty Remotes.
func NewRemotes(o RemotesOptions) *Remotes {
	if o.HTTP == nil {
		o.HTTP = &http.Client{}
	}
	client := *o.HTTP
	client.CheckRedirect = sameScheme
	o.HTTP = &client
	if o.File == nil {
		o.File = func(string, error) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.FetchTimeout = cmp.Or(o.FetchTimeout, 10*time.Second)
	o.Cooldown = cmp.Or(o.Cooldown, 10*time.Second)
	o.StaleFor = cmp.Or(o.StaleFor, time.Hour)
	return &Remotes{o: o, sources: map[sourceID]weak.Pointer[source]{}}
}

// Remote is the union of the JWK sets at some locations.
type Remote struct {
	sources []*source
	maxWait time.Duration
	now     func() time.Time
}

// Open returns the union of the sets at locations: http and https URLs, file URLs
// and inline://BASE64. Ttl is how long a fetched set is fresh (a shorter max-age
// of the answer counts, down to 5 seconds), maxWait how long one look-up waits for
// a fetch. Nothing is fetched yet; an error names the location that is wrong.
func (r *Remotes) Open(locations []string, ttl, maxWait time.Duration) (*Remote, error) {
	if len(locations) == 0 {
		return nil, errors.New("no JWK set location")
	}
	if ttl <= 0 || maxWait <= 0 {
		return nil, errors.New("ttl and max wait of JWK sets must be positive")
	}
	union := &Remote{maxWait: maxWait, now: r.o.Now}
	for _, location := range locations {
		s, err := r.source(location, ttl)
		if err != nil {
			return nil, err
		}
		union.sources = append(union.sources, s)
	}
	return union, nil
}

func (r *Remotes) source(location string, ttl time.Duration) (*source, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := sourceID{location, ttl}
	if s := r.sources[id].Value(); s != nil {
		return s, nil
	}
	s, err := newSource(location, ttl, r.o)
	if err != nil {
		return nil, err
	}
	for old, pointer := range r.sources {
		if pointer.Value() == nil {
			delete(r.sources, old)
		}
	}
	r.sources[id] = weak.Make(s)
	return s, nil
}

func newSource(location string, ttl time.Duration, o RemotesOptions) (*source, error) {
	s := &source{o: o, ttl: ttl}
	// Base64 may hold slashes, so an inline set is no URL.
	if text, ok := strings.CutPrefix(location, "inline://"); ok {
		raw, err := decodeBase64(text)
		if err != nil {
			return nil, errors.New("inline JWK set is not base64")
		}
		s.name, s.local = "inline JWK set", true
		if err := s.take(raw, math.MaxInt64/4); err != nil { // fresh for ever
			return nil, err
		}
		return s, nil
	}
	u, err := url.Parse(location)
	if err != nil {
		return nil, errors.New("JWK set location is not a URL") // the error would repeat a password
	}
	s.name = u.Redacted()
	switch {
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		s.read = func(ctx context.Context) ([]byte, time.Duration, error) { return fetch(ctx, o.HTTP, location) }
	case u.Scheme == "file" && u.Host+u.Path != "":
		s.local, s.file = true, u.Host+u.Path
		s.read = func(context.Context) ([]byte, time.Duration, error) { return readFile(u.Host + u.Path) }
	default:
		return nil, fmt.Errorf("JWK set location %q is not an http, https, file or inline URL", s.name)
	}
	return s, nil
}

func decodeBase64(text string) ([]byte, error) {
	text = strings.TrimRight(text, "=")
	if strings.ContainsAny(text, "-_") {
		return base64.RawURLEncoding.DecodeString(text)
	}
	return base64.RawStdEncoding.DecodeString(text)
}

// FileState is what is known of a set in a file.
type FileState struct {
	Path   string
	Err    error     // why what it held before is in force, or nothing is; nil: it was good when it was last read
	ReadAt time.Time // when what is in force was read; zero: nothing is
}

// Files returns the states of those sets that are in files. It starts reading those
// whose time it is and never waits.
func (r *Remote) Files() (files []FileState) {
	for _, s := range r.sources {
		if s.file == "" {
			continue
		}
		s.refresh(r.now())
		f := FileState{Path: s.file}
		if state := s.state.Load(); state != nil {
			f.ReadAt = state.read
		}
		s.mu.Lock()
		f.Err = s.failure
		s.mu.Unlock()
		files = append(files, f)
	}
	return files
}

// Keys returns the keys with an id; none when no set has it. An id that is unknown
// makes the sets be fetched again, at most once per cool-down. The error is
// fault.Unavailable or fault.Timeout when a set that could hold the key cannot be
// had.
func (r *Remote) Keys(ctx context.Context, kid string) ([]jose.JSONWebKey, error) {
	return r.Find(ctx, func(k jose.JSONWebKey) bool { return k.KeyID == kid })
}

// Find is Keys for whatever wanted says of a key.
func (r *Remote) Find(ctx context.Context, wanted func(jose.JSONWebKey) bool) ([]jose.JSONWebKey, error) {
	deadline, cancel := context.WithTimeout(ctx, r.maxWait)
	defer cancel()
	r.refresh(deadline, func(s *source, now time.Time) bool { return !s.fresh(now) })
	found, missing := r.find(wanted)
	if len(found) == 0 {
		r.refresh(deadline, func(*source, time.Time) bool { return true })
		found, missing = r.find(wanted)
	}
	if len(found) > 0 || missing == nil {
		return found, nil
	}
	kind := fault.Unavailable
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		kind = fault.Timeout
	}
	return nil, fault.Wrap(kind, "jwks_unavailable", "the keys to verify the token are not available", missing)
}

// refresh fetches the sources that are asked for, all at once, and waits for them.
func (r *Remote) refresh(ctx context.Context, wanted func(*source, time.Time) bool) {
	var waiting []<-chan struct{}
	for _, s := range r.sources {
		if now := r.now(); wanted(s, now) {
			if done := s.refresh(now); done != nil {
				waiting = append(waiting, done)
			}
		}
	}
	for _, done := range waiting {
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}

// find returns the usable keys that are wanted, and why sets are missing.
func (r *Remote) find(wanted func(jose.JSONWebKey) bool) (found []jose.JSONWebKey, missing error) {
	for _, s := range r.sources {
		state, err := s.usable(r.now())
		if err != nil {
			missing = errors.Join(missing, err)
			continue
		}
		for _, k := range state.keys {
			if wanted(k) {
				found = append(found, k)
			}
		}
	}
	return found, missing
}

// Generation identifies the keys in use: what was verified under one generation
// is still good as long as it does not change. It starts refreshes ahead of time
// and never waits. It is 0 when a set has to be fetched first.
func (r *Remote) Generation() uint64 {
	now := r.now()
	generation := uint64(1)
	for _, s := range r.sources {
		g := s.generation(now)
		if g == 0 {
			return 0
		}
		generation = generation*1099511628211 ^ g // FNV-1a: order counts
	}
	return max(generation, 1)
}
