package outbound

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gatewarden/gatewarden/fault"
)

// MaxAnswer bounds the body of an answer, in bytes.
const MaxAnswer = 1 << 20

// Direct returns a client that follows no redirects: one would send a question, and the
// credentials with it, to whom nobody named.
func Direct(client *http.Client) *http.Client {
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// Answer is what a service said.
type Answer struct {
	Status int
	Header http.Header
	// Body is the whole body.
	Body []byte
}

// OK reports a status of 2xx.
func (a *Answer) OK() bool { return a.Status >= 200 && a.Status <= 299 }

// Do makes one request and reads the whole answer, whatever its status is. With an error,
// which never has the URL in its text, again says whether another attempt is promising;
// Status and Header are set when only the body could not be had.
func Do(client *http.Client, r *http.Request) (a Answer, again bool, err error) {
	resp, err := client.Do(r)
	if err != nil {
		return Answer{}, true, withoutURL(err)
	}
	defer resp.Body.Close()
	a = Answer{Status: resp.StatusCode, Header: resp.Header}
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1))
	if err != nil {
		return a, true, err
	}
	if len(body) > MaxAnswer {
		return a, false, fmt.Errorf("the answer is longer than %d bytes", MaxAnswer)
	}
	a.Body = body
	return a, false, nil
}

// withoutURL is the cause of an error of http.Client, whose text would repeat the URL,
// which may hold what a client sent.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// RateLimited is the fault for an answer of 429, with its Retry-After.
func RateLimited(reason string, a *Answer) error {
	return &fault.Error{Kind: fault.RateLimited, Reason: reason, Message: "too many requests",
		RetryAfter: retryAfter(a.Header.Get("Retry-After"), time.Now())}
}

// retryAfter reads a Retry-After field (RFC 9110 section 10.2.3), at most an hour.
func retryAfter(text string, now time.Time) time.Duration {
	const most = time.Hour
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, most)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(0, at.Sub(now).Round(time.Second)), most)
	}
	return 0
}
