package edge

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAUnixSocketReplacesAStaleOneOnly(t *testing.T) {
	t.Run("stale", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		stale.SetUnlinkOnClose(false)
		_ = stale.Close()
		l, err := ListenUnix(path, SocketOptions{Mode: 0o620})
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := file.Mode(), os.ModeSocket|0o620; got != want {
			t.Errorf("got %v, want %v", got, want)
		}
		if l.Addr().String() != path {
			t.Errorf("got address %s, want %s", l.Addr(), path)
		}
		_ = l.Close()
		if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
			t.Errorf("left %v, want nothing", left)
		}
	})
	t.Run("in use", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		l, err := ListenUnix(path, SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if _, err := ListenUnix(path, SocketOptions{}); err == nil || err.Error() != "the socket is in use" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a file of another kind", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ListenUnix(path, SocketOptions{}); err == nil || err.Error() != "there is a file that is not a socket" {
			t.Errorf("got %v", err)
		}
		if data, _ := os.ReadFile(path); string(data) != "precious" {
			t.Errorf("the file is %q now", data)
		}
	})
	t.Run("a successor's socket stays", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		l, err := ListenUnix(path, SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(path)
		next, err := ListenUnix(path, SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer next.Close()
		_ = l.Close()
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	})
	for want, o := range map[string]SocketOptions{
		`there is no user "nobody-of-this-name"`:  {Owner: "nobody-of-this-name"},
		`there is no group "nobody-of-this-name"`: {Group: "nobody-of-this-name"},
	} {
		dir := t.TempDir()
		if _, err := ListenUnix(filepath.Join(dir, "s"), o); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("left %v, want nothing", left)
		}
	}
	if _, err := ListenUnix(filepath.Join(t.TempDir(), strings.Repeat("x", 120)), SocketOptions{}); err == nil {
		t.Error("a path that no address holds is listened at")
	}
}

func TestAUnixClientCannotChooseItsAddress(t *testing.T) {
	t.Chdir(t.TempDir())
	l, err := ListenUnix(filepath.Join(t.TempDir(), "s"), SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	g := gate(t, Options{Trusted: trusted(t, "10.0.0.0/8")})
	s := NewServer(ServerOptions{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.Serve(w, r, func(x *Exchange) {
			_, _ = io.WriteString(x.W, r.RemoteAddr+" "+x.Request.Client.String()+" "+x.R.Header.Get("X-Forwarded-For"))
		})
	})})
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	for _, own := range []string{"", "10.0.0.1:80"} {
		d := net.Dialer{Timeout: 5 * time.Second}
		if own != "" {
			d.LocalAddr = &net.UnixAddr{Name: own, Net: "unix"}
		}
		c, err := d.Dial("unix", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: close\r\n\r\n")
		answer, _ := io.ReadAll(c)
		_ = c.Close()
		if !strings.HasSuffix(string(answer), "\r\n\r\n@ invalid IP ") {
			t.Errorf("%q: got %q, want no address", own, answer)
		}
	}
}
