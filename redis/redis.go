// Package redis is the program's one client of Redis, for what several processes share
// for a while. It asks with a short timeout, and while Redis is away it does not ask:
// whoever calls gets ErrAway at once and decides what that means.
package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	client "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// ErrAway says that Redis did not answer lately and was not asked.
var ErrAway = errors.New("redis is away")

// Options of Open. URL is required.
type Options struct {
	// URL is redis://, rediss:// (TLS) or unix://, with user, password and database.
	URL string
	// Timeout bounds one question, a new connection included; 0: 50 ms.
	Timeout time.Duration
	// Probe is the wait between two looks at a Redis that is away; 0: 250 ms.
	Probe time.Duration
	// Prefix starts the name of every key.
	Prefix string
	// Dial opens connections that are not Unix sockets; nil: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS is for rediss://; nil: the system's authorities. The name is the URL's host.
	TLS *tls.Config
	// Changed is called when Redis goes (err says why) and when it is back (nil), one
	// call at a time. Nil: nothing.
	Changed func(err error)
}

// failures in a row after which Redis is away.
const failures = 3

// Client asks one Redis. Use Open.
type Client struct {
	o      Options
	redis  *client.Client
	failed atomic.Int32 // in a row
	away   atomic.Bool

	mu      sync.Mutex // of what follows
	ctx     context.Context
	cancel  context.CancelFunc
	probing sync.WaitGroup
}

// CheckURL returns what is wrong with a URL, without its password.
func CheckURL(url string) error {
	_, err := parse(url)
	return err
}

// parse reads a URL. The library's errors may hold the URL, so they are not passed on.
func parse(url string) (*client.Options, error) {
	o, err := client.ParseURL(url)
	if err != nil {
		return nil, errors.New("is not a URL such as redis://user:password@host:6379/0, rediss://host:6380 or unix:///run/redis.sock?db=0")
	}
	return o, nil
}

// Open returns a Client, whether Redis is there or not. The error is about the URL.
func Open(o Options) (*Client, error) {
	parsed, err := parse(o.URL)
	if err != nil {
		return nil, err
	}
	if o.Timeout == 0 {
		o.Timeout = 50 * time.Millisecond
	}
	if o.Probe == 0 {
		o.Probe = 250 * time.Millisecond
	}
	if o.Changed == nil {
		o.Changed = func(error) {}
	}
	logging.Disable() // it writes to stderr, past the program's log
	parsed.DialTimeout, parsed.ReadTimeout, parsed.WriteTimeout, parsed.PoolTimeout = o.Timeout, o.Timeout, o.Timeout, o.Timeout
	parsed.ContextTimeoutEnabled = true
	parsed.MaxRetries, parsed.DialerRetries = -1, 1
	parsed.Protocol, parsed.DisableIdentity = 2, true
	parsed.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	parsed.Dialer = o.dialer(parsed.TLSConfig)
	c := &Client{o: o, redis: client.NewClient(parsed)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if err := c.probe(c.ctx); err != nil {
		c.leave(err)
	}
	return c, nil
}

// dialer opens connections; parsed is nil without TLS.
func (o Options) dialer(parsed *tls.Config) func(context.Context, string, string) (net.Conn, error) {
	dial := o.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if network == "unix" {
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		conn, err := dial(ctx, network, address)
		if err != nil || parsed == nil {
			return conn, err
		}
		config := &tls.Config{}
		if o.TLS != nil {
			config = o.TLS.Clone()
		}
		config.ServerName, config.MinVersion = parsed.ServerName, tls.VersionTLS12
		secured := tls.Client(conn, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return secured, nil
	}
}

// Script is a Lua script that Redis runs as one step. Its answer is a list of whole
// numbers.
type Script struct{ script *client.Script }

// NewScript returns a Script. Redis is told its text when it does not know it.
func NewScript(text string) *Script { return &Script{client.NewScript(text)} }

// Key returns the name of a key: the prefix and name.
func (c *Client) Key(name string) string { return c.o.Prefix + name }

// Run runs a script on keys, which Key made. Errors: ErrAway, or what failed now. An
// error when ctx has ended says nothing about Redis.
func (c *Client) Run(ctx context.Context, s *Script, keys []string, args []any) ([]int64, error) {
	if c.away.Load() {
		return nil, ErrAway
	}
	answer, err := c.run(ctx, s, keys, args)
	switch {
	case err == nil:
		if c.failed.Load() != 0 {
			c.failed.Store(0)
		}
	case ctx.Err() != nil:
	case c.failed.Add(1) >= failures:
		c.leave(err)
	}
	return answer, err
}

func (c *Client) run(ctx context.Context, s *Script, keys []string, args []any) ([]int64, error) {
	bounded, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	answer, err := s.script.Run(bounded, c.redis, keys, args...).Int64Slice()
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	return answer, nil
}

// leave notes that Redis is away and looks when it is back.
func (c *Client) leave(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil || !c.away.CompareAndSwap(false, true) {
		return
	}
	c.o.Changed(err)
	c.probing.Go(c.wait)
}

// wait ends when Redis is back or the Client closed.
func (c *Client) wait() {
	tick := time.NewTicker(c.o.Probe)
	defer tick.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-tick.C:
		}
		if c.probe(c.ctx) != nil {
			continue
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.failed.Store(0)
		c.away.Store(false)
		if c.ctx.Err() == nil {
			c.o.Changed(nil)
		}
		return
	}
}

// A Redis that answers PING may still refuse to write: a replica, or one without memory.
var writes = NewScript(`redis.call('SET', KEYS[1], 1, 'PX', 1000) return {1}`)

func (c *Client) probe(ctx context.Context) error {
	_, err := c.run(ctx, writes, []string{c.Key("probe")}, nil)
	return err
}

// Up reports whether Redis is asked.
func (c *Client) Up() bool { return !c.away.Load() }

// Close ends all connections.
func (c *Client) Close() error {
	c.mu.Lock()
	c.cancel()
	c.mu.Unlock()
	c.probing.Wait()
	return c.redis.Close()
}
