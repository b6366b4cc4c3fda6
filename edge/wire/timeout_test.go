package wire

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// Times that the tests below wait for pass at once, because their clock is not real.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = time.Minute
)

// timed serves h on one connection, in a bubble of its own time.
func timed(t *testing.T, h http.HandlerFunc, talk func(t *testing.T, c net.Conn, in *bufio.Reader)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		rest := standard(h)
		rest.ReadHeaderTimeout, rest.IdleTimeout = headerTimeout, idleTimeout
		s := New(rest)
		done := make(chan error)
		go func() { done <- s.Serve(newOne(server)) }()
		defer func() {
			_ = s.Close()
			<-done
		}()
		talk(t, client, bufio.NewReader(client))
	})
}

// endsAfter checks how long the server takes to end the connection.
func endsAfter(t *testing.T, in *bufio.Reader, least, most time.Duration) {
	t.Helper()
	begun := time.Now()
	rest, err := io.ReadAll(in)
	if took := time.Since(begun); len(rest) > 0 || err != nil || took < least || took > most {
		t.Errorf("got %q, %v after %v, want the end after %v to %v", rest, err, took, least, most)
	}
}

func TestASlowHeaderIsCutOffHoweverItTrickles(t *testing.T) {
	for name, before := range map[string]string{"the first": "", "a later one": get} {
		t.Run(name, func(t *testing.T) {
			timed(t, ok, func(t *testing.T, c net.Conn, in *bufio.Reader) {
				if before != "" {
					_, _ = io.WriteString(c, before)
					want(t, in, 200, "ok")
					time.Sleep(idleTimeout - time.Second)
				}
				begun := time.Now()
				_, err := io.WriteString(c, "GET / HT")
				for ; err == nil; _, err = io.WriteString(c, "T") {
					time.Sleep(time.Second)
				}
				if took := time.Since(begun); took < headerTimeout || took > headerTimeout+2*time.Second {
					t.Errorf("the header had %v", took)
				}
				endsAfter(t, in, 0, 0)
			})
		})
	}
}

func TestAnIdleConnectionIsClosed(t *testing.T) {
	timed(t, ok, func(t *testing.T, c net.Conn, in *bufio.Reader) {
		for range 10 {
			_, _ = io.WriteString(c, get)
			want(t, in, 200, "ok")
			time.Sleep(time.Second)
			_, _ = io.WriteString(c, get)
			want(t, in, 200, "ok")
			time.Sleep(idleTimeout - time.Second)
		}
		endsAfter(t, in, time.Second, 6*time.Second)
	})
	timed(t, ok, func(t *testing.T, _ net.Conn, in *bufio.Reader) { endsAfter(t, in, headerTimeout, headerTimeout) }) // no request at all
}

func TestTimeoutsOfHeadersCutNothingElse(t *testing.T) {
	pause := func() { time.Sleep(2 * idleTimeout) }
	timed(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Context().Err() != nil {
			t.Error(err, r.Context().Err())
		}
		_, _ = w.Write(body)
		_ = http.NewResponseController(w).Flush()
		pause()
		select {
		case <-r.Context().Done():
			t.Error("cancelled")
		case <-time.After(2 * idleTimeout):
		}
		_, _ = w.Write(body)
	}, func(t *testing.T, c net.Conn, in *bufio.Reader) {
		for range 2 {
			_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\no")
			pause()
			_, _ = io.WriteString(c, "k")
			want(t, in, 200, "okok")
		}
	})
}

func TestABodyThatStallsHoldsNoConnection(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"unread, no deadline": ok,
		"a deadline": func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(headerTimeout))
			if _, err := io.ReadAll(r.Body); err == nil {
				t.Error("the body is whole")
			}
			if r.Context().Err() == nil {
				t.Error("the request goes on")
			}
			ok(w, r)
		},
		"unread, a deadline": func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(headerTimeout))
			ok(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			timed(t, h, func(t *testing.T, c net.Conn, in *bufio.Reader) {
				begun := time.Now()
				_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n1")
				if res := want(t, in, 200, "ok"); !res.Close || time.Since(begun) != headerTimeout {
					t.Errorf("the connection ends: %t, after %v", res.Close, time.Since(begun))
				}
				endsAfter(t, in, 0, 0)
			})
		})
	}
}

func TestDeadlinesOfAHandlerEndWithItsRequest(t *testing.T) {
	timed(t, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		_ = c.SetReadDeadline(time.Now().Add(time.Second)) // of a body, which is there
		time.Sleep(2 * time.Second)
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		if err := errors.Join(c.EnableFullDuplex(), c.Flush(), c.SetWriteDeadline(time.Now().Add(time.Second)), r.Context().Err(), context.Cause(r.Context())); err != nil {
			t.Error(err)
		}
	}, func(t *testing.T, c net.Conn, in *bufio.Reader) {
		for _, request := range []string{get, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok", get} {
			_, _ = io.WriteString(c, request)
			want(t, in, 200, "")
			time.Sleep(2 * time.Second)
		}
	})
}
