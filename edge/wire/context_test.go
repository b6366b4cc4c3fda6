package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// ways are how a handler may notice that its client has gone.
var ways = map[string]func(r *http.Request) error{
	"Done": func(r *http.Request) error { <-r.Context().Done(); return r.Context().Err() },
	"Err": func(r *http.Request) error {
		for r.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		return r.Context().Err()
	},
	"a derived context": func(r *http.Request) error {
		ctx, cancel := context.WithCancel(context.WithValue(r.Context(), key{}, 1))
		defer cancel()
		<-ctx.Done()
		return context.Cause(ctx)
	},
	"AfterFunc": func(r *http.Request) error {
		done := make(chan error)
		context.AfterFunc(r.Context(), func() { done <- context.Cause(r.Context()) })
		return <-done
	},
	"late": func(r *http.Request) error {
		<-time.After(2 * patience)
		<-r.Context().Done()
		return r.Context().Err()
	},
	"another goroutine": func(r *http.Request) error {
		done := make(chan error)
		go func() { <-r.Context().Done(); done <- r.Context().Err() }()
		return <-done
	},
}

type key struct{}

func TestARequestEndsWhenItsClientHasGone(t *testing.T) {
	for name, way := range ways {
		for what, request := range map[string]string{"no body": get, "a body": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok", "a body that comes later": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n",
			"a large body":  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n" + strings.Repeat("x", 9000),
			"a full buffer": fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", inputSize-50, strings.Repeat("x", inputSize-50))} {
			t.Run(name+", "+what, func(t *testing.T) {
				entered, ended := make(chan bool), make(chan error, 1)
				_, address := start(t, func(_ http.ResponseWriter, r *http.Request) {
					entered <- true
					if _, err := io.ReadAll(r.Body); err != nil {
						t.Error(err)
					}
					ended <- way(r)
				}, nil)
				c, _ := dial(t, address, request)
				<-entered
				if what == "a body that comes later" {
					_, _ = io.WriteString(c, "ok")
				}
				select {
				case err := <-ended:
					t.Fatalf("ended by %v", err)
				case <-time.After(3 * patience):
				}
				_ = c.Close()
				if err := <-ended; !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

func TestARequestEndsWhenItsBodyBreaksOff(t *testing.T) {
	ended := make(chan error, 1)
	_, address := start(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		ended <- errors.Join(err, r.Context().Err())
	}, nil)
	c, _ := dial(t, address, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n1")
	_ = c.Close()
	if err := <-ended; !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestWhatIsReadWhileWatchingIsTheNextRequest: the bytes that tell that a client is
// still there are not lost, and end nothing.
func TestWhatIsReadWhileWatchingIsTheNextRequest(t *testing.T) {
	first, release := make(chan bool), make(chan bool)
	_, address := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/first" {
			done := r.Context().Done()
			first <- true
			<-release
			select {
			case <-done:
				t.Error("a request that follows ended the one before")
			case <-time.After(3 * patience):
			}
		}
		_, _ = io.WriteString(w, r.URL.Path+r.Header.Get("X"))
	}, nil)
	for _, cut := range []int{1, 3, 20, len(get)} {
		c, in := dial(t, address, "GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
		<-first
		time.Sleep(2 * patience) // it is being watched
		_, _ = io.WriteString(c, get[:cut])
		release <- true
		want(t, in, 200, "/first")
		_, _ = io.WriteString(c, get[cut:]+get)
		want(t, in, 200, "/a")
		want(t, in, 200, "/a")
	}
}

func TestAContextEndsWithItsHandler(t *testing.T) {
	kept := make(chan context.Context, 3)
	_, address := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/a" {
			_ = r.Context().Done()
		}
		if err := r.Context().Err(); err != nil {
			t.Error(err)
		}
		if _, ok := r.Context().Deadline(); ok || r.Context().Value(key{}) != "base" {
			t.Error("a deadline, or not the server's context")
		}
		kept <- r.Context()
		ok(w, r)
	}, func(s *http.Server) {
		s.BaseContext = func(net.Listener) context.Context { return context.WithValue(context.Background(), key{}, "base") }
	})
	_, in := dial(t, address, get+"GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
	want(t, in, 200, "ok")
	want(t, in, 200, "ok")
	for range 2 {
		ctx := <-kept
		<-ctx.Done()
		if !errors.Is(ctx.Err(), context.Canceled) || !errors.Is(context.Cause(ctx), context.Canceled) {
			t.Errorf("got %v, %v", ctx.Err(), context.Cause(ctx))
		}
	}
}

func TestTheEndOfTheServersContextEndsRequests(t *testing.T) {
	for name, way := range ways {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		ended := make(chan error, 1)
		_, address := start(t, func(_ http.ResponseWriter, r *http.Request) { ended <- way(r) }, func(s *http.Server) {
			s.BaseContext = func(net.Listener) context.Context { return ctx }
		})
		dial(t, address, get)
		time.AfterFunc(3*patience, cancel)
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
