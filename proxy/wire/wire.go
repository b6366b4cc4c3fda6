// Package wire is an HTTP/1.1 client that writes the request and reads the response
// on the caller's goroutine, over a pool of kept connections. It does for plain
// requests what http.Transport does with two goroutines per connection, at a
// fraction of the cost.
//
// It is as strict as the standard library, because the standard library reads the
// response (http.ReadResponse), but for plain ones, in which it would find nothing
// else (see plain.go). A connection is used again only after a response
// that ended cleanly, with nothing behind it, and only when at that moment it is
// still open and silent. A request is sent twice only when it has no body, its
// method is idempotent, and a kept connection broke before a byte of the answer.
//
// Not for upgrades, Expect, trailers in requests, TLS, or bodies that do not fit in
// memory: use http.Transport for these.
package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Options configure a Client. All are required.
type Options struct {
	// Dial connects to host:port.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// MaxIdlePerHost bounds the kept connections to one address.
	MaxIdlePerHost int
	// IdleTimeout closes connections that were kept for so long.
	IdleTimeout time.Duration
	// MaxHeaderBytes bounds a response header.
	MaxHeaderBytes int64
}

// Client sends requests. Use New; Close it when done.
type Client struct {
	o       Options
	pool    pool
	buffers sync.Pool // of *[]byte, for requests in wire form
}

// New returns a Client without connections.
func New(o Options) *Client {
	return &Client{
		o:       o,
		pool:    pool{most: o.MaxIdlePerHost, timeout: o.IdleTimeout, idle: map[string][]*conn{}},
		buffers: sync.Pool{New: func() any { return new([]byte) }},
	}
}

// Close closes the kept connections; those in use are closed after use.
func (c *Client) Close() { c.pool.close() }

// Request is one request.
type Request struct {
	// Method, Target (path and query, encoded) and Host (field value) must be valid:
	// they are not checked again.
	Method, Target, Host string
	// Address is host:port to connect to.
	Address string
	// Header is written as it is, without Host, Content-Length and fields of the
	// connection, which must not be in it. Names and values are checked.
	Header http.Header
	Body   []byte
	// HasBody sends Content-Length even when Body is empty.
	HasBody bool
	// Timeout bounds connecting, and then the wait for the response header; sending
	// may take up to a quarter longer.
	Timeout time.Duration
	// Informational is called for every 1xx response but 100.
	Informational func(status int, h http.Header)
}

// Response is the answer. Read it to the end and Close it.
type Response struct {
	*http.Response
	conn   *conn
	client *Client
	ctx    context.Context
	ended  bool
	// Plain says that the header has no fields of the connection and no trailers, and
	// the body a known length.
	Plain bool
	plain http.Response // *Response when Plain
	left  int64         // of the body when Plain
}

var (
	errStatus         = errors.New("wire: invalid status code")
	errHeaderTooLarge = errors.New("wire: response header too large")
	errSwitch         = errors.New("wire: the server switched protocols without being asked")
	errManyInfo       = errors.New("wire: too many informational responses")
)

// Do sends r. It fails with ctx's error when ctx ends, with a timeout error when
// Timeout passes, with the dialer's error, or with what is wrong with the response.
// Until the Response is closed, the end of ctx breaks it off, within 200 ms.
func (c *Client) Do(ctx context.Context, r *Request) (*Response, error) {
	b := c.buffers.Get().(*[]byte)
	defer c.buffers.Put(b)
	var err error
	if *b, err = appendRequest((*b)[:0], r); err != nil {
		return nil, err
	}
	if k := c.pool.take(r.Address); k != nil {
		res, err := c.exchange(ctx, k, r, *b)
		if err == nil || ctx.Err() != nil || k.received || !repeatable(r) || isTimeout(err) {
			return res, err
		}
	}
	k, err := c.dial(ctx, r)
	if err != nil {
		return nil, err
	}
	return c.exchange(ctx, k, r, *b)
}

func (c *Client) dial(ctx context.Context, r *Request) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	nc, err := c.o.Dial(ctx, "tcp", r.Address)
	if err != nil {
		return nil, err
	}
	return newConn(nc, r.Address), nil
}

