package registration

import (
	"context"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

const (
	// maxKept bounds the documents in memory, and with them those that are asked for.
	maxKept = 1000
	// minKept is how long a document is kept at least, whatever its host says.
	minKept = time.Minute
	// pause is the time between two fetches of a document of which one failed.
	pause = 10 * time.Second
	// staleFor is how long a document is used beyond its time while its host does not
	// answer.
	staleFor = time.Hour
	// fetchFor bounds one fetch, atOnce how many run.
	fetchFor = 5 * time.Second
	atOnce   = 64
)

// shelf keeps documents. Each is fetched by one at a time, for all who wait.
type shelf struct {
	fetch func(ctx context.Context, id string) (oauth2.Client, time.Duration, error)
	now   func() time.Time
	kept  *otter.Cache[string, *kept]
	slots chan struct{}
}

func newShelf(fetch func(context.Context, string) (oauth2.Client, time.Duration, error), now func() time.Time) *shelf {
	return &shelf{fetch: fetch, now: now, kept: otter.Must(&otter.Options[string, *kept]{MaximumSize: maxKept}), slots: make(chan struct{}, atOnce)}
}

func (s *shelf) close() { s.kept.StopAllGoroutines() }

// kept is what is known of one address.
type kept struct {
	mu      sync.Mutex
	running chan struct{} // closed when the fetch under way is over
	until   time.Time     // no fetch before
	err     error         // nil: client is good
	client  oauth2.Client
	stale   time.Time // until when client is good though its host does not answer
}

// get returns the client at an address. The answer of a fetch counts for all who waited
// for it.
func (s *shelf) get(ctx context.Context, id string) (oauth2.Client, error) {
	k, ok := s.kept.GetIfPresent(id)
	if !ok {
		k, _ = s.kept.SetIfAbsent(id, &kept{})
	}
	running, err := s.fresh(id, k)
	if err != nil {
		return oauth2.Client{}, err
	}
	if running != nil {
		select {
		case <-running:
		case <-ctx.Done():
			return oauth2.Client{}, fault.Wrap(fault.Unavailable, "client_metadata_document_unavailable", "the client metadata document was not there in time", ctx.Err())
		}
	}
	return k.now()
}

// fresh returns the fetch that has to be waited for, which it starts if there is none;
// nil: what is kept counts.
func (s *shelf) fresh(id string, k *kept) (running <-chan struct{}, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.running != nil {
		return k.running, nil
	}
	if s.now().Before(k.until) {
		return nil, nil
	}
	select {
	case s.slots <- struct{}{}:
	default:
		if s.now().Before(k.stale) {
			return nil, nil // as if its host did not answer
		}
		return nil, fault.New(fault.Unavailable, "client_metadata_document_unavailable", "too many client metadata documents are being fetched")
	}
	k.running = make(chan struct{})
	go s.refresh(id, k)
	return k.running, nil
}

// now returns what is known.
func (k *kept) now() (oauth2.Client, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.client, k.err
}

// refresh serves everybody who waits, so it has no caller's context.
func (s *shelf) refresh(id string, k *kept) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchFor)
	defer cancel()
	c, age, err := s.fetch(ctx, id)
	<-s.slots
	k.mu.Lock()
	defer k.mu.Unlock()
	now := s.now()
	switch {
	case err == nil:
		age = max(age, minKept)
		k.client, k.err, k.until, k.stale = c, nil, now.Add(age), now.Add(age+staleFor)
	case !fault.Is(err, fault.NotFound) && now.Before(k.stale):
		k.until = now.Add(pause) // the document that there was
	default:
		k.client, k.err, k.until, k.stale = oauth2.Client{}, err, now.Add(pause), time.Time{}
	}
	close(k.running)
	k.running = nil
}
