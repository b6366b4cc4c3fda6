package redis

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/gatewarden/gatewarden/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open returns a client and what it says of Redis.
func open(t testing.TB, o Options) (*Client, chan error) {
	t.Helper()
	said := make(chan error, 16)
	o.Changed = func(err error) { said <- err }
	o.Probe = 5 * time.Millisecond
	c, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, said
}

func heard(t testing.TB, said chan error) error {
	t.Helper()
	select {
	case err := <-said:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was said of Redis")
		return nil
	}
}

var echo = NewScript(`return {redis.call('INCR', KEYS[1]), tonumber(ARGV[1])}`)

func ask(c *Client) ([]int64, error) {
	return c.Run(context.Background(), echo, []string{c.Key("n")}, []any{7})
}

// patient is a timeout for tests that are about something else.
const patient = 10 * time.Second

func TestAScriptRunsThoughRedisForgotIt(t *testing.T) {
	s := testenv.Redis(t, "--requirepass", "a-password")
	for _, url := range []string{"redis://:a-password@" + s.Address + "/3", "unix://:a-password@" + s.Socket + "?db=4"} {
		c, _ := open(t, Options{URL: url, Timeout: patient, Prefix: "p:"})
		var got [][]int64
		for range 2 {
			answer, err := ask(c)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, answer)
			if err := c.redis.ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff([][]int64{{1, 7}, {2, 7}}, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if value := c.redis.Get(t.Context(), "p:n").Val(); value != "2" {
			t.Errorf("p:n is %q, want 2", value)
		}
	}
}

func TestARedisThatGoesIsNotAskedUntilItIsBack(t *testing.T) {
	s := testenv.Redis(t)
	c, said := open(t, Options{URL: "redis://" + s.Address, Timeout: patient})
	if _, err := ask(c); err != nil || !c.Up() {
		t.Fatal(err)
	}
	s.Stop()
	for range failures {
		if _, err := ask(c); err == nil || errors.Is(err, ErrAway) {
			t.Fatalf("got %v, want what failed", err)
		}
	}
	if err := heard(t, said); err == nil || c.Up() {
		t.Errorf("said %v, up %v", err, c.Up())
	}
	if _, err := ask(c); !errors.Is(err, ErrAway) {
		t.Errorf("got %v, want that it is away", err)
	}
	s.Start()
	if err := heard(t, said); err != nil || !c.Up() {
		t.Errorf("said %v, up %v", err, c.Up())
	}
	if answer, err := ask(c); err != nil || answer[0] != 1 {
		t.Errorf("got %v, %v", answer, err)
	}
	if len(said) != 0 {
		t.Errorf("something more was said: %v", <-said)
	}
}

// pretend is a server that is not Redis: answer gets each connection.
func pretend(t testing.TB, answer func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			answer(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return "redis://" + l.Addr().String()
}

func TestWhatIsNoRedisIsAway(t *testing.T) {
	says := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			var request [512]byte
			if _, err := c.Read(request[:]); err == nil {
				_, _ = io.WriteString(c, text)
			}
		}
	}
	for name, answer := range map[string]func(net.Conn){
		"closes":         func(net.Conn) {},
		"is silent":      func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
		"speaks HTTP":    says("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"is garbage":     says("\x00\xff\x00\xff\r\n"),
		"is loading":     says("-LOADING Redis is loading the dataset in memory\r\n"),
		"is a replica":   says("-READONLY You can't write against a read only replica.\r\n"),
		"answers a text": says("+OK\r\n"),
		"ends halfway":   says("*2\r\n:1\r\n"),
		"a huge list":    says("*2147483647\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			c, said := open(t, Options{URL: pretend(t, answer), Timeout: 20 * time.Millisecond})
			if err := heard(t, said); err == nil {
				t.Error("it is taken for Redis")
			}
			if answer, err := ask(c); !errors.Is(err, ErrAway) {
				t.Errorf("got %v, %v", answer, err)
			}
		})
	}
}

func TestARequestThatEndsSaysNothingAboutRedis(t *testing.T) {
	s := testenv.Redis(t)
	c, said := open(t, Options{URL: "unix://" + s.Socket, Timeout: patient})
	ended, end := context.WithCancel(t.Context())
	end()
	for range 2 * failures {
		if _, err := c.Run(ended, echo, []string{"n"}, []any{7}); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	}
	if _, err := ask(c); err != nil || len(said) != 0 {
		t.Errorf("got %v, and %d times something was said", err, len(said))
	}
}

func TestABadURLIsRefusedWithoutItsPassword(t *testing.T) {
	for _, url := range []string{"", "http://:hunter2@a", "redis://:hunter2@a:b", "redis://:hunter2@a/x", "redis://:hunter2@a?nonsense=1", "redis://:hunter2@%zz", "unix://:hunter2@"} {
		_, err := Open(Options{URL: url})
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "is not a URL such as") {
			t.Errorf("%s: got %v", url, err)
		}
		if CheckURL(url) == nil {
			t.Errorf("%s passes the check", url)
		}
	}
}