// exchange sends r, written as request, on k and reads the response header.
func (c *Client) exchange(ctx context.Context, k *conn, r *Request, request []byte) (*Response, error) {
	res, err := c.roundTrip(ctx, k, r, request)
	if err != nil {
		k.end()
		k.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	res.conn, res.client, res.ctx, res.ended = k, c, ctx, res.Body == http.NoBody
	return res, nil
}

func (c *Client) roundTrip(ctx context.Context, k *conn, r *Request, request []byte) (*Response, error) {
	if err := k.begin(ctx, r.Timeout, len(request)); err != nil {
		return nil, err
	}
	if _, err := k.Conn.Write(request); err != nil {
		return nil, err
	}
	k.limit = c.o.MaxHeaderBytes
	answer := &Response{}
	if answer.readPlain(k, r.Method) {
		answer.Plain = true
		k.limit = 1<<63 - 1
		return answer, k.answered(answer.Body != http.NoBody)
	}
	k.asked.Method = r.Method
	for range 16 {
		res, err := http.ReadResponse(k.in, &k.asked)
		if err != nil {
			if k.limit <= 0 {
				return nil, errHeaderTooLarge
			}
			return nil, err
		}
		switch {
		case res.StatusCode < 100:
			return nil, errStatus
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errSwitch
		case res.StatusCode >= 200:
			k.limit = 1<<63 - 1
			answer.Response = res
			return answer, k.answered(res.Body != http.NoBody)
		case res.StatusCode != http.StatusContinue && r.Informational != nil:
			r.Informational(res.StatusCode, res.Header)
		}
	}
	return nil, errManyInfo
}

// appendRequest writes r in wire form (RFC 9112 section 3) to b. It refuses field
// names and values that would end or split the header (RFC 9110 section 5).
func appendRequest(b []byte, r *Request) ([]byte, error) {
	b = append(append(b, r.Method...), ' ')
	b = append(append(b, r.Target...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, r.Host...), '\r', '\n')
	for name, values := range r.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return b, fmt.Errorf("wire: invalid header field name %q", name)
		}
		for _, v := range values {
			if !isValue(v) {
				return b, fmt.Errorf("wire: invalid value of header field %s", name)
			}
			b = append(append(b, name...), ':', ' ')
			b = append(append(b, v...), '\r', '\n')
		}
	}
	if r.HasBody || len(r.Body) > 0 {
		b = append(b, "Content-Length: "...)
		b = append(strconv.AppendInt(b, int64(len(r.Body)), 10), '\r', '\n')
	}
	b = append(b, '\r', '\n')
	return append(b, r.Body...), nil
}

// isValue reports whether v is a field value.
func isValue(v string) bool {
	for i := 0; i < len(v); i++ {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// Read reads the body.
func (r *Response) Read(p []byte) (int, error) {
	n, err := r.Body.Read(p)
	if err == io.EOF {
		r.ended = true
	} else if err != nil && r.ctx.Err() != nil {
		err = r.ctx.Err()
	}
	return n, err
}

// Whole returns the body when it is Plain and there to its end, valid until Close, and
// nothing was read from it.
func (r *Response) Whole() (body []byte, ok bool) {
	if !r.Plain || r.left != r.ContentLength || r.left > int64(r.conn.in.Buffered()) {
		return nil, false
	}
	body, err := r.conn.in.Peek(int(r.left))
	if err != nil {
		return nil, false
	}
	_, _ = r.conn.in.Discard(len(body)) // which is buffered
	r.left, r.ended = 0, true
	return body, true
}

// Buffered returns how many bytes can be read without waiting for the server.
func (r *Response) Buffered() int { return r.conn.in.Buffered() }

// Close keeps the connection when the response ended cleanly and closes it otherwise.
func (r *Response) Close() {
	k := r.conn
	quiet := k.end()
	if r.ended && quiet && !r.Response.Close && k.in.Buffered() == 0 {
		r.client.pool.put(k)
		return
	}
	k.Close()
}

// repeatable reports whether r may be sent again (RFC 9110 section 9.2.2).
func repeatable(r *Request) bool {
	if r.HasBody || len(r.Body) > 0 {
		return false
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
